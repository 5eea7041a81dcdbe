"""The README is checked: its specs plan, its commands parse, its Python runs, and it leaves no command or key out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from documented_commands import COMMANDS, check, code_blocks, commands_in

from grok_sweeps.plan import make_plan
from grok_sweeps.plan.plan import Plan
from grok_sweeps.spec import parse_spec, preset_names
from grok_sweeps.spec.model import AXES, Execution
from grok_sweeps.store import SweepStore, open_objects

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text()
CALLS = [words for block in code_blocks(TEXT, "bash") for words in commands_in(block)]


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_every_command_in_the_readme_parses(words: list[str]) -> None:
    check(words)


@pytest.mark.parametrize("text", code_blocks(TEXT, "yaml"))
def test_every_spec_in_the_readme_plans(text: str) -> None:
    assert len(make_plan(parse_spec(text)).runs) > 50


def test_the_python_in_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_plan: Callable[..., tuple[str, Plan]]
) -> None:
    monkeypatch.chdir(tmp_path)
    SweepStore(open_objects("./sweeps"), "small").create(*small_plan())
    (code,) = code_blocks(TEXT, "python")
    names: dict[str, object] = {}
    exec(code, names)
    assert list(names["store"].sweeps().sweep) == ["small"]  # type: ignore[attr-defined]


def test_the_readme_names_every_command_option_key_and_preset() -> None:
    for name, command in COMMANDS.items():
        assert f"`{name}`" in TEXT or f"grok-sweeps {name}" in TEXT, f"command {name}"
        for parameter in command.params:
            for option in () if getattr(parameter, "hidden", False) else parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert option in TEXT, f"{name} {option}"
    for key in AXES:
        assert f"`{key}`" in TEXT, key
    for key in Execution.model_fields:
        assert f"`execution.{key}`" in TEXT, key
    for name in preset_names():
        assert f"`{name.removesuffix('-control')}`" in TEXT, name


def test_the_make_targets_that_the_readme_names_exist() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", TEXT, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
