"""Opening a video: FFmpeg reads the bytes of this one source, and nothing else on this machine or the network.

A playlist (HLS, DASH, ffconcat) is a text that makes FFmpeg open other files and addresses. FFmpeg is given a file object
and a whitelist of protocols that names none, which the demuxers it starts by itself inherit: so no playlist reaches
anything. The file's name is kept from it too: what a file is depends on its bytes alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError

from argus_ray.errors import NotAVideo, VideoEncrypted, VideoError
from argus_ray.video import boxes

Source = str | BinaryIO
"""A local path, or a seekable binary file object."""

_BUFFER_BYTES = (
    256 * 2**10
)  # what PyAV reads at a time: a fifth of the calls into Python that its default of 32 KiB makes
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD")
ENCRYPTED = (b"encv", b"sinf", b"pssh", b"cenc", b"cbcs")


class _Bytes:
    """A source without its name, with a position of its own: others may read the file in between."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.position = 0

    def read(self, count: int) -> bytes:
        self.file.seek(self.position)
        data = self.file.read(count)
        self.position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position}.get(whence)
        self.position = offset + base if base is not None else self.file.seek(offset, whence)
        return self.position

    def tell(self) -> int:
        return self.position


@contextmanager
def open_file(source: Source) -> Iterator[BinaryIO]:
    """The source as a file object; one that was opened here is closed here."""
    if isinstance(source, str):
        with open(source, "rb") as file:  # noqa: PTH123 a path crosses a process border as str
            yield file
    else:
        yield source


def size_of(file: BinaryIO) -> int:
    """Size in bytes."""
    return file.seek(0, io.SEEK_END)


@contextmanager
def open_container(file: BinaryIO) -> Iterator[InputContainer]:
    """The container, its header read. Raises NotAVideo, VideoEncrypted or VideoError with what was found instead."""
    av.logging.set_level(av.logging.PANIC)  # a hostile file writes megabytes; what matters is raised
    try:
        container: InputContainer = av.open(
            _Bytes(file),
            buffer_size=_BUFFER_BYTES,
            container_options={"protocol_whitelist": "none"},
            metadata_errors="replace",
        )
    except FFmpegError as error:
        raise _why_unreadable(file, error) from error
    with container:
        yield container


def _why_unreadable(file: BinaryIO, error: FFmpegError) -> VideoError:
    size_bytes = size_of(file)
    file.seek(0)
    head = file.read(4096)
    if not head:
        return NotAVideo("the file is empty (0 bytes): upload it again")
    if head[4:8] in boxes.MP4_STARTS:
        return _why_unreadable_mp4(file, size_bytes, error)
    if head.lstrip().startswith(_PLAYLISTS):
        return NotAVideo("the file is a playlist that points to other files or addresses: upload the video itself")
    found = describe(head)
    if found:
        return NotAVideo(f"the file is {found}, not a video", found=found)
    first = head[:8].hex(" ")
    return NotAVideo(
        f"FFmpeg recognises no video in these {size_bytes} bytes, which begin with {first}: is it the right file, and whole?"
    )


def _why_unreadable_mp4(file: BinaryIO, size_bytes: int, error: FFmpegError) -> VideoError:
    if boxes.contains(file, size_bytes, ENCRYPTED):
        return VideoEncrypted("the MP4 is encrypted (DRM, Common Encryption): upload it without encryption")
    layout = boxes.read_layout(file, size_bytes)
    if not layout.has_moov:
        missing = boxes.missing_bytes(file, size_bytes)
        cut = f", and {missing} bytes are missing at its end" if missing else ""
        return VideoError(
            f"the MP4 has no readable index (no moov box){cut}. A recording that was not finished, a single segment of a "
            "stream and a cut upload look so: upload the whole file, or repair it with a sound one of the same camera",
            missing_bytes=missing,
        )
    return VideoError(
        f"the MP4's index is damaged (FFmpeg says: {ffmpeg_says(error)}): export or remux the video again"
    )


def ffmpeg_says(error: FFmpegError) -> str:
    """The last line that FFmpeg logged, or the name of its error."""
    said: Any = error.log  # (level, component, text), or None
    return str(said[2] if said else error.strerror).strip()


_SIGNATURES = (
    (b"\xff\xd8\xff", "a JPEG picture"), (b"\x89PNG", "a PNG picture"), (b"GIF8", "a GIF picture"), (b"BM", "a BMP picture"),
    (b"%PDF", "a PDF document"), (b"PK\x03\x04", "a ZIP archive or office document"), (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"), (b"Rar!", "a RAR archive"), (b"\x7fELF", "a program"), (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"), (b"ID3", "an audio file"), (b"fLaC", "a FLAC audio file"),
)  # fmt: skip
"""For the wording of a refusal only: what FFmpeg can decode is accepted, whatever it begins with."""


def describe(head: bytes) -> str | None:
    """What these first bytes are, in a person's words; None if that cannot be told."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if not head.strip(b"\x00"):
        return "nothing but zeros"
    try:
        text = head[:1000].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head[:1000]) - 4:
            return None
        text = head[: error.start].decode("utf-8")
    return "text" if text.isprintable() or all(c.isprintable() or c.isspace() for c in text) else None
