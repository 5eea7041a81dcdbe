"""The spec as the user writes it: every value of `runs` and of a block may be a list, which makes it an axis.

The keys are the config columns of the results table. Pydantic checks each value by itself; what depends on several
keys is checked in `grok_sweeps.plan.expand`, where they meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.arms import ARMS
from grok_sweeps.errors import SpecError, did_you_mean
from grok_sweeps.spec.tools import check_tool
from grok_sweeps.tasks import TASKS

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
MAX_SEED = 2**31 - 1


def _as_axis(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else (value,)


def _seed_list(value: Any) -> Any:
    """A count n means seeds 0 … n−1. Kept lazy (a range) so that an accidental 10⁹ costs nothing."""
    if isinstance(value, bool) or not isinstance(value, int | list):
        raise ValueError("give a count (12) or a list of seeds ([0, 3])")
    if isinstance(value, int):
        if value < 1:
            raise ValueError("a count of seeds must be at least 1")
        if value > MAX_SEED + 1:
            raise ValueError(f"a count of seeds must be at most {MAX_SEED + 1}")
        return range(value)
    if not value:
        raise ValueError("empty axis; give at least one seed, or leave the key out")
    for seed in value:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seed {seed!r} is not a whole number from 0 to {MAX_SEED}")
    return tuple(value)


def _one_of(names: Iterable[str]) -> AfterValidator:
    """Values of an axis whose names stand in a registry."""

    def check(value: str) -> str:
        known = tuple(names)
        if value not in known:
            allowed = " or ".join((", ".join(map(repr, known[:-1])), repr(known[-1])))
            hint = did_you_mean(value, known).strip()
            raise ValueError(f"it must be {allowed}" + (f" ({hint[0].lower()}{hint[1:]})" if hint else ""))
        return value

    return AfterValidator(check)


_WORDS_OF_TRUTH = {"yes": True, "on": True, "no": False, "off": False}


def _yes_or_no(value: Any) -> Any:
    """YAML 1.1's other words for true and false, which are text anywhere else."""
    return _WORDS_OF_TRUTH.get(value.lower(), value) if isinstance(value, str) else value


def _stop(value: str) -> str:
    if not re.fullmatch(r"grokked(\+[1-9]\d{0,8})?|budget", value):
        raise ValueError("it must be 'grokked', 'grokked+N' with a number of steps N, or 'budget'")
    return value


def _reference(value: str) -> str:
    if value != "control" and not re.fullmatch(NAME_PATTERN[1:-1] + r"/[0-9a-f]{16}", value):
        raise ValueError("it must be 'control', or a run of the store as SWEEP/RUN_ID")
    return value


def _tool(key: str) -> AfterValidator:
    """Where a user's own tool is, as text."""

    def check(value: str) -> str:
        check_tool(key, value)
        return value

    return AfterValidator(check)


_NonEmpty = Field(min_length=1)
_Int = Annotated[int, Field(strict=True)]
_Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Bool = Annotated[bool, BeforeValidator(_yes_or_no), Field(strict=True)]

Modulus = Annotated[_Int, Field(ge=2, le=2048)]
Width = Annotated[_Int, Field(ge=1, le=65536)]
Steps = Annotated[_Int, Field(ge=1, le=10**9)]
Positive = Annotated[_Float, Field(gt=0)]
Fraction = Annotated[_Float, Field(gt=0, lt=1)]
NonNegative = Annotated[_Float, Field(ge=0)]
ZeroToOne = Annotated[_Float, Field(ge=0, lt=1)]
Gamma = Annotated[_Float, Field(ge=-1)]
ArchitectureName = Annotated[str, _one_of(ARCHITECTURES)]
ArmName = Annotated[str, _one_of(ARMS)]
TaskName = Annotated[str, _one_of(TASKS)]
Stop = Annotated[str, AfterValidator(_stop)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Fork(_Frozen):
    """Where a run starts that does not start afresh: at the state of another run after `at_step` steps.

    `of: control` is the free run of the same task, model, loss, lr, weight decay and seed, which the sweep trains so
    far first. `of: SWEEP/RUN_ID` is a run of any sweep in the store; what the spec does not write is then that run's.
    """

    of: Annotated[tuple[Annotated[str, AfterValidator(_reference)], ...], BeforeValidator(_as_axis), _NonEmpty]
    at_step: Annotated[tuple[Steps, ...], BeforeValidator(_as_axis), _NonEmpty]


class RunAxes(_Frozen):
    """Values and axes of runs. Defaults are the paper's (arXiv:2606.18465).

    None is the architecture's own value (`hidden`, `lr`, `clamp_from_step`, `heads`), or what is not used.

    Interventions beside the norm and the temperature, each with its source in `grok_sweeps.train.losses` or
    `grok_sweeps.train.optimizers`: `normalizer`, `label_smoothing`, `logit_penalty`, `gradient_compensation`,
    `gradient_projection`.
    """

    arch: Annotated[tuple[ArchitectureName, ...], BeforeValidator(_as_axis), _NonEmpty] = ("mlp",)
    task: Annotated[tuple[TaskName, ...], BeforeValidator(_as_axis), _NonEmpty] = ("add",)
    p: Annotated[tuple[Modulus, ...], BeforeValidator(_as_axis), _NonEmpty] = (59,)
    train_fraction: Annotated[tuple[Fraction, ...], BeforeValidator(_as_axis), _NonEmpty] = (0.4,)
    d_model: Annotated[tuple[Width, ...], BeforeValidator(_as_axis), _NonEmpty] = (128,)
    hidden: Annotated[tuple[Width, ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    heads: Annotated[tuple[Width, ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    loss: Annotated[tuple[Literal["ce", "mse"], ...], BeforeValidator(_as_axis), _NonEmpty] = ("ce",)
    normalizer: Annotated[tuple[Literal["softmax", "stablemax"], ...], BeforeValidator(_as_axis), _NonEmpty] = (
        "softmax",
    )
    label_smoothing: Annotated[tuple[ZeroToOne, ...], BeforeValidator(_as_axis), _NonEmpty] = (0.0,)
    logit_penalty: Annotated[tuple[NonNegative, ...], BeforeValidator(_as_axis), _NonEmpty] = (0.0,)
    optimizer: Annotated[tuple[Literal["adamw", "adam", "sgd"], ...], BeforeValidator(_as_axis), _NonEmpty] = ("adamw",)
    lr: Annotated[tuple[Positive, ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    weight_decay: Annotated[tuple[NonNegative, ...], BeforeValidator(_as_axis), _NonEmpty] = (1.0,)
    momentum: Annotated[tuple[ZeroToOne, ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    batch_size: Annotated[tuple[Steps, ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    gradient_compensation: Annotated[tuple[_Bool, ...], BeforeValidator(_as_axis), _NonEmpty] = (False,)
    gradient_projection: Annotated[tuple[Literal["none", "orthogonal"], ...], BeforeValidator(_as_axis), _NonEmpty] = (
        "none",
    )
    dtype: Annotated[tuple[Literal["float32", "float64"], ...], BeforeValidator(_as_axis), _NonEmpty] = ("float32",)
    arm: Annotated[tuple[ArmName, ...], BeforeValidator(_as_axis), _NonEmpty] = ("free",)
    rho: Annotated[tuple[Positive, ...], BeforeValidator(_as_axis), _NonEmpty] = (1.0,)
    tau: Annotated[tuple[Positive, ...], BeforeValidator(_as_axis), _NonEmpty] = (1.0,)
    gamma: Annotated[tuple[Gamma, ...], BeforeValidator(_as_axis), _NonEmpty] = (0.0,)
    w_c: Annotated[tuple[Positive | Literal["control"], ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    clamp_from_step: Annotated[tuple[Steps, ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    share_embedding: Annotated[tuple[Fraction, ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    share_hidden: Annotated[tuple[Fraction, ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    share_readout: Annotated[tuple[Fraction, ...], BeforeValidator(_as_axis), _NonEmpty] | None = None
    fork: Fork | None = None
    seeds: Annotated[Sequence[int], PlainValidator(_seed_list)] = range(12)
    seeding: Annotated[tuple[Literal["run", "paper"], ...], BeforeValidator(_as_axis), _NonEmpty] = ("run",)
    seeds_in_block: Annotated[int, Field(strict=True, ge=1, le=4096)] | None = None
    max_steps: Annotated[tuple[Steps, ...], BeforeValidator(_as_axis), _NonEmpty] = (60_000,)
    eval_every: Annotated[tuple[Steps, ...], BeforeValidator(_as_axis), _NonEmpty] = (25,)
    stop: Annotated[tuple[Stop, ...], BeforeValidator(_as_axis), _NonEmpty] = ("grokked",)

    def overlaid(self, block: RunAxes) -> RunAxes:
        """These axes with the keys that `block` sets laid over them."""
        return self.model_copy(update={name: getattr(block, name) for name in block.model_fields_set})


AXES: tuple[str, ...] = tuple(RunAxes.model_fields)
FRACTIONS: frozenset[str] = frozenset(
    k for k, v in RunAxes.model_fields.items() if re.search(r"\bfloat\b", str(v.annotation))
)
"""Axes whose values may have decimals."""


class Execution(_Frozen):
    """How the runs are trained, never what they are: no part of any identity, and free to change on a resume."""

    lanes: Literal["auto"] | Annotated[int, Field(strict=True, ge=1, le=65536)] = "auto"
    pack_runs: Literal["auto"] | Annotated[int, Field(strict=True, ge=1, le=10**6)] = "auto"
    workers: Literal["auto"] | Annotated[int, Field(strict=True, ge=1, le=10**5)] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["auto", "eager", "native", "graph", "fused"] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(strict=True, ge=1, le=1024)] = "auto"
    gpus_per_pack: Annotated[_Float, Field(gt=0, le=1)] = 1.0
    accelerator_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] | None = None
    memory_gb: Annotated[_Float, Field(gt=0, le=100_000)] | None = None
    checkpoint_every_s: Annotated[_Float, Field(gt=0, le=86_400)] = 60.0
    keep_states: Literal["all", "needed", "forks"] = "all"
    stall_after_s: Annotated[_Float, Field(gt=0, le=86_400)] = 300.0
    max_failures: Annotated[int, Field(strict=True, ge=0, le=1000)] = 3
    webhook: Annotated[str, _tool("webhook")] | None = None
    metrics_port: Annotated[int, Field(strict=True, ge=1, le=65535)] | Annotated[str, _tool("metrics_port")] | None = (
        None
    )
    mlflow: Annotated[str, _tool("mlflow")] | None = None
    wandb: Annotated[str, _tool("wandb")] | None = None


class SweepSpec(_Frozen):
    """A sweep: `runs`, laid over by each of `blocks` in turn; equal runs count once."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    runs: RunAxes = RunAxes()
    blocks: Annotated[tuple[RunAxes, ...], _NonEmpty] | None = None
    execution: Execution = Execution()
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _sections_are_mappings(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise SpecError("a spec is a mapping with the keys name, runs, blocks and execution.")
        return value

    def resolved_blocks(self) -> tuple[RunAxes, ...]:
        """The axes of every block, complete with what they take from `runs` and the defaults."""
        return tuple(self.runs.overlaid(b) for b in self.blocks) if self.blocks else (self.runs,)


TEXTS: frozenset[str] = frozenset(
    k for m in (SweepSpec, Execution) for k, v in m.model_fields.items() if re.search(r"\bstr\b", str(v.annotation))
)
"""Keys whose values may be any text."""
