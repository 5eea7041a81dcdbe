"""The architectures as the planner knows them: their axes, the paper's values for them, and what a step costs.

No torch here: the network itself is the class that `implementation` names, loaded by `grok_sweeps.train.network` where
training happens. To add an architecture, write that class and register it in `ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grok_sweeps.config import RunConfig


@dataclass(frozen=True, slots=True)
class Architecture:
    """One value of the axis `arch`.

    `lr`, `hidden`, `clamp_from_step` are the paper's defaults (the last under cross-entropy). `multiply_adds` are those
    of one forward pass over the train rows, `n_parameters` all trained numbers of one network. `axes` lists axes that
    only some architectures have; `layers` the parts whose norms are read, in the order of the weights. `version` counts
    the forms that runs of this name have had; a run of an earlier one goes on as it began.
    """

    implementation: str
    lr: float
    hidden: int
    clamp_from_step: int
    layers: tuple[str, ...]
    multiply_adds: Callable[[RunConfig], int]
    n_parameters: Callable[[RunConfig], int]
    axes: tuple[str, ...] = ()
    paper_seeding: bool = False
    version: int = 1


def _mlp_multiply_adds(c: RunConfig) -> int:
    return 2 * c.p * c.d_model * c.hidden + c.n_batch * c.hidden * c.p


def _mlp_parameters(c: RunConfig) -> int:
    return c.p * c.d_model + 2 * c.d_model * c.hidden + c.hidden * c.p + c.hidden + c.p


def _transformer_multiply_adds(c: RunConfig) -> int:
    tables = 4 * (c.p + 1) * c.d_model**2
    return tables + c.n_batch * c.d_model * (c.d_model + 2 * c.hidden + transformer_classes(c) + 3)


def _transformer_parameters(c: RunConfig) -> int:
    tokens = c.p + 1 + transformer_classes(c)
    return tokens * c.d_model + 3 * c.d_model + 4 * c.d_model**2 + 2 * c.d_model * c.hidden


def is_as_released(c: RunConfig) -> bool:
    """Whether a transformer is the one whose runs the paper released: positions at 1/√d, logits over p classes.

    The paper's text says 0.1/√d and p + 1 classes. So were runs of version 1, and so is the one with LayerNorm.
    """
    return c.arch == "transformer_no_layernorm" and c.arch_version >= 2


def transformer_classes(c: RunConfig) -> int:
    """Classes of a transformer's readout."""
    return c.p if is_as_released(c) else c.p + 1


HEADS = 4
"""The paper's attention heads."""
_TRANSFORMER_LAYERS = ("embedding", "position", "attention", "hidden", "readout")

ARCHITECTURES: dict[str, Architecture] = {
    "mlp": Architecture(
        "grok_sweeps.train.mlp:Mlp",
        lr=1e-3,
        hidden=256,
        clamp_from_step=500,
        layers=("embedding", "hidden", "readout"),
        multiply_adds=_mlp_multiply_adds,
        n_parameters=_mlp_parameters,
        paper_seeding=True,
    ),
    "transformer_no_layernorm": Architecture(
        "grok_sweeps.train.transformer:TransformerNoLayerNorm",
        lr=5e-4,
        hidden=512,
        clamp_from_step=600,
        layers=_TRANSFORMER_LAYERS,
        multiply_adds=_transformer_multiply_adds,
        n_parameters=_transformer_parameters,
        axes=("heads",),
        paper_seeding=True,
        version=2,
    ),
    "transformer": Architecture(
        "grok_sweeps.train.transformer:Transformer",
        lr=5e-4,
        hidden=512,
        clamp_from_step=600,
        layers=_TRANSFORMER_LAYERS,
        multiply_adds=_transformer_multiply_adds,
        n_parameters=lambda c: _transformer_parameters(c) + 6 * c.d_model,
        axes=("heads",),
    ),
}
