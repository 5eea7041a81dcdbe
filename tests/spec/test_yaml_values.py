"""What a plain value in a spec means: what it looks like, and in a stored spec what it has meant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_sweeps.errors import SpecError
from grok_sweeps.plan import make_plan
from grok_sweeps.spec import load_spec, parse_spec, parse_stored_spec, preset_names, with_execution
from grok_sweeps.spec.load import _validated
from grok_sweeps.spec.yaml import read_stored_yaml
from grok_sweeps.store import SweepStore, open_objects


def _axis(key: str, written: str) -> Any:
    return getattr(parse_spec(f"name: good\nruns:\n  {key}: {written}\n").runs, key)


@pytest.mark.parametrize(
    ("key", "written", "meant"),
    [
        ("max_steps", "1e3", (1000,)),
        ("max_steps", "[1.5e3, 2E+3, 1e0]", (1500, 2000, 1)),
        ("seeds", "1e1", range(10)),
        ("max_steps", "1_000", (1000,)),
        ("p", "0x10", (16,)),
        ("seeds", "[00, 01, 07]", (0, 1, 7)),
        ("tau", "1e3", (1000.0,)),
        ("tau", "[.5, 1., 1e-3, +.5]", (0.5, 1.0, 0.001, 0.5)),
        ("gamma", "-.5", (-0.5,)),
        ("tau", "[1,2,3]", (1.0, 2.0, 3.0)),
        ("tau", "[1, 2, 3]", (1.0, 2.0, 3.0)),
        ("tau", "[1,2,\n    3,4]", (1.0, 2.0, 3.0, 4.0)),
        ("tau", "[1.5,2, 3]", (1.5, 2.0, 3.0)),
        ("seeds", "[0,1, 2,3]", (0, 1, 2, 3)),
        ("gradient_compensation", "[yes, No, on, OFF]", (True, False, True, False)),
        ("gradient_compensation", "[true, False]", (True, False)),
        ("hidden", "null", None),
        ("w_c", "[control, 1e2]", ("control", 100.0)),
    ],
)
def test_a_value_means_what_it_looks_like(key: str, written: str, meant: object) -> None:
    found = _axis(key, written)
    assert found == meant
    assert found is None or [type(value) for value in found] == [type(value) for value in meant]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name", ["no", "yes", "on", "Off", "NO", "2026-12-01", "2020-13-45", "nan", "1e", "0o13", "1.2.3"]
)
def test_a_word_or_a_date_may_name_a_sweep(name: str) -> None:
    assert parse_spec(f"name: {name}\ndescription: {name}\n").name == name
    assert parse_stored_spec(f"name: {name}\n", "stored").name == name


def test_numbers_in_quotes_may_name_a_sweep() -> None:
    assert parse_spec("name: '013'\ndescription: '1:30'\n").name == "013"


@pytest.mark.parametrize("text", ["=", "<<"])
def test_what_other_yaml_gives_a_meaning_is_text(text: str) -> None:
    assert parse_spec(f"name: good\ndescription: {text}\n").description == text


@pytest.mark.parametrize("written", ["013", "08", "1:30", "0x_"])
def test_text_is_advised_only_where_text_is_allowed(written: str) -> None:
    for key in ("name", "description"):
        with pytest.raises(SpecError, match=f"or '{written}' for text"):
            parse_spec(f"{key}: {written}\n")
    for spec in (f"runs: {{p: [{written}]}}\n", f"execution: {{checkpoint_every_s: {written}}}\n"):
        with pytest.raises(SpecError) as refused:
            parse_spec(f"name: bad\n{spec}")
        assert "text" not in str(refused.value)
    for key, allowed in (("workers", False), ("accelerator_type", True)):
        with pytest.raises(SpecError, match=f"execution.{key}: {written}") as refused:
            with_execution(parse_spec("name: good\n"), [f"execution.{key}={written}"])
        assert ("text" in str(refused.value)) is allowed


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("execution.workers=013", ("013", "11", "13")),
        ("execution.checkpoint_every_s=1:30", ("1:30", "90")),
        ("execution.checkpoint_every_s=1,5", ("1,5", "1.5", "decimal point")),
        ("execution.lanes=", ("execution.lanes", "null (empty)", "'auto'")),
        ("execution.device=no", ("execution.device", "'no'", "'cpu'")),
        ("execution.workers=[1,05]", ("execution.workers",)),
    ],
)
def test_a_setting_that_reads_two_ways_is_one_line(setting: str, names: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as refused:
        with_execution(parse_spec("name: good\n"), [setting])
    message = str(refused.value)
    assert message.startswith("--set: ")
    assert "\n" not in message
    assert [word for word in names if word not in message] == [], message


def test_settings_mean_what_they_look_like() -> None:
    settings = [
        "execution.pack_runs=1e3",
        "execution.wandb=no",
        "execution.checkpoint_every_s=.5",
        "execution.lanes=0x10",
    ]
    execution = with_execution(parse_spec("name: good\n"), settings).execution
    assert (execution.pack_runs, execution.wandb, execution.checkpoint_every_s, execution.lanes) == (
        1000,
        "no",
        0.5,
        16,
    )


_STORED = "name: old\nruns: {p: 013, arm: clamp, w_c: 20, rho: [1,05, 1,10], seeds: 010, max_steps: 1:40}\n"


def test_a_stored_spec_that_would_be_refused_today_opens_as_it_was_meant(tmp_path: Any) -> None:
    with pytest.raises(SpecError):
        parse_spec(_STORED)
    stored = parse_stored_spec(_STORED, "old.yaml")
    assert (stored.runs.p, stored.runs.rho, stored.runs.seeds) == ((11,), (1.0, 5.0, 1.0, 10.0), range(8))
    store = SweepStore(open_objects(str(tmp_path)), "old")
    store.create(_STORED, make_plan(stored))
    assert store.load_spec() == stored


def test_a_stored_spec_that_never_was_valid_is_refused_as_today() -> None:
    with pytest.raises(SpecError, match="Did you mean 'runs'"):
        parse_stored_spec("name: bad\nrnus: {p: 11}\n", "stored")


_SCALARS = st.one_of(
    st.from_regex(r"[-+]?[0-9_.]{1,5}(e[-+]?[0-9]{1,2})?(:[0-9]{1,2})?", fullmatch=True),
    st.sampled_from(
        ["yes", "no", "on", "off", "true", "null", "~", "2026-12-01", "0x1f", "0b11", ".nan", "-.inf", "y"]
    ),
    st.integers(0, 99).map(lambda n: f"[0,{n}, 1,0{n}]"),
)
_KEYS = st.sampled_from(
    ["p", "seeds", "rho", "tau", "gamma", "w_c", "max_steps", "stop", "gradient_compensation", "lr", "hidden", "arm"]
)


@given(_KEYS, _SCALARS)
def test_what_both_readings_accept_is_the_same_spec(key: str, written: str) -> None:
    text = f"name: any\nruns: {{{key}: {written}}}\n"
    try:
        now = parse_spec(text)
    except SpecError:
        return
    try:
        before = _validated(read_stored_yaml(text, "any"), "any")
    except SpecError:
        return
    assert now == before


@pytest.mark.parametrize("preset", preset_names())
def test_a_preset_is_the_same_spec_in_both_readings(preset: str) -> None:
    spec, text = load_spec(preset)
    assert spec == _validated(read_stored_yaml(text, preset), preset)
