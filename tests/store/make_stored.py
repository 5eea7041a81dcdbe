"""Make the files of a small sweep that `test_older_files.py` reads, with the code of this checkout.

    python -m tests.store.make_stored tests/store/stored/NAME

Run it once for every format of the store, before the format changes; its files are committed and never made anew.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import count

import torch

from grok_sweeps.calibration import resolve_control
from grok_sweeps.plan import PlannedRun, make_plan
from grok_sweeps.progress import Progress
from grok_sweeps.provenance import git_sha, provenance
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.rows import RowLog
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import load_work, pack_content, planned_work
from tests.monitors import monitor_of

SPEC = """\
name: stored
runs: {p: 17, train_fraction: 0.9, d_model: 16, hidden: 32, lr: 0.01, weight_decay: 2.0, arm: clamp, w_c: control,
       rho: [1.0, 2.0, 2.5], clamp_from_step: 50, seeds: 1, max_steps: 600}
"""


class Unseen:
    """A view that nobody looks at."""

    def update(self, progress: Progress) -> None:
        """Show nothing."""

    def event(self, text: str) -> None:
        """Show nothing."""


def make(folder: str) -> None:
    """A control, its calibration, a run that groks, one that is censored and one under way, all in `folder`."""
    plan = make_plan(parse_spec(SPEC))
    store = SweepStore(open_objects(folder), plan.sweep)
    store.create(SPEC, plan)
    monitor = monitor_of(store, plan, Unseen())
    monitor.start()

    def trainer(pack_id: str, runs: Sequence[PlannedRun]) -> PackTrainer:
        how = {"device": "cpu", "engine": "eager", "threads": 1, "checkpoint_every_s": 60.0, "git_sha": git_sha()}
        store.put_pack(pack_id, pack_content([planned_work(run, plan) for run in runs], lanes=len(runs), **how))
        work, content = load_work(store, pack_id)
        engine = choose_engine(content["engine"], torch.device("cpu"))
        return PackTrainer(store, work, f"attempt-of-{pack_id}", engine, provenance(content["git_sha"]))

    trainer("control", plan.stage(0)).advance(1e9)
    log = RowLog(store)
    log.refresh()
    store.create_calibration({c: resolve_control(c, ids, log.rows) for c, ids in plan.controls.items()})
    *ended, under_way = plan.stage(1)
    trainer("ended", ended).advance(1e9)
    readings = count()
    trainer("under-way", [under_way]).advance(1e9, stop=lambda: next(readings) >= 3)
    monitor.finish("interrupted")


if __name__ == "__main__":
    make(sys.argv[1])
