"""Sweeps on clusters of several real nodes, with SeaweedFS as their store: submitted from outside, watched, compared.

A cluster's workers count their steps (`tests.faults.steps`), so what was trained twice is known, and which process
trains since when. Jobs are watched by what the driver writes at once to its log on the head.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from grok_sweeps.arms import Reference
from grok_sweeps.plan import make_plan
from grok_sweeps.provenance import provenance
from grok_sweeps.results import open_store
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import PackWork, RunWork
from tests.faults.compare import Results
from tests.faults.steps import CountedSteps
from tests.ray_nodes import RayCluster, RayNode, running_cluster, wait_until

FINISH_S = 400.0
"""Bound of the wait for a sweep's end."""
OVER = ("STOPPED", "SUCCEEDED", "FAILED")
SPEC = """\
name: {name}
runs: {{p: 23, train_fraction: 0.8, d_model: 48, hidden: 96, lr: 0.005, weight_decay: 3.0, clamp_from_step: 50,
  arm: clamp, w_c: 27.0, rho: [1.0, 1.1], tau: [1.0, 1.2], seeds: {seeds}, stop: budget, max_steps: {max_steps}}}
execution: {{device: cpu, workers: 2, lanes: 2, pack_runs: 2, checkpoint_every_s: 0.5, stall_after_s: {stall_after_s}}}
"""


@dataclass(frozen=True)
class SmallSweep:
    """Four cells of `seeds` runs that grok within some hundred steps and train on, in packs of two."""

    seeds: int = 3
    max_steps: int = 12_000
    stall_after_s: float = 60.0

    def spec(self, name: str) -> str:
        """Its spec under a name."""
        return SPEC.format(name=name, seeds=self.seeds, max_steps=self.max_steps, stall_after_s=self.stall_after_s)

    def undisturbed(self) -> Results:
        """Its results, trained in one go in this process."""
        with tempfile.TemporaryDirectory() as folder:
            text = self.spec("undisturbed")
            plan, store = make_plan(parse_spec(text)), SweepStore(open_objects(folder), "undisturbed")
            store.create(text, plan)
            works = [
                RunWork(r.run_id, r.cell_id, r.config, r.config.max_steps, Reference(r.config.w_c)) for r in plan.runs
            ]
            work = PackWork("whole", tuple(works), lanes=2, checkpoint_every_s=1e9)
            engine = choose_engine("auto", torch.device("cpu"))
            trainer = PackTrainer(store, work, "whole", engine, provenance(None))
            while not trainer.advance(1.0).done:
                pass
            results = open_store(folder)
            return Results(plan.run_ids(), results.runs("undisturbed"), results.curves("undisturbed"))


@dataclass(frozen=True)
class Site:
    """What the clusters of a test have in common: a store, by its URI and this process's credentials, and a folder."""

    uri: str
    folder: Path

    @property
    def steps(self) -> CountedSteps:
        """The steps of all workers of all its clusters."""
        return CountedSteps(self.folder / "steps")

    @property
    def environment(self) -> dict[str, str]:
        """What its nodes and clients need beside what they inherit."""
        return self.steps.environment

    def cluster(self, nodes: int, cpus: int = 1) -> contextlib.AbstractContextManager[RayCluster]:
        """A cluster of this site's own."""
        return running_cluster(self.folder, cpus=cpus, nodes=nodes, env=self.environment)

    def python(self, cluster: RayCluster, *arguments: str) -> subprocess.Popen[str]:
        """Start Python as a client of a cluster."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        environment = {**inherited, **self.environment, **cluster.environment()}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


class ClusterSweep:
    """One sweep in a site's store, driven by jobs of clusters."""

    def __init__(self, site: Site, spec: str) -> None:
        parsed = parse_spec(spec)
        self.name, self.plan = parsed.name, make_plan(parsed)
        self.store = SweepStore(open_objects(site.uri), self.name)
        self._site = site
        self._file = site.folder / f"{self.name}.yaml"
        self._file.write_text(spec)
        self._steps_before = site.steps.total()

    def begin_submit(self, cluster: RayCluster, *options: str) -> subprocess.Popen[str]:
        """Start `grok-sweeps submit`."""
        where = ("--address", cluster.jobs_address, "--store", self._site.uri)
        return self._site.python(cluster, "-m", "grok_sweeps.cluster.cli", "submit", str(self._file), *where, *options)

    def submit(self, cluster: RayCluster, *options: str) -> str:
        """Submit it; return what was said."""
        return ended(self.begin_submit(cluster, *options))

    @property
    def job(self) -> str:
        """The id of the last job."""
        job = self.store.load_job()
        assert job is not None
        return str(job["submission_id"])

    def state(self, cluster: RayCluster) -> str:
        """What the cluster says of the job."""
        return str(cluster.get(f"/api/jobs/{self.job}")["status"])

    def log(self, cluster: RayCluster) -> str:
        """What the job has written so far."""
        file = cluster.folder / "0" / "session_latest" / "logs" / f"job-driver-{self.job}.log"
        return file.read_text() if file.exists() else ""

    def driver(self, cluster: RayCluster) -> psutil.Process | None:
        """The process that drives it, if it is there."""
        for process in cluster.head.processes():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if command[1:3] == ["-m", "grok_sweeps.cluster.cli"] and self.job in command:
                    return process
        return None

    def n_rows(self) -> int:
        """Files of rows: a pack's rows are in one or more."""
        return sum(1 for _ in self.store.objects.list(self.store.layout.rows))

    def packs_with_states(self) -> set[str]:
        """The packs that have written a checkpoint and are not done."""
        return {info.name.split("/")[-2] for info in self.store.objects.list(self.store.layout.checkpoints)}

    def wait_under_way(self, cluster: RayCluster, packs: int, row_files: int = 1) -> None:
        """Wait until so many packs train and have states, and so much of the sweep is done."""

        def under_way() -> bool:
            assert self.state(cluster) not in OVER, f"ended too early: {self.log(cluster)}"
            trains = sum(len(node.workers("PackTrial.train")) for node in cluster.nodes)
            return trains >= packs and len(self.packs_with_states()) >= packs and self.n_rows() >= row_files

        wait_until(under_way, f"{packs} packs of {self.name} are under way", lambda: self.log(cluster))

    def wait_finished(self, cluster: RayCluster) -> None:
        """Wait until the job has ended, and well."""
        wait_until(
            lambda: self.state(cluster) in OVER, f"{self.name} ends", lambda: self.log(cluster), within_s=FINISH_S
        )
        assert self.state(cluster) == "SUCCEEDED", self.log(cluster)

    def results(self) -> Results:
        """Its tables as they are now."""
        store = open_store(self._site.uri)
        return Results(self.plan.run_ids(), store.runs(self.name), store.curves(self.name))

    def steps_repeated(self, results: Results) -> int:
        """Run-steps that its workers have trained beyond those of its rows; no other sweep may train meanwhile."""
        return self._site.steps.total() - self._steps_before - results.run_steps


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a command that succeeds; return what it printed."""
    try:
        printed, _ = process.communicate(timeout=FINISH_S)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed


def training(nodes: Sequence[RayNode]) -> list[RayNode]:
    """Those of the nodes that have a pack's worker; between two reports of a pack Ray says no `train` of it."""
    return [node for node in nodes if node.workers("PackTrial")]
