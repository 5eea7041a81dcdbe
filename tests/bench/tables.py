"""What a bench found, as markdown for people and as JSON for everything else."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured quantity: the median of `n` measurements, the least and the most."""

    median: float
    least: float
    most: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Sum up measurements, at least one."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def __str__(self) -> str:
        """The median, and the range where there is one."""
        return number(self.median) + (f" [{number(self.least)}, {number(self.most)}]" if self.n > 1 else "")

    def to_json(self) -> dict[str, float | int]:
        """Values by name."""
        return {"median": self.median, "min": self.least, "max": self.most, "n": self.n}


Cell = Figure | float | int | str | None
"""A text, a figure, a number that follows from figures, or None for what has none."""


@dataclass(frozen=True)
class Table:
    """One table; `note` says how its figures came about."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """The table under its title."""
        lines = [f"### {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines += [_line(self.columns), "|" + "---|" * len(self.columns)]
        lines += [_line([_text(cell) for cell in row]) for row in self.rows]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same with every figure whole."""
        rows = [
            {c: x.to_json() if isinstance(x, Figure) else x for c, x in zip(self.columns, row, strict=True)}
            for row in self.rows
        ]
        return {"name": self.name, "title": self.title, "note": self.note, "columns": list(self.columns), "rows": rows}


@dataclass
class Report:
    """Tables as they come: each is printed, and the file written anew, so that a run cut short leaves what it had."""

    bench: str
    machine: dict[str, Any]
    path: Path | None = None
    tables: list[Table] = field(default_factory=list)

    def begin(self) -> None:
        """Say what is measured where."""
        about = ", ".join(f"{name} {value}" for name, value in self.machine.items() if value is not None)
        print(f"## {self.bench}\n\n{about}\n", flush=True)

    def add(self, table: Table) -> None:
        """Take in one more table."""
        self.tables.append(table)
        print(table.markdown() + "\n", flush=True)
        if self.path is not None:
            self.path.write_text(json.dumps(self.to_json(), indent=1) + "\n")

    def to_json(self) -> dict[str, Any]:
        """Everything so far."""
        return {"bench": self.bench, "machine": self.machine, "tables": [table.to_json() for table in self.tables]}


def number(value: float) -> str:
    """Three significant digits, without an exponent where people read none."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:.1e}"


def _text(cell: Cell) -> str:
    if cell is None:
        return "—"
    if isinstance(cell, int):
        return f"{cell:,}"
    return number(cell) if isinstance(cell, float) else str(cell)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
