"""Seeds stacked, every pair in forward and backward, the loss masked to the train pairs, autograd, eager.

The way of the paper's own code: nothing is gathered, so each step does one dense program for all seeds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.bench.case import BETA1, BETA2, EPSILON, LR, MATRICES, WEIGHT_DECAY, Case, Contender


def trainer(case: Case, device: torch.device) -> Contender:
    """See the package."""
    parameters = {name: value.requires_grad_() for name, value in case.stacked(device).items()}
    leaves = list(parameters.values())
    matrices = [parameters[name] for name in MATRICES]
    first, second = ([torch.zeros_like(x) for x in leaves] for _ in range(2))
    p, steps = case.p, 0
    pairs = torch.arange(case.n_pairs, device=device)
    a, b = pairs // p, pairs % p
    target = ((a + b) % p).repeat(case.seeds)
    mask = torch.zeros(case.seeds, case.n_pairs, device=device)
    for seed in range(case.seeds):
        mask[seed, case.train_rows(seed).to(device)] = 1.0 / case.n_train
    mask = mask.flatten()

    def step() -> None:
        nonlocal steps
        steps += 1
        embedding = parameters["E"]
        x = torch.cat([embedding[:, a], embedding[:, b]], dim=-1)  # [S, p², 2d]
        hidden = F.gelu(torch.baddbmm(parameters["b1"][:, None], x, parameters["W1"]))
        logits = torch.baddbmm(parameters["b2"][:, None], hidden, parameters["W2"]) / case.tau
        loss = (F.cross_entropy(logits.flatten(0, 1), target, reduction="none") * mask).sum()
        gradients = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            torch._foreach_lerp_(first, gradients, 1 - BETA1)
            torch._foreach_mul_(second, BETA2)
            torch._foreach_addcmul_(second, gradients, gradients, 1 - BETA2)
            divisor = torch._foreach_sqrt(second)
            torch._foreach_div_(divisor, (1 - BETA2**steps) ** 0.5)
            torch._foreach_add_(divisor, EPSILON)
            torch._foreach_addcdiv_(leaves, first, divisor, -LR / (1 - BETA1**steps))
            torch._foreach_mul_(matrices, 1 - LR * WEIGHT_DECAY)
            square = sum(x.square().sum(dim=(1, 2)) for x in matrices)
            scale = (case.norm / square.sqrt())[:, None, None]
            for x in matrices:
                x.mul_(scale)

    def train(n_steps: int) -> None:
        for _ in range(n_steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def weights() -> dict[str, Tensor]:
        return {name: value.detach().cpu() for name, value in parameters.items()}

    return Contender(train, weights)
