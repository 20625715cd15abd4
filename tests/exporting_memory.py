"""How much memory an export takes, in a process of its own: `python -m tests.exporting_memory FORMAT ANNOTATIONS [S3]`.

It writes the manifest of a made-up version, exports it, and prints the peak of its resident memory between the two, in
bytes, and the seconds that the export took. Without an S3 server the archive goes to a file, and no pictures are read.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np

from argus_ray import rle
from argus_ray.datasets import formats, manifest
from argus_ray.datasets.archives import ZipWriter
from argus_ray.datasets.contents import Version
from argus_ray.datasets.exporting import Writing
from argus_ray.datasets.report import Report
from argus_ray.s3 import S3
from argus_ray.schemas.job import Export
from argus_ray.settings import Settings
from tests.annotated import picture

A_FRAME = 10
"""Annotations of a picture."""
VIDEO = UUID(int=1)
LABEL = str(UUID(int=2))
ONTOLOGY = [
    {
        "id": LABEL,
        "number": 1,
        "name": "car",
        "colour": "#0072b2",
        "prompts": ["car"],
        "attributes": [],
        "archived": False,
    }
]


def rows(frames: int) -> Iterator[dict[str, Any]]:
    """One long video of masks that are in ten tracks."""
    disc = np.hypot(*np.mgrid[-24:24, -32:32]) < 20
    counts = rle.encode(disc).counts
    for frame in range(frames):
        found = [
            {
                "id": str(uuid5(VIDEO, f"{frame}/{n}")), "label": LABEL, "track": n + 1, "kind": "mask",
                "box": [0.2, 0.1, 0.6, 0.8], "rle": counts, "area": int(disc.sum()), "keyframe": True, "occluded": False,
                "attributes": "{}", "score": 0.5, "state": "accepted", "source": "model",
            }
            for n in range(A_FRAME)
        ]  # fmt: skip
        yield {
            "frame_id": str(uuid5(VIDEO, str(frame))), "video_id": str(VIDEO), "video": "a.mp4", "pts_us": frame * 40_000,
            "object_key": f"bench/{frame}.jpg", "width": 64, "height": 48, "video_width": 64, "video_height": 48,
            "annotations": found, "exhaustive_present": [], "exhaustive_absent": [], "partial": [], "weight": 1.0,
        }  # fmt: skip


def main(format_: Any, annotations: int, s3: S3 | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "manifest").mkdir()
        frames = annotations // A_FRAME
        manifest.write(folder / "manifest", rows(frames), [], {str(VIDEO): ("train", 1)}, query={}, ontology=ONTOLOGY)
        if s3 is not None:
            s3.put_frames([(f"bench/{frame}.jpg", picture(frame)) for frame in range(frames)])
        contents = Version(folder / "manifest").contents()
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        began = time.perf_counter()
        if s3 is None:
            with (folder / "out.zip").open("wb") as file:
                out = ZipWriter(file)
                formats.write(format_, contents, out, Report(), folder)
                out.close()
        else:
            asked = Export(dataset_version_id=VIDEO, format=format_, pictures=True)
            sent = s3.writer("bench/out.zip", content_type="application/zip")
            Writing(asked, contents, sent, s3, None, folder, lambda _: None, {}).run()
            sent.complete()
        sys.stdout.write(json.dumps({"peak_bytes": peak_bytes(), "wall_s": time.perf_counter() - began}) + "\n")


def peak_bytes() -> int:
    """Of this process's resident memory since the peak was forgotten."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), S3(Settings()) if len(sys.argv) > 3 else None)
