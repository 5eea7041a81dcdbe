"""The programs as functions of tensors on one device: float32, int32 for pairs and targets, contiguous.

Readout and bias may be parts of a flat vector of parameters. Nothing is checked here: the callers allocate all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from types import ModuleType

ROWS = 64
"""Rows of a tile."""
UNITS = 32
"""Hidden units of a tile."""
PAIRS, UNITS_OF_PAIRS = 4, 256
"""Pairs and hidden units that are summed at once on the way back."""
VALUES = 1024
"""Parameters a program of the optimiser moves."""
PRECISION = "tf32x3"
WARPS, STAGES = 4, 1
"""Of a tile: with these it is 2 to 5 times faster than with 8 and 2, as measured on an H200."""
MOST_CLASSES = 128
"""Columns of the readout that a tile's logits and their gradient can hold on chip."""
LEAST_CAPABILITY = (8, 0)
"""Of the GPU: tensor cores with TF32."""


class FusedUnavailableError(RuntimeError):
    """The kernels do not run here; the message says why."""


class FusedKernels:
    """L lanes, N rows, H units, C classes, P residues, M parameters."""

    def __init__(self, programs: ModuleType) -> None:
        self._programs: Any = programs

    def supports(self, classes: int) -> bool:
        """Whether a tile's logits fit on chip."""
        return classes <= MOST_CLASSES

    def mlp_logit_gradient(
        self,
        tables: Tensor,
        readout: tuple[Tensor, Tensor],
        pairs: Sequence[Tensor],
        loss: Sequence[Tensor],
        activation: Tensor,
        d_logits: Tensor,
        *,
        normalize: bool,
    ) -> None:
        """Activations [L, N, H] and the gradient of the logits [L, N, C].

        `tables` is [L, 2, P, H]; `pairs` holds a, b and the class, [L, N] each; `loss` holds 1 / tau, scale, smoothing
        and penalty, [L] each.
        """
        lanes, rows, classes = d_logits.shape
        residues, units = tables.shape[2:]
        weights, bias = readout
        self._programs.logit_gradient[_parts(rows, ROWS), lanes](
            tables, weights, bias, *pairs, *loss, activation, d_logits,
            rows, residues, units, classes, weights.stride(0), bias.stride(0), NORMALIZE=normalize, **_tile(classes),
        )  # fmt: skip

    def mlp_table_gradient(
        self, tables: Tensor, pairs: Sequence[Tensor], by_row: Sequence[Tensor], d_activation: Tensor, d_tables: Tensor
    ) -> None:
        """Gradient of the tables [L, 2, P, H] from that of the activations [L, N, H].

        `pairs` holds a and b, [L, N] each; `by_row` the pairs by the row they are an operand of, [2 * L * N], and where
        each row's begin, [2 * L * P + 1].
        """
        lanes, _, residues, units = tables.shape
        self._programs.table_gradient[2 * lanes * residues, _parts(units, UNITS_OF_PAIRS)](
            tables, *pairs, *by_row, d_activation, d_tables, residues, units, PAIRS=PAIRS, UNITS=UNITS_OF_PAIRS
        )

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
        weights, bias = readout
        classes = bias.shape[1]
        of_rows = tables.new_empty(lanes, 2, residues**2)
        self._programs.everywhere[_parts(residues**2, ROWS), lanes](
            tables, weights, bias, targets, inverse_tau, of_pairs, of_rows,
            residues, units, classes, weights.stride(0), bias.stride(0), limit, **_tile(classes),
        )  # fmt: skip
        torch.mean(of_rows, 2, dtype=torch.float64, out=of_units.T)
        of_units.div_(units)

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
        """Adam's moments and update [L, M]; `rate` and `root` [L, 1]; `constants` are beta1, beta2 and epsilon."""
        beta1, beta2, epsilon = constants
        lanes, n = weights.shape
        self._programs.adam[_parts(n, VALUES), lanes](
            weights, moment1, moment2, gradient, rate, root, n, 1 - beta1, beta2, 1 - beta2, epsilon, VALUES=VALUES
        )


def _parts(n: int, size: int) -> int:
    return -(-n // size)


def _tile(classes: int) -> dict[str, Any]:
    """What is fixed when a program is compiled; 16 columns are the least that a product takes."""
    columns = max(16, 1 << (classes - 1).bit_length())
    return {
        "ROWS": ROWS,
        "UNITS": UNITS,
        "CLASSES": columns,
        "PRECISION": PRECISION,
        "num_warps": WARPS,
        "num_stages": STAGES,
    }


@lru_cache(maxsize=1)
def load() -> FusedKernels:
    """The kernels, compiled by Triton when first used and kept in its cache on disk.

    Raises:
        FusedUnavailableError: Triton is not installed, or this process' GPU is too old.
    """
    try:
        from grok_sweeps.train.fused import programs  # noqa: PLC0415 Triton is only there where torch brings it
    except ImportError as error:
        raise FusedUnavailableError(f"Triton is not installed ({error})") from error
    kernels = FusedKernels(programs)
    if torch.cuda.is_available():
        if torch.cuda.get_device_capability() < LEAST_CAPABILITY:
            raise FusedUnavailableError(f"{torch.cuda.get_device_name()} has no TF32 tensor cores")
        try:
            try_out(kernels, torch.device("cuda"))
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise FusedUnavailableError(f"they do not run on {torch.cuda.get_device_name()}: {reason}") from error
    return kernels


def try_out(kernels: FusedKernels, device: torch.device) -> None:
    """Launch every program once, with the most columns: whether there is a compiler and room on the chip shows here."""
    residues, units, rows, classes = 3, UNITS, 4, MOST_CLASSES
    flat, d_flat = torch.zeros(2, 1, units * classes + classes, device=device).unbind()
    readout = flat[:, :-classes].view(1, units, classes), flat[:, -classes:]
    tables, d_tables = torch.zeros(2, 1, 2, residues, units, device=device).unbind()
    ones = torch.ones(1, device=device)
    d_logits, activation = torch.empty(1, rows, classes, device=device), torch.empty(1, rows, units, device=device)
    pairs = torch.zeros(3, 1, rows, dtype=torch.int32, device=device).unbind()
    by_row = [
        torch.tensor(x, device=device) for x in ([*range(rows)] * 2, [0, *[rows] * residues, *[2 * rows] * residues])
    ]
    targets = torch.zeros(residues**2, dtype=torch.int32, device=device)
    of_pairs = torch.empty(1, 5, residues**2, device=device)
    of_units = torch.empty(2, 1, dtype=torch.float64, device=device)
    kernels.mlp_logit_gradient(tables, readout, pairs, (ones,) * 4, activation, d_logits, normalize=True)
    kernels.mlp_table_gradient(tables, pairs[:2], by_row, activation, d_tables)
    kernels.mlp_everywhere(tables, readout, targets, ones, 3.0, of_pairs, of_units)
    kernels.adam_update(flat, flat.clone(), flat.clone(), d_flat, ones[:, None], ones[:, None], (0.9, 0.999, 1e-8))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
