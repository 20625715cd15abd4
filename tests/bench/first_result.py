"""Line 12: from `argus up --demo-models` to a right answer to a text query, at the first start and at the second.

Argus is installed here already, so that the first figure leaves its installation out. With `--peers` both it and Label
Studio are installed into environments of their own, and each is timed from an empty one to its first result: a right
answer here, the first page there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np

from argus_ray.local import ports
from argus_ray.synthetic.language import Query, bare
from argus_ray.synthetic.video import VideoTruth, draw_video
from tests.bench import stack
from tests.bench.measure import Line
from tests.bench.sizes import Sizes

SEED, SECONDS, SIZE = 20, 6.0, (640, 360)
SECOND_START_S = 20
PAGE_PATIENCE_S = 300


def lines(sizes: Sizes, *, peers: bool = False) -> list[Line]:  # one clip, whatever the size
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as folder:
        path = Path(folder) / "drawn.mp4"
        truth = draw_video(path, np.random.default_rng(SEED), SECONDS, scenes=2, size=SIZE)
        first_s, second_s = _argus(path, truth, stack.PYTHON)
        told = [
            Line(
                "12a",
                "first result: first start",
                f"{first_s:.1f} s from `argus up` to a right answer about an uploaded clip",
                "Argus is installed already",
                first_s,
                unit="s",
                smaller_is_better=True,
            ),
            Line(
                "12b",
                "first result: second start",
                f"{second_s:.1f} s from `argus up` to a right answer",
                "" if peers else "Label Studio was not run (--peers)",
                second_s,
                SECOND_START_S,
                unit="s",
                smaller_is_better=True,
            ),
        ]
        return [*told, _side_by_side(path, truth)] if peers else told


def _argus(path: Path, truth: VideoTruth, python: Path) -> tuple[float, float]:
    """Seconds from the command to a right answer, at the first start and at the second."""
    query = _query(truth)
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as folder:
        home = Path(folder)
        try:
            began = time.perf_counter()
            stack.up(home, python)
            with stack.signed_up(home, python) as running:
                video = running.client.videos.upload(running.project.id, path)
                (job,) = running.client.jobs.list(running.project.id)
                running.wait(job)
                _check(running, query, truth)
                first_s = time.perf_counter() - began
                stack.down(home, python)

                began = time.perf_counter()
                stack.up(home, python)
                _check(running, query, truth)
                assert video.id
                return first_s, time.perf_counter() - began
        finally:
            stack.down(home, python)


def _query(truth: VideoTruth) -> Query:
    """The largest thing to be seen, as people would ask for it."""
    largest = max((thing for shot in truth.shots for thing in shot.scene.things), key=lambda thing: thing.size)
    return bare(largest.colour, largest.shape)


def _check(running: stack.Stack, query: Query, truth: VideoTruth) -> None:
    hits = running.client.search(running.project.id, query.text).items
    if not hits or not any(start <= hits[0].pts_us < end for start, end in truth.moments(query)):
        raise AssertionError(f"the first hit for {query.text!r} is wrong")


# -- from nothing ----------------------------------------------------------------------------------


def _side_by_side(path: Path, truth: VideoTruth) -> Line:
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as folder:
        began = time.perf_counter()
        python = _environment(Path(folder) / "argus", f"{Path.cwd()}[local]")
        installed_s = time.perf_counter() - began
        ours_s = installed_s + _argus(path, truth, python)[0]
        began = time.perf_counter()
        python = _environment(Path(folder) / "label-studio", "label-studio")
        _first_page(python, Path(folder) / "data")
        theirs_s = time.perf_counter() - began
    return Line(
        "12c",
        "first result: from an empty environment",
        f"{ours_s:.0f} s, {installed_s:.0f} of them pip",
        f"Label Studio, pip to first page: {theirs_s:.0f} s",
        ours_s / theirs_s,
        0.5,
        "one time each; PyTorch and Ray are most of what is installed",
        smaller_is_better=True,
    )


def _environment(folder: Path, *packages: str) -> Path:
    """A new environment's Python. pip's cache is not used."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", *packages], check=True)
    return python


def _first_page(python: Path, data: Path) -> None:
    port = ports.choose(["label-studio"], {})["label-studio"]
    command: Sequence[str | Path] = [
        python.with_name("label-studio"),
        *("start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port), "--data-dir", data),
    ]
    with subprocess.Popen(command, env={**os.environ, "COLLECT_ANALYTICS": "false"}, stdout=subprocess.DEVNULL) as run:
        try:
            end = time.monotonic() + PAGE_PATIENCE_S
            while True:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/", follow_redirects=True, trust_env=False).raise_for_status()
                except httpx.HTTPError:
                    if run.poll() is not None or time.monotonic() > end:
                        raise
                    time.sleep(0.2)
                else:
                    return
        finally:
            run.terminate()
