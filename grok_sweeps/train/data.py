"""The task's pairs and each seed's split (protocol: arXiv:2606.18465, setup)."""

from __future__ import annotations

import torch
from torch import Tensor

from grok_sweeps.config import RunConfig

SPLIT_SEED_OFFSET = 1000
"""The split's generator is seeded with 1000 + seed, apart from the one of the weights."""


def labels(p: int) -> Tensor:
    """Class of every ordered pair, [P²] int64; the pair (a, b) has index a*p + b and label (a + b) mod p."""
    residues = torch.arange(p)
    return ((residues[:, None] + residues[None, :]) % p).flatten()


def train_rows(config: RunConfig) -> Tensor:
    """Pair indices of the train split, [N] int64, ascending.

    The first N entries of a random permutation of all pairs, from a CPU generator of the run's own, so that the split
    is the same on every device. Sorted, since full-batch gradients do not depend on the order.
    """
    generator = torch.Generator().manual_seed(SPLIT_SEED_OFFSET + config.seed)
    return torch.randperm(config.p**2, generator=generator)[: config.n_train].sort().values
