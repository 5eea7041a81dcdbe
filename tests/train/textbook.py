"""The networks and losses as a textbook writes them, one network at a time: what the engine is compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_sweeps.config import RunConfig


def textbook_logits(config: RunConfig, weights: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
    """Logits of one network for the pairs (a, b), [N, C]."""
    if config.arch == "mlp":
        pair = torch.cat([weights["E"][a], weights["E"][b]], dim=1)
        return F.gelu(pair @ weights["W1"] + weights["b1"]) @ weights["W2"] + weights["b2"]
    return _transformer(config, weights, a, b)


def _transformer(config: RunConfig, weights: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
    """All three positions through one causal block, then the last."""
    n, d, heads = len(a), config.d_model, config.heads or 1

    def normalized(x: Tensor, name: str) -> Tensor:
        if config.arch == "transformer_no_layernorm":
            return x
        return F.layer_norm(x, (d,), weights[f"gain_{name}"], weights[f"shift_{name}"])

    tokens = torch.stack([a, b, torch.full_like(a, config.p)], dim=1)
    x = weights["E"][tokens] + weights["position"]
    y = normalized(x, "attention")
    query, key, value = ((y @ weights[name]).view(n, 3, heads, d // heads).transpose(1, 2) for name in "QKV")
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    x = x + mixed.transpose(1, 2).reshape(n, 3, d) @ weights["O"]
    x = x + F.gelu(normalized(x, "mlp") @ weights["W_in"]) @ weights["W_out"]
    return (normalized(x, "readout") @ weights["W_U"])[:, -1]


def textbook_loss(config: RunConfig, logits: Tensor, target: Tensor) -> Tensor:
    """The training objective of one network, a scalar."""
    x = logits / config.tau
    n_classes = x.shape[1]
    labels = F.one_hot(target, n_classes).to(x)
    labels = (1 - config.label_smoothing) * labels + config.label_smoothing / n_classes
    if config.loss == "mse":
        loss = (x - labels).square().sum(1).mean()
    elif config.normalizer == "stablemax":
        s = torch.where(x >= 0, x + 1, 1 / (1 - x))
        loss = -(labels * (s / s.sum(1, keepdim=True)).log()).sum(1).mean()
    else:
        loss = -(labels * F.log_softmax(x, 1)).sum(1).mean()
    if config.gradient_compensation:
        loss = loss * config.tau
    return loss + config.logit_penalty * x.square().sum(1).mean()
