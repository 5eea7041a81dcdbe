"""One driver of a sweep that trains nothing, in a process of its own: `python -m tests.bench.null_driver RUNS`.

Prints as JSON what its memory peaked at on the way, in MB, and how long it took.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

from grok_sweeps.cluster.driver import run_sweep
from grok_sweeps.cluster.local_ray import LocalRay
from grok_sweeps.cluster.resources import choose_resources
from grok_sweeps.cluster.settings import this_machine
from grok_sweeps.plan import make_plan
from grok_sweeps.progress import Progress
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from tests.bench.memory import peak_bytes
from tests.bench.null_trial import NullTrial

STEPS = 200


class Silent:
    """A view that shows nothing."""

    def update(self, progress: Progress) -> None:
        """Nothing."""

    def event(self, text: str) -> None:
        """Nothing."""


def spec_of(n_runs: int, name: str = "many") -> str:
    """A sweep of small runs that end at their budget of `STEPS` steps, each its own seed, a hundred or so a cell."""
    n_seeds = min(n_runs, 100)
    taus = [round(1 + k * 1e-3, 3) for k in range(n_runs // n_seeds)]
    return (
        f"name: {name}\n"
        f"runs: {{p: 23, d_model: 32, hidden: 64, max_steps: {STEPS}, stop: budget, seeds: {n_seeds}, tau: {taus}}}\n"
        "execution: {device: cpu}\n"
    )


def main() -> None:
    """Run the sweep."""
    n_runs = int(sys.argv[1])
    text = spec_of(n_runs)
    found = {"loaded_mb": peak_bytes() / 1e6}
    began = time.monotonic()
    spec = parse_spec(text)
    plan = make_plan(spec)
    found |= {"planned_mb": peak_bytes() / 1e6, "plan_s": time.monotonic() - began}
    resources = choose_resources(spec.execution, this_machine(look_for_gpus=False))
    with tempfile.TemporaryDirectory() as folder:
        store = SweepStore(open_objects(folder), spec.name)
        report = run_sweep(store, text, plan, spec.execution, LocalRay(resources), Silent(), trainable=NullTrial)
    found |= {"done_mb": peak_bytes() / 1e6, "all_s": time.monotonic() - began}
    if report.state != "finished" or report.progress.finished != n_runs:
        sys.exit(f"the sweep is {report.state} with {report.progress.finished} of {n_runs} runs: {report.errors}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
