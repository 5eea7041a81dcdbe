"""The plan of a sweep: every run once, and the stage in which it can start.

Stage 0 holds all runs that need nothing but themselves. A dose run whose `w_c` is `control` waits in stage 1 for the
control of its family, the free runs of the same task, model, loss, lr and weight decay over the sweep's seeds; a fork
waits for the run that it starts from, one stage after it. The plan adds the runs that others wait for where the spec
does not list them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from grok_sweeps.arms import ARMS
from grok_sweeps.config import Identities, RunConfig, control_id_of
from grok_sweeps.plan.expand import Ancestry, check_size, expand, no_ancestry

if TYPE_CHECKING:
    from grok_sweeps.spec.model import SweepSpec


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run with its ids worked out once.

    `added` marks a control or parent that the spec did not list itself. `origin` is the stored run, SWEEP/RUN_ID, that
    a parent repeats, and whose states it may go on from.
    """

    run_id: str
    cell_id: str
    stage: int
    added: bool
    config: RunConfig
    origin: str = ""


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

    @cached_property
    def parents(self) -> Mapping[str, str]:
        """The run_id that each forked run starts from, by its own run_id."""
        members = {(run.cell_id, run.config.seed): run.run_id for run in self.runs}
        forks = (run for run in self.runs if run.config.fork_cell is not None)
        return {run.run_id: members[run.config.fork_cell or "", run.config.seed] for run in forks}

    @cached_property
    def fork_parents(self) -> Mapping[str, PlannedRun]:
        """The runs that forks start from, by run_id."""
        ids = frozenset(self.parents.values())
        return {run.run_id: run for run in self.runs if run.run_id in ids}

    def run_ids(self) -> frozenset[str]:
        """All run ids: what makes two plans the same sweep."""
        return frozenset(r.run_id for r in self.runs)


def make_plan(spec: SweepSpec, ancestry: Ancestry = no_ancestry) -> Plan:
    """Expand `spec` into its plan; equal specs give equal plans.

    `ancestry` finds the runs of the store that `fork.of` names.

    Raises:
        SpecError: keys that contradict each other, or too many runs.
    """
    check_size(spec)
    written = list(dict.fromkeys(expand(spec, ancestry)))
    families: dict[RunConfig, list[RunConfig]] = defaultdict(list)
    for config in (w.config for w in written):
        if _waits(config):
            families[_family(config)].append(config)
    control_runs = {family: _control_runs(family, waiting) for family, waiting in families.items()}
    identities = Identities()
    controls = {family: tuple(c.run_id for c in runs) for family, runs in control_runs.items()}
    ids = {family: control_id_of(runs) for family, runs in controls.items()}

    planned: dict[str, PlannedRun] = {}

    def add(config: RunConfig, stage: int, *, added: bool, origin: str = "") -> None:
        run = PlannedRun(*identities.of(config), stage, added, config, origin)
        planned.setdefault(run.run_id, run)

    for w in written:
        if not _waits(w.config) and not w.ancestors:
            add(w.config, 0, added=False)
    for config in (c for runs in control_runs.values() for c in runs):
        add(config, 0, added=True)
    for w in written:
        for generation, ancestor in enumerate(reversed(w.ancestors)):
            add(ancestor.config, generation, added=True, origin=ancestor.origin)
    for w in written:
        if _waits(w.config):
            add(replace(w.config, control_id=ids[_family(w.config)]), max(1, len(w.ancestors)), added=False)
        elif w.ancestors:
            add(w.config, len(w.ancestors), added=False)
    runs = tuple(sorted(planned.values(), key=lambda run: run.stage))  # stable: within a stage as written
    return Plan(spec.name, runs, {ids[family]: members for family, members in controls.items()})


def _waits(config: RunConfig) -> bool:
    return "w_c" in ARMS[config.arm].axes and config.w_c is None


def _family(config: RunConfig) -> RunConfig:
    """What runs that wait for the same control have in common."""
    return replace(config.control(), seed=0, max_steps=0)


def _control_runs(family: RunConfig, waiting: Sequence[RunConfig]) -> tuple[RunConfig, ...]:
    """A family's control: its free runs over all seeds that wait, with the longest of their budgets."""
    budget = max(config.max_steps for config in waiting)
    return tuple(replace(family, seed=seed, max_steps=budget) for seed in sorted({c.seed for c in waiting}))
