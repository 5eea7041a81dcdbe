"""`grok-sweeps reproduce`: what it trains, what it writes, how it ends; a small paper, trained in this process."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import typer
from cluster_processes import here
from trained_here import TrainedHere

from grok_sweeps.cluster.cli import reproduce
from grok_sweeps.cluster.reproduce import missing, parts
from grok_sweeps.cluster.reproduce.parts import Part
from grok_sweeps.spec import parse_spec, preset_names

SHAPE = "p: 23, train_fraction: 0.8, d_model: 48, hidden: 96, lr: 0.005, weight_decay: 3.0"
HELD = "arm: clamp, w_c: 27.0, clamp_from_step: 50, seeding: paper, seeds: 2, max_steps: 2000"
PRESETS = {
    "paper/collapse": f"name: c\nruns: {{{SHAPE}, {HELD}, rho: 1.0, tau: [1.0, 1.3]}}\n",
    "paper/allocation": f"name: a\nruns: {{{SHAPE}, {HELD}, tau: [1.3, 1.5]}}\n",
}
SMALL_PAPER = (Part("collapse", 23, "smoke"), Part("allocation", 23, "full"))
"""The cell at tau 1.3 is in both."""


@pytest.fixture
def small_paper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two small experiments in the place of the paper's."""
    cached = (parts.spec_of, parts.plan_of, parts.serving, parts._run_ids)
    for module in (parts, reproduce):
        monkeypatch.setattr(module, "PARTS", SMALL_PAPER)
    monkeypatch.setattr(parts, "load_spec", lambda name: (parse_spec(PRESETS[name]), PRESETS[name]))
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The driver without Ray; the sweeps that it has trained, in order."""
    trained: list[str] = []
    monkeypatch.setattr("grok_sweeps.cluster.driver.PackRunner", TrainedHere)
    monkeypatch.setattr("grok_sweeps.cluster.cli.train._session", Mock())
    TrainedHere.before = staticmethod(lambda store, _: trained.append(store.sweep))
    return trained


def claims_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "claims.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("small_paper")
def test_a_scale_is_trained_once_and_the_larger_one_goes_on(tmp_path: Path, trained_here: list[str]) -> None:
    arguments = ("--resamples", "100", "--store", str(tmp_path / "store"))
    smoke = here("reproduce", "--scale", "smoke", *arguments, cwd=tmp_path)
    assert smoke.returncode == 0, smoke.stderr
    assert trained_here == ["paper-collapse-p23"]
    assert "4 runs to train, about" in smoke.stdout
    assert f"Store: {tmp_path / 'store'}. Results: {tmp_path / 'reproduction'}" in smoke.stdout
    for name in ("reproduction.html", "reproduction.md", "claims.csv", "claims.json", "report.html", "estimates.json"):
        assert (tmp_path / "reproduction" / name).stat().st_size > 1000, name
    assert list((tmp_path / "reproduction" / "figures").glob("*.png"))
    assert str(tmp_path / "reproduction" / "reproduction.html") in smoke.stdout
    rows = claims_in(tmp_path / "reproduction")
    assert len(rows) == 214
    document = json.loads((tmp_path / "reproduction" / "claims.json").read_text())
    assert [(part["n_runs"], part["n_there"]) for part in document["parts"]] == [(4, 4), (2, 0)]
    assert document["parts"][1]["reason"] == "scale smoke leaves out paper/allocation at p = 23; scale full trains it"

    full = here("reproduce", *arguments, "--output", "all", cwd=tmp_path)
    assert full.returncode == 0, full.stderr
    assert trained_here == ["paper-collapse-p23", "paper-allocation-p23"]
    assert "2 runs to train" in full.stdout
    document = json.loads((tmp_path / "all" / "estimates.json").read_text())
    assert document["counts"]["n_rows"] == document["counts"]["n_planned"] == 6

    again = here("reproduce", "--scale", "full", *arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "0 runs to train. Store" in again.stdout
    assert len(trained_here) == 2


@pytest.mark.usefixtures("small_paper")
def test_only_trains_what_the_experiment_shares_too(tmp_path: Path, trained_here: list[str]) -> None:
    done = here("reproduce", "--only", "allocation", "--scale", "full", "--resamples", "100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert trained_here == ["paper-collapse-p23", "paper-allocation-p23"]
    smoke = ("--scale", "smoke")
    nothing = here(
        "reproduce", *smoke, "--only", "paper/allocation", "--store", "other", "--resamples", "100", cwd=tmp_path
    )
    assert nothing.returncode == 0, nothing.stderr
    assert "4 runs to train" in nothing.stdout


@pytest.mark.usefixtures("small_paper")
def test_what_another_sweep_of_the_store_has_is_not_trained_again(tmp_path: Path, trained_here: list[str]) -> None:
    (tmp_path / "all.yaml").write_text(PRESETS["paper/collapse"].replace("name: c", "name: paper-all"))
    assert here("run", "all.yaml", cwd=tmp_path).returncode == 0
    done = here("reproduce", "--scale", "smoke", "--resamples", "100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 runs to train. Store" in done.stdout
    assert trained_here == ["paper-all"]
    assert json.loads((tmp_path / "reproduction" / "estimates.json").read_text())["counts"]["n_rows"] == 4


Train = Callable[..., None]


def ending_with(*codes: int) -> tuple[Train, list[str]]:
    """A training that ends with these exit codes, and the sweeps it was asked for."""
    asked: list[str] = []
    left = iter(codes)

    def train(opened: Any, spec: Any, *_: Any) -> None:
        asked.append(spec.name)
        if code := next(left):
            raise typer.Exit(code)

    return train, asked


@pytest.mark.usefixtures("small_paper")
@pytest.mark.parametrize("code", [130, 3])
def test_a_stopped_training_ends_the_command_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    train, asked = ending_with(code)
    monkeypatch.setattr(reproduce, "train", train)
    stopped = here("reproduce", "--scale", "full", cwd=tmp_path)
    assert (stopped.returncode, asked) == (code, ["paper-collapse-p23"])
    assert not (tmp_path / "reproduction").exists()


@pytest.mark.usefixtures("small_paper")
def test_a_failing_part_does_not_keep_the_next_from_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, asked = ending_with(1, 0)
    monkeypatch.setattr(reproduce, "train", train)
    failed = here("reproduce", "--scale", "full", "--resamples", "100", cwd=tmp_path)
    assert (failed.returncode, asked) == (1, ["paper-collapse-p23", "paper-allocation-p23"])
    assert failed.stderr == "error: 6 runs have no row yet; run the same command again to go on.\n"
    assert len(claims_in(tmp_path / "reproduction")) == 214


@pytest.mark.usefixtures("small_paper")
def test_a_jobs_server_is_handed_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Mock()
    monkeypatch.setattr(reproduce, "submit_spec", submit)
    monkeypatch.setattr(reproduce, "JobsServer", Mock())
    arguments = ("--scale", "full", "--address", "http://head:8265", "--resamples", "100")
    handed = here("reproduce", *arguments, "--set", "execution.workers=8", cwd=tmp_path)
    assert [call.args[2].name for call in submit.call_args_list] == ["paper-collapse-p23", "paper-allocation-p23"]
    assert all(list(call.kwargs["settings"]) == ["execution.workers=8"] for call in submit.call_args_list)
    assert handed.returncode == 1
    assert handed.stderr == "error: 6 runs have no row yet; run the same command again to go on.\n"


def test_what_is_no_experiment_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    refused = here("reproduce", "--only", "paper/collapse,paper/doses", cwd=tmp_path)
    assert refused.returncode == 2
    allowed = ", ".join(parts.experiments())
    assert refused.stderr == (
        f"error: --only: 'paper/doses' is no experiment of the paper. Did you mean 'paper/dose'? Allowed: {allowed}.\n"
    )
    assert not list(tmp_path.iterdir())
    assert set(parts.experiments()) <= set(preset_names())


def test_a_released_file_that_is_not_there_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    refused = here("reproduce", "--released", "none.csv", cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: --released: none.csv: cannot be read as CSV: No such file or directory.\n",
    )
    assert not list(tmp_path.iterdir())


def test_missing_names_every_table_of_the_paper() -> None:
    from grok_sweeps.analysis.reproduction import TABLES

    assert set(missing._EXPERIMENT_OF) == set(TABLES) - {"calibration"}
