"""The columns of the results table: one source for the Parquet schema, the checks and the documentation.

Rows are immutable and old stores stay readable: columns are only ever added, and a reader fills what an older file
lacks with null. `SCHEMA_VERSION` is raised when a column changes its meaning, and written into every file.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 1

OUTCOMES = ("grokked", "censored", "diverged", "failed")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `null` says when it is null (empty: never)."""

    name: str
    dtype: pa.DataType
    unit: str
    meaning: str
    null: str = ""


_STR, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TIME = pa.timestamp("us", tz="UTC")

_NOT_HELD = "the norm is free"
_NOT_RESOLVED = "the norm is free, or outcome is failed"
_NO_W_C = "arm is free or fork"
_NOT_ALLOCATED = "arm is not allocation"
_NOT_GROKKED = "outcome is not grokked"
_NOT_FORKED = "the run is no fork"
_NO_START = "the run is no fork, or outcome is failed"
_NO_LAYER = "the architecture has none"

IDENTITY = (
    Column("sweep", _STR, "", "name of the sweep"),
    Column("run_id", _STR, "", "hash of everything that decides the run's numbers"),
    Column("cell_id", _STR, "", "the same hash without the seed: runs of one cell differ only in the seed"),
)

CONFIG = (
    Column("arch", _STR, "", "network architecture"),
    Column("task", _STR, "", "binary operation modulo p that is learnt"),
    Column("p", _INT, "", "modulus: residues, classes; p*p ordered pairs"),
    Column("train_fraction", _FLOAT, "1", "share of the pairs that is trained on (floor)"),
    Column("d_model", _INT, "", "width of the embedding"),
    Column("hidden", _INT, "", "width of the hidden layer"),
    Column("loss", _STR, "", "training loss"),
    Column("optimizer", _STR, "", "optimiser"),
    Column("lr", _FLOAT, "1/step", "learning rate"),
    Column("weight_decay", _FLOAT, "1", "decoupled weight decay on the weight matrices"),
    Column("arm", _STR, "", "intervention on the weight norm: free, clamp, allocation or fork"),
    Column("rho", _FLOAT, "1", "dose: held norm as a multiple of w_c, for arm fork of fork_norm", _NOT_HELD),
    Column("tau", _FLOAT, "1", "temperature: the loss sees logits / tau"),
    Column("clamp_from_step", _INT, "step", "first step after which the norm is held", _NO_W_C),
    Column("seeding", _STR, "", "run: own generator a run; paper: a cell of seeds drawn as one block"),
    Column("seed", _INT, "", "seed of initialisation and split"),
    Column("seeds_in_block", _INT, "", "seeds drawn as one block", "seeding is not paper"),
    Column("dtype", _STR, "", "floating-point type of training"),
    Column("max_steps", _INT, "step", "budget: the censoring horizon"),
    Column("eval_every", _INT, "step", "steps between two readings"),
    Column("control_id", _STR, "", "control whose median norm gave w_c", f"w_c is pinned, or {_NO_W_C}"),
    Column("heads", _INT, "", "attention heads", "the architecture has none"),
    Column("momentum", _FLOAT, "1", "momentum of sgd", "optimizer is not sgd"),
    Column("batch_size", _INT, "", "train pairs a step", "full batch"),
    Column("normalizer", _STR, "", "logits to probabilities: softmax or stablemax"),
    Column("label_smoothing", _FLOAT, "1", "share of the target spread evenly over all classes"),
    Column("logit_penalty", _FLOAT, "1", "factor of the mean squared L2 norm of logits / tau added to the loss"),
    Column("gradient_compensation", _BOOL, "", "whether the loss is multiplied by tau"),
    Column("gradient_projection", _STR, "", "none, or orthogonal: gradient without its part along each weight tensor"),
    Column("gamma", _FLOAT, "1", "allocation: relative change of the readout's fraction theta0", _NOT_ALLOCATED),
    Column("share_embedding", _FLOAT, "1", "pinned share of the control's norm in the embedding", "not pinned"),
    Column("share_hidden", _FLOAT, "1", "pinned share of the control's norm in the hidden layer", "not pinned"),
    Column("share_readout", _FLOAT, "1", "pinned share of the control's norm in the readout", "not pinned"),
    Column("fork_cell", _STR, "", "cell of the parent; its run of the same seed is fork_of", _NOT_FORKED),
    Column("fork_step", _INT, "step", "step of the parent's state from which the run goes on", _NOT_FORKED),
    Column("stop", _STR, "", "when a run ends: grokked, grokked+N steps, or budget"),
    Column("arch_version", _INT, "", "form of the architecture: 2 is transformer_no_layernorm as released"),
)

OUTCOME = (
    Column("outcome", _STR, "", "grokked, censored (budget spent), diverged or failed"),
    Column("memorized_step", _INT, "step", "first reading with train accuracy >= 0.99", "not reached"),
    Column("grokked_step", _INT, "step", "first reading with test accuracy >= 0.90", _NOT_GROKKED),
    Column("delay", _INT, "step", "grokked_step - memorized_step, for a fork - fork_step", "either is null"),
    Column(
        "steps_run",
        _INT,
        "step",
        "steps trained; for a censored run its horizon, also when it was extended; for a failed one its last reading",
    ),
    Column("error", _STR, "", "what went wrong, in one line", "outcome is not failed or diverged"),
)

RESOLVED = (
    Column("w_c", _FLOAT, "norm", "weight norm at which the control groks", _NO_W_C),
    Column("held_norm", _FLOAT, "norm", "rho * w_c, for arm fork rho * fork_norm", _NOT_RESOLVED),
    Column("fork_of", _STR, "", "run_id of the parent", _NOT_FORKED),
    Column("fork_norm", _FLOAT, "norm", "N0: the parent's weight norm at fork_step", _NO_START),
    Column("fork_state_sha256", _STR, "", "SHA-256 of the parent's weights, moments and step there", _NO_START),
)

READINGS = (
    Column("train_loss", _FLOAT, "nat", "mean loss over the train pairs"),
    Column("test_loss", _FLOAT, "nat", "mean loss over the test pairs"),
    Column("train_accuracy", _FLOAT, "1", "share of train pairs whose class alone has the largest logit"),
    Column("test_accuracy", _FLOAT, "1", "share of test pairs whose class alone has the largest logit"),
    Column("logit_scale", _FLOAT, "1", "L: mean over all pairs of the L2 norm of logits / tau"),
    Column("softmax_collapse", _FLOAT, "1", "share of train pairs whose correct-class probability rounds to 1"),
    Column("saturation", _FLOAT, "1", "share of all pairs whose largest probability exceeds 0.999"),
    Column("weight_norm", _FLOAT, "norm", "Frobenius norm of all weight matrices"),
    Column("norm_embedding", _FLOAT, "norm", "Frobenius norm of the embedding E"),
    Column("norm_hidden", _FLOAT, "norm", "Frobenius norm of the hidden layer, W1 or both matrices of the MLP block"),
    Column("norm_readout", _FLOAT, "norm", "Frobenius norm of the readout W2"),
    Column("norm_position", _FLOAT, "norm", "Frobenius norm of the positions", _NO_LAYER),
    Column("norm_attention", _FLOAT, "norm", "Frobenius norm of the four attention matrices", _NO_LAYER),
    Column(
        "grad_norm",
        _FLOAT,
        "norm",
        "norm of the weight matrices' gradient in the step before, as the optimiser used it",
    ),
    Column(
        "update_norm",
        _FLOAT,
        "norm",
        "norm of the weight matrices' change in the step before, decay and clamp included",
    ),
    Column("turn_angle", _FLOAT, "rad", "angle between the weight vectors before and after that step"),
    Column("preactivation_rms", _FLOAT, "1", "root mean square of the hidden pre-activations over all pairs and units"),
    Column(
        "saturated_units",
        _FLOAT,
        "1",
        "share of hidden pre-activations beyond ±3, where the slope of GELU is 0 or 1 to 0.012",
    ),
    Column(
        "fourier_concentration",
        _FLOAT,
        "1",
        "share of the embedding's power in its 5 strongest frequencies over residues",
    ),
)
"""What is read every `eval_every` steps and at step 1, in the order in which the engine returns it."""

MAX_OVER_RUN = "softmax_collapse"
"""The reading whose largest value counts, not the one at grokking."""

_SKIPPED_AT_GROK = ("train_loss", "test_loss", "train_accuracy", MAX_OVER_RUN)
AT_GROK_NAMES = tuple(c.name for c in READINGS if c.name not in _SKIPPED_AT_GROK)

_READING = {c.name: c for c in READINGS}

AT_GROK = (
    *(
        Column(f"{n}_at_grok", _FLOAT, _READING[n].unit, f"{_READING[n].meaning}, at grokked_step", _NOT_GROKKED)
        for n in AT_GROK_NAMES
    ),
    Column(
        "softmax_collapse_max", _FLOAT, "1", "largest softmax_collapse over the run's readings", "outcome is failed"
    ),
    Column(
        "final_state_sha256", _STR, "", "SHA-256 of weights, moments and step at the run's end", "outcome is failed"
    ),
)

PROVENANCE = (
    Column("attempt", _STR, "", "the worker attempt that finished the run; joins rows to curves"),
    Column("version", _STR, "", "grok-sweeps version"),
    Column("git_sha", _STR, "", "commit of the working tree, with + when it was changed", "not run from a checkout"),
    Column("torch", _STR, "", "torch version"),
    Column("ray", _STR, "", "ray version", "trained without Ray"),
    Column("device", _STR, "", "device that trained the run"),
    Column("device_name", _STR, "", "model of the GPU, or of the CPU", "unknown, or older than the column"),
    Column("gpu_share", _FLOAT, "1", "share of a GPU that its worker held", "on a CPU, or older than the column"),
    Column("host", _STR, "", "host name of the worker"),
    Column("lanes", _INT, "", "width of the stack of lanes the run was part of when it finished"),
    Column("threads", _INT, "", "threads its worker computed with", "older than the column"),
    Column(
        "engine",
        _STR,
        "",
        "how its steps were computed: eager | native | graph | fused; plain torch where its kernels do not reach",
        "unknown",
    ),
    Column("lane_bytes", _INT, "B", "peak memory of a lane, from which the width was chosen", "trained on a CPU"),
    Column(
        "idle_share",
        _FLOAT,
        "1",
        "share of the lane-steps of its worker's attempt, up to its end, that were done in lanes whose run had ended",
        "outcome is failed",
    ),
    Column("started_at", _TIME, "UTC", "first step, also over interruptions"),
    Column("finished_at", _TIME, "UTC", "end of the run"),
    Column("wall_s", _FLOAT, "s", "time in training, its share of the lanes' common time, over all attempts"),
)

RUN_COLUMNS: tuple[Column, ...] = (*IDENTITY, *CONFIG, *OUTCOME, *RESOLVED, *AT_GROK, *PROVENANCE)
CURVE_COLUMNS: tuple[Column, ...] = (
    *IDENTITY[:2],
    PROVENANCE[0],
    Column("step", _INT, "step", "step after which the reading was taken"),
    *READINGS,
)
READING_NAMES: tuple[str, ...] = tuple(c.name for c in READINGS)

_MOST_CENSORED = "half of the runs or more did not get there, or all failed"
_NONE_GROKKED = "no run grokked"

CELL_KEYS = (*(c for c in IDENTITY if c.name != "run_id"), *(c for c in CONFIG if c.name != "seed"))
"""What the runs of a cell have in common."""
MEDIANS = ("grokked_step", "memorized_step", "delay")
MEANS = ("logit_scale_at_grok", "weight_norm_at_grok")
"""Columns of runs whose medians and means a cell has."""

CELL_COLUMNS: tuple[Column, ...] = (
    *CELL_KEYS,
    *(c for c in RESOLVED if c.name in {"w_c", "held_norm"}),
    Column("n_runs", _INT, "", "finished runs"),
    *(Column(f"n_{outcome}", _INT, "", f"runs whose outcome is {outcome}") for outcome in OUTCOMES),
    *(
        Column(f"median_{name}", _FLOAT, "step", f"median of {name}; a run without one is later", _MOST_CENSORED)
        for name in MEDIANS
    ),
    *(Column(f"mean_{c.name}", _FLOAT, c.unit, f"mean of {c.name}", _NONE_GROKKED) for c in AT_GROK if c.name in MEANS),
)

_NOTHING_FINISHED = "no run finished yet"
SWEEP_COLUMNS: tuple[Column, ...] = (
    IDENTITY[0],
    Column("runs_planned", _INT, "", "runs of the plan"),
    Column("cells_planned", _INT, "", "cells of the plan"),
    Column("runs_finished", _INT, "", "runs with a row"),
    Column("runs_grokked", _INT, "", "of these grokked"),
    Column("runs_censored", _INT, "", "of these censored"),
    Column("runs_broken", _INT, "", "of these diverged or failed"),
    Column("run_steps", _INT, "step", "steps trained, over all runs"),
    Column("lane_s", _FLOAT, "s", "sum of wall_s", _NOTHING_FINISHED),
    Column("started_at", _TIME, "UTC", "first step of the first run", _NOTHING_FINISHED),
    Column("finished_at", _TIME, "UTC", "end of the run that ended last", _NOTHING_FINISHED),
)

VIEWS: dict[str, tuple[Column, ...]] = {
    "runs": RUN_COLUMNS,
    "cells": CELL_COLUMNS,
    "curves": CURVE_COLUMNS,
    "curves_under_way": CURVE_COLUMNS,
    "sweeps": SWEEP_COLUMNS,
}
"""Every view that a query may speak of."""


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Arrow schema of a table, with the schema version in its metadata."""
    return pa.schema(
        [pa.field(c.name, c.dtype, nullable=bool(c.null) or c.dtype == _FLOAT) for c in columns],
        metadata={b"grok_sweeps_schema": str(SCHEMA_VERSION).encode()},
    )


RUNS_SCHEMA = arrow_schema(RUN_COLUMNS)
CURVES_SCHEMA = arrow_schema(CURVE_COLUMNS)
