"""The steps between two readings as one captured CUDA graph: one launch instead of some fifteen or thirty a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from grok_sweeps.train.optimizers import StepValues

MOST_STEPS = 32
"""Steps of a graph at most: it holds every launch of each."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Takes in what some work does to the tensors it touches, and returns what does it again."""


class CudaCapture:
    """Captures work as CUDA graphs, which share the memory of what the work allocates: they run one after the other."""

    @cached_property
    def _pool(self) -> Any:
        return torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Capture`.

        Raises:
            RuntimeError: the work does what a graph cannot hold.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            work()
        return graph.replay


@dataclass(frozen=True)
class _Captured:
    replay: Callable[[], None]
    values: StepValues


class StepGraphs:
    """Graphs of one arrangement of tensors, by the number of their steps.

    A number of steps runs as it is the first time, which also sets up what may not be set up in a capture (BLAS
    workspaces, kernels compiled when first used), and as a graph from the second.

    Args:
        capture: how work is captured.

    Attributes:
        failed: why capturing does not work, after it was tried; the steps then run as they are.
    """

    def __init__(self, capture: Capture | None = None) -> None:
        self._capture = capture or CudaCapture()
        self._seen: dict[int, _Captured | None] = {}
        self.failed: str | None = None

    def train(self, values: StepValues, train: Callable[[StepValues], None]) -> None:
        """Do the steps of a schedule, at most `MOST_STEPS` at once.

        `train` does them as they are; it reads and writes the same tensors at every call. It is not kept: whoever owns
        these graphs and that function would otherwise hold each other's memory.
        """
        for first in range(0, values.n_steps, MOST_STEPS):
            self._train_part(values.part(first, first + MOST_STEPS), train)

    def _train_part(self, values: StepValues, train: Callable[[StepValues], None]) -> None:
        n = values.n_steps
        if n not in self._seen:
            self._seen[n] = None
            train(values)
            return
        captured = self._seen[n] or self._captured(values, train)
        if captured is None:
            train(values)
            return
        self._seen[n] = captured
        captured.values.copy_(values)
        captured.replay()

    def _captured(self, values: StepValues, train: Callable[[StepValues], None]) -> _Captured | None:
        if self.failed is not None:
            return None
        own = values.clone()
        try:
            return _Captured(self._capture(lambda: train(own)), own)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.failed = f"steps run without a CUDA graph, since capturing one fails: {str(error).splitlines()[0]}"
            return None
