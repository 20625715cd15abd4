"""Claims of a container that only decoding can test: a few pictures, where the packet table leaves a doubt."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from av.error import FFmpegError

from argus_ray.video.container import open_container
from argus_ray.video.index import Index
from argus_ray.video.reader import Reader
from argus_ray.video.segments import Run

if TYPE_CHECKING:
    from argus_ray.video.probe import Probe

_PICTURES_TO_TELL_ORDER = 64


def is_shuffled(file: BinaryIO, stream_index: int, index: Index) -> bool:
    """Whether times ascend in the order of storage, while the decoder gives the pictures in another one."""
    if len(index.pts) < 3 or (np.diff(index.pts) < 0).any():
        return False
    with open_container(file) as container:
        stream = next(s for s in container.streams.video if s.index == stream_index)
        if not stream.codec_context.has_b_frames:
            return False
        stream.codec_context.thread_count = 1
        try:
            given = [frame.pts for frame in islice(container.decode(stream), _PICTURES_TO_TELL_ORDER)]
        except FFmpegError:
            return False  # damage shows in decoding, and is told there
    known = [pts for pts in given if pts is not None]
    return known != sorted(known)


def can_enter(file: BinaryIO, probe: Probe, index: Index) -> bool:
    """Whether the second keyframe is one: decoding from there gives its picture, and calls it a keyframe."""
    places = np.flatnonzero(index.is_key & index.is_shown)
    if len(places) < 2:
        return True
    keyframe_pts = int(index.pts[places[1]])
    with Reader(file, probe) as reader:
        packets = reader.packets(Run(seek_pts=keyframe_pts, stop_pts=None))
        pictures = chain((frame for packet in packets for frame in reader.decode(packet)), reader.flush())
        for frame in pictures:
            if frame.pts is not None and frame.pts >= keyframe_pts:
                return frame.pts == keyframe_pts and bool(frame.key_frame)
        return bool(reader.damaged_us)  # then the file is at fault, which decoding will tell
