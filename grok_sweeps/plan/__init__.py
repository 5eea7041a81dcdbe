"""From a spec to runs, stages and packs: pure functions, deterministic, each run exactly once."""

from grok_sweeps.plan.expand import MAX_RUNS
from grok_sweeps.plan.packs import Pack, make_packs
from grok_sweeps.plan.plan import Plan, PlannedRun, make_plan

__all__ = ["MAX_RUNS", "Pack", "Plan", "PlannedRun", "make_packs", "make_plan"]
