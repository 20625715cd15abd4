"""The few MP4 boxes that are read before FFmpeg is, or because PyAV does not pass them on.

FFmpeg stays the reader of MP4 files. What is here answers three questions that it does not: does the header claim more
samples than anyone should allocate memory for, is the file fragmented, and by how much does each sample's presentation
time differ from its decoding time (`ctts`). Layout: ISO/IEC 14496-12.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
MP4_STARTS = {b"ftyp", b"moov", b"styp", b"moof", b"mdat", b"free", b"wide", b"sidx", b"skip", b"pnot"}
"""Boxes that an MP4 or MOV file may begin with."""

_MAX_BOXES = 100_000  # a file of a million empty boxes is an attack, not a video
_MAX_HEADER_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Box:
    kind: bytes
    start: int
    """First byte of the content."""
    end: int
    """The byte after it, as the box claims."""


@dataclass(frozen=True, slots=True)
class Track:
    """The tables of one track; `samples` is what `stsz` claims."""

    track_id: int
    samples: int
    is_encrypted_video: bool
    offsets: npt.NDArray[np.int64] | None
    """Presentation minus decoding time of each sample, in the track's time scale; None: always 0."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What lies in an MP4 file at the top level, and the tables of its tracks."""

    has_moov: bool
    fragmented: bool
    tracks: tuple[Track, ...]


def children(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """The boxes between two offsets, by their headers alone; ends at the first one that makes no sense."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        size, kind = struct.unpack_from(">I4s", head)
        header = 8
        if size == 1 and len(head) == 16:
            size, header = struct.unpack_from(">Q", head, 8)[0], 16
        elif size == 0:
            size = end - start
        if size < header:
            return
        yield Box(kind, start + header, start + size)
        start += size


def read_layout(file: BinaryIO, size_bytes: int) -> Layout:
    """Read the headers of an MP4 or MOV file. A damaged one gives what could be read."""
    has_moov = fragmented = False
    tracks: list[Track] = []
    for box in children(file, 0, size_bytes):
        if box.kind == b"moov":
            has_moov = True
            inside = list(children(file, box.start, min(box.end, size_bytes)))
            tracks += [_track(file, trak.start, min(trak.end, size_bytes)) for trak in inside if trak.kind == b"trak"]
            fragmented |= any(inner.kind == b"mvex" for inner in inside)
        if box.kind == b"moof":
            fragmented = True
            break  # thousands may follow
    return Layout(has_moov, fragmented, tuple(tracks))


def missing_bytes(file: BinaryIO, size_bytes: int) -> int:
    """Bytes by which a file is shorter than its container says: more than 0 where it was cut off, 0 where that is unknown.

    MP4 by its boxes, AVI by its RIFF chunk, Matroska and WebM by their segment, MPEG-TS by a packet that is not whole.
    """
    file.seek(0)
    head = file.read(64)
    if head[4:8] in MP4_STARTS:
        last = max((box.end for box in children(file, 0, size_bytes)), default=0)
        return max(0, last - size_bytes)
    if head.startswith(b"RIFF"):
        return max(0, int.from_bytes(head[4:8], "little") + 8 - size_bytes)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        header, start = _ebml_size(head, 4)
        place = start + (header or 0) + 4
        file.seek(place)
        segment, start = _ebml_size(file.read(8), 0)
        return max(0, place + start + segment - size_bytes) if segment is not None else 0
    if head.startswith(b"G") and size_bytes > 188:
        file.seek(188)
        if file.read(1) == b"G":
            return -size_bytes % 188
    return 0


def _ebml_size(data: bytes, at: int) -> tuple[int | None, int]:
    """A variable-length size (RFC 8794) and the place behind it; None: unknown, as live streams have it."""
    if at >= len(data) or not data[at]:
        return None, at
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), at + length


def contains(file: BinaryIO, size_bytes: int, kinds: tuple[bytes, ...], window: int = 2**20) -> bytes | None:
    """The first of `kinds` that occurs in the first or the last bytes of a file: for a diagnosis, where parsing failed."""
    for start in {0, max(0, size_bytes - window)}:
        file.seek(start)
        data = file.read(window)
        for kind in kinds:
            if kind in data:
                return kind
    return None


def _track(file: BinaryIO, start: int, end: int) -> Track:
    track_id = samples = 0
    is_encrypted, offsets = False, None
    for box in _descend(file, start, end):
        if box.kind == b"tkhd":
            head = _content(file, box, end, 24)
            if len(head) == 24:
                track_id = struct.unpack_from(">I", head, 20 if head[0] == 1 else 12)[0]
        elif box.kind == b"stsd":
            is_encrypted |= _content(file, box, end, 16)[12:] == b"encv"
        elif box.kind == b"stsz":
            head = _content(file, box, end, 12)
            samples = struct.unpack_from(">I", head, 8)[0] if len(head) == 12 else 0
        elif box.kind == b"ctts":
            offsets = _composition_offsets(_content(file, box, end, _MAX_HEADER_BYTES))
    if offsets is not None and len(offsets) > samples:
        offsets = offsets[:samples]
    return Track(track_id, samples, is_encrypted, offsets)


def _descend(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    for box in children(file, start, end):
        yield box
        if box.kind in _CONTAINERS:
            yield from _descend(file, box.start, min(box.end, end))


def _content(file: BinaryIO, box: Box, end: int, at_most: int) -> bytes:
    file.seek(box.start)
    return file.read(max(0, min(box.end, end, box.start + at_most) - box.start))


def _composition_offsets(data: bytes) -> npt.NDArray[np.int64]:
    """`ctts`: runs of (count, offset). Version 0 calls offsets unsigned, and everyone writes and reads them signed."""
    entries = min(struct.unpack_from(">I", data, 4)[0], (len(data) - 8) // 8) if len(data) >= 8 else 0
    runs = np.frombuffer(data, ">i4", entries * 2, 8).reshape(-1, 2).astype(np.int64)
    counts = np.clip(runs[:, 0], 0, None)
    return np.repeat(runs[:, 1], counts) if counts.sum() <= 100_000_000 else np.zeros(0, np.int64)
