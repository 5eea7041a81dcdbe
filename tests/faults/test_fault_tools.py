"""The tools of the campaigns do what their table relies on: counted steps, a jumping clock, a full disk, a family."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.clock import JumpingClock, why_no_clock
from tests.faults.disk import small_disk, why_no_disk
from tests.faults.steps import CountedSteps

ROOT = Path(__file__).resolve().parents[2]

TRAIN = """
import os, signal, sys
import torch
from grok_sweeps.plan import make_plan
from grok_sweeps.provenance import provenance
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.train.engine import choose_engine
from grok_sweeps.train.pack import PackTrainer
from grok_sweeps.train.work import PackWork, RunWork

run = make_plan(parse_spec("name: counted\\nruns: {p: 5, seeds: 1, max_steps: 200, stop: budget}")).runs[0]
store = SweepStore(open_objects(sys.argv[1]), "counted")
work = PackWork("pack", (RunWork(run.run_id, run.cell_id, run.config, 200),), 1, 1e9)
trainer = PackTrainer(store, work, "attempt", choose_engine("eager", torch.device("cpu")), provenance(None))
while not trainer.advance(0.0001).done:
    if trainer.run_steps >= 100:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_steps_that_a_killed_process_has_trained_are_counted(tmp_path: Path) -> None:
    steps = CountedSteps(tmp_path / "steps")
    environment = {**os.environ, **steps.environment}
    for n_killed in (1, 2):
        command = [sys.executable, "-c", TRAIN, str(tmp_path / "store")]
        assert subprocess.run(command, env=environment, timeout=120, check=False).returncode == -signal.SIGKILL
        assert steps.total() == 100 * n_killed


def test_a_lease_is_shortened_with_its_renewals_in_every_process(tmp_path: Path) -> None:
    ask = "from grok_sweeps.store import lease, take_lease; print(lease.LEASE_S, lease.RENEW_EVERY_S)"
    steps = CountedSteps(tmp_path / "steps")
    environment = {**os.environ, **steps.environment}
    for more, times in (({}, "30.0 3.0"), ({"GROK_SWEEPS_LEASE_S": "15"}, "15.0 1.5")):
        done = subprocess.run(
            [sys.executable, "-c", ask], env={**environment, **more}, timeout=120, check=True, capture_output=True
        )
        assert done.stdout.decode().split() == times.split()


@pytest.mark.skipif(why_no_clock() is not None, reason=str(why_no_clock()))
def test_the_clock_jumps_for_a_process_under_way_and_its_monotonic_clock_does_not(tmp_path: Path) -> None:
    clock = JumpingClock(tmp_path)
    ask = "import time\nwhile input(): print(time.time(), time.monotonic(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", ask],
        env={**os.environ, **clock.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for wrong_by_s in (0.0, 7200.0, -500.0, 0.0):
            clock.jump(wrong_by_s)
            before = time.time(), time.monotonic()
            process.stdin.write("?\n")
            process.stdin.flush()
            told, monotonic = map(float, process.stdout.readline().split())
            after = time.time(), time.monotonic()
            assert before[0] <= told - wrong_by_s <= after[0]
            assert before[1] <= monotonic <= after[1]
        process.stdin.write("\n")


def test_a_full_disk_takes_no_byte_and_a_freed_one_does(tmp_path: Path) -> None:
    if reason := why_no_disk(tmp_path / "disk"):
        pytest.skip(reason)
    with small_disk(tmp_path / "disk") as disk:
        (disk.folder / "kept").write_bytes(b"kept")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "more").write_bytes(b"1" * 5000)
        disk.free()
        (disk.folder / "more").write_bytes(b"1" * 5000)
        assert (disk.folder / "kept").read_bytes() == b"kept"
    assert not any((tmp_path / "disk").iterdir())


FAMILY = """
import subprocess, sys
import psutil
from tests.faults.processes import Family, adopt_orphans

adopt_orphans()
family = Family()
kept = subprocess.Popen(["sleep", "300"])
family.keep(lambda: kept)
subprocess.run(["sh", "-c", "(sleep 300 & echo $! > orphan.pid)"], check=True)
brief = subprocess.Popen(["true"])
family.waited_for.add(brief.pid)
assert family.until(lambda: len(family.alive()) == 1, 60), family.alive()
orphan = int(open("orphan.pid").read())
assert [process.pid for process in family.alive()] == [orphan]
with family.stopped(family.alive()):
    assert family.until(lambda: psutil.Process(orphan).status() == psutil.STATUS_STOPPED, 60)
assert family.until(lambda: psutil.Process(orphan).status() != psutil.STATUS_STOPPED, 60)
family.kill(60)
assert not psutil.pid_exists(orphan), "it is reaped"
assert brief.wait() == 0
assert kept.poll() is None
kept.kill()
"""


def test_a_family_has_those_who_lost_their_parent_and_not_those_that_are_kept(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", FAMILY],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=240,
        check=True,
    )
    orphan = int((tmp_path / "orphan.pid").read_text())
    assert not psutil.pid_exists(orphan)
