"""How long a run will take, roughly, before anything has run.

The delay law is a rule of thumb read off the paper's published medians for the MLP under cross-entropy
(arXiv:2606.18465, Tables of the temperature sweep and the collapse grid): 3,675 steps at p = 59, rho = 1, tau = 1;
exponential in the held norm (a factor 3.4 from rho 1.00 to 1.15); a power of tau (12,600 to 3,450 from tau 1 to 1.7);
falling with p as between 59 and 97. The fall with the train fraction is our own: 3,675, 2,175 and 1,350 steps at 0.4,
0.5 and 0.6. Other widths, rates and decays are assumed to change nothing, which is not true: the estimate orders and
sizes packs, and tells hours from days. It never decides a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

from grok_sweeps.config import RunConfig
from grok_sweeps.plan.plan import Plan

_STEPS_AT_59 = 3675.0
_PER_RHO = log(12600 / 3675) / 0.15
_TAU_POWER = log(12600 / 3450) / log(1.7)
_P_POWER = log(3675 / 1775) / log(97 / 59)
_PER_FRACTION = log(1350 / 3675) / (0.6 - 0.4)
_FREE_FACTOR = 1.2

ASSUMPTIONS = (
    "grokking steps follow the paper's MLP medians: "
    f"{_STEPS_AT_59:,.0f} x exp({_PER_RHO:.1f} (rho - 1)) x tau^-{_TAU_POWER:.1f} x (59/p)^{_P_POWER:.1f} "
    f"x exp({_PER_FRACTION:.1f} (train_fraction - 0.4)), free runs x {_FREE_FACTOR}, never past max_steps; other axes "
    "assumed without effect"
)

CORE_GFLOPS = 27.0
"""Arithmetic rate of one CPU core in a whole training step, float32, readings included.

Measured at p = 59 with a worker on each of two cores of a 2.8 GHz Xeon.
"""

READINGS_BYTES = 12 * 8


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan will cost: run-steps, seconds on `workers` cores, and bytes of live checkpoints."""

    run_steps: int
    seconds: float
    workers: int
    checkpoint_bytes: int


def expected_steps(config: RunConfig) -> int:
    """Expected steps of one run by the delay law in this module's docstring, at most `max_steps`."""
    steps = _STEPS_AT_59 * (59 / config.p) ** _P_POWER
    if config.arm == "free":
        steps *= _FREE_FACTOR
    exponent = _PER_FRACTION * (config.train_fraction - 0.4) - _TAU_POWER * log(config.tau)
    exponent += _PER_RHO * (config.rho - 1) if config.rho is not None else 0.0
    steps *= exp(min(exponent, 50.0))
    return int(min(max(steps, config.eval_every), config.max_steps))


def step_flops(config: RunConfig) -> float:
    """Multiply-adds x 2 of one training step of one lane: two tables and a readout, forward and twice backward."""
    tables = 2 * config.p * config.d_model * config.hidden * 2
    readout = config.n_train * config.hidden * config.p * 2
    return 3.0 * (tables + readout)


def state_bytes(config: RunConfig) -> int:
    """Bytes of one lane's checkpointed state: weights and two moments, without readings."""
    p, d, h = config.p, config.d_model, config.hidden
    n_parameters = p * d + 2 * d * h + h + h * p + p
    return 3 * n_parameters * 4


def estimate(plan: Plan, *, workers: int, lanes: int) -> Estimate:
    """Estimate a plan for `workers` one-core workers that each train `lanes` lanes at once."""
    steps = [(expected_steps(r.config), r.config) for r in plan.runs]
    run_steps = sum(n for n, _ in steps)
    seconds = sum(n * step_flops(c) for n, c in steps) / (CORE_GFLOPS * 1e9 * workers)
    live = min(len(plan.runs), workers * lanes)
    largest = max((state_bytes(c) + n // c.eval_every * READINGS_BYTES for n, c in steps), default=0)
    return Estimate(run_steps, seconds, workers, live * largest)
