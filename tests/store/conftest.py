"""A store of every backend, and a sweep in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from backends import BACKENDS

from grok_sweeps.plan import Plan, make_plan
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, SweepStore, open_objects

SPEC = "name: made\nruns: {p: 5, seeds: 4}\n"


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS.keys())
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return open_objects(request.param(request, tmp_path))


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
