"""The benchmarks' own arithmetic: verdicts, the table and the README's part. What is measured is measured by `make bench`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.measure import Failure, Line, side_by_side
from tests.bench.report import Machine

MACHINE = Machine("2026-01-02 03:04 UTC", "abc", "a processor", 2, 24.0, "a Linux", "3.11.7")
FAST = Line("1", "frames", "9 a second", "a peer: 3 a second", 3.0, 1.9)
LEAN = Line("3", "bytes", "3 MiB", "a peer: 10 MiB", 0.3, 0.35, smaller_is_better=True)


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (FAST, "reached"),
        (replace(FAST, figure=1.9), "reached"),
        (replace(FAST, figure=1.89), "short of"),
        (LEAN, "reached"),
        (replace(LEAN, figure=0.36), "short of"),
        (replace(FAST, target=None), "told"),
    ],
)
def test_a_line_says_whether_its_target_was_reached(line: Line, verdict: str) -> None:
    assert line.verdict == verdict
    assert verdict in report.told(line)


def test_a_figure_stands_beside_its_target_with_its_unit() -> None:
    assert report.figure(FAST) == "3x, target at least 1.9x"
    assert report.figure(LEAN) == "0.3x, target at most 0.35x"
    assert report.figure(replace(LEAN, figure=17.26, target=20, unit="s")) == "17.3 s, target at most 20 s"
    assert report.figure(replace(FAST, figure=0.9612, target=0.95, unit="")) == "0.961, target at least 0.95"


def test_what_did_not_run_says_why_in_the_table_and_in_the_file() -> None:
    lines: list[Line | Failure] = [FAST, Failure("3", "remote", "Unavailable: S3 | is away")]

    assert "did not run: Unavailable: S3 \\| is away" in report.markdown(lines, MACHINE)
    assert [line["verdict"] for line in json.loads(report.as_json(lines, MACHINE, {}))["lines"]] == [
        "reached",
        "failed",
    ]


def test_the_readme_keeps_everything_but_the_old_table() -> None:
    readme = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"

    once = report.filled(readme, report.markdown([FAST], MACHINE))

    assert "old" not in once
    assert "2026-01-02" in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert report.filled(once, report.markdown([FAST], MACHINE)) == once


def test_a_readme_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="bench:begin"):
        report.filled("nothing", "table")


def test_a_score_of_one_is_the_target_whichever_way_is_better() -> None:
    assert report.score(replace(FAST, figure=3.8)) == pytest.approx(2)
    assert report.score(replace(LEAN, figure=0.175)) == pytest.approx(2)


def test_the_chart_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the chart is drawn by `make bench`, which installs matplotlib")
    report.draw([FAST, LEAN, replace(FAST, target=None), Failure("7", "a", "b")], MACHINE, tmp_path / "a.png")

    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []

    side_by_side(lambda: turns.append("a"), lambda: turns.append("b"), rounds=2)

    assert turns == ["a", "b"] * 3
