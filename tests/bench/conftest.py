"""A bench of next to nothing, in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.bench.effort import Effort


class InlineWorkers:
    """One task here in place of several elsewhere."""

    def run(self, task: Callable[..., Any], *arguments: Any, workers: int, threads: int, ours: bool) -> list[Any]:
        """See `tests.bench.workers.Workers`."""
        torch.set_num_threads(1)
        return [task(lambda: None, *arguments)] * workers


@pytest.fixture
def inline() -> InlineWorkers:
    return InlineWorkers()


@pytest.fixture
def tiny() -> Effort:
    """Shapes and times at which every table takes a moment."""
    return Effort(
        limit_s=60.0,
        windows=2,
        window_s=0.001,
        moduli=(5,),
        widths={"cpu": (1, 3), "cuda": (1, 3)},
        seeds=2,
        variants=1,
        waste_steps=50,
    )
