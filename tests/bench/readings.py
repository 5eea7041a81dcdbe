"""What the readings cost beside the training between them: `python -m tests.bench.readings`.

CPU time of one thread, so that other processes disturb it little: medians over rounds of `eval_every` steps and of one
set of readings, and their ratio. The target is 5 % of training at the default `eval_every` of 25.

Runs itself anew with the memory settings that workers get (`cluster.settings.prepare_ray`).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import torch

from cluster.settings import prepare_ray
from grok_sweeps.plan import make_plan
from grok_sweeps.spec import parse_spec
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.lanes import Joining, LaneStack, LaneTensors

VARIANTS = (
    "p: 59",
    "p: 97",
    "p: 59, loss: mse",
    "p: 59, dtype: float64",
    "p: 59, normalizer: stablemax",
    "p: 59, arch: transformer_no_layernorm",
    "p: 59, arch: transformer",
)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(axes: str, rounds: int) -> tuple[float, float, float]:
    """Milliseconds of one step and of one set of readings, and the readings' share of the training between them."""
    config = make_plan(parse_spec(f"name: bench\nruns: {{{axes}, seeds: 1}}")).runs[0].config
    stack = LaneStack([Joining(config, None, LaneTensors.fresh(config))], choose_engine("auto", torch.device("cpu")))
    stack.advance(2)
    stack.read([0])[0]
    trained, read = [], []
    for _ in range(rounds):
        trained.append(cpu_seconds(lambda: stack.advance(config.eval_every)))
        read.append(cpu_seconds(lambda: stack.read([0])[0]))
    training, reading = statistics.median(trained), statistics.median(read)
    return 1e3 * training / config.eval_every, 1e3 * reading, reading / training


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, median of {rounds} rounds")
    print("| run | ms a step | ms a set of readings | readings / training |\n|---|---|---|---|")
    for axes in VARIANTS:
        step, reading, share = measure(axes, rounds)
        print(f"| {axes} | {step:.2f} | {reading:.2f} | {100 * share:.1f} % |")


if __name__ == "__main__":
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        prepare_ray()
        os.execv(sys.executable, [sys.executable, "-m", "tests.bench.readings", *sys.argv[1:]])
    main()
