"""What a run of the benchmarks leaves behind: a table, a JSON file, a chart, and a part of the README. Nothing here runs."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.measure import Failure, Line

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


@dataclass(frozen=True)
class Machine:
    """Where and when, and of what code, figures are."""

    date: str
    commit: str
    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str

    def __str__(self) -> str:
        return (
            f"{self.date}, commit {self.commit}; {self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB; "
            f"{self.system}, Python {self.python}"
        )


def this_machine() -> Machine:
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        commit=_git("rev-parse", "--short=10", "HEAD") + (" with changes" if changed else ""),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        system=f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        python=platform.python_version(),
    )


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def figure(line: Line) -> str:
    """ "1.96x, target at least 1.9x"."""
    shown = _number(line.figure) + _unit(line)
    if line.target is None:
        return shown
    return f"{shown}, target at {'most' if line.smaller_is_better else 'least'} {line.target:g}{_unit(line)}"


def _unit(line: Line) -> str:
    return line.unit if line.unit in ("x", "") else f" {line.unit}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def told(line: Line | Failure) -> str:
    """One line for a terminal."""
    if isinstance(line, Failure):
        return f"{line.number:4} {line.name:42} failed: {line.why}"
    return f"{line.number:4} {line.name:42} {line.verdict:9} {figure(line)}\n{'':48}{line.ours} | {line.peer}" + (
        f"\n{'':48}{line.note}" if line.note else ""
    )


def markdown(lines: Sequence[Line | Failure], machine: Machine) -> str:
    rows = ["| | what | Argus | beside it | figure | |", "|---|---|---|---|---|---|"]
    for line in lines:
        if isinstance(line, Failure):
            rows.append(f"| {line.number} | {line.name} | | | | did not run: {_cell(line.why)} |")
        else:
            name = f"{line.name} ({line.note})" if line.note else line.name
            cells = (line.number, name, line.ours, line.peer, figure(line), line.verdict)
            rows.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return f"{machine}.\n\n" + "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def filled(readme: str, table: str) -> str:
    """The README with this table between its marks. Raises ValueError where they are not."""
    before, _, rest = readme.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"README.md has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def as_json(lines: Sequence[Line | Failure], machine: Machine, options: Mapping[str, Any]) -> str:
    told_lines = [
        {**asdict(line), "verdict": "failed" if isinstance(line, Failure) else line.verdict} for line in lines
    ]
    return json.dumps({"machine": asdict(machine), **options, "lines": told_lines}, indent=2)


def score(line: Line) -> float:
    """How far beyond its target a line is: 1 at the target, 2 twice as good."""
    assert line.target is not None
    return line.target / line.figure if line.smaller_is_better else line.figure / line.target


def draw(lines: Sequence[Line | Failure], machine: Machine, path: Path) -> None:
    """A bar for each line that has a target, by how far beyond or short of it it is."""
    from matplotlib.figure import Figure  # without pyplot: no display, no state
    from matplotlib.ticker import FuncFormatter

    judged = [line for line in lines if isinstance(line, Line) and line.target is not None]
    scores = [max(score(line), 1 / 64) for line in judged]
    chart = Figure(figsize=(10, 0.42 * len(judged) + 1.4), layout="constrained")
    axes = chart.subplots()
    places = range(len(judged))
    colours = ["#2a7f4f" if line.reached else "#b5402f" for line in judged]
    axes.barh(places, [value - 1 for value in scores], left=1, color=colours, height=0.6)
    axes.axvline(1, color="black", linewidth=1)
    for place, (line, value) in enumerate(zip(judged, scores, strict=True)):
        axes.text(max(value, 1), place, f"  {figure(line)}", va="center", fontsize=8)
    axes.set_yticks(places, [f"{line.number}  {line.name}" for line in judged], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.9 * min(0.5, *scores, 0.5), 4 * max(2, *scores, 2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}"))
    axes.set_xlabel("times the target: right of the line it is reached", fontsize=8)
    axes.set_title(str(machine), fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    chart.savefig(path, dpi=150)
