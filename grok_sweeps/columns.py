"""The page on the columns, made of `schema`: `python -m grok_sweeps.columns` (in a checkout, `make docs`) writes it."""

from __future__ import annotations

from pathlib import Path

from grok_sweeps.schema import READINGS, SCHEMA_VERSION, VIEWS, Column

PAGE = Path(__file__).with_name("COLUMNS.md")

_ABOUT = {
    "runs": "One row a finished run.",
    "cells": "One row a cell: the runs of a sweep that differ only in the seed.",
    "curves": f"One row a reading: at step 1, every `eval_every` steps, and at the end. {len(READINGS)} readings each.",
    "curves_under_way": "The readings so far of runs that are trained now, at most 30 s old; as `curves`.",
    "sweeps": "One row a sweep.",
}


def page() -> str:
    """Markdown: every column of every view with its type, unit, meaning, and when it is null."""
    lines = [
        "# Columns",
        "",
        "Made from [schema.py](schema.py) by `make docs`; do not edit.",
        "",
        f"Schema version {SCHEMA_VERSION}. Columns are only ever added. What an older file lacks is null, or the value",
        "that runs had before the column. Unit `1`: a pure number; none: an identifier, a setting or a count.",
    ]
    for view, columns in VIEWS.items():
        lines += ["", f"## {view}", "", _ABOUT[view]]
        if view != "curves_under_way":
            lines += ["", "| column | type | unit | meaning | null when |", "|---|---|---|---|---|"]
            lines += map(_line, columns)
    return "\n".join(lines) + "\n"


def _line(column: Column) -> str:
    cells = (f"`{column.name}`", str(column.dtype), column.unit, column.meaning, column.null or "never")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page())
