"""What the store costs, in a directory and on SeaweedFS: `python -m tests.bench.store`.

Medians over single calls, one at a time: put, get and list of small and large objects, and the checkpoint of one lane
as a worker writes it (encode, put, delete the older one), which a thread of its own does while the lanes train on.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from grok_sweeps.plan import make_plan
from grok_sweeps.schema import READING_NAMES
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import ObjectStore, open_objects
from grok_sweeps.store.states import LaneState, encode_states
from grok_sweeps.train.lanes import LaneTensors
from grok_sweeps.train.record import RunRecord
from grok_sweeps.train.start import lane_state

SIZES = {"1 kB": 1_000, "3 MB": 3_000_000}
N_READINGS = 400
"""10,000 steps' worth of readings, which a checkpoint holds too."""


def main() -> None:
    """Print one table."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=40)
    calls = parser.parse_args().calls
    print(f"{platform.machine()}, {os.cpu_count()} cores, medians of {calls} calls, ms")
    measured = {}
    for name, opened in (("directory", directory), ("SeaweedFS", seaweedfs)):
        with opened() as objects:
            measured[name] = dict(measure(objects, calls))
    print("| | " + " | ".join(measured) + " |\n|---|" + "---|" * len(measured))
    for row in next(iter(measured.values())):
        print(f"| {row} | " + " | ".join(f"{values[row]:.2f}" for values in measured.values()) + " |")


@contextmanager
def directory() -> Iterator[ObjectStore]:
    """A store in a temporary directory."""
    with tempfile.TemporaryDirectory() as folder:
        yield open_objects(folder)


@contextmanager
def seaweedfs() -> Iterator[ObjectStore]:
    """A store on a SeaweedFS of its own, on this machine."""
    from s3_servers import SeaweedServer, running

    with tempfile.TemporaryDirectory() as folder, running(SeaweedServer(Path(folder))) as server:
        os.environ.update(server.credentials.environment())
        yield open_objects(server.uri("bench"))


def measure(objects: ObjectStore, calls: int) -> Iterator[tuple[str, float]]:
    """Medians in ms by what was measured."""
    for label, size in SIZES.items():
        data = os.urandom(size)
        yield f"put {label}", median_ms(lambda k, s=size, d=data: objects.put(f"{s}/{k}", d), calls)
        yield f"get {label}", median_ms(lambda k, s=size: objects.get(f"{s}/{k}"), calls)
        yield f"list {calls} of {label}", median_ms(lambda _, s=size: list(objects.list(str(s))), calls)
    for k in range(1000):
        objects.put(f"many/{k}", b"1")
    yield "list 1,000", median_ms(lambda _: list(objects.list("many")), max(5, calls // 4))
    yield "create", median_ms(lambda k: objects.create(f"once/{k}", b"1"), calls)
    state, numbers = lane(), count()
    label = f"{len(encode_states([state])) / 1e6:.2f} MB"

    def checkpoint(_: int) -> None:
        number = next(numbers)
        objects.put(f"checkpoints/{number}", encode_states([state]))
        objects.delete(f"checkpoints/{number - 1}")

    yield f"checkpoint of a lane, {label}", median_ms(checkpoint, calls)


def median_ms(call: Callable[[int], object], calls: int) -> float:
    """Median time of a call in ms, after one that does not count."""
    call(calls)
    times = []
    for k in range(calls):
        began = time.perf_counter()
        call(k)
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def lane() -> LaneState:
    """The state of one lane of the paper's network at p = 59."""
    (run,) = make_plan(parse_spec("name: bench\nruns: {p: 59, seeds: 1}\n")).runs
    record = RunRecord(run.config, datetime.now(UTC), run.config.max_steps)
    for k in range(N_READINGS):
        record.add(25 * k, dict.fromkeys(READING_NAMES, 0.5))
    return lane_state(run.run_id, LaneTensors.fresh(run.config), record)


if __name__ == "__main__":
    main()
