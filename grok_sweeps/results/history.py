"""What a store knows of runs like those that are planned: how long they took to grok, and how fast devices train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from grok_sweeps.config import CONFIG_COLUMNS, RunConfig, run_config_from_dict
from grok_sweeps.plan.estimate import steps_of
from grok_sweeps.plan.learned import Accuracy, DelayLaw, Seen
from grok_sweeps.plan.plan import Plan
from grok_sweeps.plan.rates import Measured
from grok_sweeps.results.store import Store

_COLUMNS = ", ".join(f"any_value({name}) AS {name}" for name in CONFIG_COLUMNS)
_SEEN = f"""
    SELECT cell_id, {_COLUMNS},
           count(*) FILTER (outcome = 'grokked') AS n_grokked,
           coalesce(avg(ln(greatest(grokked_step, 1))) FILTER (outcome = 'grokked'), 0) AS ln_grokked,
           count(*) FILTER (outcome = 'censored') AS n_censored,
           coalesce(avg(ln(greatest(steps_run, 1))) FILTER (outcome = 'censored'), 0) AS ln_horizon,
           min(epoch(finished_at)) AS first_at
    FROM (SELECT DISTINCT ON (run_id) * FROM runs WHERE outcome IN ('grokked', 'censored')
          AND sweep IN (SELECT sweep FROM sweeps WHERE runs_finished >= runs_planned))
    GROUP BY cell_id"""
_MEASURED = f"""
    SELECT {_COLUMNS}, device, any_value(device_name) AS device_name,
           any_value(CASE WHEN device = 'cpu' THEN threads ELSE gpu_share END) AS share,
           sum(steps_run - coalesce(fork_step, 0))::BIGINT AS run_steps, sum(wall_s) AS wall_s, count(*) AS n_rows
    FROM runs WHERE outcome <> 'failed' AND wall_s > 0
    GROUP BY cell_id, device, device_name, threads, gpu_share"""
_FAMILY = ("arch", "task", "optimizer", "normalizer", "gradient_projection")
"""What runs share whose delays say something of each other's."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Expected steps of each run of a plan, in its order, from `n_cells` finished cells of the store."""

    steps: tuple[int, ...]
    n_cells: int
    accuracy: Accuracy | None


def foresee(plan: Plan, store: Store) -> Foreseen:
    """What the runs of a plan will take, by the delay law as all finished sweeps of the store have it."""
    families = {_family(run.config) for run in plan.runs}
    cells = {run.cell_id: run.config for run in plan.runs}
    seen: dict[str, dict[str, Any]] = {}
    for row in store.arrow(_SEEN).to_pylist():
        config = run_config_from_dict(row)
        if _family(config) in families:
            seen[row["cell_id"]] = row
            cells.setdefault(row["cell_id"], config)
    law = DelayLaw(list(cells.values()))
    known = _seen(seen.get(cell_id) for cell_id in cells)
    expected = dict(zip(cells, law.fit(known).tolist(), strict=True))
    steps = tuple(steps_of(run.config, expected[run.cell_id]) for run in plan.runs)
    return Foreseen(steps, len(seen), law.accuracy(known))


def measured_rates(store: Store) -> Sequence[Measured]:
    """How fast the devices that trained the store's rows were."""
    own = ("device", "device_name", "share", "run_steps", "wall_s", "n_rows")
    return [
        Measured(run_config_from_dict(row), **{name: row[name] for name in own})
        for row in store.arrow(_MEASURED).to_pylist()
    ]


def _family(config: RunConfig) -> tuple[Any, ...]:
    return tuple(getattr(config, name) for name in _FAMILY)


def _seen(rows: Iterable[dict[str, Any] | None]) -> Seen:
    names = ("n_grokked", "ln_grokked", "n_censored", "ln_horizon", "first_at")
    values = [[float(row[name]) if row else 0.0 for name in names] for row in rows]
    return Seen(*np.array(values).T)
