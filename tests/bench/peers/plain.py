"""One plain PyTorch training a run: `nn.Module`, `torch.optim.AdamW`, train pairs only, no stacking.

What most people write. Runs of a case are trained in turn, each with all of the process's threads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.bench.case import BETA1, BETA2, D_MODEL, EPSILON, HIDDEN, LR, WEIGHT_DECAY, Case, Train


class Model(nn.Module):
    """Embedding of both operands, one hidden layer, readout."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.embedding = nn.Embedding(case.p, D_MODEL)
        self.hidden = nn.Linear(2 * D_MODEL, HIDDEN)
        self.readout = nn.Linear(HIDDEN, case.p)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits of pairs [N, 2]."""
        return self.readout(F.gelu(self.hidden(self.embedding(pairs).flatten(1))))


def trainer(case: Case, device: torch.device) -> Train:
    """See the package."""
    runs = [_run(case, seed, device) for seed in range(case.seeds)]

    def train(n_steps: int) -> None:
        for run in runs:
            run(n_steps)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return train


def _run(case: Case, seed: int, device: torch.device) -> Train:
    start = case.parameters(seed)
    model = Model(case)
    with torch.no_grad():
        model.embedding.weight.copy_(start["E"])
        model.hidden.weight.copy_(start["W1"].T)
        model.hidden.bias.copy_(start["b1"])
        model.readout.weight.copy_(start["W2"].T)
        model.readout.bias.copy_(start["b2"])
    model.to(device)
    matrices = [q for q in model.parameters() if q.ndim == 2]
    biases = [q for q in model.parameters() if q.ndim == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(BETA1, BETA2), eps=EPSILON)
    rows = case.train_rows(seed).to(device)
    pairs = torch.stack([rows // case.p, rows % case.p], dim=1)
    target = pairs.sum(1) % case.p

    def train(n_steps: int) -> None:
        for _ in range(n_steps):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(pairs) / case.tau, target).backward()
            optimizer.step()
            with torch.no_grad():
                norm = torch.stack([q.norm() for q in matrices]).norm()
                torch._foreach_mul_(matrices, case.norm / norm)

    return train
