"""What decides the numbers of one run, and its identity.

A `RunConfig` holds resolved, validated values only; the spec layer makes them. Its canonical JSON is hashed into
`run_id`, so the hash must not move between releases: a field that a later release adds is left out of the JSON while it
has its default (`ADDED_LATER`), and floats are written by their shortest exact form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any

from grok_sweeps.architectures import ARCHITECTURES
from grok_sweeps.arms import ARM_AXES, SHARES
from grok_sweeps.tasks import n_pairs

ID_LENGTH = 16
"""Hex digits of an id: 64 bits, so that a million runs collide with probability 3e-8."""

STOP_AT_BUDGET = "budget"

ADDED_LATER: dict[str, Any] = {
    "heads": None,
    "momentum": None,
    "batch_size": None,
    "normalizer": "softmax",
    "label_smoothing": 0.0,
    "logit_penalty": 0.0,
    "gradient_compensation": False,
    "gradient_projection": "none",
    "gamma": None,
    "share_embedding": None,
    "share_hidden": None,
    "share_readout": None,
    "fork_cell": None,
    "fork_step": None,
    "stop": "grokked",
    "arch_version": 1,
}
"""Fields that the first release lacked, with the default that leaves its identities as they were."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One network to be trained once. Units: steps are optimiser steps, counted from 1.

    What an arm, architecture or optimiser does not use is None, so that equal runs are equal however they were written.
    Exactly one of `w_c` (a pinned norm) and `control_id` (the norm of a control that the sweep trains first) is set
    where the arm refers to w_c. A forked run starts from the state at `fork_step` of the run of cell `fork_cell` with
    the same seed.
    """

    p: int
    train_fraction: float
    d_model: int
    hidden: int
    lr: float
    weight_decay: float
    arm: str
    tau: float
    seed: int
    seeding: str
    max_steps: int
    eval_every: int
    rho: float | None = None
    w_c: float | None = None
    control_id: str | None = None
    clamp_from_step: int | None = None
    seeds_in_block: int | None = None
    arch: str = "mlp"
    task: str = "add"
    loss: str = "ce"
    optimizer: str = "adamw"
    dtype: str = "float32"
    heads: int | None = None
    momentum: float | None = None
    batch_size: int | None = None
    normalizer: str = "softmax"
    label_smoothing: float = 0.0
    logit_penalty: float = 0.0
    gradient_compensation: bool = False
    gradient_projection: str = "none"
    gamma: float | None = None
    share_embedding: float | None = None
    share_hidden: float | None = None
    share_readout: float | None = None
    fork_cell: str | None = None
    fork_step: int | None = None
    stop: str = "grokked"
    arch_version: int = 1

    @property
    def run_id(self) -> str:
        """Hash of everything that decides the run's numbers."""
        return _digest(_identity(self))

    @property
    def cell_id(self) -> str:
        """Hash of the same without the seed: runs that differ only in the seed share it."""
        return _digest({k: v for k, v in _identity(self).items() if k != "seed"})

    @property
    def shape(self) -> tuple[Any, ...]:
        """What two runs must share to be lanes of one pack: tensor shapes, dtype and step function."""
        return (
            self.arch,
            self.arch_version,
            self.task,
            self.loss,
            self.optimizer,
            self.dtype,
            self.p,
            self.train_fraction,
            self.d_model,
            self.hidden,
            self.heads,
            self.batch_size,
            self.normalizer,
            self.gradient_projection,
        )

    @property
    def n_train(self) -> int:
        """N, the number of training pairs: floor(train_fraction * K) of the task's K pairs."""
        return int(self.train_fraction * n_pairs(self.task, self.p))

    @property
    def n_batch(self) -> int:
        """Pairs of one training step: all train pairs, or `batch_size` of them."""
        return self.batch_size or self.n_train

    @property
    def steps_after_grokking(self) -> int | None:
        """Steps that a run trains on after it has grokked; None: to the end of its budget."""
        return None if self.stop == STOP_AT_BUDGET else int(self.stop.removeprefix("grokked").removeprefix("+") or 0)

    @property
    def shares(self) -> dict[str, float] | None:
        """Pinned shares of the control by layer, or None where they are not pinned for each of the architecture's."""
        layers = ARCHITECTURES[self.arch].layers
        pinned = {layer: getattr(self, f"share_{layer}", None) for layer in layers}
        shares = {layer: share for layer, share in pinned.items() if share is not None}
        return shares if len(shares) == len(layers) else None

    def control(self) -> RunConfig:
        """The free run at the same task, model, loss, lr and weight decay whose norm at grokking is w_c."""
        unused: dict[str, Any] = dict.fromkeys((*ARM_AXES, "control_id", "fork_cell", "fork_step"))
        return replace(self, arm="free", tau=1.0, gradient_compensation=False, stop="grokked", **unused)

    def prefix(self, n_steps: int) -> RunConfig:
        """The same training for exactly `n_steps`: what a fork at that step starts from."""
        return replace(self, max_steps=n_steps, stop=STOP_AT_BUDGET)

    def differences(self) -> tuple[str, ...]:
        """`name value` of each field whose value is not the commonest, beyond p, arm, dose and temperature."""
        usual = {"arch": "mlp", "task": "add", "loss": "ce", "optimizer": "adamw", "dtype": "float32", **ADDED_LATER}
        hidden = ("heads", "fork_cell", "stop", "momentum", "arch_version", *SHARES)
        return tuple(f"{n} {getattr(self, n)}" for n, v in usual.items() if n not in hidden and getattr(self, n) != v)

    def to_dict(self) -> dict[str, Any]:
        """Field values by column name."""
        return dict(zip(CONFIG_COLUMNS, _VALUES(self), strict=True))

    def values(self) -> tuple[Any, ...]:
        """Field values in the order of `CONFIG_COLUMNS`."""
        return _VALUES(self)

    def without_seed(self) -> tuple[Any, ...]:
        """Every value but the seed: equal for the runs of one cell."""
        return _VALUES_BUT_SEED(self)


CONFIG_COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(RunConfig))
_VALUES: Callable[[RunConfig], tuple[Any, ...]] = attrgetter(*CONFIG_COLUMNS)
_VALUES_BUT_SEED: Callable[[RunConfig], tuple[Any, ...]] = attrgetter(*(n for n in CONFIG_COLUMNS if n != "seed"))


class Identities:
    """Ids of many runs: what the runs of a cell have in common is written out once, which is most of the work."""

    def __init__(self) -> None:
        self._cells: dict[tuple[Any, ...], tuple[str, str, str]] = {}

    def of(self, config: RunConfig) -> tuple[str, str]:
        """A run's `run_id` and `cell_id`."""
        key = config.without_seed()
        cell = self._cells.get(key)
        if cell is None:
            before, seed, after = canonical_json({**_identity(config), "seed": 0}).partition('"seed":0')
            cell = self._cells[key] = (before + seed[:-1], after, config.cell_id)
        before, after, cell_id = cell
        return _digest_of(f"{before}{config.seed}{after}"), cell_id


def run_config_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Rebuild a config from stored columns, ignoring columns that are not part of it."""
    return RunConfig(**{name: values[name] for name in CONFIG_COLUMNS if name in values})


def control_id_of(run_ids: Iterable[str]) -> str:
    """Identity of a control: the set of runs whose median norm is taken."""
    return _digest({"control": sorted(run_ids)})


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and shortest exact floats; equal values give equal text."""
    return _CANONICAL.encode(value)


def _identity(config: RunConfig) -> dict[str, Any]:
    return {
        name: value
        for name, value in config.to_dict().items()
        if value is not None and not (name in ADDED_LATER and ADDED_LATER[name] == value)
    }


def _digest(value: Any) -> str:
    return _digest_of(canonical_json(value))


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]
