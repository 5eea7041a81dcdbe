"""How progress looks: a live panel in a terminal, plain lines elsewhere. Both are drawn from one `Progress`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from grok_sweeps.plan.finished_runs import CellProgress
from grok_sweeps.progress import Progress, Spent

PLAIN_EVERY_S = 10.0
MAX_GRID = 12
"""Rows and columns up to which the grid of cells is drawn."""
MAX_GRIDS = 5
"""Grids drawn at once."""

_COLOURS = {"grokked": "green", "censored": "yellow", "diverged": "magenta", "failed": "red"}


def duration(seconds: float | None) -> str:
    """Seconds as `2 h 05 min`, `3 min 20 s` or `12 s`; an em dash for None."""
    if seconds is None:
        return "—"
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def size(n_bytes: float) -> str:
    """Bytes as `12 B`, `3.4 kB` or `1,234.5 MB`."""
    if n_bytes < 1e3:
        return f"{n_bytes:.0f} B"
    return f"{n_bytes / 1e3:.1f} kB" if n_bytes < 1e6 else f"{n_bytes / 1e6:,.1f} MB"


def hours(value: float) -> str:
    """Device-hours with as many digits as say something."""
    return f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"


def failed_runs(progress: Progress) -> str:
    """What to say of a sweep's failed runs; empty without one."""
    n_failed = progress.outcomes.get("failed", 0)
    if not n_failed:
        return ""
    return (
        f"sweep '{progress.sweep}': {n_failed} of {progress.runs} runs failed, the first: {progress.first_error}. "
        f"`grok-sweeps resume {progress.sweep} --failed` trains them again."
    )


def plain_line(progress: Progress) -> str:
    """The sweep in one line."""
    parts = [f"{progress.sweep}: {progress.state}", f"{progress.finished:,}/{progress.runs:,} runs"]
    parts += [f"{n:,} {name}" for name, n in progress.outcomes.items()]
    if progress.steps_per_s:
        parts += [f"{progress.steps_per_s:,.0f} run-steps/s", f"{duration(progress.eta_s)} left"]
    if progress.reason:
        parts.append(progress.reason)
    return ", ".join(parts)


def panel(progress: Progress, stored: Mapping[str, int] | None = None, holder: str | None = None) -> RenderableType:
    """The sweep as a panel: stages, packs, outcomes, rate, time left, the grid of cells, the last events.

    `stored` are the bytes in the store by kind of object, `holder` is who holds the lease, where they are known.
    """
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    done = Table.grid(padding=(0, 1))
    done.add_row(
        ProgressBar(total=max(progress.run_steps_expected, 1), completed=progress.run_steps_done, width=32),
        f"{progress.finished:,} of {progress.runs:,} runs",
    )
    facts.add_row("runs", done)
    outcomes = Text("  ").join(Text(f"{n:,} {k}", style=_COLOURS[k]) for k, n in progress.outcomes.items())
    facts.add_row("outcomes", outcomes or Text("none yet", style="dim"))
    if holder:
        facts.add_row("lease", Text(holder))
    if progress.first_error:
        facts.add_row("first error", Text(progress.first_error, style="red"))
    for stage in progress.stages:
        facts.add_row(f"stage {stage.stage}", f"{stage.finished:,} of {stage.runs:,} runs")
    if progress.packs:
        facts.add_row("packs", ", ".join(f"{n:,} {name}" for name, n in progress.packs.items() if n) or "none")
    if progress.idle_share is not None:
        facts.add_row("waste", f"{100 * progress.idle_share:.1f} % of lane-steps in lanes whose run had ended")
    if progress.steps_per_s:
        facts.add_row("rate", f"{progress.steps_per_s:,.0f} run-steps/s in {progress.lanes_active} lanes")
        facts.add_row("time left", f"about {duration(progress.eta_s)}")
    if progress.accuracy:
        facts.add_row(
            "foreseen", f"{progress.run_steps_expected:,} run-steps in all; so far within {progress.accuracy}"
        )
    if progress.spent:
        facts.add_row(progress.spent.unit, _spent(progress.spent))
    if stored:
        kinds = sorted(stored.items(), key=lambda item: -item[1])
        total = size(sum(stored.values()))
        facts.add_row("stored", f"{total}: " + ", ".join(f"{kind} {size(n_bytes)}" for kind, n_bytes in kinds))
    if progress.reason:
        facts.add_row("stopped", progress.reason)
    if progress.state == "interrupted" and progress.heartbeat_age_s is not None:
        facts.add_row("driver", f"last heard of {duration(progress.heartbeat_age_s)} ago; run the sweep again to go on")
    parts: list[RenderableType] = [facts]
    parts += [_grid(group, cells) for group, cells in _grids(progress.cells)]
    if progress.events:
        parts.append(Text("\n".join(progress.events), style="dim", overflow="ellipsis", no_wrap=True))
    return Panel(Group(*parts), title=f"{progress.sweep} · {progress.state}", title_align="left", expand=False)


def _spent(spent: Spent) -> str:
    text = hours(spent.hours)
    if spent.budget is not None:
        text += f" of {spent.budget:g}"
    return text if spent.expected is None else f"{text}; about {hours(spent.expected)} in all, as foreseen"


def _grids(cells: Sequence[CellProgress]) -> list[tuple[str, list[CellProgress]]]:
    groups: dict[str, list[CellProgress]] = {}
    for cell in cells:
        if cell.rho is not None:
            groups.setdefault(cell.group, []).append(cell)
    small = [
        (group, members)
        for group, members in groups.items()
        if len({c.rho for c in members}) <= MAX_GRID and len({c.tau for c in members}) <= MAX_GRID
    ]
    # Where they do not all fit, those that are not finished say most.
    open_first = sorted(small, key=lambda item: all(c.finished == c.runs for c in item[1]))
    return small if len(small) <= MAX_GRIDS else open_first[:MAX_GRIDS]


def _grid(group: str, cells: Sequence[CellProgress]) -> Table:
    """ρ down, τ across, finished runs in each cell."""
    taus = sorted({c.tau for c in cells})
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{group}   ρ \\ τ", justify="right", style="dim")
    for tau in taus:
        table.add_column(f"{tau:g}", justify="right")
    for rho in sorted({c.rho for c in cells if c.rho is not None}):
        row = []
        for tau in taus:
            here = [c for c in cells if c.rho == rho and c.tau == tau]
            runs, finished = sum(c.runs for c in here), sum(c.finished for c in here)
            grokked = sum(c.grokked for c in here)
            style = "dim" if not finished else "bold green" if grokked == runs else "yellow" if finished == runs else ""
            row.append(Text(f"{finished}/{runs}" if here else "", style=style))
        table.add_row(f"{rho:g}", *row)
    return table


class LiveView:
    """A panel that is redrawn in place; use as a context."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, progress: Progress) -> None:
        """Redraw."""
        self._live.update(panel(progress))

    def event(self, text: str) -> None:
        """Nothing: the panel shows the last events."""


class PlainView:
    """Events as they happen, and a line every few seconds; use as a context."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, progress: Progress) -> None:
        """Print a line when it is time for one."""
        if progress.state == "running" and time.monotonic() - self._last >= PLAIN_EVERY_S:
            self._last = time.monotonic()
            self._print(plain_line(progress))

    def event(self, text: str) -> None:
        """Print the event."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def open_view(console: Console) -> LiveView | PlainView:
    """The view that fits where the output goes."""
    return LiveView(console) if console.is_terminal else PlainView(console)
