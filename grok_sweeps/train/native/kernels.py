"""The compiled kernels as functions of tensors; see `kernels.cpp` for what each does.

Every tensor is on the CPU, float32 (int32 for pairs and targets), and contiguous but for the readout and its bias,
which may be parts of a flat vector of parameters. Nothing is checked here: the callers allocate all of them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int32, c_int64, c_void_p
from functools import lru_cache

import torch
from torch import Tensor

from grok_sweeps.train.native.build import NativeBuildError, library

_SIGNATURES = {
    "mlp_gradient": (*[c_int64] * 6, c_int32, *[c_void_p] * 13),
    "mlp_everywhere": (*[c_int64] * 6, c_float, *[c_void_p] * 9),
    "step_lengths": (*[c_int64] * 4, *[c_void_p] * 5),
    "adam_update": (*[c_int64] * 2, *[c_void_p] * 6, *[c_float] * 4),
}


class Kernels:
    """The functions of one compiled library. L lanes, N rows, H units, C classes, P residues, M parameters."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        for name, signature in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = signature, None
        library.mlp_scratch.argtypes, library.mlp_scratch.restype = (c_int64,) * 3, c_int64
        self._library = library
        self._scratches: dict[tuple[int, ...], Tensor] = {}

    def supports(self, classes: int) -> bool:  # noqa: ARG002
        """Whether they take so many classes: any."""
        return True

    def mlp_gradient(
        self,
        tables: Tensor,
        readout: tuple[Tensor, Tensor],
        pairs: Tensor,
        targets: Tensor,
        loss: Sequence[Tensor],
        d_tables: Tensor,
        d_readout: tuple[Tensor, Tensor],
        *,
        normalize: bool,
    ) -> None:
        """Gradient of the tables [L, 2, P, H] and of the readout [L, H, C] and its bias [L, C].

        `pairs` is [L, N, 2], `targets` [L, N]; `loss` holds 1 / tau, scale, smoothing and penalty, [L] each.
        """
        lanes, rows = targets.shape
        residues, units = tables.shape[2:]
        classes, stride = readout[1].shape[1], readout[0].stride(0)
        assert lanes == 1 or {x.stride(0) for x in (*readout, *d_readout)} == {stride}
        scratch = self._scratch(residues, units, classes)
        arguments = (tables, *readout, pairs, targets, *loss, d_tables, *d_readout, scratch)
        sizes = (lanes, rows, residues, units, classes, stride, int(normalize))
        self._library.mlp_gradient(*sizes, *(x.data_ptr() for x in arguments))

    def mlp_everywhere(
        self,
        tables: Tensor,
        readout: tuple[Tensor, Tensor],
        targets: Tensor,
        inverse_tau: Tensor,
        limit: float,
        of_pairs: Tensor,
        of_units: Tensor,
    ) -> None:
        """Of all P * P pairs and their logits / tau what the readings need, [L, 5, P * P].

        They are the norm, the entry of the pair's class (`targets` [P * P]), the logarithms of its probability and of
        the largest, and 1 where its logit is above all others, else 0. `of_units` [2, L] float64 takes the
        pre-activations' mean square and share beyond `limit`.
        """
        lanes, _, residues, units = tables.shape
        classes = readout[1].shape[1]
        sizes = (lanes, residues, units, classes, readout[0].stride(0), readout[1].stride(0))
        scratch = self._scratch(residues, units, classes)
        arguments = (tables, *readout, targets, inverse_tau, of_pairs, *of_units, scratch)
        self._library.mlp_everywhere(*sizes, limit, *(x.data_ptr() for x in arguments))

    def step_lengths(self, before: Tensor, after: Tensor, gradient: Tensor, ends: Sequence[int]) -> Tensor:
        """Squared lengths [L, layers + 3] in float64: each layer after a step, gradient, change, and before · change.

        `before` [L, n] is contiguous; `after` and `gradient` may be parts of longer rows. Layers end at `ends`.
        """
        lanes, n = before.shape
        assert after.stride(0) == gradient.stride(0)
        lengths = torch.empty(lanes, len(ends) + 3, dtype=torch.float64)
        arguments = (before, after, gradient, torch.tensor(ends), lengths)
        self._library.step_lengths(lanes, n, after.stride(0), len(ends), *(x.data_ptr() for x in arguments))
        return lengths

    def adam_update(
        self,
        weights: Tensor,
        moment1: Tensor,
        moment2: Tensor,
        gradient: Tensor,
        rate: Tensor,
        root: Tensor,
        constants: tuple[float, float, float],
    ) -> None:
        """Adam's moments and update [L, M]; `constants` are beta1, beta2 and epsilon."""
        beta1, beta2, epsilon = constants
        arguments = (weights, moment1, moment2, gradient, rate, root)
        numbers = (1 - beta1, beta2, 1 - beta2, epsilon)  # 1 - beta in float64: in float32 its fifth digit is gone
        self._library.adam_update(*weights.shape, *(x.data_ptr() for x in arguments), *numbers)

    def _scratch(self, *sizes: int) -> Tensor:
        """Memory for one lane at a time of these residues, units and classes; the same at every call."""
        if sizes not in self._scratches:
            self._scratches[sizes] = torch.empty(self._library.mlp_scratch(*sizes))
        return self._scratches[sizes]


@lru_cache(maxsize=1)
def load() -> Kernels:
    """This machine's kernels, compiled at most once a process and, with a cache, once a machine.

    Raises:
        NativeBuildError: they cannot be compiled or loaded.
    """
    try:
        return Kernels(str(library()))
    except OSError as error:
        raise NativeBuildError(f"the compiled kernels cannot be loaded: {error}") from error
