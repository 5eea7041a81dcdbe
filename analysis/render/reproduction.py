"""The reproduction of the paper as HTML, Markdown, JSON and CSV, and its summary for the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from grok_sweeps.analysis.released import Twins
from grok_sweeps.analysis.render.paper_figures import drawable, figures_of_tables
from grok_sweeps.analysis.render.report import Picture, embedded, linked, written
from grok_sweeps.analysis.reproduction import MEANINGS, TABLES, VERDICTS, Number, Reproduction, Row
from grok_sweeps.analysis.result import SOURCE

FORMAT = 1
CELL = ("table", "p", "arch", "loss", "arm", "rho", "tau", "gamma", "quantity")


def reproduction_html(r: Reproduction, figures: Mapping[str, bytes] | None = None) -> str:
    """One HTML document, pictures inside."""
    return _page("reproduction.html", r, embedded(figures))


def reproduction_markdown(r: Reproduction, figures: Mapping[str, bytes] | None = None) -> str:
    """The same as Markdown, with links to the pictures in `figures/`."""
    return _page("reproduction.md", r, linked(figures))


def claims_csv(r: Reproduction) -> str:
    """One line a printed number."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(_flat(r.rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(row) for row in r.rows)
    return out.getvalue()


def claims_json(r: Reproduction) -> str:
    """Counts, parts, and every printed number; valid JSON."""
    document = {
        "format": FORMAT,
        "title": r.title,
        "source": SOURCE,
        "counts": {verdict: r.count(verdict) for verdict in VERDICTS},
        "rule": f"{r.analysis.claims.rule} {MEANINGS}",
        "seed_by_seed": asdict(r.twins) if r.twins else None,
        "parts": [asdict(part) for part in r.parts],
        "claims": [_flat(row) for row in r.rows],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def summary_table(r: Reproduction) -> Table:
    """How many printed numbers have which verdict, by the paper's table."""
    table = Table(title=Text(f"{r.title}: {len(r.rows)} printed numbers"), title_justify="left")
    table.add_column("table")
    shown = [verdict for verdict in VERDICTS if r.count(verdict) or verdict in VERDICTS[:4]]
    for name in shown:
        table.add_column(name, justify="right")
    for name in TABLES:
        rows = r.of_table(name)
        table.add_row(name, *(str(sum(row.verdict == verdict for row in rows) or "") for verdict in shown))
    table.add_section()
    table.add_row("all", *(str(r.count(verdict)) for verdict in shown))
    return table


def twins_line(twins: Twins) -> str:
    """How many runs equal their twins, in words."""
    further = twins.n_compared - twins.n_equal - twins.n_one_reading
    return (
        f"Seed by seed: {twins.n_compared:,} of the {twins.n_released:,} released runs are here. "
        f"{twins.n_equal:,} grok at the same step or, like theirs, not within the budget; "
        f"{twins.n_one_reading:,} are one reading apart, {further:,} further. "
        f"{twins.n_memorised_equal:,} memorise at the same step."
    )


def _page(template: str, r: Reproduction, picture: Picture) -> str:
    return written(
        template,
        picture,
        r=r,
        figures=figures_of_tables(r.analysis),
        drawable=drawable(),
        tables=TABLES,
        verdicts=VERDICTS,
        meanings=MEANINGS,
        twins=twins_line(r.twins) if r.twins else "",
    )


def _flat(row: Row) -> dict[str, Any]:
    printed = row.printed
    return {
        **{name: getattr(printed, name) for name in CELL},
        **_number("published", Number(printed.value, printed.interval)),
        **_number("released", row.released),
        "released_verdict": row.released_verdict or None,
        **_number("ours", row.ours),
        "n_runs": row.n_runs,
        "verdict": row.verdict,
        "reason": row.reason or None,
    }


def _number(name: str, number: Number | None) -> dict[str, float | None]:
    low, high = (number.interval if number else None) or (None, None)
    return {name: number.value if number else None, f"{name}_low": low, f"{name}_high": high}
