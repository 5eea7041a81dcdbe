"""What a pack's worker needs to know, as it stands in the store (`packs/<pack>.json`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grok_sweeps.config import RunConfig
from grok_sweeps.plan.plan import PlannedRun
from grok_sweeps.store.sweep import SweepStore


@dataclass(frozen=True, slots=True)
class PackWork:
    """A pack's content as the worker needs it: ids, configs and held norms of its runs, in order of training."""

    pack_id: str
    run_ids: tuple[str, ...]
    cell_ids: tuple[str, ...]
    configs: tuple[RunConfig, ...]
    w_c: tuple[float | None, ...]
    lanes: int
    checkpoint_every_s: float


def pack_content(
    runs: Sequence[PlannedRun], *, lanes: int, device: str, checkpoint_every_s: float, git_sha: str | None
) -> dict[str, Any]:
    """A pack's content for the store: everything a worker needs but the resolved w_c, which is in the calibration."""
    return {
        "lanes": lanes,
        "device": device,
        "checkpoint_every_s": checkpoint_every_s,
        "git_sha": git_sha,
        "runs": [{"run_id": r.run_id, "cell_id": r.cell_id, "config": r.config.to_dict()} for r in runs],
    }


def load_work(store: SweepStore, pack_id: str) -> tuple[PackWork, dict[str, Any]]:
    """Read a pack's work from the store, with each run's w_c from its config or the calibration."""
    content = store.load_pack(pack_id)
    controls = store.load_calibration()
    runs = content["runs"]
    configs = tuple(RunConfig(**r["config"]) for r in runs)
    work = PackWork(
        pack_id=pack_id,
        run_ids=tuple(r["run_id"] for r in runs),
        cell_ids=tuple(r["cell_id"] for r in runs),
        configs=configs,
        w_c=tuple(controls[c.control_id]["w_c"] if c.control_id else c.w_c for c in configs),
        lanes=content["lanes"],
        checkpoint_every_s=content["checkpoint_every_s"],
    )
    return work, content
