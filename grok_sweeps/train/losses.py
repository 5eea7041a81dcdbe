"""The losses and what is done to them, as the gradient with respect to the logits and as values for the readings.

The loss sees x = z / tau, with z the network's logits. With t the target (one-hot, smoothed), C classes, N train rows:

- `ce`: mean over rows of -sum_c t_c log q_c, where q = s(x) / sum s(x). `normalizer: softmax` is s = exp;
  `stablemax` (Prieto et al. 2025, arXiv:2501.04697, section 4) is s(x) = x + 1 for x >= 0, 1 / (1 - x) below.
- `mse`: mean over rows of sum_c (x_c - t_c)².
- `label_smoothing` e (Szegedy et al. 2016, arXiv:1512.00567): t = (1 - e) one-hot + e / C.
- `gradient_compensation`: the loss is multiplied by tau, so that at small logits, where q hardly depends on tau, the
  gradient with respect to z does not either.
- `logit_penalty` k: k times the mean over rows of ||x||² is added, outside of that multiplication.

Everything that differs between lanes is a value in a tensor, so lanes of one stack differ in it freely.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from grok_sweeps.config import RunConfig
from grok_sweeps.train.values import in_place, take_values


class LogitGradients:
    """dLoss/dlogits of L stacked runs, in place.

    `inverse_tau`, `scale`, `smoothing` and `penalty` are [L, 1, 1]: 1 / tau, what the gradient with respect to x is
    multiplied by, the label smoothing, and the factor of x in the gradient before that multiplication.

    Args:
        configs: the lanes' configs, alike in loss and normalizer.
        n_rows: N, train rows of a step.
        n_classes: C.
    """

    def __init__(
        self, configs: Sequence[RunConfig], n_rows: int, n_classes: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.loss, self._normalizer = configs[0].loss, configs[0].normalizer
        self.n_rows, self.n_classes = n_rows, n_classes

        def per_lane(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)

        inverse_tau = per_lane([1 / c.tau for c in configs])
        compensation = per_lane([c.tau if c.gradient_compensation else 1.0 for c in configs])
        smoothing = per_lane([c.label_smoothing for c in configs])
        self.inverse_tau = inverse_tau
        self.scale = inverse_tau * compensation / n_rows  # of the gradient with respect to x, times N
        if self.loss == "mse":
            self.scale = 2 * self.scale
        self._on_target = -(1 - smoothing).expand(-1, n_rows, 1).flatten().contiguous()
        self.smoothing, self._smooths = smoothing, any(c.label_smoothing for c in configs)
        # Relative to the loss's own gradient, since both are multiplied by the scale at the end.
        penalty = per_lane([c.logit_penalty for c in configs]) * 2 / (compensation * (2 if self.loss == "mse" else 1))
        self.penalty, self.penalizes = penalty, any(c.logit_penalty for c in configs)
        self._target: Tensor | None = None
        self._offset = torch.arange(len(configs) * n_rows, device=device) * n_classes

    @property
    def has_softmax(self) -> bool:
        """Whether the normalizer is softmax, where the loss has one."""
        return self._normalizer == "softmax"

    def set_targets(self, targets: Tensor) -> None:
        """The classes of the rows, [L, N], from now on."""
        self._target = in_place(self._target, self._offset + targets.flatten())

    def take(self, other: LogitGradients) -> bool:
        """Become `other`, in the tensors in use; False where its terms are others, and nothing is done."""
        same = (self._smooths, self.penalizes) == (other._smooths, other.penalizes)
        return same and take_values(self._tensors(), other._tensors())

    def _tensors(self) -> list[Tensor]:
        return [self.inverse_tau, self.scale, self._on_target, self.smoothing, self.penalty]

    def __call__(self, z: Tensor) -> Tensor:
        """Turn logits [L, N, C] into dLoss/dlogits in their place."""
        assert self._target is not None
        x = z.mul_(self.inverse_tau)
        before = x.clone() if self.penalizes else None
        if self._normalizer == "stablemax":
            self._stablemax(x)
        else:
            if self.loss == "ce":
                torch.softmax(x, -1, out=x)
            x.view(-1).index_add_(0, self._target, self._on_target)
            if self._smooths:
                x.sub_(self.smoothing / self.n_classes)
        if before is not None:
            x.add_(before.mul_(self.penalty))
        return x.mul_(self.scale)

    def _stablemax(self, x: Tensor) -> None:
        """Replace x by the gradient of -sum t log(s / sum s): s' / sum s - t s' / s."""
        assert self._target is not None
        s = stable(x)
        ratio = torch.where(x >= 0, 1 / s, s)  # s' / s
        target = torch.zeros_like(x)
        target.view(-1).index_add_(0, self._target, self._on_target)  # minus the target
        if self._smooths:
            target.sub_(self.smoothing / self.n_classes)
        torch.mul(s / s.sum(-1, keepdim=True) + target, ratio, out=x)


def stable(x: Tensor) -> Tensor:
    """s(x) of StableMax, positive everywhere and linear above 0 (arXiv:2501.04697)."""
    return torch.where(x >= 0, x.clamp(min=0) + 1, 1 / (1 - x.clamp(max=0)))


def log_probabilities(x: Tensor, normalizer: str) -> Tensor:
    """Logarithms of the class probabilities of logits / tau, [..., C]; exactly 0 where a probability rounds to 1."""
    if normalizer == "stablemax":
        s = stable(x)
        return (s / s.sum(-1, keepdim=True)).log()
    return torch.log_softmax(x, -1)
