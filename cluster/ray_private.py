"""What of Ray has no public name: the one module that uses it.

Each part is named in `USES` and looked up when it is used. One that another version of Ray has moved is said in one
line (`moved`), and what it was for is left out where training goes on without it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from grok_sweeps.errors import ClusterError
from grok_sweeps.provenance import package_version

TAIL_LINES = 3
"""Of what a worker wrote to stderr before it died."""
TAIL_BYTES = 20_000
_ANSWER_S = 5
_RAYS_OWN = re.compile(r"^:(job_id|actor_name|task_name):|^\s*[\^~]+\s*$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

DRAINING = "ray._private.state:state.get_draining_nodes"
ACTORS = "ray._private.state:actors"
SESSION_FOLDER = "ray._private.worker:_global_node"
ACTOR_ID = "ray.actor:ActorHandle._actor_id"
TRIAL_ACTOR = "ray.tune.experiment.trial:_TemporaryTrialState"
GCS_CLIENT = "ray._raylet:GcsClient"
DRAIN_REASON = "ray.core.generated.autoscaler_pb2:DrainNodeReason.Value"
TAKE_SIGTERM = "ray._private.utils:set_sigterm_handler"
START_PROCESS = "ray._private.services:ConsolePopen"
JOBS_REQUEST = "ray.job_submission:JobSubmissionClient._do_request"
READ_SETTINGS = "ray._raylet:Config.initialize"
LOADER = "ray._raylet:AuthenticationTokenLoader.instance"
USES = {
    DRAINING: "to have packs leave a node that is about to go",
    ACTORS: "to know where a pack's worker is, and why it died",
    SESSION_FOLDER: "to read what a worker wrote before it died",
    ACTOR_ID: "to know where a pack's worker is, and why it died",
    TRIAL_ACTOR: "to end a worker that stands still",
    READ_SETTINGS: "to have a local Ray use the token that is made for it",
    LOADER: "to have a local Ray use the token that is made for it",
    GCS_CLIENT: "to tell Ray that a node is about to go",
    DRAIN_REASON: "to tell Ray that a node is about to go",
    TAKE_SIGTERM: "to keep SIGTERM while Ray starts",
    START_PROCESS: "to keep a driver's signals from Ray's processes",
    JOBS_REQUEST: "to bound the wait for a jobs server's answers",
}
"""Each private part by `module:name`, and what it is for."""


def moved() -> list[str]:
    """One line for each private part that this version of Ray does not have."""
    return [_moved(use) for use in USES if not _has(use)]


@contextlib.contextmanager
def replaced(use: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Meanwhile a private part is what `make` makes of it; nothing where this Ray does not have it."""
    if not _has(use):
        yield
        return
    module, _, name = use.partition(":")
    before = _part(use)
    setattr(import_module(module), name, make(before))
    try:
        yield
    finally:
        setattr(import_module(module), name, before)


def read_authentication() -> None:
    """Have Ray in this process look again at how it authenticates: it remembers mode and token."""
    with contextlib.suppress(ClusterError):
        _part(READ_SETTINGS)("")
        _part(LOADER)().reset_cache()


def draining_nodes() -> frozenset[str]:
    """The nodes that were told to go: they are preempted, or scaled down."""
    try:
        return frozenset(_part(DRAINING)())
    except ClusterError:
        return frozenset()


def drain(node_id: str, seconds: float) -> None:
    """Tell Ray that a node is preempted in so many seconds.

    Raises:
        ClusterError: Ray refuses, or has moved what tells it.
    """
    import ray

    reason = _part(DRAIN_REASON)("DRAIN_NODE_REASON_PREEMPTION")
    client = _part(GCS_CLIENT)(address=ray.get_runtime_context().gcs_address)
    accepted, why = client.drain_node(node_id, reason, "about to go", int((time.time() + seconds) * 1000))
    if not accepted:
        raise ClusterError(f"Ray does not drain node {node_id}: {why}")


def actors() -> Mapping[str, Mapping[str, Any]]:
    """What Ray knows of every actor, by id.

    Raises:
        ClusterError: Ray has moved what tells it.
    """
    found: Mapping[str, Mapping[str, Any]] = _part(ACTORS)()
    return found


def actor_of(trial: Any) -> Any:
    """The actor of a trial of Tune, or None where it has none."""
    return getattr(getattr(trial, "temporary_state", None), "ray_actor", None)


def actor_id(actor: Any) -> str | None:
    """The id of an actor, or None where Ray does not tell."""
    found = getattr(actor, "_actor_id", None)
    return None if found is None else str(found.hex())


def node_of(actor: Any) -> str | None:
    """The id of the node that an actor is on, or None where Ray does not know."""
    with contextlib.suppress(ClusterError):
        return actors().get(actor_id(actor) or "", {}).get("Address", {}).get("NodeID") or None
    return None


def last_words(actor: str | None, class_name: str, started: frozenset[str] = frozenset()) -> str | None:
    """The end of what an actor that died wrote to stderr, in one line, or None where that cannot be had.

    Args:
        actor: its id; where it never started nobody has that, and the newest of its class that has died is taken.
        class_name: its class.
        started: the actors that have started.
    """
    try:
        known = actors()
        entry = known.get(actor) if actor else _newest_dead(known, class_name, started)
        return _end_of(_stderr(entry)) if entry else None
    except Exception:  # a reason is a courtesy: nothing that goes wrong here may cost more than it
        return None


def bounded_jobs_client(address: str, headers: Mapping[str, str], timeout: tuple[float, float]) -> Any:
    """Ray's client of a jobs server; its own waits for an answer without end, and tells of each package."""
    from ray.job_submission import JobSubmissionClient

    for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
        logging.getLogger(name).setLevel(logging.WARNING)

    class Bounded(JobSubmissionClient):
        """Waits for so long."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": timeout, **options})

    return Bounded(address, headers=dict(headers))


def jobs_get(client: Any, endpoint: str) -> Any:
    """What a jobs server answers to a GET of one of its pages, by that client.

    Raises:
        ClusterError: Ray has moved what asks it.
    """
    if not _has(JOBS_REQUEST):
        raise ClusterError(_moved(JOBS_REQUEST))
    answer = client._do_request("GET", endpoint)
    answer.raise_for_status()
    return answer.json()


def _newest_dead(
    known: Mapping[str, Mapping[str, Any]], class_name: str, started: frozenset[str]
) -> Mapping[str, Any] | None:
    import ray

    job = ray.get_runtime_context().get_job_id()
    dead = [
        entry
        for entry in known.values()
        if entry["State"] == "DEAD"
        and entry["JobID"] == job
        and entry["ActorClassName"] == class_name
        and entry["ActorID"] not in started
    ]
    return max(dead, key=lambda entry: entry["EndTime"], default=None)


def _stderr(entry: Mapping[str, Any]) -> str:
    """What a worker wrote to stderr: from Ray's folder where it was on this machine, else from the cluster's API."""
    node = _part(SESSION_FOLDER)
    name = f"worker-*-{entry['JobID']}-{entry['Pid']}.err"
    if entry["Address"]["NodeID"] == node.node_id:
        file = next(Path(node.get_session_dir_path(), "logs").glob(name))
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - TAIL_BYTES))
            return opened.read().decode(errors="replace")
    from ray.util.state import get_log

    where = {"node_id": entry["Address"]["NodeID"], "pid": entry["Pid"], "suffix": "err"}
    return "".join(get_log(**where, tail=50, timeout=_ANSWER_S))


def _end_of(text: str) -> str | None:
    lines = [line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip() and not _RAYS_OWN.match(line)]
    return " | ".join(lines[-TAIL_LINES:]) or None


def _part(use: str) -> Any:
    """A private part.

    Raises:
        ClusterError: this version of Ray does not have it.
    """
    module, _, path = use.partition(":")
    try:
        return reduce(getattr, path.split("."), import_module(module))
    except (ImportError, AttributeError) as error:
        raise ClusterError(_moved(use)) from error


def _has(use: str) -> bool:
    try:
        _part(use)
    except ClusterError:
        return False
    return True


def _moved(use: str) -> str:
    return (
        f"Ray {package_version('ray')} has no {use.replace(':', '.')}, which is used {USES[use]}; install the version "
        "of Ray in constraints.txt."
    )
