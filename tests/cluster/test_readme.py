"""The README is checked: its specs plan, its commands parse, its Python runs, and it leaves no command or key out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documented_commands import COMMANDS, check, code_blocks, commands_in

from grok_sweeps.plan import make_plan
from grok_sweeps.plan.plan import Plan
from grok_sweeps.spec import parse_spec, preset_names
from grok_sweeps.spec.model import AXES, Execution
from grok_sweeps.store import SweepStore, open_objects
from tests.results.results_rows import curve, grokked
from tests.written import write_results

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
    sweep = SweepStore(open_objects("./sweeps"), "quickstart")
    sweep.create(*small_plan("quickstart"))
    cell = {"sweep": "quickstart", "arm": "clamp", "tau": 1.0, "w_c": 27.0}
    doses = (1.0, 1.05, 1.1, 1.15)
    rows = [
        grokked(f"{rho}-{seed}", int(3000 * rho + 100 * seed), rho=rho, seed=seed, logit_scale_at_grok=20 * rho, **cell)
        for rho in doses
        for seed in (0, 1, 2)
    ]
    write_results(sweep, "pack", "a1", 1, rows, [curve(r["run_id"], (1, 3000), sweep="quickstart") for r in rows])
    blocks = code_blocks(TEXT, "python")
    assert len(blocks) == 2
    for code in blocks:
        names: dict[str, Any] = {}
        exec(code, names)
        assert list(names["store"].sweeps().sweep) == ["quickstart"]
    assert names["result"].counts.n_grokked == len(rows)


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
