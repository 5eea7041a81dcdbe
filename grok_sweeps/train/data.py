"""The task's pairs, each seed's split, and the order of its mini-batches (protocol: arXiv:2606.18465, setup)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from grok_sweeps.config import RunConfig
from grok_sweeps.tasks import n_pairs, pairs

SPLIT_SEED_OFFSET = 1000
"""The split's generator is seeded with 1000 + seed, apart from the one of the weights."""


@dataclass(frozen=True)
class PairTensors:
    """All pairs of a task on a device: residues and class, [K] int64 each."""

    a: Tensor
    b: Tensor
    target: Tensor

    @classmethod
    def of(cls, config: RunConfig, device: torch.device | None = None) -> PairTensors:
        """The pairs of a run's task."""
        found = pairs(config.task, config.p)
        return cls(*(torch.from_numpy(x).to(device) for x in (found.a, found.b, found.target)))


def train_rows(config: RunConfig) -> Tensor:
    """Positions of the train pairs among the task's pairs, [N] int64, ascending.

    The first N entries of a random permutation of all pairs, from a CPU generator of the run's own, so that the split
    is the same on every device. Sorted, since full-batch gradients do not depend on the order.
    """
    return _train_rows(config.seed, n_pairs(config.task, config.p), config.n_train)


@lru_cache(maxsize=4096)  # whenever a lane is refilled, the rows of all lanes are asked for
def _train_rows(seed: int, n_pairs: int, n_train: int) -> Tensor:
    generator = torch.Generator().manual_seed(SPLIT_SEED_OFFSET + seed)
    return torch.randperm(n_pairs, generator=generator)[:n_train].sort().values


class BatchOrder:
    """Which train rows each step of one run sees: a new permutation every epoch, its incomplete last batch left out.

    A function of seed and step alone, so that an interrupted run goes on with the batches it would have seen.

    Args:
        seed: the run's seed.
        rows: its train rows, [N].
        batch_size: B, at most N.
    """

    def __init__(self, seed: int, rows: Tensor, batch_size: int) -> None:
        self._seed, self._rows, self._size = seed, rows, batch_size
        self._epoch, self._order = -1, rows

    def at(self, step: int) -> Tensor:
        """The rows of step `step` (from 1), [B]."""
        batches = len(self._rows) // self._size
        epoch, batch = divmod(step - 1, batches)
        if epoch != self._epoch:
            # Above every seed of weights and splits, and different for every pair of seed and epoch.
            generator = torch.Generator().manual_seed(((self._seed + 1) << 31) + epoch)
            self._epoch = epoch
            self._order = self._rows[torch.randperm(len(self._rows), generator=generator)]
        return self._order[batch * self._size : (batch + 1) * self._size]
