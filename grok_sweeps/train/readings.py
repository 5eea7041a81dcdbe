"""What is read of a network between steps, over all pairs (protocol, Readings).

One lane at a time on a CPU, where the logits of all pairs of one network fit the cache and those of several do not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grok_sweeps.schema import READING_NAMES
from grok_sweeps.train.mlp import MlpShape, all_logits

SATURATED = 0.999
"""A pair is saturated when its largest class probability exceeds this."""


def read_lane(
    weights: dict[str, Tensor], shape: MlpShape, targets: Tensor, is_train: Tensor, tau: float
) -> dict[str, float]:
    """Read one network.

    Args:
        weights: parameters by name, each [1, ...].
        targets: classes of all pairs, [P²].
        is_train: mask of the train pairs, [P²] bool.
        tau: temperature; logit scale and probabilities are of logits/tau, which is what the loss sees.

    Returns:
        A value for each of `schema.READING_NAMES`.
    """
    z = all_logits(weights, shape)[0].div_(tau)
    probability = torch.softmax(z, -1)
    correct_probability = probability.gather(1, targets[:, None])[:, 0]
    losses = torch.logsumexp(z, -1) - z.gather(1, targets[:, None])[:, 0]
    correct = z.argmax(-1) == targets
    is_test = ~is_train
    n_train, n_test = is_train.sum(), is_test.sum()
    norms = [torch.linalg.vector_norm(weights[name].double()) for name in ("E", "W1", "W2")]
    values = {
        "train_loss": (losses * is_train).sum().double() / n_train,
        "test_loss": (losses * is_test).sum().double() / n_test,
        "train_accuracy": (correct & is_train).sum().double() / n_train,
        "test_accuracy": (correct & is_test).sum().double() / n_test,
        "logit_scale": torch.linalg.vector_norm(z, dim=-1).mean().double(),
        "softmax_collapse": ((correct_probability >= 1.0) & is_train).sum().double() / n_train,
        "saturation": (probability.amax(-1) > SATURATED).double().mean(),
        "weight_norm": torch.stack(norms).square().sum().sqrt(),
        "norm_embedding": norms[0],
        "norm_hidden": norms[1],
        "norm_readout": norms[2],
    }
    stacked = torch.stack([values[name] for name in READING_NAMES]).cpu()
    return dict(zip(READING_NAMES, stacked.tolist(), strict=True))
