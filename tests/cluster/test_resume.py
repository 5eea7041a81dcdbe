"""`resume` goes on from the store alone, with other packs, workers and widths than before."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cluster_processes import WAIT_S, Sweeping, cli, wait_until

from grok_sweeps.errors import SpecError
from grok_sweeps.plan.plan import Plan
from grok_sweeps.results import open_store
from grok_sweeps.spec import parse_spec, with_execution
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.state_index import StateIndex
from tests.faults.steps import CountedSteps

SmallPlan = Callable[..., tuple[str, Plan]]


@pytest.mark.slow
def test_a_sweep_goes_on_in_other_packs_on_other_workers(
    tmp_path: Path, small_plan: SmallPlan, sweeping: Callable[..., Sweeping], steps: CountedSteps
) -> None:
    wide = {"workers": 1, "lanes": 4, "pack_runs": 4, "checkpoint_every_s": 0.1}
    text, plan = small_plan("moved", wide, rho=[1.3], seeds=4, max_steps=6000)
    (tmp_path / "moved.yaml").write_text(text)
    store = SweepStore(open_objects(str(tmp_path / "store")), "moved")
    with steps.slowed():
        sweep = sweeping("run", "moved.yaml", "--store", "store")
        wait_until(lambda: len(StateIndex(store).load_newest(plan.run_ids())) == 4, "a state of every run", sweep)
        sweep.process.send_signal(signal.SIGTERM)
        assert sweep.process.wait(timeout=WAIT_S) == 130
    (tmp_path / "moved.yaml").unlink()
    stopped_at = datetime.now(UTC)

    settings = {"lanes": 1, "workers": 2, "engine": "eager"}
    options = [part for key, value in settings.items() for part in ("--set", f"execution.{key}={value}")]
    done = cli("resume", "moved", "--packs", "1", *options, "--store", "store", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 runs in 4 packs on 2 cpu workers" in done.stdout
    runs = open_store(str(tmp_path / "store")).runs("moved")
    assert sorted(runs.run_id) == sorted(plan.run_ids())
    assert set(runs.lanes) == {1}
    assert set(runs.engine) == {"eager"}
    assert runs.started_at.max() < stopped_at, "every run went on from its state"
    assert runs.finished_at.min() > stopped_at
    alone = cli("resume", "moved", "--censored", "--store", "store", cwd=tmp_path)
    assert alone.returncode == 2
    assert alone.stderr.startswith("error: --censored: name the budget")


def test_settings_replace_keys_of_execution_and_nothing_else() -> None:
    spec = parse_spec("name: made\nruns: {p: 5}\nexecution: {lanes: 2, workers: 3}\n")
    changed = with_execution(spec, ["execution.lanes=8", "execution.checkpoint_every_s=0.5", "execution.device=cpu"])
    assert changed.execution.lanes == 8
    assert changed.execution.checkpoint_every_s == 0.5
    assert changed.execution.device == "cpu"
    assert changed.execution.workers == 3
    assert changed.runs == spec.runs
    assert with_execution(spec, []) == spec


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("lanes=8", "--set: 'lanes=8' is not `execution.KEY=VALUE`"),
        ("execution.lanes", "is not `execution.KEY=VALUE`"),
        ("runs.p=7", "is not `execution.KEY=VALUE`"),
        ("execution.lane=8", "--set: execution.lane: unknown key 'lane'. Did you mean 'lanes'?"),
        ("execution.lanes=0", "--set: execution.lanes: 0 is not allowed; it must be 'auto'; or it must be at least 1"),
        ("execution.lanes=[1", "--set"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(setting: str, said: str) -> None:
    with pytest.raises(SpecError) as raised:
        with_execution(parse_spec("name: made\n"), [setting])
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
