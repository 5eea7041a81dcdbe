"""What a pack's worker needs to know, as it stands in the store (`packs/<pack>.json`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.arms import ARMS, Reference
from grok_sweeps.config import RunConfig
from grok_sweeps.errors import CalibrationError
from grok_sweeps.plan.kept import KEEP_ALL
from grok_sweeps.plan.plan import PlannedRun
from grok_sweeps.store.sweep import SweepStore


@dataclass(frozen=True, slots=True)
class RunWork:
    """One run as the worker needs it: what it refers to resolved, its parent named."""

    run_id: str
    cell_id: str
    config: RunConfig
    horizon_steps: int
    reference: Reference = field(default_factory=Reference)
    fork_of: str | None = None
    origin: str = ""
    is_parent: bool = False


@dataclass(frozen=True, slots=True)
class PackWork:
    """A pack's runs in order of training, and how to train them."""

    pack_id: str
    runs: tuple[RunWork, ...]
    lanes: int
    checkpoint_every_s: float
    keep_states: str = KEEP_ALL


def pack_content(
    runs: Sequence[PlannedRun],
    parents: Mapping[str, str],
    horizons: Mapping[str, int],
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
    """A pack's content for the store: everything a worker needs but the resolved w_c, which is in the calibration.

    `parents` is the plan's; `horizons` the budget of each run by run_id.
    """
    forked_from = frozenset(parents.values())
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
                "run_id": r.run_id,
                "cell_id": r.cell_id,
                "config": r.config.to_dict(),
                "horizon_steps": horizons[r.run_id],
                "fork_of": parents.get(r.run_id),
                "origin": r.origin,
                "is_parent": r.run_id in forked_from,
            }
            for r in runs
        ],
    }


def load_work(store: SweepStore, pack_id: str) -> tuple[PackWork, dict[str, Any]]:
    """Read a pack's work from the store, with each run's w_c and shares from its config or the calibration."""
    content = store.load_pack(pack_id)
    controls = store.load_calibration()
    runs = []
    for entry in content["runs"]:
        config = RunConfig(**entry["config"])
        runs.append(RunWork(**{**entry, "config": config, "reference": reference_of(config, controls)}))
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
