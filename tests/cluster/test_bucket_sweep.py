"""A sweep on a bucket through the command line: workers find the store by its URI alone, and no secret is written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from cluster_processes import Sweeping, cli, here, wait_until
from s3_servers import SeaweedServer

from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import open_store
from grok_sweeps.store import SweepStore, open_objects
from tests.faults.steps import CountedSteps


@pytest.mark.slow
def test_a_sweep_on_a_bucket_survives_a_kill_and_is_all_there(
    tmp_path: Path,
    small_plan: Callable[..., tuple[str, Plan]],
    sweeping: Callable[..., Sweeping],
    seaweedfs: SeaweedServer,
    seaweed_uri: str,
    steps: CountedSteps,
) -> None:
    text, plan = small_plan("bucket", {"checkpoint_every_s": 0.2, "workers": 2}, w_c="control", tau=[1.0, 1.4], seeds=3)
    (tmp_path / "bucket.yaml").write_text(text)
    store = SweepStore(open_objects(seaweed_uri), "bucket")
    with steps.slowed(0.2):
        sweep = sweeping("run", "bucket.yaml", "--store", seaweed_uri)
        wait_until(lambda: list(store.objects.list(store.layout.rows)), "a row", sweep)
        assert sweep.process.poll() is None, (tmp_path / "run.log").read_text()
        sweep.kill_everything()

    done = cli("run", "bucket.yaml", "--store", seaweed_uri, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = open_store(seaweed_uri).runs("bucket")
    assert sorted(runs.run_id) == sorted(plan.run_ids())
    assert set(runs.outcome) == {"grokked"}

    asked = here("query", "SELECT count(*) AS n FROM curves", "--format", "csv", "--store", seaweed_uri, cwd=tmp_path)
    assert pd.read_csv(io.StringIO(asked.stdout)).n.tolist() == [len(open_store(seaweed_uri).curves("bucket"))]
    status = here("status", "bucket", "--store", seaweed_uri, cwd=tmp_path).stdout
    assert "bucket · finished" in status
    assert " curves " in next(line for line in status.splitlines() if "stored" in line)
    again = cli("resume", "bucket", "--store", seaweed_uri, cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout

    said = "".join([(tmp_path / "run.log").read_text(), done.stdout, done.stderr, status, again.stdout])
    written = b"".join(store.objects.get(info.name) or b"" for info in store.objects.list("bucket"))
    for secret in (seaweedfs.credentials.access_key, seaweedfs.credentials.secret_key):
        assert secret not in said
        assert secret.encode() not in written


def test_what_a_killed_sweep_leaves_is_listed_and_deleted_when_asked_to(
    tmp_path: Path, small_plan: Callable[..., tuple[str, Plan]]
) -> None:
    store = SweepStore(open_objects(str(tmp_path / "store")), "small")
    store.create(*small_plan())
    kept = {info.name for info in store.objects.list("small")}
    foreign = store.layout.state("0123456789abcdef", 5)
    store.objects.put(foreign, b"12345")
    listed = here("gc", "small", "--store", "store", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "of runs that the plan does not have" in listed.stdout
    assert "1 objects, 5 B; delete them with --delete" in listed.stdout
    assert store.objects.get(foreign) is not None
    deleted = here("gc", "--delete", "--store", "store", cwd=tmp_path)
    assert "deleted 1 objects, 5 B" in deleted.stdout
    assert {info.name for info in store.objects.list("small")} == kept | {store.layout.lease}
    assert "nothing to delete" in here("gc", "--store", "store", cwd=tmp_path).stdout
