"""Small specs for property tests, and how to write one down."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.spec import parse_spec

Axes = dict[str, Any]


def _axis(*values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


_SHARED = {
    "p": _axis(5, 7, 11),
    "tau": _axis(1.0, 1.3, 2),
    "lr": _axis(1e-3, 5e-4),
    "max_steps": _axis(100, 200),
    "seeds": st.integers(1, 3) | st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
}
FREE = st.fixed_dictionaries({"arm": st.just(["free"])}, optional=_SHARED)
PINNED = st.fixed_dictionaries(
    {"arm": st.sampled_from([["clamp"], ["free", "clamp"]]), "w_c": _axis(5.0, 6.5)},
    optional={**_SHARED, "rho": _axis(1.0, 1.1, 1.25), "clamp_from_step": _axis(50, 500)},
)
CONTROLLED = st.fixed_dictionaries(
    {"arm": st.sampled_from([["clamp"], ["free", "clamp"]]), "w_c": st.just(["control"])},
    optional={**_SHARED, "rho": _axis(1.0, 1.1, 1.25)},
)
BLOCKS = st.lists(FREE | PINNED | CONTROLLED, min_size=1, max_size=3)


def plan_of(blocks: list[Axes]) -> Plan:
    """The plan of a spec with these blocks, through its text as a user would write it (JSON is YAML)."""
    return make_plan(parse_spec(json.dumps({"name": "made", "blocks": blocks})))
