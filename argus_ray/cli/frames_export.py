"""Frames as files: `<folder>/<video id>/<pts_us>.jpg`, and `frames.parquet` with a row for each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from argus_ray.client import Client
from argus_ray.errors import Unavailable
from argus_ray.schemas.frame import Frame

PARALLEL = 8

SCHEMA = pa.schema(
    [
        ("file", pa.string()),  # relative to the folder
        ("frame_id", pa.string()),
        ("video_id", pa.string()),
        ("pts_us", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("why", pa.string()),
        ("sha256", pa.string()),
    ]
)


def export(argus: Client, video_ids: Sequence[str], folder: Path) -> int:
    """Download what is not there yet; how many frames the folder's table names."""
    rows: list[dict[str, Any]] = []
    with httpx.Client(timeout=60) as s3, ThreadPoolExecutor(PARALLEL) as threads:
        for video_id in video_ids:
            (folder / str(video_id)).mkdir(parents=True, exist_ok=True)
            rows += threads.map(lambda frame: _fetch(s3, frame, folder), argus.videos.frames(video_id))
    beside = folder / "frames.parquet.part"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), beside)
    beside.replace(folder / "frames.parquet")
    return len(rows)


def _fetch(s3: httpx.Client, frame: Frame, folder: Path) -> dict[str, Any]:
    name = f"{frame.video_id}/{frame.pts_us}.jpg"
    file = folder / name
    if not file.is_file():
        assert frame.url is not None
        try:
            jpeg = s3.get(frame.url).raise_for_status().content
        except httpx.HTTPError as error:
            raise Unavailable(
                f"frame {frame.id} cannot be fetched: {error}: run the export again, it goes on"
            ) from error
        part = file.with_suffix(".part")
        part.write_bytes(jpeg)
        part.replace(file)
    return {
        "file": name,
        "frame_id": str(frame.id),
        "video_id": str(frame.video_id),
        "pts_us": frame.pts_us,
        "width": frame.width,
        "height": frame.height,
        "why": frame.why,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
