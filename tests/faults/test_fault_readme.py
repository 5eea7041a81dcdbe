"""The README of the campaigns names every option and every kind of fault, and its commands parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.faults.__main__ import options
from tests.faults.kinds import KINDS

TEXT = Path(__file__).with_name("README.md").read_text()


def test_every_option_and_kind_is_told() -> None:
    given = [name for action in options()._actions for name in action.option_strings if name.startswith("--")]
    assert [name for name in [*given, *(f"`{kind}`" for kind in KINDS)] if name not in TEXT] == ["--help"]


def test_every_command_parses() -> None:
    commands = re.findall(r"^python -m tests\.faults (.*?)(?:#.*)?$", TEXT, flags=re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        options().parse_args(shlex.split(command))
