"""Which final states a sweep keeps, by `execution.keep_states`, and how many bytes that is.

A final state is worth its room where a fork starts from it or a longer budget goes on from it. Fork points of the sweep
itself are always kept. Without its state a censored run that is given a longer budget trains again from its first step,
to the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from grok_sweeps.config import STOP_AT_BUDGET, RunConfig
from grok_sweeps.plan.estimate import READINGS_BYTES, state_bytes
from grok_sweeps.plan.plan import Plan

KEEP_ALL = "all"
"""The final state of every run that spends its budget."""
KEEP_NEEDED = "needed"
"""The final states of fork points, and of runs that a longer budget extends."""
KEEP_FORKS = "forks"
"""The final states of fork points alone."""

FILE_BYTES = 1500
"""Of a state's file beside its tensors: names, facts and checksums."""


def keeps_state(keep: str, config: RunConfig, *, is_parent: bool, censored: bool) -> bool:
    """Whether the final state of a run that has spent its budget is kept."""
    if is_parent or keep == KEEP_ALL:
        return True
    return keep == KEEP_NEEDED and censored and config.stop != STOP_AT_BUDGET


def kept_bytes(plan: Plan, steps: Sequence[int], keep: str) -> tuple[int, int]:
    """Bytes of kept final states: where each run does `steps`, and where none groks."""
    expected = most = 0
    for run, n in zip(plan.runs, steps, strict=True):
        if keeps_state(keep, run.config, is_parent=run.run_id in plan.fork_parents, censored=True):
            size = _file_bytes(run.config)
            most += size
            expected += size if n >= _budget(run.config) else 0
    return expected, most


def _budget(config: RunConfig) -> int:
    return config.max_steps - (config.fork_step or 0)


def _file_bytes(config: RunConfig) -> int:
    """Bytes of the file of a run's state at the end of its budget."""
    n_readings = -(-_budget(config) // config.eval_every) + (config.fork_step is None)
    return state_bytes(config) + n_readings * READINGS_BYTES + FILE_BYTES
