"""A sweep handed over to a real Ray cluster with a bucket as its store, from a client that is no part of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from cluster_processes import WAIT_S
from ray_nodes import RayCluster, running_cluster, wait_until
from s3_servers import SeaweedServer
from scripted_server import Answer, scripted_server

from grok_sweeps.cluster.cli.submit import hand_over
from grok_sweeps.cluster.jobs import Job, JobsServer
from grok_sweeps.cluster.jobs.submit import job_prefix, submit
from grok_sweeps.errors import ClusterError
from grok_sweeps.plan.plan import Plan
from grok_sweeps.provenance import VERSION, git_sha
from grok_sweeps.results import open_store
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.state_index import StateIndex

SmallPlan = Callable[..., tuple[str, Plan]]
TOKEN = "a-token-of-this-test-cluster"
LONG = {"p": 23, "max_steps": 10_000_000, "stop": "budget", "seeds": 2}


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory, seaweedfs: SeaweedServer) -> Iterator[RayCluster]:
    """A head and two nodes whose workers may use the bucket."""
    env = {**seaweedfs.credentials.environment(), "AWS_EC2_METADATA_DISABLED": "true"}
    with running_cluster(tmp_path_factory.mktemp("ray"), cpus=1, nodes=2, token=TOKEN, env=env) as cluster:
        yield cluster


class Client:
    """`grok-sweeps` outside of the cluster: of Ray's variables it has the token alone."""

    def __init__(self, folder: Path, store: str, token: str = TOKEN) -> None:
        self.folder, self.store = folder, open_objects(store).uri
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"RAY_AUTH_TOKEN": token}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "grok_sweeps.cluster.cli", *arguments, "--store", self.store],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its expected end; return what it printed."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == code, (arguments, out, err)
        assert "Traceback" not in err
        assert code or not err, err
        return out + err


@pytest.fixture
def client(tmp_path: Path, seaweed_uri: str) -> Client:
    return Client(tmp_path, seaweed_uri)


def ended(client: Client, sweep: str) -> bool:
    return f"{sweep}: finished" in client("status")


def error_of(said: str) -> str:
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    return lines[0]


@pytest.mark.slow
def test_two_submissions_at_once_are_one_job_that_finishes_without_its_clients(
    ray_cluster: RayCluster, client: Client, tmp_path: Path, small_plan: SmallPlan
) -> None:
    text, plan = small_plan("handed", {"pack_runs": 2}, rho=[1.0, 1.1], seeds=4)
    (tmp_path / "handed.yaml").write_text(text)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    client.environment.pop("RAY_AUTH_TOKEN")
    with_token = ("--address", ray_cluster.jobs_address, "--token-file", "token")
    both = [client.start("submit", "handed.yaml", *with_token) for _ in range(2)]
    said = [process.communicate(timeout=WAIT_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("is job grok-sweeps-handed-" in out for out, _ in said) == 1
    new = next(out for out, _ in said if "is job grok-sweeps-handed-" in out)
    assert "preflight passed: room for 2 packs of 1 CPU; 2 of 2 nodes read and write s3://" in new
    assert "core-hours: about" in new
    wait_until(lambda: ended(client, "handed"), "the sweep ends")

    runs = open_store(client.store).runs("handed")
    assert sorted(runs.run_id) == sorted(plan.run_ids())
    assert set(runs.outcome) == {"grokked"}
    assert set(runs.git_sha) == {git_sha() or None}
    assert set(runs.version) == {VERSION}
    server = JobsServer(ray_cluster.jobs_address, TOKEN)
    prefix = job_prefix(client.store, "handed")
    wait_until(lambda: all(job.is_over for job in server.jobs()), "the job is over")
    assert [(j.submission_id, j.state) for j in server.jobs() if j.submission_id.startswith(prefix)] == [
        (f"{prefix}1", "SUCCEEDED")
    ]
    assert "8 runs in 4 packs" in client("logs", "handed", "--follow")
    assert "Running entrypoint for job" in client("logs", "handed", "--job", "--token-file", "token")
    assert f"{prefix}1: SUCCEEDED on {ray_cluster.jobs_address}" in client("list", "--token-file", "token")
    assert "handed is finished: nothing was submitted" in client("submit", "handed.yaml", *with_token)
    resumed = client("resume", "handed", *with_token, "--set", "execution.workers=1")
    assert f"is job {prefix}2: " in resumed, "a driver may have trackers to tell, or files to compact"
    wait_until(lambda: all(job.is_over for job in server.jobs()), "the second job is over")
    assert "nothing to do" in server.logs(f"{prefix}2")


def _running(sweep_store: SweepStore, *options: str) -> Any:
    """A jobs server on which the sweep's driver is at work, as `submit` with these options has started it."""
    table = JobTable()
    submit(cast("JobsServer", table), sweep_store, options, {}, lambda: False)
    [job] = table.jobs()
    table.jobs = lambda: [replace(job, state="RUNNING")]  # type: ignore[method-assign]
    return table


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([], [], ""),
        (["execution.workers=2"], ["execution.workers=2"], ""),
        (["execution.workers=2", "execution.lanes=4"], ["execution.lanes=4", "execution.workers=2"], ""),
        (["execution.workers=1", "execution.workers=2"], ["execution.workers=2"], ""),
        (["execution.workers=2"], ["execution.workers=4"], "keeps its settings: execution.workers=2; "),
        (["execution.workers=2"], [], "keeps its settings: execution.workers=2; "),
        ([], ["execution.workers=2"], "keeps its settings: those of its spec; "),
    ],
)
def test_a_second_submission_joins_whatever_its_settings_and_says_which_are_kept(
    first: list[str], second: list[str], said: str, sweep_store: SweepStore, capsys: pytest.CaptureFixture[str]
) -> None:
    table = _running(sweep_store, *(part for setting in first for part in ("--set", setting)), "--git-sha=abc")
    hand_over(sweep_store, table, settings=second, wait_for_nodes_s=5.0, unless_finished=True)
    out = capsys.readouterr().out
    assert "is under way already: job grok-sweeps-" in out
    assert "nothing was submitted" in out
    assert f"grok-sweeps status {sweep_store.sweep} --watch" in out
    assert said in out
    assert ("keeps" in out) == bool(said)
    assert len(table.ids) == 1


def test_what_the_driver_at_work_will_not_do_is_an_error_and_what_it_does_is_none(sweep_store: SweepStore) -> None:
    table = _running(sweep_store, "--failed", "--max-steps=900", "--max-gpu-hours=3")
    hand_over(sweep_store, table, options=["--failed", "--max-steps=900"], max_gpu_hours=3.0)
    with pytest.raises(ClusterError, match=r"goes on without --max-steps=1000 --max-gpu-hours=2: .* cancel it first"):
        hand_over(sweep_store, table, options=["--failed", "--max-steps=1000"], max_gpu_hours=2.0)


def test_settings_of_a_driver_of_which_nothing_is_known_are_not_made_up(
    sweep_store: SweepStore, capsys: pytest.CaptureFixture[str]
) -> None:
    table = _running(sweep_store)
    [job] = table.jobs()
    table.jobs = lambda: [replace(job, entrypoint="another program")]
    hand_over(sweep_store, table, settings=["execution.workers=2"])
    assert "keeps the settings that it was started with, which are not known here" in capsys.readouterr().out


class JobTable:
    """A jobs server whose jobs end as soon as they are submitted."""

    address = "http://127.0.0.1:8265"

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.entrypoints: list[str] = []

    def jobs(self) -> list[Job]:
        return [Job(one, "SUCCEEDED", "", how) for one, how in zip(self.ids, self.entrypoints, strict=True)]

    def job(self, submission_id: str) -> Job | None:
        return next((job for job in self.jobs() if job.submission_id == submission_id), None)

    def submit(self, submission_id: str, entrypoint: str = "", *_: object) -> bool:
        if submission_id in self.ids:
            return False
        self.ids.append(submission_id)
        self.entrypoints.append(entrypoint)
        return True

    def logs(self, _: str) -> str:
        return "it has ended"


@pytest.mark.parametrize("ends", ["after the jobs were listed", "while the store is read"])
def test_a_job_that_did_all_the_work_meanwhile_is_not_followed_by_a_second(ends: str, sweep_store: SweepStore) -> None:
    table = JobTable()
    first = f"{job_prefix(sweep_store.objects.uri, sweep_store.sweep)}1"
    looks = 0

    def finishes_at_first_look() -> bool:
        """The other submission's job begins and ends around the first look at the store."""
        nonlocal looks
        looks += 1
        table.submit(first)
        return looks > 1 or ends == "while the store is read"

    assert submit(cast(JobsServer, table), sweep_store, (), {}, finishes_at_first_look) is None
    assert table.ids == [first]
    assert sweep_store.load_job() is None


def test_a_sweep_whose_job_ended_unfinished_has_a_next_job(sweep_store: SweepStore) -> None:
    table = JobTable()
    prefix = job_prefix(sweep_store.objects.uri, sweep_store.sweep)
    for number in (1, 2):
        done = submit(cast(JobsServer, table), sweep_store, (), {}, lambda: False)
        assert done is not None
        assert (done.submission_id, done.joined) == (f"{prefix}{number}", False)
    assert table.ids == [f"{prefix}1", f"{prefix}2"]


@pytest.mark.slow
def test_a_cancelled_sweep_leaves_no_process_and_can_be_gone_on_with(
    ray_cluster: RayCluster, client: Client, tmp_path: Path, small_plan: SmallPlan
) -> None:
    text, plan = small_plan("stopped", {"checkpoint_every_s": 3600.0}, **LONG)
    (tmp_path / "stopped.yaml").write_text(text)
    client("submit", "stopped.yaml", "--address", ray_cluster.jobs_address)

    def workers() -> list[object]:
        return [worker for node in ray_cluster.nodes for worker in node.workers("PackTrial")]

    store = SweepStore(open_objects(client.store), "stopped")
    wait_until(lambda: (store.load_status() or {}).get("run_steps_under_way", 0) > 0, "packs train")
    assert workers()
    said = client("cancel", "stopped")
    assert "stopped: interrupted, 0/2 runs finished; its job has ended; `grok-sweeps resume stopped` goes on" in said
    wait_until(lambda: not workers(), "no worker is left")
    assert all(state.step > 0 for state in StateIndex(store).load_newest(plan.run_ids()).values())
    assert len(StateIndex(store).load_newest(plan.run_ids())) == 2
    (job,) = [job for job in JobsServer(ray_cluster.jobs_address, TOKEN).jobs() if "stopped" in job.submission_id]
    assert job.is_over
    assert (store.load_status() or {})["reason"].startswith("cancelled by ")
    assert "its job has ended" in client("cancel", "stopped")
    assert f"{job.submission_id}: cancelled on" in " ".join(client("list").split()), "Ray says FAILED"

    resumed = client("resume", "stopped", "--address", ray_cluster.jobs_address)
    assert f"is job {job_prefix(client.store, 'stopped')}2: preflight passed" in resumed
    assert "stopped: interrupted" in client("cancel", "stopped", "--address", ray_cluster.jobs_address)


@pytest.mark.slow
def test_no_pack_goes_to_a_node_without_access_to_the_store(
    ray_cluster: RayCluster, client: Client, tmp_path: Path, small_plan: SmallPlan
) -> None:
    node = ray_cluster.add_node(
        1, resources={"accelerator_type:Z9": 1.0}, env={"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "none"}
    )
    try:
        text, plan = small_plan("somewhere", {"pack_runs": 1}, seeds=3)
        (tmp_path / "somewhere.yaml").write_text(text)
        at = ("--address", ray_cluster.jobs_address)
        there = ("--set", "execution.device=cpu", "--set", "execution.accelerator_type=Z9")
        said = client("submit", "somewhere.yaml", *at, *there, code=1)
        error = error_of(said)
        assert error.startswith("error: no node can train: on ")
        assert "cannot read somewhere/spec.yaml: the access key is not known there" in error
        assert "Give the nodes credentials for the store" in error

        client("submit", "somewhere.yaml", *at)
        wait_until(lambda: ended(client, "somewhere"), "the sweep ends")
        assert sorted(open_store(client.store).runs("somewhere").run_id) == sorted(plan.run_ids())
        log = client("logs", "somewhere")
        assert "no pack goes to node" in log
        assert "cannot train on its node" not in log
    finally:
        node.kill()


@pytest.mark.slow
def test_what_cannot_be_submitted_is_one_line_with_the_fix_and_leaves_no_job(
    ray_cluster: RayCluster, client: Client, tmp_path: Path, small_plan: SmallPlan
) -> None:
    text, _ = small_plan("refused", {"threads": 64}, seeds=1)
    (tmp_path / "refused.yaml").write_text(text)
    at = ("--address", ray_cluster.jobs_address)
    before = len(JobsServer(ray_cluster.jobs_address, TOKEN).jobs())

    error = error_of(client("submit", "refused.yaml", *at, code=1))
    assert "no node can hold a pack: one asks for 64 CPU, and there are " in error
    assert "2 nodes with 1 CPU" in error
    assert "--wait-for-nodes" in error
    assert "no node can hold a pack" in client(
        "submit", "refused.yaml", *at, "--set", "execution.threads=1", "--set", "execution.device=cuda", code=1
    )
    assert "asks for a token; set RAY_AUTH_TOKEN" in error_of(
        Client(tmp_path, client.store, "another")("submit", "refused.yaml", *at, code=1)
    )
    assert "--env: the variable 'NOT_SET_ANYWHERE' is not set" in client(
        "submit", "refused.yaml", *at, "--set", "execution.threads=1", "--env", "NOT_SET_ANYWHERE", code=2
    )
    said = client("submit", "refused.yaml", *at, "--wait-for-nodes", "600")
    assert "waiting for room, up to 600 s: no node can hold a pack" in said
    assert "refused: running" in client("status")
    groups = ray_cluster.get("/api/v0/placement_groups?detail=1")["data"]["result"]["result"]
    waiting = [group["bundles"] for group in groups if group["state"] in ("PENDING", "INFEASIBLE")]
    assert any(bundle["unit_resources"].get("CPU") == 64 for bundles in waiting for bundle in bundles), groups
    assert "waiting for room" in client("logs", "refused")
    assert "its job has ended" in client("cancel", "refused")
    server = JobsServer(ray_cluster.jobs_address, TOKEN)
    wait_until(lambda: all(job.is_over for job in server.jobs()), "the job that waited has ended")
    assert len(server.jobs()) == before + 1


def test_a_cluster_of_another_version_or_none_at_all_is_one_line(tmp_path: Path, small_plan: SmallPlan) -> None:
    (tmp_path / "small.yaml").write_text(small_plan()[0])
    client = Client(tmp_path, str(tmp_path / "store"))
    old = Answer(200, body=b'{"ray_version": "2.1.0"}')
    with scripted_server(lambda *_: old) as (host, _):
        error = error_of(client("submit", "small.yaml", "--address", f"http://{host}", code=1))
    assert "runs Ray 2.1.0, this machine has" in error
    assert "install the same version" in error
    assert "is not reached" in error_of(client("submit", "small.yaml", "--address", "http://127.0.0.1:9", code=1))
    assert "is no jobs server; give http://HOST:8265" in client(
        "submit", "small.yaml", "--address", "ray://head:10001", code=2
    )
    assert "name the cluster's jobs server" in client("submit", "small.yaml", code=2)
    assert not (tmp_path / "store" / "small").exists()


def test_a_sweep_whose_cluster_is_gone_is_still_told_of(tmp_path: Path, sweep_store: SweepStore) -> None:
    client = Client(tmp_path, str(tmp_path / "store"))
    sweep_store.put_job({"submission_id": "grok-sweeps-small-1", "address": "http://127.0.0.1:9"})
    sweep_store.put_log("20260101T000000-aaaaaa", "an older driver\n")
    sweep_store.put_log("20260102T000000-aaaaaa", "the last driver\n")
    assert client("logs", "small") == "the last driver\n"
    assert "is not reached" in client("logs", "small", "--job", code=1)
    assert "grok-sweeps-small-1: http://127.0.0.1:9 does not answer" in client("list")
    assert "not started" in client("status", "small")
    said = client("cancel", "small")
    assert "its cluster is gone" in said
    assert "`grok-sweeps resume small` goes on" in said
