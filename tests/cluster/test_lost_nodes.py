"""Sweeps on a cluster that loses what they run on: each run has one row, and the numbers that it has without faults."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.bench.on_cluster import drive
from tests.cluster_sweeps import ClusterSweep, Site, SmallSweep, ended, training
from tests.faults.compare import Losses, Results, compare
from tests.ray_nodes import RayCluster, RayNode, running, wait_until
from tests.s3_servers import SeaweedServer

pytestmark = pytest.mark.slow
SWEEP = SmallSweep(seeds=3, max_steps=4000)
PART = SmallSweep(seeds=2, max_steps=4000)
"""Runs that `SWEEP` has too."""
STALL_AFTER_S = 30.0
"""Starting a worker counts."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, seaweedfs: SeaweedServer) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in seaweedfs.credentials.environment().items():
            patch.setenv(name, value)
        yield Site(seaweedfs.uri("lost-nodes"), tmp_path_factory.mktemp("lost-nodes"))


@pytest.fixture(scope="module")
def undisturbed() -> Results:
    return SWEEP.undisturbed()


@pytest.fixture(scope="module")
def nodes(site: Site) -> Iterator[RayCluster]:
    """A cluster of two nodes at first; the last test leaves it without its head."""
    with site.cluster(2) as cluster:
        yield cluster


def says(sweep: ClusterSweep, cluster: RayCluster, text: str, after: int = 0) -> None:
    """Wait until the driver has said so; `after` so many characters of its log."""
    wait_until(lambda: text in sweep.log(cluster)[after:], f"the driver says '{text}'", lambda: sweep.log(cluster))


def stepping(site: Site, node: RayNode) -> list[psutil.Process]:
    """The workers of a node that have made steps."""
    counted = {int(name.partition("-")[0]) for name, steps in site.steps.by_process().items() if steps}
    return [worker for worker in node.workers("PackTrial") if worker.pid in counted]


def test_packs_go_on_elsewhere_when_nodes_join_and_die_and_workers_freeze(
    site: Site, nodes: RayCluster, undisturbed: Results
) -> None:
    sweep = ClusterSweep(site, SWEEP.spec("joined-and-killed"))
    settings = ("workers=auto", "pack_runs=1", f"stall_after_s={STALL_AFTER_S:g}")
    with site.steps.slowed():
        sweep.submit(nodes, *(f"--set=execution.{setting}" for setting in settings))
        says(sweep, nodes, "12 packs on 2 cpu workers")
        sweep.wait_under_way(nodes, packs=2, row_files=0)
        first = training(nodes.nodes)
        new = nodes.add_node(1, env=site.environment)
        says(sweep, nodes, "room for 3 packs at once, 2 before")
        wait_until(lambda: stepping(site, new), "a worker of the new node makes steps", lambda: sweep.log(nodes))

        first[0].kill()
        says(sweep, nodes, "lost its worker")
        wait_until(lambda: stepping(site, new), "a worker of the new node makes steps", lambda: sweep.log(nodes))
        (frozen,) = stepping(site, new)
        frozen.send_signal(signal.SIGSTOP)
        stalled = f"made no step in {STALL_AFTER_S:g} s; it starts again from its newest state"
        says(sweep, nodes, stalled, after=len(sweep.log(nodes)))
    sweep.wait_finished(nodes)
    assert not running([frozen])
    assert compare(undisturbed, sweep.results()) == Losses()


def test_a_node_that_leaves_hands_its_packs_back_and_no_step_is_trained_twice(
    site: Site, nodes: RayCluster, undisturbed: Results
) -> None:
    sweep = ClusterSweep(site, PART.spec("left"))
    with site.steps.slowed():
        sweep.submit(nodes, "--set=execution.max_failures=0")
        sweep.wait_under_way(nodes, packs=2, row_files=0)
        leaving = training(nodes.nodes)[0]
        said = ended(site.python(nodes, "-m", "tests.leave_node_at", leaving.ip))
        assert f"node {leaving.node_id} leaves with 0 packs under way" in said
        leaving.terminate()
    nodes.add_node(1, env=site.environment)
    sweep.wait_finished(nodes)
    log, results = sweep.log(nodes), sweep.results()
    assert "left its node, which is about to go; it starts again from its newest state" in log
    assert "lost its worker" not in log
    assert compare(undisturbed, results) == Losses()
    assert sweep.steps_repeated(results) == 0


def test_many_trials_of_one_run_each_are_done_once(site: Site, nodes: RayCluster) -> None:
    nodes.add_node(1, env=site.environment)
    found = drive(site, nodes, "many", 40, "--set=execution.pack_runs=1")
    assert (found.trials, found.runs_once) == (40, 40)
    assert found.uss_mb > 0


def test_a_sweep_that_lost_its_driver_and_its_head_is_completed_by_another_cluster(
    site: Site, nodes: RayCluster, undisturbed: Results
) -> None:
    sweep = ClusterSweep(site, PART.spec("beheaded"))
    with site.steps.slowed(0.2):
        sweep.submit(nodes)
        sweep.wait_under_way(nodes, packs=2, row_files=0)
        driver = sweep.driver(nodes)
        assert driver is not None
        driver.kill()
        wait_until(lambda: sweep.state(nodes) == "FAILED", "the job has failed")
        again = sweep.submit(nodes)
        assert "looking whether it still is" not in again, "a driver that is known to be over is waited for"
        sweep.wait_under_way(nodes, packs=2)
        nodes.kill_head()
    with site.cluster(2) as other:
        sweep.submit(other)
        sweep.wait_finished(other)
        assert compare(undisturbed, sweep.results()) == Losses()
