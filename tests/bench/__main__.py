"""`make bench`: every line and its peer side by side in one run; `python -m tests.bench 1 3 7` runs those lines."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click

from tests.bench import annotations as annotation_lines
from tests.bench import (
    database,
    exports,
    first_result,
    frames,
    ingest,
    labelling,
    live,
    many_prompts,
    masks,
    report,
    retrieval,
)
from tests.bench.measure import Failure, Line
from tests.bench.sizes import FULL, QUICK, Sizes

RESULTS = Path("bench-results")
README = Path("README.md")

Benchmark = Callable[[Sizes], Sequence[Line]]

BENCHMARKS: dict[str, Benchmark] = {
    "1": frames.local,  # and 2, in the same turns
    "3": frames.remote,
    "4": ingest.lines,
    "6": many_prompts.lines,
    "7": database.write_vectors,
    "8": database.search_vectors,
    "9": database.queue,
    "12": first_result.lines,
    "annotations": annotation_lines.lines,
    "exports": exports.lines,
    "recall": retrieval.lines,
    "live": live.lines,
    "autolabel": labelling.lines,
    "rle": masks.lines,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--quick", is_flag=True, help="A little of everything, to see that it works: the figures mean nothing.")
@click.option("--peers", is_flag=True, help="Line 12: install Argus and Label Studio anew, which downloads gigabytes.")
@click.option("--readme", is_flag=True, help="Write the README's table though not every line was run.")
def main(names: tuple[str, ...], *, quick: bool, peers: bool, readme: bool) -> None:
    """Run the benchmarks (all, or those named) and say of each whether it reaches its target."""
    machine = report.this_machine()
    click.echo(f"{machine}\n")
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / machine.date.replace(":", "").replace(" ", "-")
    options = {"load_average_before": os.getloadavg(), "quick": quick, "names": names}
    lines: list[Line | Failure] = []
    for name in names or BENCHMARKS:
        run = partial(first_result.lines, peers=peers) if name == "12" else BENCHMARKS[name]
        for line in _run(name, run, QUICK if quick else FULL):
            click.echo(report.told(line))
            lines.append(line)
        stem.with_suffix(".json").write_text(
            report.as_json(lines, machine, options)
        )  # what there is, should it end here
    report.draw(lines, machine, stem.with_suffix(".png"))
    click.echo(f"\n{stem}.json and .png")
    if readme or not (names or quick):
        README.write_text(report.filled(README.read_text(), report.markdown(lines, machine)))
        click.echo("README.md has the new table")
    sys.exit(any(isinstance(line, Failure) for line in lines))


def _run(name: str, run: Benchmark, sizes: Sizes) -> Sequence[Line | Failure]:
    """A benchmark that fails says why, and the others run."""
    try:
        return run(sizes)
    except Exception as error:  # noqa: BLE001  # whatever it is, it stands in the table
        traceback.print_exc()
        return [Failure(name, run.func.__module__ if isinstance(run, partial) else run.__module__, _why(error))]


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _start_again() -> None:
    """With what a process must be told before it begins."""
    environment = {
        **os.environ,
        "ARGUS_BENCH": "1",
        "LD_LIBRARY_PATH": ":".join(filter(None, [str(frames.lent_ffmpeg()), os.environ.get("LD_LIBRARY_PATH")])),
        "OMP_NUM_THREADS": "1",  # else torch and others put a thread on every core, unequally
        "RAY_AUTH_MODE": "disabled",  # line 4's Ray listens on loopback; else it would write a token to the home
    }
    os.execve(sys.executable, [sys.executable, "-m", "tests.bench", *sys.argv[1:]], environment)


if __name__ == "__main__":
    if "ARGUS_BENCH" not in os.environ:
        _start_again()
    main()
