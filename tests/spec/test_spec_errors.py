"""A bad spec is one line that names field, value and fix, and it costs nothing: no store, no minute, no memory."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from bad_specs import BAD_SPECS, BadSpec

from grok_sweeps.cluster.cli.app import main
from grok_sweeps.errors import SpecError
from grok_sweeps.plan import make_plan
from grok_sweeps.spec import load_spec, parse_spec

EVERY_BAD_SPEC = pytest.mark.parametrize("bad", BAD_SPECS.values(), ids=BAD_SPECS.keys())


def _write(bad: BadSpec, folder: Path) -> Path:
    path = folder / "bad.yaml"
    path.write_bytes(bad.text if isinstance(bad.text, bytes) else bad.text.encode())
    return path


@EVERY_BAD_SPEC
def test_a_bad_spec_is_one_line_that_names_field_value_and_fix(bad: BadSpec, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SpecError) as caught:
        make_plan(load_spec(str(_write(bad, tmp_path)))[0])
    seconds = time.monotonic() - began
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in bad.names if word not in message] == [], message
    assert len(message) < 500, "a value is quoted in part only"
    assert seconds < 60, "no input keeps one waiting"


@EVERY_BAD_SPEC
def test_the_command_line_prints_one_error_line_and_writes_nothing(
    bad: BadSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "grok_sweeps.cluster.cli.train.run_sweep", lambda *_: pytest.fail("a bad spec got as far as its training")
    )
    store = tmp_path / "store"
    monkeypatch.setattr(sys, "argv", ["grok-sweeps", "run", str(_write(bad, tmp_path)), "--store", str(store)])
    with pytest.raises(SystemExit) as exited:
        main()
    out, err = capsys.readouterr()
    assert exited.value.code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert [word for word in bad.names if word not in err] == [], err
    assert "Traceback" not in err + out
    assert out == ""
    assert not store.exists()


def test_a_spec_with_several_faults_counts_the_others() -> None:
    with pytest.raises(SpecError, match=r"runs\.p\[0\].*\(and 2 more fields at fault\)"):
        parse_spec("name: bad\nruns: {p: x, tau: 0, lr: b}\n")


def test_a_fault_in_the_first_block_is_counted_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec("name: bad\nblocks: [{taau: 1}]\n")
    assert "more field" not in str(caught.value)


@pytest.mark.parametrize("name", ["paper/colapse", "./nowhere.yaml", "", "x" * 5000, "a\nb", "a\x00b"])
def test_a_spec_that_is_no_file_and_no_preset_lists_the_presets(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(name)
    message = str(caught.value)
    assert "\n" not in message
    assert "quickstart" in message
    assert "path to a YAML file" in message


def test_a_misspelt_preset_is_put_right() -> None:
    with pytest.raises(SpecError, match="Did you mean 'paper/collapse'"):
        load_spec("paper/colapse")


def test_a_hundred_nested_aliases_are_refused_before_they_are_expanded() -> None:
    lines = ["name: bad", "a0: &a0 [1, 1]", *(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 100))]
    with pytest.raises(SpecError, match="line 3: YAML aliases"):
        parse_spec("\n".join(lines))


def test_a_folder_is_no_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(str(tmp_path))
    assert str(caught.value) == f"{tmp_path}: is a folder; give the path of a YAML file, e.g. {tmp_path}/sweep.yaml."


def test_a_preset_is_found_beside_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quickstart").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_spec("quickstart")[0].name == "quickstart"


def _standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_spec_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "name: piped\ndescription: ρ\nruns: {p: 11}\n"
    _standard_input(monkeypatch, text.encode())
    spec, read = load_spec("-")
    assert (spec.name, spec.runs.p, read) == ("piped", (11,), text)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"runs: {p: 11}\n", ("name: required",)),
        (b"", ("mapping", "name, runs")),
        (b"\xff\xfe\x00", ("UTF-8",)),
        (b"name: bad # " + b"x" * (1 << 20), ("1,048,576", "at most")),
        (b"name: bad\nruns: {p: 013}\n", ("line 2", "runs.p")),
    ],
)
def test_a_fault_in_standard_input_is_one_line(
    data: bytes, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    _standard_input(monkeypatch, data)
    with pytest.raises(SpecError) as caught:
        load_spec("-")
    message = str(caught.value)
    assert message.startswith("standard input: ")
    assert "\n" not in message
    assert [word for word in names if word not in message] == [], message


def test_a_closed_standard_input_is_an_empty_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SpecError, match="standard input: a spec is a mapping"):
        load_spec("-")


def test_a_spec_may_come_from_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("name: piped\n",), daemon=True)
    writer.start()
    assert load_spec(str(pipe))[0].name == "piped"
    writer.join()
