"""The steps between two readings as one captured CUDA graph: one launch instead of some thirty a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from grok_sweeps.train.optimizers import StepValues


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    values: StepValues


class StepGraphs:
    """Graphs of one arrangement of tensors, by the number of their steps.

    A number of steps runs as it is the first time, which also sets up what may not be set up in a capture (BLAS
    workspaces, kernels compiled when first used), and as a graph from the second.

    Args:
        train: does the steps of a schedule; reads and writes the same tensors at every call.
        note: is told once when capturing fails; the steps then run as they are.
    """

    def __init__(self, train: Callable[[StepValues], None], note: Callable[[str], None]) -> None:
        self._train, self._note = train, note
        self._seen: dict[int, _Captured | None] = {}
        self._works = True

    def train(self, values: StepValues) -> None:
        """Do the steps of a schedule."""
        n = values.n_steps
        if not self._works or n not in self._seen:
            self._seen[n] = None
            self._train(values)
            return
        captured = self._seen[n] or self._capture(values)
        if captured is None:
            self._train(values)
            return
        self._seen[n] = captured
        captured.values.copy_(values)
        captured.graph.replay()

    def _capture(self, values: StepValues) -> _Captured | None:
        graph, own = torch.cuda.CUDAGraph(), values.clone()
        try:
            with torch.cuda.graph(graph):
                self._train(own)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._works = False
            self._note(f"steps run without a CUDA graph, since capturing one fails: {str(error).splitlines()[0]}")
            return None
        return _Captured(graph, own)
