"""The paper's runs cut into parts: one experiment at one modulus, each a sweep of its own.

A larger scale is a longer list of the same parts, so `cpu` and `full` do not train again what `smoke` has trained.
A cell that several experiments have is trained in the first part of the list that has it. Cells stay whole: under
`seeding: paper` a cell's seeds are drawn as one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from grok_sweeps.errors import SpecError, did_you_mean
from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.plan.expand import NOT_CROSSED
from grok_sweeps.spec import SweepSpec, load_spec, parse_spec
from grok_sweeps.spec.model import AXES, RunAxes

SMOKE, CPU, FULL = SCALES = ("smoke", "cpu", "full")
"""Smallest first; each has all parts of those before it."""
PREFIX = "paper/"


@dataclass(frozen=True, slots=True)
class Part:
    """The cells of one preset at one modulus, and the smallest scale that trains them.

    With `cells` (rho, tau) it is those of the clamped cells alone; a later part has the others.
    """

    experiment: str
    p: int
    scale: str
    cells: tuple[tuple[float, float], ...] = ()

    @property
    def preset(self) -> str:
        """The preset whose cells these are."""
        return PREFIX + self.experiment

    def in_scale(self, scale: str) -> bool:
        """Whether the scale trains it."""
        return SCALES.index(self.scale) <= SCALES.index(scale)

    @property
    def sweep(self) -> str:
        """Name of its sweep."""
        return f"paper-{self.experiment}-p{self.p}" + (f"-{self.scale}" if self.cells else "")

    def __str__(self) -> str:
        return f"{self.preset} at p = {self.p}" + (f", {len(self.cells)} cells" if self.cells else "")


PARTS = (
    # 10 minutes on 2 cores
    Part("mediation-mse", 59, SMOKE),
    Part("mediation-ce", 59, SMOKE, cells=((1.0, 1.0), (1.15, 1.7))),
    Part("mediation-mse", 97, SMOKE),
    # 90 minutes on 2 cores
    Part("mediation-ce", 59, CPU),
    Part("collapse", 59, CPU),
    Part("allocation", 59, CPU),
    Part("mediation-ce", 97, CPU),
    Part("collapse", 97, CPU),
    Part("allocation", 97, CPU),
    Part("same-state", 59, CPU),
    # paper/all
    Part("same-state", 97, FULL),
    Part("dose", 43, FULL),
    Part("dose", 59, FULL),
    Part("dose", 67, FULL),
    Part("dose", 97, FULL),
    Part("dose", 113, FULL),
    Part("transformer", 59, FULL),
    Part("float64-audit", 59, FULL),
)
"""In the order of training; `grok-sweeps plan` says what each costs. A test holds them to `paper/all`, run by run.

The two smaller scales have the parts that answer the most printed numbers in their time.
"""


def experiments() -> tuple[str, ...]:
    """The presets that have parts, in the order of the list."""
    return tuple(dict.fromkeys(part.preset for part in PARTS))


def chosen(scale: str, only: Sequence[str] = ()) -> tuple[Part, ...]:
    """The parts of a scale, or those of them that the presets `only` need, in the order of training.

    Raises:
        SpecError: a name that is no experiment of the paper, or none of this scale.
    """
    parts = tuple(part for part in PARTS if part.in_scale(scale))
    needed: set[Part] = set()
    for preset in [_preset(name) for name in only]:
        serve = serving(preset)
        if set(serve).isdisjoint(parts):
            larger = next(name for name in SCALES if any(part.in_scale(name) for part in serve))
            raise SpecError(f"--only: scale {scale} has no run of {preset}; use --scale {larger}.")
        needed.update(serve)
    return tuple(part for part in parts if not only or part in needed)


def _preset(name: str) -> str:
    """The preset that a user means by `paper/collapse` or `collapse`.

    Raises:
        SpecError: there is none.
    """
    bare, known = name.removeprefix(PREFIX), experiments()
    if PREFIX + bare not in known:
        hint = did_you_mean(bare, (preset.removeprefix(PREFIX) for preset in known)).replace("'", f"'{PREFIX}", 1)
        raise SpecError(f"--only: '{name}' is no experiment of the paper.{hint} Allowed: {', '.join(known)}.")
    return PREFIX + bare


@cache
def serving(preset: str) -> tuple[Part, ...]:
    """The parts that train runs of a preset: its own, and those before them that share a cell with it."""
    runs: frozenset[str] = frozenset().union(*(_run_ids(part) for part in PARTS if part.preset == preset))
    return tuple(part for part in PARTS if not runs.isdisjoint(written_by(part)))


@cache
def spec_of(part: Part) -> tuple[SweepSpec, str]:
    """The spec of a part's sweep, and its text."""
    before = frozenset().union(*(_run_ids(other) for other in PARTS[: PARTS.index(part)]))
    blocks = [block for block in _cells(part) if not _ids(block) <= before]
    lines = "".join(
        f"  - {{{', '.join(f'{key}: {_text(value)}' for key, value in block.items())}}}\n" for block in blocks
    )
    text = f"name: {part.sweep}\ndescription: {part}, as `grok-sweeps reproduce` trains it.\nblocks:\n{lines}"
    return parse_spec(text, part.sweep), text


@cache
def plan_of(part: Part) -> Plan:
    """The plan of a part's sweep."""
    return make_plan(spec_of(part)[0])


def written_by(part: Part) -> frozenset[str]:
    """The runs of a part, without those that its plan adds for others to start from."""
    return frozenset(run.run_id for run in plan_of(part).runs if not run.added)


@cache
def _run_ids(part: Part) -> frozenset[str]:
    """All runs of the preset at this modulus, also those that an earlier part trains."""
    return frozenset().union(*(_ids(block) for block in _cells(part)))


def _ids(block: dict[str, Any]) -> frozenset[str]:
    """Runs of one cell, without those that the plan adds."""
    spec = SweepSpec.model_validate({"name": "cell", "blocks": [block]})
    return frozenset(run.run_id for run in make_plan(spec).runs if not run.added)


def _cells(part: Part) -> Iterator[dict[str, Any]]:
    """The preset's blocks at one modulus, crossed, so that each is one cell."""
    spec, _ = load_spec(part.preset)
    keys = spec.runs.model_fields_set
    for axes in spec.resolved_blocks():
        yield from (cell for cell in _crossed(axes, keys | axes.model_fields_set) if _is_in(part, cell))


def _is_in(part: Part, cell: dict[str, Any]) -> bool:
    if cell["p"] != part.p:
        return False
    return not part.cells or (cell["arm"] == "clamp" and (cell.get("rho", 1.0), cell.get("tau", 1.0)) in part.cells)


def _crossed(axes: RunAxes, keys: set[str]) -> Iterator[dict[str, Any]]:
    names = [name for name in AXES if name in keys | {"p"}]
    whole = {name: getattr(axes, name) for name in names if name in NOT_CROSSED and getattr(axes, name) is not None}
    lists = [
        (name, getattr(axes, name)) for name in names if name not in NOT_CROSSED and getattr(axes, name) is not None
    ]
    fixed: dict[str, Any] = {}
    if "fork" in whole:
        (of,), (at_step,) = whole["fork"].of, whole["fork"].at_step
        fixed["fork"] = {"of": of, "at_step": at_step}
    if "seeds" in whole:
        seeds = whole["seeds"]
        fixed["seeds"] = len(seeds) if seeds == range(len(seeds)) else list(seeds)
    if "seeds_in_block" in whole:
        fixed["seeds_in_block"] = whole["seeds_in_block"]
    for values in product(*(options for _, options in lists)):
        yield {**dict(zip((name for name, _ in lists), values, strict=True)), **fixed}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(one)}" for key, one in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
