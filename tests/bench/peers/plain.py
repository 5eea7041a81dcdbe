"""One plain PyTorch training a run: `nn.Module`, `torch.optim.AdamW`, train pairs only, no stacking.

What most people write. Runs of a case are trained in turn, each with all of the process's threads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.bench.case import BETA1, BETA2, D_MODEL, EPSILON, HIDDEN, LR, WEIGHT_DECAY, Case, Contender


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

    @torch.no_grad()
    def start(self, parameters: dict[str, Tensor]) -> None:
        """Take the parameters in the stacked form's orientation."""
        self.embedding.weight.copy_(parameters["E"])
        self.hidden.weight.copy_(parameters["W1"].T)
        self.hidden.bias.copy_(parameters["b1"])
        self.readout.weight.copy_(parameters["W2"].T)
        self.readout.bias.copy_(parameters["b2"])

    def weights(self) -> dict[str, Tensor]:
        """Give them in the same orientation."""
        state = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        return {
            "E": state["embedding.weight"],
            "W1": state["hidden.weight"].T,
            "W2": state["readout.weight"].T,
            "b1": state["hidden.bias"],
            "b2": state["readout.bias"],
        }


class Run:
    """One model with its data and optimiser."""

    def __init__(self, case: Case, seed: int, device: torch.device) -> None:
        self.model = Model(case)
        self.model.start(case.parameters(seed))
        self.model.to(device)
        self.matrices = [q for q in self.model.parameters() if q.ndim == 2]
        # AdamW's own decay comes before the update; the protocol's comes after it.
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LR, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=0.0
        )
        rows = case.train_rows(seed).to(device)
        self.pairs = torch.stack([rows // case.p, rows % case.p], dim=1)
        self.target = self.pairs.sum(1) % case.p
        self.tau, self.norm = case.tau, case.norm

    def step(self) -> None:
        """One step of full-batch training."""
        self.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.model(self.pairs) / self.tau, self.target).backward()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_mul_(self.matrices, 1 - LR * WEIGHT_DECAY)
            norm = torch.stack([q.norm() for q in self.matrices]).norm()
            torch._foreach_mul_(self.matrices, self.norm / norm)


def trainer(case: Case, device: torch.device) -> Contender:
    """See the package."""
    runs = [Run(case, seed, device) for seed in range(case.seeds)]

    def train(n_steps: int) -> None:
        for run in runs:
            for _ in range(n_steps):
                run.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def weights() -> dict[str, Tensor]:
        found = [run.model.weights() for run in runs]
        return {name: torch.stack([run[name] for run in found]) for name in found[0]}

    return Contender(train, weights)
