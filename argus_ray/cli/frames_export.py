"""Frames as files: `<folder>/<video id>/<pts_us>.jpg`, and `frames.parquet` with a row for each."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from argus_ray.client import Client
from argus_ray.client.transport import options, pause_s
from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.schemas.frame import Frame

PARALLEL = 8
TRIES = 5
TIMEOUT_S = 60
AT_ONCE = 500
"""Frames whose URLs are asked for together: fewer than an hour's work, after which URLs expire."""

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


def export(argus: Client, video_ids: Sequence[UUID], folder: Path) -> int:
    """Download what is not there yet; how many frames the folder's table names. Raises ConfigurationError where the
    folder cannot be written, Unavailable where a frame cannot be had.
    """
    rows: list[dict[str, Any]] = []
    try:
        with httpx.Client(**options(TIMEOUT_S)) as s3, ThreadPoolExecutor(PARALLEL) as threads:
            for video_id in video_ids:
                (folder / str(video_id)).mkdir(parents=True, exist_ok=True)
                frames = argus.videos.frames(video_id)
                while batch := [*itertools.islice(frames, AT_ONCE)]:
                    rows += threads.map(partial(_fetched, argus, s3, folder), batch)
        beside = folder / "frames.parquet.part"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), beside)
        beside.replace(folder / "frames.parquet")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}: choose another with --to") from error
    return len(rows)


def _fetched(argus: Client, s3: httpx.Client, folder: Path, frame: Frame) -> dict[str, Any]:
    """The frame's row, its file being there."""
    name = f"{frame.video_id}/{frame.pts_us}.jpg"
    file = folder / name
    if file.is_file():
        jpeg = file.read_bytes()
    else:
        jpeg = _jpeg(argus, s3, frame)
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
        "sha256": hashlib.sha256(jpeg).hexdigest(),
    }


def _jpeg(argus: Client, s3: httpx.Client, frame: Frame) -> bytes:
    url = frame.url
    for failed in itertools.count(1):
        try:
            return s3.get(str(url)).raise_for_status().content
        except httpx.HTTPError as error:
            if failed == TRIES:
                raise Unavailable(
                    f"frame {frame.id} cannot be fetched: {error}: run the export again, it goes on"
                ) from error
        time.sleep(pause_s(failed))
        url = argus.frames.get(frame.id).url  # the old one may have expired
    raise AssertionError
