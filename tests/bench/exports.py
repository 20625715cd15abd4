"""Memory of exports: ten times the annotations, in processes of their own, with pictures from a real S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from argus_ray.local import seaweedfs
from tests.bench.measure import Line
from tests.bench.sizes import Sizes

FORMATS = ("coco", "cvat-video", "parquet")


def lines(sizes: Sizes) -> list[Line]:
    """One line a format: peak resident memory with all annotations, as a multiple of that with a tenth of them."""
    with tempfile.TemporaryDirectory() as folder:
        server = seaweedfs.start(Path(folder))
        try:
            environment = {
                **os.environ,
                "ARGUS_S3_ENDPOINT": server.endpoint,
                "ARGUS_S3_ACCESS_KEY": server.access_key,
                "ARGUS_S3_SECRET_KEY": server.secret_key,
                "ARGUS_BUCKET": server.bucket,
            }
            return [_line(number, format_, sizes.exported, environment) for number, format_ in enumerate(FORMATS, 1)]
        finally:
            server.stop()


def _line(number: int, format_: str, annotations: int, environment: dict[str, str]) -> Line:
    few, many = (_exported(format_, count, environment) for count in (annotations // 10, annotations))
    return Line(
        f"E{number}",
        f"export as {format_}: peak memory with {annotations:,} annotations and their pictures",
        f"{many['peak_bytes'] / 2**20:.0f} MiB",
        f"with {annotations // 10:,}: {few['peak_bytes'] / 2**20:.0f} MiB",
        many["peak_bytes"] / few["peak_bytes"],
        1.1,
        f"{annotations / many['wall_s']:,.0f} annotations/s",
        smaller_is_better=True,
    )


def _exported(format_: str, annotations: int, environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.exporting_memory", format_, str(annotations), "s3"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found
