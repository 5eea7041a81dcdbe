"""The sweep that every campaign runs again and again, small, and with every way of depending on something else.

Its free controls give the norm that the clamped runs hold, so there are two stages and a calibration that is written
once; forks start from a kept state; some runs spend their budget and keep their last state. States are written twice a
second, so that a fault costs little and hits many writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from grok_sweeps.plan import make_plan
from grok_sweeps.results import open_store
from grok_sweeps.spec import parse_spec
from tests.faults.compare import Results

SPEC = """\
name: {name}
runs: {{p: 23, train_fraction: 0.8, d_model: 48, hidden: 96, lr: 0.002, weight_decay: 3.0, max_steps: 5000, seeds: {n}}}
blocks:
  - {{arm: clamp, clamp_from_step: 100, w_c: control, rho: [1.0, 1.15, 1.3], tau: [1.0, 1.5]}}
  - {{arm: fork, fork: {{of: control, at_step: 300}}, rho: [1.0, 1.2]}}
execution: {{checkpoint_every_s: 0.5, device: cpu, workers: 2, lanes: 2, pack_runs: 3}}
"""


@dataclass(frozen=True, slots=True)
class SmallSweep:
    """The sweep with `seeds` runs a cell, of which there are ten."""

    seeds: int

    def spec(self, name: str) -> str:
        """Its spec under a name."""
        return SPEC.format(name=name, n=self.seeds)

    def results(self, uri: str, name: str) -> Results:
        """Its tables as they are now in a store."""
        planned = make_plan(parse_spec(self.spec(name))).run_ids()
        store = open_store(uri)
        return Results(planned, store.runs(name), store.curves(name))
