"""A sweep in a store of every backend."""

from __future__ import annotations

import pytest

from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, SweepStore

SPEC = "name: made\nruns: {p: 5, seeds: 4}\n"


@pytest.fixture
def spec_text() -> str:
    return SPEC


@pytest.fixture
def plan(spec_text: str) -> Plan:
    return make_plan(parse_spec(spec_text))


@pytest.fixture
def sweep(objects: ObjectStore, spec_text: str, plan: Plan) -> SweepStore:
    store = SweepStore(objects, "made")
    store.create(spec_text, plan)
    return store
