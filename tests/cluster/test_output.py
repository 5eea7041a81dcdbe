"""Output that is closed, full or gone: no traceback, and no training that ends for a print."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest
from cluster_processes import WAIT_S

from grok_sweeps.cluster.cli import output
from grok_sweeps.cluster.cli.app import main
from grok_sweeps.cluster.cli.output import CLOSED_PIPE, OutputLostError, go_on_without_output, guarded_output
from grok_sweeps.plan.plan import Plan
from grok_sweeps.provenance import VERSION
from grok_sweeps.results import open_store
from grok_sweeps.store import SweepStore

SmallPlan = Callable[..., tuple[str, Plan]]
PROGRAM = (sys.executable, "-m", "grok_sweeps.cluster.cli")


@contextmanager
def full() -> Iterator[TextIO]:
    with open("/dev/full", "w", encoding="utf-8") as stream:
        yield stream


@contextmanager
def closed_pipe() -> Iterator[TextIO]:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream:
        yield stream


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str, out: TextIO | None = None) -> int:
    """Run a command in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["grok-sweeps", *arguments])
    if out is not None:
        monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code is None or isinstance(exited.value.code, int)
    return exited.value.code or 0


COMMANDS = [
    ["--help"],
    ["--version"],
    ["presets"],
    ["plan", "quickstart"],
    ["list"],
    ["status"],
    ["status", "small"],
    ["status", "small", "--watch"],
    ["logs", "small"],
    ["gc"],
    ["export", "small", "--output", "runs.parquet", "--force"],
    ["query", "SELECT * FROM range(100)"],
    *(["query", "SELECT * FROM range(200000)", "--format", form] for form in ("csv", "json", "parquet")),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("opened", "code", "said"),
    [
        (full, 1, "error: standard output cannot be written: No space left on device.\n"),
        (closed_pipe, CLOSED_PIPE, ""),
    ],
    ids=["full", "closed pipe"],
)
def test_a_command_whose_output_is_lost_ends_with_one_line_at_most(
    opened: Callable[[], Iterator[TextIO]],
    code: int,
    said: str,
    arguments: list[str],
    sweep_store: SweepStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweep_store.put_log("driver", "12:00:00 stage 0\n")
    monkeypatch.setenv("GROK_SWEEPS_STORE", sweep_store.objects.uri)
    monkeypatch.chdir(tmp_path)
    with opened() as stream:  # type: ignore[attr-defined]
        assert ended(monkeypatch, *arguments, out=stream) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("opened", "code", "said"),
    [(full, 1, "error: standard output cannot be written: No space left on device.\n"), (closed_pipe, CLOSED_PIPE, "")],
)
def test_a_process_ends_in_order_too(opened: Callable[[], Iterator[TextIO]], code: int, said: str) -> None:
    with opened() as stream:  # type: ignore[attr-defined]
        done = subprocess.run(
            [*PROGRAM, "query", "SELECT * FROM range(200000)", "--format", "csv"],
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert (done.returncode, done.stderr) == (code, said)


def test_closed_streams_are_as_the_null_device() -> None:
    command = ["bash", "-c", '"$@" <&- >&- 2>&-', "-", *PROGRAM, "presets"]
    assert subprocess.run(command, timeout=WAIT_S, check=False).returncode == 0


def test_an_error_that_nobody_can_read_has_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for opened in (full, closed_pipe):
        with opened() as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            assert ended(monkeypatch, "plan", "nowhere.yaml") == 2


def test_a_command_that_goes_on_says_once_that_its_output_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with full() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with guarded_output():
            go_on_without_output(said.append)
            for _ in range(3):
                print("a line", flush=True)
                sys.stdout.buffer.write(b"bytes")
    assert said == ["standard output cannot be written: No space left on device."]


def test_a_command_after_one_that_went_on_ends_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded_output():
        go_on_without_output(lambda _: None)
    with full() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(OutputLostError), guarded_output():
            print("a line")


def test_a_stream_without_a_file_is_guarded_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdout", Broken())
    with pytest.raises(OutputLostError, match="Input/output error"), guarded_output():
        print("a line")
    output._to_null_device(io.StringIO())


def test_a_training_whose_output_is_lost_goes_on_to_its_end(tmp_path: Path, small_plan: SmallPlan) -> None:
    text, plan = small_plan("unheard", seeds=2)
    with closed_pipe() as stream:
        done = subprocess.run(
            [*PROGRAM, "run", "-", "--store", "store"],
            cwd=tmp_path,
            input=text,
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            timeout=2 * WAIT_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "warning: standard output cannot be written: Broken pipe. Training goes on; `grok-sweeps status unheard` shows "
        "it.\n"
    )
    runs = open_store(str(tmp_path / "store")).runs("unheard")
    assert sorted(runs.run_id) == sorted(plan.run_ids())


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"grok-sweeps {VERSION}\n"


@pytest.mark.parametrize("made", [True, False], ids=["empty", "not made yet"])
def test_a_store_without_a_sweep_is_listed_as_empty(
    made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    if made:
        store.mkdir()
    for command in (["list"], ["status"]):
        assert ended(monkeypatch, *command, "--store", str(store)) == 0
        out, err = capsys.readouterr()
        assert f"no sweeps in {open_store(str(store)).uri}" in out
        assert not err
    assert ended(monkeypatch, "query", "SELECT * FROM runs", "--format", "json", "--store", str(store)) == 0
    assert capsys.readouterr().out.split() == ["[]"]
    assert store.exists() == made


def test_a_sweep_that_cannot_be_read_hides_no_other(
    new_sweep: Callable[[str], SweepStore], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, whole = new_sweep("damaged"), new_sweep("whole")
    damaged.objects.delete(damaged.layout.plan)
    for command in ("list", "status"):
        assert ended(monkeypatch, command, "--store", whole.objects.uri) == 0
        out, err = capsys.readouterr()
        assert "not known: sweep 'damaged' has no plan yet; run it first." in out
        assert "not started" in out
        assert not err
