"""Commands on sweeps whose folder was renamed or copied, and on one whose stored spec was edited."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from results_rows import curve, grokked

from grok_sweeps.cluster.cli.app import main
from grok_sweeps.config import CONFIG_COLUMNS
from grok_sweeps.plan import make_plan
from grok_sweeps.spec import parse_spec
from grok_sweeps.store import SweepStore, open_objects
from grok_sweeps.store.agreement import warn_of_name, warn_of_runs
from grok_sweeps.store.ancestry import stored_ancestry
from tests.written import write_results

TINY = """\
name: tiny
runs: {p: 11, arm: clamp, w_c: 20.0, rho: [0.9, 1.0], seeds: 2, max_steps: 300, train_fraction: 0.6}
"""
STORED = Path(__file__).parents[1] / "store" / "stored"
Command = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command on the store `S` in this process; return its exit code, output and errors."""

    def run(*arguments: str) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["grok-sweeps", *arguments, "--store", str(tmp_path / "S")])
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            with pytest.raises(SystemExit) as exited:
                main()
        return exited.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> SweepStore:
    """A finished sweep in the store `S`."""
    sweep, plan = SweepStore(open_objects(str(tmp_path / "S")), "tiny"), make_plan(parse_spec(TINY))
    sweep.create(TINY, plan)
    rows = [
        grokked(run.run_id, 200, **dict(zip(CONFIG_COLUMNS, run.config.values(), strict=True)), cell_id=run.cell_id)
        for run in plan.runs
    ]
    curves = [curve(r.run_id, range(25, 350, 25), sweep="tiny") for r in plan.runs]
    write_results(sweep, "pack", "a1", 1, [{**row, "sweep": "tiny"} for row in rows], curves)
    return sweep


def edited(tiny: SweepStore, before: str, after: str) -> None:
    assert before in TINY
    tiny.objects.put(tiny.layout.spec, TINY.replace(before, after).encode())


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "analysis" not in path.parts}


NAMED = "its spec.yaml says `name: tiny`"


def test_commands_on_a_renamed_folder(tiny: SweepStore, command: Command, tmp_path: Path) -> None:
    (tmp_path / "S" / "tiny").rename(tmp_path / "S" / "tiny-v1")
    before = files(tmp_path / "S" / "tiny-v1")

    code, out, err = command("analyze", "tiny-v1", "--resamples", "100")
    assert (code, err.count("\n"), NAMED in err) == (0, 1, True)
    document = json.loads((tmp_path / "S" / "tiny-v1" / "analysis" / "estimates.json").read_text())
    assert (document["sweep"], document["counts"]["n_rows"], document["counts"]["n_grokked"]) == ("tiny-v1", 4, 4)

    code, out, err = command("resume", "tiny-v1")
    assert (code, err.count("\n"), NAMED in err) == (0, 1, True)
    assert "tiny-v1: finished, 4/4 runs" in out
    assert "nothing to do" in out
    assert [path.name for path in (tmp_path / "S").iterdir()] == ["tiny-v1"]
    now = files(tmp_path / "S" / "tiny-v1")
    assert before.items() <= now.items()
    assert {path.parent.name for path in now.keys() - before.keys()} <= {"tiny-v1", "log"}, "no row was trained"

    for arguments in (("status", "tiny-v1"), ("status",), ("list",)):
        code, out, err = command(*arguments)
        assert (code, err.count("\n"), NAMED in err) == (0, 1, True), arguments
        assert "tiny-v1" in out
    code, out, err = command("query", "SELECT DISTINCT sweep FROM curves", "--format", "csv")
    assert (code, out, err.count("\n"), NAMED in err) == (0, '"sweep"\n"tiny-v1"\n', 1, True)
    code, out, err = command("export", "tiny-v1", "--output", str(tmp_path / "runs.csv"), "--format", "csv")
    assert (code, err.count("\n"), NAMED in err) == (0, 1, True)
    assert (tmp_path / "runs.csv").read_text().count('\n"tiny-v1",') == 4
    code, out, err = command("status", "tiny")
    assert code == 2
    assert "Did you mean 'tiny-v1'?" in err


def test_commands_on_a_copied_folder(tiny: SweepStore, command: Command, tmp_path: Path) -> None:
    count = ("query", "SELECT (SELECT count(*) FROM curves) AS n, (SELECT count(*) FROM runs) AS r", "--format", "csv")
    assert command(*count) == (0, '"n","r"\n52,4\n', "")
    shutil.copytree(tmp_path / "S" / "tiny", tmp_path / "S" / "tiny.bak")
    code, out, err = command(*count)
    assert (code, out, err.count("\n")) == (0, '"n","r"\n52,4\n', 1)
    assert "sweep 'tiny.bak' holds 4 runs by the same attempts as sweep 'tiny'" in err
    code, out, err = command("export", "--all", "--table", "curves", "--output", str(tmp_path / "c.csv"), "-f", "csv")
    assert (code, (tmp_path / "c.csv").read_text().count("\n")) == (0, 1 + 52)
    code, out, err = command("list")
    assert out.count("4/4") == 2


def test_a_folder_with_an_impossible_name_stops_no_command(tiny: SweepStore, command: Command, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "S" / "tiny", tmp_path / "S" / "tiny (conflicted copy)")
    for arguments in (("list",), ("status",), ("gc",), ("query", "FROM sweeps")):
        code, _, err = command(*arguments)
        assert (code, err.count("\n"), "tiny (conflicted copy): left out" in err) == (0, 1, True), arguments


@pytest.mark.parametrize("arguments", [("status", "tiny"), ("resume", "tiny"), ("analyze", "tiny", "--resamples=100")])
def test_an_edited_spec_is_said_and_the_plan_counts(
    arguments: tuple[str, ...], tiny: SweepStore, command: Command, tmp_path: Path
) -> None:
    assert command(*arguments)[::2] == (0, "")
    edited(tiny, "rho: [0.9, 1.0]", "rho: [0.9, 1.1, 1.2]")
    code, _, err = command(*arguments)
    assert (code, err.count("\n")) == (0, 1)
    assert f"{tmp_path}/S/tiny/spec.yaml: gives other runs than the sweep's plan (4 more, 2 missing)" in err
    assert "restore the file" in err
    edited(tiny, "seeds: 2", "seeds: [1, 0]")
    tiny.objects.put(tiny.layout.spec, (tiny.load_spec_text() or "").encode() + b"# mine\nexecution: {lanes: 2}\n")
    assert command(*arguments)[::2] == (0, "")
    edited(tiny, "rho:", "rh0:")
    code, _, err = command(*arguments)
    assert (code, err.count("\n"), "rh0" in err) == (2 if arguments[0] == "resume" else 0, 1, True)


def test_a_spec_whose_fork_starts_from_a_sweep_that_is_gone_is_not_called_edited(
    tiny: SweepStore, command: Command, tmp_path: Path
) -> None:
    parent = min(make_plan(parse_spec(TINY)).run_ids())
    fork = f"name: forks\nruns: {{fork: {{of: tiny/{parent}, at_step: 100}}}}\n"
    SweepStore(tiny.objects, "forks").create(fork, make_plan(parse_spec(fork), stored_ancestry(tiny.objects)))
    assert command("status", "forks")[::2] == (0, "")
    shutil.rmtree(tmp_path / "S" / "tiny")
    assert command("status", "forks")[::2] == (0, "")


@pytest.mark.parametrize("folder", sorted(path.name for path in STORED.iterdir()))
def test_sweeps_written_before_agree_with_their_specs(folder: str) -> None:
    objects = open_objects(str(STORED / folder))
    for name in objects.folders():
        sweep = SweepStore(objects, name)
        plan = sweep.load_plan()
        assert plan is not None
        warn_of_name(sweep)
        warn_of_runs(sweep, plan)
