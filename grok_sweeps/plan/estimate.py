"""How long a run will take, roughly, before anything has run.

The delay law is a rule of thumb read off the paper's published medians for the MLP under cross-entropy
(arXiv:2606.18465, Tables of the temperature sweep and the collapse grid): 3,675 steps at p = 59, rho = 1, tau = 1;
exponential in the held norm (a factor 3.4 from rho 1.00 to 1.15); a power of tau (12,600 to 3,450 from tau 1 to 1.7);
falling with p as between 59 and 97. The fall with the train fraction is our own: 3,675, 2,175 and 1,350 steps at 0.4,
0.5 and 0.6. Other widths, rates and decays are assumed to change nothing, which is not true: the estimate orders and
sizes packs, and tells hours from days. It never decides a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.config import RunConfig
from grok_sweeps.plan.plan import Plan
from grok_sweeps.schema import READING_NAMES

_STEPS_AT_59 = 3675.0
_MSE_STEPS_AT_59 = 1175.0
PER_RHO = {"ce": log(12600 / 3675) / 0.15, "mse": log(2225 / 1175) / 0.15}
TAU_POWER = {"ce": log(12600 / 3450) / log(1.7), "mse": log(2225 / 1550) / log(1.7)}
P_POWER = log(3675 / 1775) / log(97 / 59)
PER_FRACTION = log(1350 / 3675) / (0.6 - 0.4)
_FREE_FACTOR = 1.2
_FORK_FACTOR = 2.0

ASSUMPTIONS = (
    "grokking steps follow the paper's MLP medians: "
    f"{_STEPS_AT_59:,.0f} x exp({PER_RHO['ce']:.1f} (rho - 1)) x tau^-{TAU_POWER['ce']:.1f} x (59/p)^{P_POWER:.1f} "
    f"x exp({PER_FRACTION:.1f} (train_fraction - 0.4)), under mse {_MSE_STEPS_AT_59:,.0f}, {PER_RHO['mse']:.1f} and "
    f"{TAU_POWER['mse']:.1f} instead, free runs x {_FREE_FACTOR}, norms held from a fork x {_FORK_FACTOR:g}, "
    "never past max_steps; other axes assumed without effect"
)

CORE_GFLOPS = 83.0
"""Arithmetic rate of one CPU core in a whole training step, float32, readings included.

Measured at p = 59 through `grok-sweeps run` on two cores of a Xeon with AVX-512 (`tests/bench/README.md`); cores
without it, the transformers and float64 are slower.
"""

READINGS_BYTES = (1 + len(READING_NAMES)) * 8


def ln_delay(config: RunConfig) -> float:
    """Natural logarithm of the step at which a run groks by the delay law in this module's docstring."""
    mse = config.loss == "mse"
    steps = (_MSE_STEPS_AT_59 if mse else _STEPS_AT_59) * (59 / config.p) ** P_POWER
    if config.arm == "free":
        steps *= _FREE_FACTOR
    if config.arm == "fork":
        steps *= _FORK_FACTOR
    exponent = PER_FRACTION * (config.train_fraction - 0.4) - TAU_POWER[config.loss] * log(config.tau)
    exponent += PER_RHO[config.loss] * (config.rho - 1) if config.rho is not None else 0.0
    return log(steps) + min(exponent, 50.0)


def steps_of(config: RunConfig, ln_grokking: float) -> int:
    """Steps that a run does which groks at a step of this ln: from its start to its stop, at most to `max_steps`."""
    after = config.steps_after_grokking
    end = float(config.max_steps)
    if after is not None:
        end = min(max(exp(min(ln_grokking, 50.0)), config.eval_every) + after, end)
    return int(max(end - (config.fork_step or 0), config.eval_every) + 1e-6)  # a whole number of steps stays itself


def expected_steps(config: RunConfig) -> int:
    """Expected steps of one run by the delay law in this module's docstring, at most `max_steps`."""
    return steps_of(config, ln_delay(config))


def step_flops(config: RunConfig) -> float:
    """Multiply-adds x 2 of one training step of one lane, forward and twice backward, at double cost in float64."""
    factor = 2.0 if config.dtype == "float64" else 1.0
    return 3.0 * 2.0 * factor * ARCHITECTURES[config.arch].multiply_adds(config)


def state_bytes(config: RunConfig) -> int:
    """Bytes of one lane's checkpointed state: weights and two moments, without readings."""
    return 3 * ARCHITECTURES[config.arch].n_parameters(config) * (8 if config.dtype == "float64" else 4)


def checkpoint_bytes(plan: Plan, steps: Sequence[int], *, workers: int, lanes: Callable[[RunConfig], int]) -> int:
    """Bytes of live checkpoints at most: `workers` train `lanes` of a shape at once, for `steps` of each run."""
    return max(
        (
            min(len(plan.runs), workers * lanes(r.config))
            * (state_bytes(r.config) + n // r.config.eval_every * READINGS_BYTES)
            for r, n in zip(plan.runs, steps, strict=True)
        ),
        default=0,
    )
