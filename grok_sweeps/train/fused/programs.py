"""An MLP's train step and readings on a GPU, but for the products on the way back, which are cuBLAS's.

`logit_gradient` goes from the gathered tables through GELU and readout to the loss gradient with respect to the logits,
and keeps the activations; `table_gradient` goes from their gradient through GELU's slope, computed again, to the sums
of each residue's pairs; `everywhere` goes forward over all pairs and keeps five numbers of each. Sums have a fixed
order: no atomics, so a step is reproducible. Products split each float32 into three TF32 parts (`tf32x3`), which keeps
float32's accuracy on tensor cores.

`TRITON_INTERPRET=1`, set before the first import, runs all of it on a CPU, which is how it is tested without a GPU.

Shapes: L lanes, N train rows, H hidden units, C classes, P residues, K = P * P pairs, M parameters.
"""

import triton
import triton.language as tl


@triton.jit
def _preactivations(first, second, units, n_units, used):
    mask = used[:, None] & (units < n_units)[None, :]
    of_a = tl.load(first[:, None] + units[None, :], mask=mask, other=0.0)
    return of_a + tl.load(second[:, None] + units[None, :], mask=mask, other=0.0)


@triton.jit
def _below(pre):
    """Share of the normal distribution below x: GELU(x) is x times it."""
    return 0.5 * (1.0 + tl.math.erf(pre * 0.7071067811865476))


@triton.jit
def _add_logits(z, activation, readout, units, n_units, column, classes, PRECISION: tl.constexpr):
    mask = (units < n_units)[:, None] & (column < classes)[None, :]
    w = tl.load(readout + units[:, None] * classes + column[None, :], mask=mask, other=0.0)
    return tl.dot(activation, w, z, input_precision=PRECISION)


@triton.jit
def logit_gradient(
    tables, readout, bias, a, b, targets, inverse_tau, scale, smoothing, penalty, activation, d_logits,
    n_rows, residues, n_units, classes, readout_stride, bias_stride,
    NORMALIZE: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, CLASSES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Activations [L, N, H] and dLoss/dlogits [L, N, C] of one tile of rows."""
    lane = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    used = row < n_rows
    place = lane * n_rows + row
    first = tables + (2 * lane * residues + tl.load(a + place, mask=used, other=0)) * n_units
    second = tables + ((2 * lane + 1) * residues + tl.load(b + place, mask=used, other=0)) * n_units
    column = tl.arange(0, CLASSES)
    real = column < classes
    z = tl.zeros((ROWS, CLASSES), dtype=tl.float32)
    for start in range(0, n_units, UNITS):
        units = start + tl.arange(0, UNITS)
        pre = _preactivations(first, second, units, n_units, used)
        active = pre * _below(pre)
        mask = used[:, None] & (units < n_units)[None, :]
        tl.store(activation + place[:, None] * n_units + units[None, :], active, mask=mask)
        z = _add_logits(z, active, readout + lane * readout_stride, units, n_units, column, classes, PRECISION)
    z += tl.load(bias + lane * bias_stride + column, mask=real, other=0.0)[None, :]
    x = z * tl.load(inverse_tau + lane)
    g = x
    if NORMALIZE:
        x_or_none = tl.where(real[None, :], x, float("-inf"))
        g = tl.exp(x_or_none - tl.max(x_or_none, 1)[:, None])
        g = g / tl.sum(g, 1)[:, None]
    smooth = tl.load(smoothing + lane)
    target = tl.load(targets + place, mask=used, other=0)
    g += tl.where(column[None, :] == target[:, None], smooth - 1.0, 0.0) - smooth / classes
    g = (g + tl.load(penalty + lane) * x) * tl.load(scale + lane)
    out = d_logits + place[:, None] * classes + column[None, :]
    tl.store(out, g, mask=used[:, None] & real[None, :])


@triton.jit
def table_gradient(
    tables, a, b, pairs_by_row, first_of_row, d_activation, d_tables, residues, n_units,
    PAIRS: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """dLoss/dtable of one row of a table and some units: the sum over the pairs whose operand the row is."""
    row = tl.program_id(0).to(tl.int64)
    units = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    real = units < n_units
    table = row // residues  # 2 * lane, and 1 more for second operands
    own = tl.load(tables + row * n_units + units, mask=real, other=0.0)
    end = tl.load(first_of_row + row + 1)
    total = tl.zeros((UNITS,), dtype=tl.float32)
    for start in range(tl.load(first_of_row + row), end, PAIRS):
        place = start + tl.arange(0, PAIRS)
        used = place < end
        pair = tl.load(pairs_by_row + place, mask=used, other=0)
        other = tl.load(tl.where(table % 2 == 0, b + pair, a + pair), mask=used, other=0)
        mask = used[:, None] & real[None, :]
        place_of_other = ((table ^ 1) * residues + other)[:, None] * n_units + units[None, :]
        pre = own[None, :] + tl.load(tables + place_of_other, mask=mask, other=0.0)
        slope = _below(pre) + pre * 0.3989422804014327 * tl.exp(-0.5 * pre * pre)
        d = tl.load(d_activation + pair[:, None] * n_units + units[None, :], mask=mask, other=0.0)
        total += tl.sum(d * slope, 0)
    tl.store(d_tables + row * n_units + units, total, mask=real)


@triton.jit
def everywhere(
    tables, readout, bias, targets, inverse_tau, of_pairs, of_rows,
    residues, n_units, classes, readout_stride, bias_stride, limit,
    ROWS: tl.constexpr, UNITS: tl.constexpr, CLASSES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What the readings need of each pair, with x = logits / tau.

    [L, 5, K]: norm of x, its entry for the pair's class, log-probabilities of that and of the largest, and 1 where the
    class's logit is above all others, else 0. [L, 2, K]: of its pre-activations the sum of squares, and how many are
    beyond the limit.
    """
    lane = tl.program_id(1).to(tl.int64)
    n_pairs = residues * residues
    pair = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    used = pair < n_pairs
    first = tables + (2 * lane * residues + pair // residues) * n_units
    second = tables + ((2 * lane + 1) * residues + pair % residues) * n_units
    column = tl.arange(0, CLASSES)
    real = column < classes
    z = tl.zeros((ROWS, CLASSES), dtype=tl.float32)
    squares = tl.zeros((ROWS,), dtype=tl.float32)
    beyond = tl.zeros((ROWS,), dtype=tl.float32)
    for start in range(0, n_units, UNITS):
        units = start + tl.arange(0, UNITS)
        pre = _preactivations(first, second, units, n_units, used)
        squares += tl.sum(pre * pre, 1)
        beyond += tl.sum(tl.where(pre * pre > limit * limit, 1.0, 0.0), 1)
        z = _add_logits(
            z, pre * _below(pre), readout + lane * readout_stride, units, n_units, column, classes, PRECISION
        )
    z += tl.load(bias + lane * bias_stride + column, mask=real, other=0.0)[None, :]
    target = tl.load(targets + pair, mask=used, other=0)
    of_target = column[None, :] == target[:, None]
    logit = tl.sum(tl.where(of_target, z, 0.0), 1)
    others = tl.max(tl.where(of_target | (column >= classes)[None, :], float("-inf"), z), 1)
    x = tl.where(real[None, :], z * tl.load(inverse_tau + lane), 0.0)
    x_or_none = tl.where(real[None, :], x, float("-inf"))
    top = tl.max(x_or_none, 1)
    log_total = tl.log(tl.sum(tl.exp(x_or_none - top[:, None]), 1))
    of_class = tl.sum(tl.where(of_target, x, 0.0), 1)
    out = of_pairs + lane * 5 * n_pairs + pair
    tl.store(out, tl.sqrt(tl.sum(x * x, 1)), mask=used)
    tl.store(out + n_pairs, of_class, mask=used)
    tl.store(out + 2 * n_pairs, (of_class - top) - log_total, mask=used)
    tl.store(out + 3 * n_pairs, -log_total, mask=used)
    tl.store(out + 4 * n_pairs, tl.where(logit > others, 1.0, 0.0), mask=used)
    tl.store(of_rows + lane * 2 * n_pairs + pair, squares, mask=used)
    tl.store(of_rows + (lane * 2 + 1) * n_pairs + pair, beyond, mask=used)


@triton.jit
def adam(weights, moment1, moment2, gradient, rate, root, n, rest1, beta2, rest2, epsilon, VALUES: tl.constexpr):
    """Adam's moments and update of some parameters of one lane."""
    lane = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * VALUES + tl.arange(0, VALUES)
    used = k < n
    k = lane * n + k
    g = tl.load(gradient + k, mask=used, other=0.0)
    m = tl.load(moment1 + k, mask=used, other=0.0)
    m += rest1 * (g - m)
    v = beta2 * tl.load(moment2 + k, mask=used, other=0.0) + rest2 * g * g
    w = tl.load(weights + k, mask=used, other=0.0)
    w += tl.load(rate + lane) * (m / (tl.sqrt(v) * tl.load(root + lane) + epsilon))
    tl.store(moment1 + k, m, mask=used)
    tl.store(moment2 + k, v, mask=used)
    tl.store(weights + k, w, mask=used)
