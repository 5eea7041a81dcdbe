"""A Ray jobs server, every request of which ends in bounded time and in an error that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grok_sweeps.cluster.doctor.check import Level
from grok_sweeps.cluster.doctor.jobs import NOT_REACHED, check_jobs_server
from grok_sweeps.cluster.nodes import Node
from grok_sweeps.cluster.ray_private import bounded_jobs_client, jobs_get
from grok_sweeps.errors import ClusterError, ClusterGoneError
from grok_sweeps.provenance import package_version
from grok_sweeps.train.failed import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_S, ANSWER_S = 5.0, 60.0
MOST_NODES = 10_000
OVER = ("STOPPED", "SUCCEEDED", "FAILED")
"""States of a job that has ended."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the server tells it; `state` is Ray's: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""

    submission_id: str
    state: str
    message: str
    entrypoint: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in OVER


class JobsServer:
    """The jobs server at `address` (http://HOST:8265), asked with the cluster's `token` if it has one.

    Raises:
        ClusterGoneError: it is not reached.
        ClusterError: it refuses the token, or runs another version of Ray.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        check = check_jobs_server(address, token, package_version("ray"))
        if check.level is not Level.ok:
            gone = NOT_REACHED in check.text
            raise (ClusterGoneError if gone else ClusterError)(f"{check.text}; {check.fix}.")
        self.address = address.rstrip("/")
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with _told(self.address):
            self._client = bounded_jobs_client(self.address, headers, (CONNECT_S, ANSWER_S))

    def nodes(self) -> list[Node]:
        """The nodes that are alive, with their total resources."""
        with _told(self.address):
            answer = jobs_get(self._client, f"/api/v0/nodes?detail=1&limit={MOST_NODES}")
            return [
                Node(node["node_id"], node["node_name"], node["resources_total"])
                for node in answer["data"]["result"]["result"]
                if node["state"] == "ALIVE"
            ]

    def submit(
        self, submission_id: str, entrypoint: str, runtime_env: Mapping[str, Any], metadata: Mapping[str, str]
    ) -> bool:
        """Start a job; False where one of this id is there already."""
        try:
            with _told(self.address):
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=submission_id,
                    runtime_env=dict(runtime_env),
                    metadata=dict(metadata),
                )
        except ClusterError:
            if self.job(submission_id) is not None:
                return False
            raise
        return True

    def jobs(self) -> list[Job]:
        """All jobs that were submitted, as far as the cluster remembers."""
        with _told(self.address):
            return [_job(details) for details in self._client.list_jobs() if details.submission_id]

    def job(self, submission_id: str) -> Job | None:
        """A job, or None where the cluster does not know it."""
        return next((job for job in self.jobs() if job.submission_id == submission_id), None)

    def logs(self, submission_id: str) -> str:
        """What a job has written to its output so far."""
        with _told(self.address):
            return str(self._client.get_job_logs(submission_id))

    def stop(self, submission_id: str) -> None:
        """Send a job SIGTERM, and SIGKILL if it takes too long."""
        with _told(self.address):
            self._client.stop_job(submission_id)


def _job(details: Any) -> Job:
    return Job(details.submission_id, str(details.status.value), details.message or "", details.entrypoint or "")


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Turn what Ray's client raises into one line."""
    try:
        yield
    except ClusterError:
        raise
    except Exception as error:  # the client raises RuntimeError, requests' own errors and others
        raise ClusterError(f"the Ray jobs server at {address} failed: {one_line(error)}") from error
