"""Ways to break a sound file, as functions from bytes to bytes. None of them needs to decode anything.

MP4 surgery goes by box paths such as `moov/trak/mdia/minf/stbl/stts`, the first of each name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_FULL_CONTAINERS = {b"meta": 4, b"stsd": 8}  # containers whose children come after this many bytes


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each MP4 box from `start`, headers included."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        if size == 1:
            size = struct.unpack_from(">Q", data, start + 8)[0]
        stop = start + size if size >= 8 else end
        yield name, start, min(stop, end)
        start = stop


def find(data: bytes, path: str) -> tuple[int, int]:
    """Start of the body, and end, of the box at `path`. Raises KeyError where there is none."""
    start, end = 0, len(data)
    for name in path.encode().split(b"/"):
        for found, box_start, box_end in boxes(data, start, end):
            if found == name:
                start, end = box_start + 8 + _FULL_CONTAINERS.get(name, 0), box_end
                break
        else:
            raise KeyError(path)
    return start, end


def patched(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    """The same bytes with `values` packed over them at `offset`."""
    new = struct.pack(layout, *values)
    return data[:offset] + new + data[offset + len(new) :]


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """The same bytes with the first `old` turned into `new`, which must be as long."""
    assert len(old) == len(new)
    assert old in data
    return data.replace(old, new, 1)


def keep_front(data: bytes, share: float) -> bytes:
    """Cut off at the back, as an upload that stopped."""
    return data[: int(len(data) * share)]


def keep_back(data: bytes, share: float) -> bytes:
    """Cut off at the front."""
    return data[-int(len(data) * share) :]


def flip_bits(data: bytes, share_from: float, share_to: float, every: int = 97) -> bytes:
    """Flip one bit in each `every` bytes between two places of the file, given as shares of its length."""
    flipped = bytearray(data)
    for offset in range(int(len(data) * share_from), int(len(data) * share_to), every):
        flipped[offset] ^= 1 << (offset % 8)
    return bytes(flipped)


def without_moov(data: bytes) -> bytes:
    """Without the index, as a camera that lost power."""
    return b"".join(data[start:end] for name, start, end in boxes(data) if name != b"moov")


# -- lies in the headers -------------------------------------------------------------------------

_STBL = "moov/trak/mdia/minf/stbl"


def claims_size(data: bytes, width: int, height: int) -> bytes:
    """The sample entry and the track header of an H.264 MP4 claim another size (at most 65535 each)."""
    entry, _ = find(data, f"{_STBL}/stsd/avc1")
    track, track_end = find(data, "moov/trak/tkhd")
    data = patched(data, entry + 24, ">HH", width, height)
    assert track < track_end
    return patched(data, track_end - 8, ">II", width << 16, height << 16)


def avi_claims_size(data: bytes, width: int, height: int) -> bytes:
    """The bitmap header of an AVI claims another size."""
    return patched(data, data.index(b"strf") + 8 + 4, "<ii", width, height)


def claims_duration(data: bytes, seconds: int) -> bytes:
    """Every header of an MP4 claims another duration; the samples' own times stay."""
    for path, scale_offset, duration_offset in (("moov/mvhd", 12, 16), ("moov/trak/mdia/mdhd", 12, 16)):
        body, _ = find(data, path)
        scale = struct.unpack_from(">I", data, body + scale_offset)[0]
        data = patched(data, body + duration_offset, ">I", min(seconds * scale, 2**32 - 1))
    body, _ = find(data, "moov/trak/tkhd")
    movie, _ = find(data, "moov/mvhd")
    return patched(data, body + 20, ">I", min(seconds * struct.unpack_from(">I", data, movie + 12)[0], 2**32 - 1))


def claims_samples(data: bytes, count: int) -> bytes:
    """The tables of an MP4 claim `count` samples of one byte in one chunk, in a file that is no longer for it.

    A demuxer that believes it allocates tens of bytes for each; FFmpeg 8 says the count and indexes nothing.
    """
    times, _ = find(data, f"{_STBL}/stts")
    sizes, _ = find(data, f"{_STBL}/stsz")
    chunks, _ = find(data, f"{_STBL}/stsc")
    data = patched(data, times + 4, ">II", 1, count)
    data = patched(data, sizes + 4, ">II", 1, count)
    return patched(data, chunks + 4, ">III", 1, 1, count)


def edits(data: bytes, media_time: int, duration: int) -> bytes:
    """The first edit of the first track starts at `media_time` (media ticks) and lasts `duration` (movie ticks)."""
    body, _ = find(data, "moov/trak/edts/elst")
    return patched(data, body + 8, ">Ii", duration, media_time)
