"""The steps between two readings as one captured CUDA graph: one launch instead of some fifteen or thirty a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from grok_sweeps.train.optimizers import StepValues

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
        train: does the steps of a schedule; reads and writes the same tensors at every call.
        note: is told once when capturing fails; the steps then run as they are.
        capture: how work is captured.
    """

    def __init__(
        self, train: Callable[[StepValues], None], note: Callable[[str], None], capture: Capture | None = None
    ) -> None:
        self._train, self._note, self._capture = train, note, capture or CudaCapture()
        self._seen: dict[int, _Captured | None] = {}
        self._works = True

    def train(self, values: StepValues) -> None:
        """Do the steps of a schedule."""
        n = values.n_steps
        if n not in self._seen:
            self._seen[n] = None
            self._train(values)
            return
        captured = self._seen[n] or self._captured(values)
        if captured is None:
            self._train(values)
            return
        self._seen[n] = captured
        captured.values.copy_(values)
        captured.replay()

    def _captured(self, values: StepValues) -> _Captured | None:
        if not self._works:
            return None
        own = values.clone()
        try:
            return _Captured(self._capture(lambda: self._train(own)), own)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._works = False
            self._note(f"steps run without a CUDA graph, since capturing one fails: {str(error).splitlines()[0]}")
            return None
