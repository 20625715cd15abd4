"""The manifest of a dataset version: one Parquet file a split, one row a frame, sorted by video and time.

    <prefix>/train.parquet  val.parquet  test.parquet  tracks.parquet  dataset.json

Its folder is named by the hash of what it says, so that writing it twice is the same as once and nothing can replace it
by something else. The hash is over the rows, not over the bytes of Parquet: those depend on the library that wrote them,
and `dataset.json` has their sha256 for whoever reads them. Labels are named by their ids, and `dataset.json` has the
ontology as it was. Rows are read and written some thousand at a time.

`tracks.parquet` has every keyframe, also those at times of which no picture is kept: who wants every frame of a video
interpolates between them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from argus_ray.datasets.records import SPLITS

SCHEMA_VERSION = 1
_ROWS, _ANNOTATIONS = 2000, 10_000  # of one row group, whichever is reached first

_point = pa.list_(pa.float64(), 2)
_annotation = pa.struct(
    [
        ("id", pa.string()),  # null: interpolated
        ("label", pa.string()),
        ("track", pa.int32()),  # its number in the video
        ("kind", pa.string()),
        ("box", pa.list_(pa.float64(), 4)),
        ("polygon", pa.list_(pa.list_(pa.list_(_point)))),
        ("points", pa.list_(_point)),
        ("rle", pa.string()),  # counts, of the size video_height x video_width
        ("area", pa.int32()),
        ("keyframe", pa.bool_()),
        ("occluded", pa.bool_()),
        ("attributes", pa.string()),  # JSON
        ("score", pa.float32()),
        ("state", pa.string()),
        ("source", pa.string()),
        ("model", pa.string()),
        ("reviewed_by", pa.string()),
    ]
)
FRAMES = pa.schema(
    [
        ("frame_id", pa.string()),
        ("video_id", pa.string()),
        ("video", pa.string()),
        ("component", pa.int32()),
        ("pts_us", pa.int64()),
        ("object_key", pa.string()),
        ("etag", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("video_width", pa.int32()),
        ("video_height", pa.int32()),
        ("annotations", pa.list_(_annotation)),
        ("exhaustive_present", pa.list_(pa.string())),
        ("exhaustive_absent", pa.list_(pa.string())),
        ("partial", pa.list_(pa.string())),
        ("weight", pa.float32()),
    ],
    metadata={"argus.schema_version": str(SCHEMA_VERSION)},
)
TRACKS = pa.schema(
    [
        ("video_id", pa.string()),
        ("video", pa.string()),
        ("split", pa.string()),
        ("video_width", pa.int32()),
        ("video_height", pa.int32()),
        ("pts_us", pa.int64()),
        ("end_us", pa.int64()),
        ("outside", pa.bool_()),
        ("next_pts_us", pa.int64()),  # the track's next keyframe, towards which it moves
        ("next_kind", pa.string()),
        ("next_box", pa.list_(pa.float64(), 4)),
        ("next_polygon", pa.list_(pa.list_(pa.list_(_point)))),
        *((field.name, field.type) for field in _annotation),
    ],
    metadata={"argus.schema_version": str(SCHEMA_VERSION)},
)


class Table:
    """Writes rows to a Parquet file, a group at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.rows = path, 0
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", write_page_index=False)
        self._waiting: list[Mapping[str, Any]] = []
        self._annotations = 0

    def add(self, row: Mapping[str, Any]) -> None:
        self._waiting.append(row)
        self._annotations += len(row.get("annotations") or ())
        if len(self._waiting) >= _ROWS or self._annotations >= _ANNOTATIONS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
            self.rows += len(self._waiting)
            self._waiting, self._annotations = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, in order, a group at a time. Raises pyarrow's errors where it is none."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS // 4):
            yield from batch.to_pylist()


@dataclass(frozen=True)
class Part:
    """A file of a manifest."""

    file: str
    rows: int
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Written:
    """A manifest in a folder: what it says, and the hash of that."""

    content_hash: str
    parts: tuple[Part, ...]
    counts: dict[str, Any]


def write(
    folder: Path,
    frames: Iterable[Mapping[str, Any]],
    keyframes: Iterable[Mapping[str, Any]],
    split_of: Mapping[str, tuple[str, int]],
    *,
    query: Mapping[str, Any],
    ontology: Sequence[Mapping[str, Any]],
) -> Written:
    """Write the manifest of these rows of FRAMES (without `component`) and TRACKS (without `split`), in their order.

    `split_of` says a video's split and component, by its id.
    """
    digest = hashlib.sha256(_canonical({"schema_version": SCHEMA_VERSION, "query": query, "ontology": list(ontology)}))
    counts = _Counts()
    with ExitStack() as stack:
        tables: dict[str, Table] = {}

        def table(name: str, schema: pa.Schema) -> Table:
            if name not in tables:
                tables[name] = Table(folder / f"{name}.parquet", schema)
                stack.callback(tables[name].close)
            return tables[name]

        for row in frames:
            split, component = split_of[row["video_id"]]
            full = {**row, "component": component}
            digest.update(_canonical({**full, "split": split}))
            counts.add(split, full)
            table(split, FRAMES).add(full)
        for row in keyframes:
            full = {**row, "split": split_of[row["video_id"]][0]}
            digest.update(_canonical(full))
            table("tracks", TRACKS).add(full)
    content_hash = digest.hexdigest()
    parts = tuple(_part(tables[name]) for name in (*SPLITS, "tracks") if name in tables)
    about = {
        "schema_version": SCHEMA_VERSION,
        "content_hash": content_hash,
        "query": query,
        "ontology": list(ontology),
        "counts": counts.to_json(),
        "parts": [part.__dict__ for part in parts],
    }
    (folder / "dataset.json").write_text(json.dumps(about, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return Written(content_hash, parts, counts.to_json())


def _part(table: Table) -> Part:
    with table.path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Part(table.path.name, table.rows, sha256, table.path.stat().st_size)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str).encode() + b"\n"


class _Counts:
    """Frames, annotations, videos and labels of each split."""

    def __init__(self) -> None:
        self.splits: dict[str, dict[str, Any]] = {}
        self._video: dict[str, str] = {}

    def add(self, split: str, row: Mapping[str, Any]) -> None:
        counts = self.splits.setdefault(
            split,
            {
                "frames": 0,
                "annotations": 0,
                "videos": 0,
                "labels": {},
                "exhaustive_present": {},
                "exhaustive_absent": {},
            },
        )
        if self._video.get(split) != row["video_id"]:
            self._video[split] = row["video_id"]
            counts["videos"] += 1
        counts["frames"] += 1
        counts["annotations"] += len(row["annotations"])
        for one in row["annotations"]:
            counts["labels"][one["label"]] = counts["labels"].get(one["label"], 0) + 1
        for word in ("exhaustive_present", "exhaustive_absent"):
            for label in row[word]:
                counts[word][label] = counts[word].get(label, 0) + 1

    def to_json(self) -> dict[str, Any]:
        whole: dict[str, Any] = {"frames": 0, "annotations": 0, "videos": 0, "labels": {}}
        for counts in self.splits.values():
            for name in ("frames", "annotations", "videos"):
                whole[name] += counts[name]
            for label, number in counts["labels"].items():
                whole["labels"][label] = whole["labels"].get(label, 0) + number
        return {**whole, "splits": {name: self.splits[name] for name in SPLITS if name in self.splits}}
