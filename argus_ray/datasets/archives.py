"""Archives of files, in and out, as streams.

Out: a zip that is written once from front to end, to whatever takes bytes; of the same contents it has the same bytes.
In: a zip, a folder or a single file, read where it lies. Nothing is ever unpacked, so no member can land anywhere;
members that only make sense in an attack are refused all the same, before the first is read.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from argus_ray.errors import AnnotationsUnreadable

MOST_MEMBERS = 1_000_000
MOST_BYTES = 32 * 2**30
"""Of all members together, unpacked."""
MOST_RATIO = 200
"""Bytes that one packed byte may become: deflate reaches 1032, annotations some 40."""
_RATIO_FROM_BYTES = 16 * 2**20
OWN = {"report.json", "dataset.json"}
_SYSTEM = ("__MACOSX/", ".DS_Store", "Thumbs.db")


class ZipWriter:
    """Members one after the other; one is open at a time. Pictures are stored, text is deflated."""

    def __init__(self, out: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(out, "w", allowZip64=True)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Write this member."""
        member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
        packed = name.endswith((".jpg", ".parquet", ".png"))
        member.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
        member.external_attr = 0o644 << 16
        with self._zip.open(member, "w", force_zip64=True) as file:
            yield file

    def put(self, name: str, content: bytes | str) -> None:
        with self.open(name) as file:
            file.write(content.encode() if isinstance(content, str) else content)

    def close(self) -> None:
        """Write the directory: without it the zip is none."""
        self._zip.close()


class Source:
    """The files of an import. `names` are relative, with slashes, sorted."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            found = (p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
            self.names = sorted(p.relative_to(path).as_posix() for p in found)
        elif zipfile.is_zipfile(path):
            try:
                self._zip = zipfile.ZipFile(path)
                self.names = sorted(_checked(self._zip, most_bytes))
            except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
                raise AnnotationsUnreadable(
                    f"the archive cannot be read ({error}): make it again", file=path.name
                ) from error
        else:
            self.names = [path.name]

    @property
    def is_alone(self) -> bool:
        """One file, neither archive nor folder."""
        return self._zip is None and not self.path.is_dir()

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Raises AnnotationsUnreadable where the member is damaged."""
        if self._zip is None:
            with (self.path / name if self.path.is_dir() else self.path).open("rb") as file:
                yield file
            return
        try:
            with self._zip.open(name) as file:
                yield file
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise AnnotationsUnreadable(
                f"{name} is damaged in the archive ({error}): make it again", file=name
            ) from error

    def read(self, name: str, *, most_bytes: int = 64 * 2**20) -> bytes:
        """A whole small file. Raises AnnotationsUnreadable where it is larger than that."""
        with self.open(name) as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise AnnotationsUnreadable(f"{name} is larger than {most_bytes} bytes, which no such file is", file=name)
        return content

    def ending(self, *suffixes: str) -> list[str]:
        """The names that end so, in any case, but for what an export of Argus says of itself; a file alone, whatever its name."""
        if self.is_alone:
            return list(self.names)
        return [name for name in self.names if name.lower().endswith(suffixes) and PurePosixPath(name).name not in OWN]

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()


def _checked(archive: zipfile.ZipFile, most_bytes: int) -> Iterator[str]:
    """The names of an archive's files. Raises AnnotationsUnreadable for one that is not what a tool has made."""
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise AnnotationsUnreadable(
            f"the archive has {len(members)} members and {MOST_MEMBERS} are read: make it smaller"
        )
    total, seen = 0, set()
    for member in members:
        name = member.filename
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0] or "\x00" in name:
            raise AnnotationsUnreadable(
                f"the archive has a member {name!r} that points outside of it: make it without", file=name
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise AnnotationsUnreadable(
                f"the archive's member {name!r} is a symbolic link: put the file itself in", file=name
            )
        if member.flag_bits & 0x1:
            raise AnnotationsUnreadable(
                f"the archive's member {name!r} is encrypted: make it without a password", file=name
            )
        if name in seen:
            raise AnnotationsUnreadable(
                f"the archive has two members {name!r}: which one counts cannot be told", file=name
            )
        seen.add(name)
        total += member.file_size
        is_bomb = member.file_size > max(_RATIO_FROM_BYTES, MOST_RATIO * member.compress_size)
        if total > most_bytes or is_bomb:
            raise AnnotationsUnreadable(
                f"the archive unpacks to more than is read ({total} bytes so far, at {name!r}; at most {most_bytes}, and "
                f"{MOST_RATIO} times its packed size): make it smaller",
                file=name,
            )
        if not member.is_dir() and not any(part in name for part in _SYSTEM):
            yield name
