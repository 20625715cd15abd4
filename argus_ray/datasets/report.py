"""What an export could not hold, and what an import did not know: said, with file and place, never dropped silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 20
"""Lines of one code that are kept in full; the others are counted, so that a report is as small as its causes are few."""


@dataclass(frozen=True, slots=True)
class Line:
    """`code` is stable; `place` is where in the file: a JSON path, a line, an element."""

    code: str
    detail: str
    file: str = ""
    place: str = ""

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.file, self.place) if part)
        return f"{where}: {self.detail}" if where else self.detail


@dataclass
class Report:
    """Fills while a file is written or read."""

    lines: list[Line] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def say(self, code: str, detail: str, file: str = "", place: str = "") -> None:
        self.counts[code] += 1
        if self.counts[code] <= EXAMPLES:
            self.lines.append(Line(code, detail, file, place))

    def once(self, code: str, detail: str, file: str = "") -> None:
        """For what is true of a whole format: one line, however often it is met, with its count."""
        self.counts[code] += 1
        if self.counts[code] == 1:
            self.lines.append(Line(code, detail, file))

    def to_json(self) -> dict[str, Any]:
        """As it is kept on a job and beside an export."""
        return {
            "counts": dict(sorted(self.counts.items())),
            "lines": [
                {
                    "code": one.code,
                    "detail": one.detail,
                    **({"file": one.file} if one.file else {}),
                    **({"place": one.place} if one.place else {}),
                }
                for one in self.lines
            ],
            "examples_of_each": EXAMPLES,
        }
