"""Train packs in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from packs import CPU, work_of

from grok_sweeps.config import RunConfig
from grok_sweeps.provenance import provenance
from grok_sweeps.store import SweepStore
from grok_sweeps.train.engine import Engine, choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import PackWork, RunWork
from tests.published import ready


@pytest.fixture
def trainer(sweep_store: SweepStore) -> Callable[..., PackTrainer]:
    """Make a trainer of one attempt at a pack of the given runs; `store` is the test's sweep unless given."""

    def make(runs: Sequence[RunConfig | RunWork], *, lanes: int, attempt: str = "a", **options: Any) -> PackTrainer:
        store = options.pop("store", sweep_store)
        work = PackWork(
            pack_id=options.pop("pack_id", "pack"),
            runs=ready(store, [run if isinstance(run, RunWork) else work_of(run) for run in runs]),
            lanes=lanes,
            checkpoint_every_s=options.pop("checkpoint_every_s", 1e9),
        )
        engine = options.pop("engine", None) or choose_engine("auto", CPU)
        return PackTrainer(store, work, attempt, engine, provenance(None), **options)

    return make


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The fused engine on a CPU: its programs run in Triton's interpreter."""
    if torch.cuda.is_available():
        pytest.skip("the kernels run on the GPU that is here: test_cuda.py")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    fused = pytest.importorskip("interpreted_triton", reason="the fused kernels need Triton (pip install triton)")
    return Engine("fused", CPU, fused.load())
