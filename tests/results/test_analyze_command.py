"""`grok-sweeps analyze`: what it writes, of a sweep that is finished, of one that runs, and of several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from results_rows import curve, grokked, new_sweep

from grok_sweeps.cluster.cli.app import main
from grok_sweeps.store import SweepStore
from tests.written import write_results

DOSES = (1.0, 1.05, 1.1, 1.15)


def _fill(folder: Path, name: str, p: int) -> SweepStore:
    sweep = new_sweep(folder, name)
    cell = {"sweep": name, "p": p, "arm": "clamp", "tau": 1.0, "w_c": 27.0}
    rows = [
        grokked(
            f"{name}-{rho}-{seed}",
            int(1000 * rho**8 + 10 * seed),
            rho=rho,
            seed=seed,
            cell_id=f"{name}-{rho}",
            logit_scale_at_grok=20 * rho,
            **cell,
        )
        for rho in DOSES
        for seed in range(6)
    ]
    write_results(sweep, "pack", "a1", 1, rows, [curve(r["run_id"], (1, 200, 1000), sweep=name) for r in rows])
    return sweep


def _analyze(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["grok-sweeps", "analyze", *arguments, "--resamples", "100"])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code


def test_one_sweep_is_analysed_beside_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fill(tmp_path, "one", 59)
    assert _analyze(monkeypatch, "one", "--store", str(tmp_path)) == 0
    folder = tmp_path / "one" / "analysis"
    assert str(folder / "report.html") in capsys.readouterr().out
    document = json.loads((folder / "estimates.json").read_text())
    assert (document["sweep"], document["counts"]["n_rows"]) == ("one", 24)
    markdown = (folder / "report.md").read_text()
    for figure in {line.split("(")[1].rstrip(")") for line in markdown.splitlines() if line.startswith("![")}:
        assert (folder / figure).is_file()


def test_several_sweeps_are_analysed_together_into_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, p in (("one", 59), ("two", 97)):
        _fill(tmp_path / "store", name, p)
    assert _analyze(monkeypatch, "one", "two", "one", "--store", str(tmp_path / "store")) == 2
    assert "--output FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "store" / "one" / "analysis").exists()
    output = ("--output", str(tmp_path / "both"))
    assert _analyze(monkeypatch, "one", "two", "--store", str(tmp_path / "store"), *output) == 0
    document = json.loads((tmp_path / "both" / "estimates.json").read_text())
    assert (document["sweep"], document["counts"]["n_rows"]) == ("one, two", 48)
    (shared,) = (c for c in document["comparisons"] if c["name"] == "shared_law")
    assert shared["families"] == ["p = 59", "p = 97"]
    assert shared["missing"] is None
    assert not (tmp_path / "store" / "one" / "analysis").exists()


def test_of_a_sweep_that_runs_what_is_not_done_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = new_sweep(tmp_path, "live")
    plan = sweep.load_plan()
    assert plan is not None
    done = [
        grokked(run.run_id, 900, sweep="live", seed=run.config.seed, p=5, arm="free", tau=1.0) for run in plan.runs[:3]
    ]
    write_results(sweep, "pack", "a1", 1, done, [curve(done[0]["run_id"], (1, 900), sweep="live")])
    assert _analyze(monkeypatch, "live", "--store", str(tmp_path)) == 0
    report = (tmp_path / "live" / "analysis" / "report.md").read_text()
    assert "The sweep is not complete: 1 planned run left out, no row yet." in report


def test_a_sweep_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fill(tmp_path, "one", 59)
    assert _analyze(monkeypatch, "on", "--store", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert "no sweep 'on'" in error
    assert "Did you mean 'one'?" in error
    assert "Traceback" not in error


def _by_itself(folder: Path, store: Path, output: Path, **variables: str) -> dict[str, bytes]:
    """`analyze` in a process of its own, working in `folder`; the files it wrote. It says nothing on standard error."""
    command = [sys.executable, "-m", "grok_sweeps.cluster.cli", "analyze", "one", "--store", str(store)]
    ended = subprocess.run(
        [*command, "--resamples", "100", "--output", str(output)],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


ODD_RC = """
lines.linewidth: 9
axes.grid: True
font.family: monospace
font.size: 31
axes.prop_cycle: cycler('color', ['r'])
figure.constrained_layout.h_pad: 0.9
path.simplify: False
image.lut: 4
savefig.bbox: tight
text.usetex: True
xtick.minor.visible: True
path.sketch: 3, 100, 2
no.such.setting: what
"""


def test_no_setting_of_matplotlib_changes_or_stops_the_figures(tmp_path: Path) -> None:
    store, plain, odd = tmp_path / "store", tmp_path / "plain", tmp_path / "odd"
    _fill(store, "one", 59)
    plain.mkdir()
    odd.mkdir()
    expected = _by_itself(plain, store, tmp_path / "out-plain")
    assert "figures/heatmap.png" in expected
    (odd / "matplotlibrc").write_text(ODD_RC)
    inline = "module://matplotlib_inline.no_such_backend"
    assert _by_itself(odd, store, tmp_path / "out-odd", MPLBACKEND=inline) == expected
    (odd / "matplotlibrc").write_bytes(b"backend: \xff\xfe")
    nowhere = {"HOME": "/proc/nowhere", "MPLCONFIGDIR": "/proc/nowhere", "MPLBACKEND": "no such"}
    assert _by_itself(odd, store, tmp_path / "out-nowhere", **nowhere) == expected


def test_a_figure_that_cannot_be_drawn_is_a_line_and_the_report_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from grok_sweeps.analysis.render import drawings

    def fails(*_: object) -> None:
        raise RuntimeError("no ink")

    _fill(tmp_path, "one", 59)
    older = [tmp_path / "one" / "analysis" / "figures" / f"heatmap.{ending}" for ending in ("png", "svg")]
    older[0].parent.mkdir(parents=True)
    for figure in older:
        figure.write_text("of an earlier analysis")
    monkeypatch.setitem(drawings.OF_CELLS, "heatmap", fails)  # type: ignore[arg-type]
    assert _analyze(monkeypatch, "one", "--store", str(tmp_path)) == 0
    line = "warning: the figure heatmap could not be drawn: RuntimeError: no ink; its numbers are in the report.\n"
    assert capsys.readouterr().err == line
    folder = tmp_path / "one" / "analysis"
    assert json.loads((folder / "estimates.json").read_text())["counts"]["n_rows"] == 24
    for name in ("report.html", "report.md"):
        assert "The figure heatmap could not be drawn: RuntimeError: no ink." in (folder / name).read_text()
    assert (folder / "figures" / "accuracy.png").is_file()
    assert not any(figure.exists() for figure in older)


def test_the_users_own_backend_stands_beside_ours(tmp_path: Path) -> None:
    """In a notebook that imports the analysis before pyplot, pyplot draws where the notebook wants."""
    code = "import grok_sweeps.analysis.render, matplotlib; print(matplotlib.rcParams['backend'])"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "MPLBACKEND": "svg"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ended.stdout.strip() == "svg"
