"""What a pack's worker needs to know, as it stands in the store (`packs/<pack>.json`).

The driver knows the rows and where states lie, so it names only runs that have more to do, each with the states it may
go on from. A worker reads its pack, the calibration where a run refers to it, and those states. It searches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.arms import ARMS, Reference
from grok_sweeps.config import RunConfig
from grok_sweeps.errors import CalibrationError
from grok_sweeps.plan.kept import KEEP_ALL
from grok_sweeps.plan.plan import Plan, PlannedRun
from grok_sweeps.store.checkpoints import StateRef
from grok_sweeps.store.state_index import StateIndex
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.todo import Rows, horizon, settled


@dataclass(frozen=True, slots=True)
class RunWork:
    """One run as the worker needs it: what it refers to resolved, its parent named.

    It goes on from the first whole one of `states`, the best first; without any it starts afresh. `extends_step` is the
    step of the row that a longer budget goes on from.
    """

    run_id: str
    cell_id: str
    config: RunConfig
    horizon_steps: int
    reference: Reference = field(default_factory=Reference)
    fork_of: str | None = None
    origin: str = ""
    is_parent: bool = False
    states: tuple[StateRef, ...] = ()
    extends_step: int | None = None


@dataclass(frozen=True, slots=True)
class PackWork:
    """A pack's runs in order of training, and how to train them."""

    pack_id: str
    runs: tuple[RunWork, ...]
    lanes: int
    checkpoint_every_s: float
    keep_states: str = KEEP_ALL


def planned_work(run: PlannedRun, plan: Plan, extend_to: int | None = None) -> RunWork:
    """A run of a plan as work, without what is in the calibration and without states."""
    return RunWork(
        run.run_id,
        run.cell_id,
        run.config,
        horizon(run.config, extend_to),
        fork_of=plan.parents.get(run.run_id),
        origin=run.origin,
        is_parent=run.run_id in plan.fork_parents,
    )


def with_states(runs: Iterable[RunWork], rows: Rows, index: StateIndex) -> list[RunWork]:
    """Those of `runs` that have more to do, each with the states it may go on from."""
    left = []
    for run in runs:
        row = rows.get(run.run_id)
        if not settled(row, run.horizon_steps, index.kept.get(run.run_id, ()) if run.is_parent else None):
            states = index.candidates(run.run_id)
            if run.origin:
                states += index.candidates_of_origin(run.origin, run.horizon_steps)
            extends_step = None if row is None or run.is_parent else row["steps_run"]
            left.append(replace(run, states=states, extends_step=extends_step))
    return left


def pack_content(
    runs: Iterable[RunWork],
    *,
    lanes: int,
    device: str,
    engine: str,
    threads: int,
    checkpoint_every_s: float,
    keep_states: str = KEEP_ALL,
    gpus_per_pack: float = 1.0,
    git_sha: str | None,
) -> dict[str, Any]:
    """A pack's content for the store: everything a worker needs but the resolved w_c, which is in the calibration."""
    return {
        "lanes": lanes,
        "device": device,
        "engine": engine,
        "threads": threads,
        "gpus_per_pack": gpus_per_pack,
        "checkpoint_every_s": checkpoint_every_s,
        "keep_states": keep_states,
        "git_sha": git_sha,
        "runs": [
            {
                "run_id": run.run_id,
                "cell_id": run.cell_id,
                "config": run.config.to_dict(),
                "horizon_steps": run.horizon_steps,
                "fork_of": run.fork_of,
                "origin": run.origin,
                "is_parent": run.is_parent,
                "states": [asdict(ref) for ref in run.states],
                "extends_step": run.extends_step,
            }
            for run in runs
        ],
    }


def load_work(store: SweepStore, pack_id: str) -> tuple[PackWork, dict[str, Any]]:
    """Read a pack's work from the store, with each run's w_c and shares from its config or the calibration."""
    content = store.load_pack(pack_id)
    configs = [RunConfig(**entry["config"]) for entry in content["runs"]]
    controls = store.load_calibration() if any(config.control_id for config in configs) else {}
    runs = []
    for entry, config in zip(content["runs"], configs, strict=True):
        states = tuple(StateRef(**ref) for ref in entry.get("states", ()))  # packs of earlier versions name none
        own = {"config": config, "reference": reference_of(config, controls), "states": states}
        runs.append(RunWork(**{**entry, **own}))
    keep = content.get("keep_states", KEEP_ALL)  # packs of earlier versions do not say
    return PackWork(pack_id, tuple(runs), content["lanes"], content["checkpoint_every_s"], keep), content


def reference_of(config: RunConfig, controls: Mapping[str, Any]) -> Reference:
    """What a run's held norms refer to: its own w_c and shares, or those of its control in the calibration.

    Raises:
        CalibrationError: the calibration has no such control, or lacks a layer's share that the run's arm refers to.
    """
    if config.control_id and config.control_id not in controls:
        raise CalibrationError(
            f"control {config.control_id}: the sweep's calibration, whose w_c its runs refer to, has no such control; "
            "run the sweep again to make it from the control's rows."
        )
    control = controls[config.control_id] if config.control_id else {}
    shares = config.shares
    if shares is None and control:
        names = {layer: f"share_{layer}" for layer in ARCHITECTURES[config.arch].layers}
        missing = [name for name in names.values() if name not in control]
        if missing and ARMS[config.arm].uses_shares:
            raise CalibrationError(
                f"control {config.control_id}: the sweep's calibration, written by an earlier version, has no "
                f"{', '.join(missing)}, to which arm '{config.arm}' of arch '{config.arch}' refers; delete the sweep's "
                "calibration.json and run the sweep again to make it from the control's rows."
            )
        shares = None if missing else {layer: control[name] for layer, name in names.items()}
    return Reference(control.get("w_c", config.w_c), shares)
