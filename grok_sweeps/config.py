"""What decides the numbers of one run, and its identity.

A `RunConfig` holds resolved, validated values only; the spec layer makes them. Its canonical JSON is hashed into
`run_id`, so the hash must not move between releases: a field that a later release adds is left out of the JSON while it
has its default (`ADDED_LATER`), and floats are written by their shortest exact form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

ID_LENGTH = 16
"""Hex digits of an id: 64 bits, so that a million runs collide with probability 3e-8."""

ADDED_LATER: dict[str, Any] = {}
"""Fields that did not exist in schema 1, with the default that leaves older identities as they were."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One network to be trained once. Units: steps are optimiser steps, counted from 1.

    `rho`, `w_c`, `control_id` and `clamp_from_step` are None where the arm does not use them, so that equal runs are
    equal however they were written. Exactly one of `w_c` (a pinned norm) and `control_id` (the norm of a control that
    the sweep trains first) is set in a clamped run.
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
            self.task,
            self.loss,
            self.optimizer,
            self.dtype,
            self.p,
            self.train_fraction,
            self.d_model,
            self.hidden,
        )

    @property
    def n_train(self) -> int:
        """Number of training pairs, floor(train_fraction * p^2)."""
        return int(self.train_fraction * (self.p * self.p))

    def control(self) -> RunConfig:
        """The free run at the same task, model, loss, lr and weight decay whose norm at grokking is w_c."""
        return replace(self, arm="free", tau=1.0, rho=None, w_c=None, control_id=None, clamp_from_step=None)

    def to_dict(self) -> dict[str, Any]:
        """Field values by column name."""
        return {name: getattr(self, name) for name in CONFIG_COLUMNS}


CONFIG_COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(RunConfig))


def run_config_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Rebuild a config from stored columns, ignoring columns that are not part of it."""
    return RunConfig(**{name: values[name] for name in CONFIG_COLUMNS if name in values})


def control_id_of(run_ids: Iterable[str]) -> str:
    """Identity of a control: the set of runs whose median norm is taken."""
    return _digest({"control": sorted(run_ids)})


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and shortest exact floats; equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _identity(config: RunConfig) -> dict[str, Any]:
    return {
        name: value
        for name, value in config.to_dict().items()
        if value is not None and not (name in ADDED_LATER and ADDED_LATER[name] == value)
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:ID_LENGTH]
