"""Drive a whole sweep without Ray: its stages are trained in this process, one pack each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock, patch

import torch

from grok_sweeps.cluster.driver import DriveOptions, RunReport, run_sweep
from grok_sweeps.cluster.remaining import Remaining
from grok_sweeps.plan import Plan
from grok_sweeps.plan.packs import pack_of
from grok_sweeps.provenance import provenance
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import load_work, pack_content

HOW: dict[str, Any] = {"device": "cpu", "engine": "eager", "threads": 1, "checkpoint_every_s": 1e9, "git_sha": None}


class TrainedHere:
    """A `PackRunner` without Ray: one pack a stage, in this process; `before` hears of each stage first."""

    errors: Sequence[str] = ()
    before: Callable[[SweepStore, int], None]

    def __init__(self, store: SweepStore, remaining: Remaining, *_: Any, **__: Any) -> None:
        self._store, self._remaining = store, remaining
        self.stages: list[list[str]] = []
        TrainedHere.last = self

    last: TrainedHere

    def run_stage(self, stage: int) -> int:
        runs = self._remaining.runs(stage)
        if not runs:
            return 0
        TrainedHere.before(self._store, stage)
        self.stages.append([run.run_id for run in runs])
        self._store.put_pack("pack", pack_content(self._remaining.work_of(pack_of(runs, 4)), lanes=4, **HOW))
        work, _ = load_work(self._store, "pack")
        engine = choose_engine("eager", torch.device("cpu"))
        trainer = PackTrainer(self._store, work, secrets.token_hex(4), engine, provenance(None))
        while not trainer.advance(1.0).done:
            pass
        return 1


def driven(
    text: str,
    plan: Plan,
    uri: str,
    before: Callable[[SweepStore, int], None] = lambda *_: None,
    extend_to: int | None = None,
) -> tuple[RunReport, Mock]:
    """Drive the sweep to its end; what was said."""
    TrainedHere.before = staticmethod(before)
    view = Mock()
    store = SweepStore(open_objects(uri), plan.sweep)
    with patch("grok_sweeps.cluster.driver.PackRunner", TrainedHere):
        options = DriveOptions(extend_to=extend_to)
        return run_sweep(store, text, plan, parse_spec(text).execution, Mock(), view, options), view
