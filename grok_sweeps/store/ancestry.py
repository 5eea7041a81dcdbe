"""Find the run that a fork starts from, in any sweep of the store."""

from __future__ import annotations

from dataclasses import replace

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.arms import ARMS, SHARES
from grok_sweeps.config import RunConfig
from grok_sweeps.errors import SpecError
from grok_sweeps.plan.expand import Ancestor, Ancestry
from grok_sweeps.plan.plan import Plan
from grok_sweeps.store.objects import ObjectStore
from grok_sweeps.store.sweep import SweepStore


def stored_ancestry(objects: ObjectStore) -> Ancestry:
    """An ancestry that looks in the sweeps of `objects`.

    What a run takes from its control or its own parent is written out in the configs it returns, so that they mean the
    same in another sweep.
    """

    def find(reference: str) -> tuple[Ancestor, ...]:
        sweep, _, run_id = reference.partition("/")
        store = SweepStore(objects, sweep)
        plan = store.load_plan()
        if plan is None:
            raise SpecError(f"fork.of: no sweep '{sweep}' in {objects.uri}, which '{reference}' names.")
        configs = {run.run_id: run.config for run in plan.runs}
        if run_id not in configs:
            raise SpecError(f"fork.of: sweep '{sweep}' has no run '{run_id}'; its runs are in the view runs.")
        return tuple(_chain(store, plan, run_id, configs))

    return find


def _chain(store: SweepStore, plan: Plan, run_id: str, configs: dict[str, RunConfig]) -> list[Ancestor]:
    config = _resolved(store, configs[run_id])
    origin = f"{store.sweep}/{run_id}"
    if run_id not in plan.parents:
        return [Ancestor(config, origin)]
    older = _chain(store, plan, plan.parents[run_id], configs)
    return [Ancestor(replace(config, fork_cell=older[0].config.cell_id), origin), *older]


def _resolved(store: SweepStore, config: RunConfig) -> RunConfig:
    """The config with the control's numbers pinned in the control's place."""
    if config.control_id is None:
        return config
    control = store.load_calibration().get(config.control_id)
    if control is None:
        raise SpecError(
            f"fork.of: sweep '{store.sweep}' has not resolved its w_c yet, which the run to be forked depends on; run "
            "it first."
        )
    pinned = {"control_id": None, "w_c": control["w_c"]}
    if ARMS[config.arm].uses_shares and config.shares is None:
        names = [f"share_{layer}" for layer in ARCHITECTURES[config.arch].layers]
        lacking = [name for name in names if name not in control or name not in SHARES]
        if lacking:
            raise SpecError(
                f"fork.of: a run of arm '{config.arm}' and arch '{config.arch}' refers to {', '.join(lacking)} of its "
                f"control, which cannot be pinned; fork it within its own sweep '{store.sweep}'."
            )
        pinned |= {name: control[name] for name in names}
    return replace(config, **pinned)
