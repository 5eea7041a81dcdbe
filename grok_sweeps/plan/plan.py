"""The plan of a sweep: every run once, and the stage in which it can start.

Stage 0 holds all runs that need nothing but themselves. A dose run whose `w_c` is `control` waits in stage 1 for the
control of its family, the free runs of the same task, model, loss, lr and weight decay over the sweep's seeds; the plan
adds those free runs where the spec does not list them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from grok_sweeps.config import RunConfig, control_id_of
from grok_sweeps.plan.expand import check_size, expand
from grok_sweeps.spec.model import SweepSpec


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run with its ids worked out once. `added` marks a control run that the spec did not list itself."""

    run_id: str
    cell_id: str
    stage: int
    added: bool
    config: RunConfig


@dataclass(frozen=True)
class Plan:
    """Every run of a sweep in order of its stage and of the spec, and the runs behind each control."""

    sweep: str
    runs: tuple[PlannedRun, ...]
    controls: Mapping[str, tuple[str, ...]]

    @property
    def n_stages(self) -> int:
        """Number of stages."""
        return max((r.stage for r in self.runs), default=0) + 1

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len({r.cell_id for r in self.runs})

    def stage(self, k: int) -> tuple[PlannedRun, ...]:
        """The runs of stage k."""
        return tuple(r for r in self.runs if r.stage == k)

    def run_ids(self) -> frozenset[str]:
        """All run ids: what makes two plans the same sweep."""
        return frozenset(r.run_id for r in self.runs)


def make_plan(spec: SweepSpec) -> Plan:
    """Expand `spec` into its plan; equal specs give equal plans.

    Raises:
        SpecError: keys that contradict each other, or too many runs.
    """
    check_size(spec)
    written = list(dict.fromkeys(expand(spec)))
    families: dict[RunConfig, list[RunConfig]] = defaultdict(list)
    for config in written:
        if _waits(config):
            families[_family(config)].append(config)
    control_runs = {family: _control_runs(family, waiting) for family, waiting in families.items()}
    planned_controls = {family: _planned(runs, stage=0) for family, runs in control_runs.items()}
    ids = {family: control_id_of(r.run_id for r in runs) for family, runs in planned_controls.items()}

    first = {r.run_id: r for r in _planned((c for c in written if not _waits(c)), stage=0)}
    for runs in planned_controls.values():
        for run in runs:
            first.setdefault(run.run_id, replace(run, added=True))
    waiting = (replace(c, control_id=ids[_family(c)]) for c in written if _waits(c))
    second = _planned(waiting, stage=1)
    return Plan(
        sweep=spec.name,
        runs=(*first.values(), *second),
        controls={ids[family]: tuple(r.run_id for r in runs) for family, runs in planned_controls.items()},
    )


def _waits(config: RunConfig) -> bool:
    return config.arm == "clamp" and config.w_c is None


def _family(config: RunConfig) -> RunConfig:
    """What runs that wait for the same control have in common."""
    return replace(config.control(), seed=0, max_steps=0)


def _control_runs(family: RunConfig, waiting: Sequence[RunConfig]) -> tuple[RunConfig, ...]:
    """A family's control: its free runs over all seeds that wait, with the longest of their budgets."""
    budget = max(config.max_steps for config in waiting)
    return tuple(replace(family, seed=seed, max_steps=budget) for seed in sorted({c.seed for c in waiting}))


def _planned(configs: Iterable[RunConfig], stage: int) -> tuple[PlannedRun, ...]:
    cells: dict[RunConfig, str] = {}
    planned = []
    for config in configs:
        cell = replace(config, seed=0)
        if cell not in cells:
            cells[cell] = config.cell_id
        planned.append(PlannedRun(config.run_id, cells[cell], stage, False, config))
    return tuple(planned)
