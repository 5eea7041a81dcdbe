"""How far does rounding alone move a grokking step? `python -m tests.fidelity.rounding --store ./fidelity --seed 0`.

Trains copies of one raised same-state run (rho 1.15) from its parent's state at step 800, with the weights changed by
noise of relative size 1e-7, about one float32 rounding, and prints where each copy groks.
"""

from __future__ import annotations

import argparse

import torch

import grok_sweeps as gs
from grok_sweeps.arms import Held
from grok_sweeps.store.checkpoints import kept_state
from grok_sweeps.train.lanes import STATE_TENSORS, LaneStack, LaneTensors
from grok_sweeps.train.network import network_of
from grok_sweeps.train.optimizers import hold
from grok_sweeps.train.record import GROKKED_ACCURACY

NOISE = 1e-7
SWEEP, RHO = "fidelity-same-state", 1.15


def main() -> None:
    """Print the grokking step of each copy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--copies", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = gs.open_store(options.store)
    runs = store.runs(SWEEP)
    (row,) = runs[(runs.rho == RHO) & (runs.seed == options.seed)].to_dict("records")
    plan = store.sweep(SWEEP).load_plan()
    assert plan is not None
    (config,) = (run.config for run in plan.runs if run.run_id == row["run_id"])
    state = kept_state(store.sweep(SWEEP), row["fork_of"], int(row["fork_step"]))
    assert state is not None
    held = Held(row["held_norm"])
    lanes = []
    for copy in range(options.copies):
        tensors = {name: torch.from_numpy(state.tensors[name].copy()) for name in STATE_TENSORS}
        noise = torch.randn(tensors["weights"].shape, generator=torch.Generator().manual_seed(copy))
        tensors["weights"] *= 1 + NOISE * noise
        hold(tensors["weights"], held, network_of(config).layout)
        lanes.append(LaneTensors(**tensors, step=state.step))
    print(f"seed {options.seed}: undisturbed {int(row['grokked_step'])}", flush=True)
    stack = LaneStack([config] * len(lanes), [held] * len(lanes), lanes, torch.device("cpu"))
    grokked: dict[int, int] = {}
    while len(grokked) < len(lanes) and stack.steps[0] < config.max_steps:
        stack.advance(config.eval_every)
        for lane in set(range(len(lanes))) - set(grokked):
            if stack.read(lane)["test_accuracy"] >= GROKKED_ACCURACY:
                grokked[lane] = stack.steps[lane]
                print(f"seed {options.seed}, copy {lane}: {stack.steps[lane]}", flush=True)


if __name__ == "__main__":
    main()
