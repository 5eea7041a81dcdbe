"""Train packs in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from grok_sweeps.config import RunConfig
from grok_sweeps.provenance import provenance
from grok_sweeps.store import SweepStore
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import PackWork


@pytest.fixture
def trainer(sweep_store: SweepStore) -> Callable[..., PackTrainer]:
    """Make a trainer of one attempt at a pack of the given runs; `store` is the test's sweep unless given."""

    def make(configs: Sequence[RunConfig], *, lanes: int, attempt: str = "a", **options: Any) -> PackTrainer:
        work = PackWork(
            pack_id=options.pop("pack_id", "pack"),
            run_ids=tuple(c.run_id for c in configs),
            cell_ids=tuple(c.cell_id for c in configs),
            configs=tuple(configs),
            w_c=tuple(c.w_c for c in configs),
            lanes=lanes,
            checkpoint_every_s=options.pop("checkpoint_every_s", 1e9),
        )
        return PackTrainer(
            options.pop("store", sweep_store), work, attempt, torch.device("cpu"), provenance(None), **options
        )

    return make
