"""How a sweep on a cluster gets over the loss of what it runs on: each fault in the middle of a sweep of its own.

Three nodes train two packs at a time, so that a lost one has a place to go to; a node that was hurt is replaced before
the next fault.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from tests.bench.tables import Cell, Figure, Table
from tests.cluster_sweeps import ClusterSweep, Site, SmallSweep, ended, training
from tests.faults.compare import Losses, Results, compare
from tests.ray_nodes import RayCluster, RayNode, wait_until

NODES = 3
STALL_AFTER_S = 15.0
"""Longer than a worker takes to start on a machine that has much to do, which counts."""
WATCH_S = 120.0


@dataclass
class Scene:
    """A sweep under way on a cluster; `cluster` is another once the head was lost."""

    site: Site
    cluster: RayCluster
    sweep: ClusterSweep
    opened: contextlib.ExitStack
    node: RayNode | None = None
    """The node that was hurt, to be replaced."""
    resubmission: subprocess.Popen[str] | None = None
    leaving: subprocess.Popen[str] | None = None
    told_at: int = 0

    def pick(self) -> RayNode:
        """A node that trains."""
        self.node = training(self.cluster.nodes)[0]
        return self.node

    def worker(self) -> psutil.Process:
        """A worker that trains."""
        return training(self.cluster.nodes)[0].workers("PackTrial")[0]

    def says(self, text: str) -> bool:
        """Whether the driver has said so since the fault."""
        return text in self.sweep.log(self.cluster)[self.told_at :]


def nothing(scene: Scene) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Fault:
    """`inflict` it, find out when it was `noticed`, `recover` from it where a person has to, and `undo` it.

    It happens when `packs` train and have states, and `row_files` are in the store; `options` are those of `submit`.
    """

    name: str
    inflict: Callable[[Scene], None]
    noticed: Callable[[Scene], bool] = lambda scene: scene.says("lost its worker")
    recover: Callable[[Scene], None] = nothing
    undo: Callable[[Scene], None] = nothing
    options: tuple[str, ...] = ()
    packs: int = 2
    row_files: int = 1


def _kill_worker(scene: Scene) -> None:
    scene.worker().kill()


def _freeze_worker(scene: Scene) -> None:
    scene.worker().send_signal(signal.SIGSTOP)


def _kill_raylet(scene: Scene) -> None:
    scene.pick().kill_raylet()


def _leave(scene: Scene) -> None:
    node = scene.pick()
    scene.leaving = scene.site.python(scene.cluster, "-m", "tests.leave_node_at", node.ip)


def _gone(scene: Scene) -> None:
    assert scene.leaving is not None
    assert scene.node is not None
    ended(scene.leaving)
    scene.node.terminate()


def _thaw(scene: Scene) -> None:
    assert scene.node is not None
    scene.node.thaw()


def _kill_driver(scene: Scene) -> None:
    driver = scene.sweep.driver(scene.cluster)
    assert driver is not None
    driver.kill()


def _resubmit(scene: Scene) -> None:
    scene.resubmission = scene.sweep.begin_submit(scene.cluster)


def _does_not_answer(scene: Scene) -> bool:
    try:
        scene.cluster.get("/api/version")
    except OSError:
        return True
    return False


def _new_cluster(scene: Scene) -> None:
    scene.cluster = scene.opened.enter_context(scene.site.cluster(NODES))
    _resubmit(scene)


FAULTS = (
    Fault("none", nothing, noticed=lambda scene: True),
    Fault("a worker is killed", _kill_worker),
    Fault("a node is killed with its packs", lambda scene: scene.pick().kill()),
    Fault("a node is frozen", lambda scene: scene.pick().freeze(), undo=_thaw),
    Fault("the raylet alone is killed", _kill_raylet),
    Fault("a node leaves in good order", _leave, noticed=lambda scene: scene.says("left its node"), undo=_gone),
    Fault(
        "SIGTERM of `ray start`",
        lambda scene: scene.pick().terminate(),
        noticed=lambda scene: scene.says("lost its worker") or scene.says("left its node"),
    ),
    Fault(
        f"a worker is frozen, stall_after_s {STALL_AFTER_S:g}",
        _freeze_worker,
        noticed=lambda scene: scene.says("made no step"),
        options=(f"--set=execution.stall_after_s={STALL_AFTER_S:g}",),
    ),
    Fault(
        "a node joins",
        lambda scene: setattr(scene, "node", scene.cluster.add_node(1, env=scene.site.environment, wait=False)),
        noticed=lambda scene: scene.says(f"room for {NODES + 1} packs"),
        options=("--set=execution.workers=auto", "--set=execution.pack_runs=1"),
        packs=NODES,
        row_files=0,
    ),
    Fault(
        "the driver is killed; submit again",
        _kill_driver,
        noticed=lambda scene: scene.sweep.state(scene.cluster) == "FAILED",
        recover=_resubmit,
    ),
    Fault(
        "the head is killed; new cluster, submit",
        lambda scene: scene.cluster.kill_head(),
        noticed=_does_not_answer,
        recover=_new_cluster,
    ),
)


@dataclass(frozen=True)
class Recovery:
    """What one fault did: times since it, and what the sweep lost."""

    noticed_s: float
    again_s: float | None
    wall_s: float
    repeated: float
    losses: Losses


def suffer(fault: Fault, site: Site, cluster: RayCluster, name: str, expected: Results) -> Recovery:
    """Let one sweep suffer a fault and end, and put the cluster right, unless it is lost."""
    with contextlib.ExitStack() as opened:
        began = time.monotonic()
        sweep = ClusterSweep(site, SmallSweep().spec(name))
        scene = Scene(site, cluster, sweep, opened)
        sweep.submit(cluster, *fault.options)
        sweep.wait_under_way(cluster, fault.packs, fault.row_files)
        known, scene.told_at = set(site.steps.by_process()), len(sweep.log(cluster))
        hurt = time.monotonic()
        fault.inflict(scene)
        noticed_s = _seconds_until(lambda: fault.noticed(scene), hurt, scene, f"{fault.name}: noticed")
        fault.recover(scene)
        again_s = None
        if fault.inflict is not nothing:
            again_s = _seconds_until(lambda: _new_trains(site, known), hurt, scene, f"{fault.name}: trains again")
        fault.undo(scene)
        if scene.resubmission is not None:
            ended(scene.resubmission)
        sweep.wait_finished(scene.cluster)
        wall_s = time.monotonic() - began
        results = sweep.results()
        repeated = sweep.steps_repeated(results) / results.run_steps
        if scene.cluster is cluster:
            heal(site, cluster, scene.node)
        return Recovery(noticed_s, again_s, wall_s, repeated, compare(expected, results))


def heal(site: Site, cluster: RayCluster, hurt: RayNode | None) -> None:
    """Have `NODES` nodes that are well."""
    if hurt is not None:
        hurt.kill()
        cluster.wait_until_dead(hurt)
    alive = cluster.alive()
    n_well = sum(node.node_id in alive for node in cluster.nodes[1:])
    cluster.wait_for(*[cluster.add_node(1, env=site.environment, wait=False) for _ in range(NODES - n_well)])


def _new_trains(site: Site, known: set[str]) -> bool:
    return any(steps for name, steps in site.steps.by_process().items() if name not in known)


def _seconds_until(condition: Callable[[], object], since: float, scene: Scene, what: str) -> float:
    wait_until(condition, what, lambda: scene.sweep.log(scene.cluster), within_s=WATCH_S)
    return time.monotonic() - since


def recovery(site: Site, repeats: int, faults: Sequence[Fault] = FAULTS) -> Table:
    """Every fault `repeats` times."""
    sweep = SmallSweep()
    expected = sweep.undisturbed()
    found: dict[str, list[Recovery]] = {fault.name: [] for fault in faults}
    for k in range(repeats):
        # The fault that ends the cluster is the last.
        with site.cluster(NODES) as cluster:
            for n, fault in enumerate(faults):
                print(f"round {k + 1}: {fault.name}", flush=True)
                found[fault.name].append(suffer(fault, site, cluster, f"fault-{k}-{n}", expected))
                print(f"  {found[fault.name][-1]}", flush=True)
    note = (
        f"{len(expected.planned)} runs of {sweep.max_steps:,} steps in packs of two, two at once on {NODES} nodes of "
        "one CPU each (where a node joins: packs of one, three at once), states every 0.5 s. Noticed: the driver says "
        "so; where the driver is lost, the job is FAILED or the jobs server does not answer. Trains again: a new "
        "worker trains. Steps repeated: trained by all workers over those of the rows, minus 1. Health checks every "
        "second; a node is given up after three that fail."
    )
    columns = ("fault", "noticed, s", "trains again, s", "sweep in all, s", "steps repeated", "runs not once", "differ")
    return Table("recovery", "Recovery", columns, tuple(_row(name, many) for name, many in found.items()), note)


def _row(name: str, many: Sequence[Recovery]) -> tuple[Cell, ...]:
    again = [one.again_s for one in many if one.again_s is not None]
    losses = sum((one.losses for one in many), Losses())
    shares = Figure.of([100 * one.repeated for one in many])
    return (
        name,
        Figure.of([one.noticed_s for one in many]) if again else None,
        Figure.of(again) if again else None,
        Figure.of([one.wall_s for one in many]),
        f"{shares} %",
        losses.lost + losses.duplicated,
        losses.different + losses.states_differ + losses.curves_differ,
    )
