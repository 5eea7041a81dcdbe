"""The compiled kernels as functions of tensors; see `kernels.cpp` for what each does.

Every tensor is contiguous, on the CPU, float32 or int32, of the shape named; nothing is checked here, since the callers
allocate all of them.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64, c_void_p
from functools import lru_cache

from torch import Tensor

from grok_sweeps.train.native.build import NativeBuildError, library

_SIGNATURES = {
    "hidden_forward": (*[c_int64] * 5, *[c_void_p] * 4),
    "hidden_backward": (*[c_int64] * 5, *[c_void_p] * 4),
    "logit_gradient": (*[c_int64] * 4, c_int32, *[c_void_p] * 9),
    "adam_update": (*[c_int64] * 2, *[c_void_p] * 6, *[c_float] * 4),
}


class Kernels:
    """The functions of one compiled library. L lanes, N rows, R buffer rows, H units, C classes, P residues."""

    def __init__(self, path: str) -> None:
        self._functions = ctypes.CDLL(path)
        for name, signature in _SIGNATURES.items():
            function = getattr(self._functions, name)
            function.argtypes, function.restype = signature, None

    def hidden_forward(self, tables: Tensor, pairs: Tensor, activation: Tensor, slope: Tensor) -> None:
        """Activations and slopes [L, R, H] of the pairs [L, N, 2] from the tables [L, 2, P, H]."""
        self._hidden("hidden_forward", tables, pairs, (tables, pairs, activation, slope), activation)

    def hidden_backward(self, d_activation: Tensor, slope: Tensor, pairs: Tensor, d_tables: Tensor) -> None:
        """Gradient of the tables [L, 2, P, H] from that of the activations [L, R, H]."""
        self._hidden("hidden_backward", d_tables, pairs, (d_activation, slope, pairs, d_tables), slope)

    def _hidden(self, name: str, tables: Tensor, pairs: Tensor, arguments: tuple[Tensor, ...], buffer: Tensor) -> None:
        sizes = (tables.shape[0], pairs.shape[1], buffer.shape[1], tables.shape[2], tables.shape[3])
        getattr(self._functions, name)(*sizes, *(x.data_ptr() for x in arguments))

    def logit_gradient(
        self,
        logits: Tensor,
        bias: Tensor,
        targets: Tensor,
        inverse_tau: Tensor,
        scale: Tensor,
        smoothing: Tensor,
        penalty: Tensor,
        d_bias: Tensor,
        work: Tensor,
        *,
        normalize: bool,
    ) -> None:
        """Turn logits [L, C, R] into their gradient for the targets [L, N], and sum it into `d_bias` [L, C]."""
        lanes, classes, padded = logits.shape
        arguments = (logits, bias, targets, inverse_tau, scale, smoothing, penalty, d_bias, work)
        sizes = (lanes, targets.shape[1], padded, classes, int(normalize))
        self._functions.logit_gradient(*sizes, *(x.data_ptr() for x in arguments))

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
        self._functions.adam_update(*weights.shape, *(x.data_ptr() for x in arguments), *numbers)


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
