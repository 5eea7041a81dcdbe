"""The bench of clusters: `python -m tests.bench.on_cluster [--parts trials recovery] [--runs 300] [--json FILE]`.

A head and nodes as processes of this machine, with token authentication and SeaweedFS as store. `trials`: many small
runs, a trial each, against the same runs in packs. `recovery`: what a sweep's time and work suffer from faults.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.machine import Machine
from tests.bench.null_driver import STEPS, spec_of
from tests.bench.recovery import FAULTS, recovery
from tests.bench.tables import Cell, Figure, Report, Table
from tests.cluster_sweeps import OVER, ClusterSweep, Site, ended
from tests.ray_nodes import RayCluster, wait_until
from tests.s3_servers import SeaweedServer, running

NODES = 4
LIMIT_S = 900.0
SAMPLE_EVERY_S = 0.25
PARTS = ("trials", "recovery")


@dataclass(frozen=True)
class Driven:
    """A sweep that was submitted and has finished; times in seconds, memory in MB of the driver's process.

    `first_step_s` and `last_step_s` count from the submission; `training_s` are worker-seconds, as the rows say.
    """

    trials: int
    wall_s: float
    first_step_s: float
    last_step_s: float
    training_s: float
    driver_cpu_s: float
    rss_mb: float
    uss_mb: float
    runs_once: int

    @property
    def overhead_ms(self) -> float:
        """Of a trial: time from the first step to the last that the workers, all of them, do not train."""
        return 1e3 * (self.last_step_s - self.first_step_s - self.training_s / NODES) / self.trials


class DriverMeter:
    """Samples a driver's memory and CPU time while it lives."""

    def __init__(self, driver: psutil.Process) -> None:
        self._driver = driver
        self.rss = self.uss = 0
        self.cpu_s = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> DriverMeter:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        with contextlib.suppress(psutil.Error):
            while not self._end.wait(SAMPLE_EVERY_S):
                memory, times = self._driver.memory_full_info(), self._driver.cpu_times()
                self.rss, self.uss = max(self.rss, memory.rss), max(self.uss, memory.uss)
                self.cpu_s = times.user + times.system


def drive(site: Site, cluster: RayCluster, name: str, n_runs: int, *options: str) -> Driven:
    """Submit a sweep of `n_runs` small runs and wait for its end."""
    sweep = ClusterSweep(site, spec_of(n_runs, name))
    began, began_at = time.monotonic(), time.time()
    submission = sweep.begin_submit(cluster, *options)
    wait_until(lambda: sweep.store.load_job() is not None or submission.poll() is not None, "the job is there")
    wait_until(lambda: sweep.driver(cluster) is not None or submission.poll() is not None, "its driver is there")
    driver = sweep.driver(cluster)
    assert driver is not None, ended(submission)
    with DriverMeter(driver) as meter:
        wait_until(lambda: sweep.state(cluster) in OVER, f"{name} ends", lambda: sweep.log(cluster), within_s=LIMIT_S)
        wall_s = time.monotonic() - began
    ended(submission)
    assert sweep.state(cluster) == "SUCCEEDED", sweep.log(cluster)
    runs = sweep.results().runs
    packs = re.search(r"stage 0: \d+ runs in (\d+) packs", sweep.log(cluster))
    assert packs is not None
    return Driven(
        int(packs.group(1)),
        wall_s,
        runs["started_at"].min().timestamp() - began_at,
        runs["finished_at"].max().timestamp() - began_at,
        float(runs["wall_s"].sum()),
        meter.cpu_s,
        meter.rss / 1e6,
        meter.uss / 1e6,
        len(set(runs["run_id"]) & sweep.plan.run_ids()) if len(runs) == n_runs else 0,
    )


def trials(site: Site, n_runs: int, repeats: int) -> Table:
    """The same runs, a trial each and in packs, in turn."""
    found: dict[str, list[Driven]] = {"a trial each": [], "in packs": []}
    with site.cluster(NODES) as cluster:
        for k in range(repeats):
            found["a trial each"].append(drive(site, cluster, f"each-{k}", n_runs, "--set=execution.pack_runs=1"))
            found["in packs"].append(drive(site, cluster, f"packs-{k}", n_runs))
    note = (
        f"Runs of {STEPS} steps at p = 23, d_model 32, hidden 64; a head and {NODES} nodes of one CPU each. Training: "
        "the sum of what the rows say, in worker-seconds. Overhead a trial: the time from the first step to the last, "
        f"less training over {NODES} workers, by trials. Memory: peaks of the driver's process, sampled."
    )
    columns = (
        "runs",
        "trials",
        "s from submit to end",
        "s to the first step",
        "s first step to last",
        "training, s",
        "overhead a trial, ms",
        "driver's CPU a trial, ms",
        "driver's RSS, MB",
        "driver's USS, MB",
        "runs, each once",
    )
    return Table("trials", f"{n_runs} runs", columns, tuple(_row(name, many) for name, many in found.items()), note)


def _row(name: str, many: Sequence[Driven]) -> tuple[Cell, ...]:
    return (
        name,
        many[0].trials,
        Figure.of([one.wall_s for one in many]),
        Figure.of([one.first_step_s for one in many]),
        Figure.of([one.last_step_s - one.first_step_s for one in many]),
        Figure.of([one.training_s for one in many]),
        Figure.of([one.overhead_ms for one in many]),
        Figure.of([1e3 * one.driver_cpu_s / one.trials for one in many]),
        Figure.of([one.rss_mb for one in many]),
        Figure.of([one.uss_mb for one in many]),
        min(one.runs_once for one in many),
    )


@contextlib.contextmanager
def site_of_its_own() -> Iterator[Site]:
    """A store on a SeaweedFS of its own, and the credentials in this process's environment."""
    with tempfile.TemporaryDirectory() as folder, running(SeaweedServer(Path(folder))) as server:
        os.environ.update(server.credentials.environment())
        yield Site(server.uri("bench"), Path(folder))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.on_cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--runs", type=int, default=300, help="runs of the part trials")
    parser.add_argument("--repeats", type=int, default=2, help="measurements of each figure")
    parser.add_argument("--faults", nargs="+", metavar="WORD", help="only faults whose names have one of the words")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables as JSON too")
    asked = parser.parse_args()
    report = Report("cluster", Machine.here().to_dict(), asked.json)
    report.begin()
    with site_of_its_own() as site:
        if "trials" in asked.parts:
            report.add(trials(site, asked.runs, asked.repeats))
        if "recovery" in asked.parts:
            faults = [f for f in FAULTS if not asked.faults or any(word in f.name for word in asked.faults)]
            report.add(recovery(site, asked.repeats, faults))
    if asked.json:
        print(f"written to {asked.json}")


if __name__ == "__main__":
    main()
