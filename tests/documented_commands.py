"""The commands that documents and deploy files hold: found, and parsed by the program they name."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import click
import typer

from grok_sweeps.cluster.cli.app import app

COMMANDS: Mapping[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
"""Those of `grok-sweeps`, by name."""

_PROGRAMS = ("grok-sweeps", "ray", "python")
_BEFORE = re.compile(r"\w+=.*|until|if|while|then|else|do|exec|setsid|nohup|spot-watch")
"""What may stand before a program: settings of variables, the shell's own words, and what runs the rest of its line."""
_ENDS = re.compile(r"[;&|()<>]+")


def code_blocks(markdown: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", markdown, flags=re.DOTALL)


def commands_in(shell: str) -> Iterator[list[str]]:
    """Yield the calls of `grok-sweeps`, `ray` and `python -m` in a piece of shell, one list of words each.

    What stands before the program (`until`, `nohup`) is left out.
    """
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in (*lexer, ";"):
            if not _ENDS.fullmatch(word):
                words.append(word)
                continue
            while words and _BEFORE.fullmatch(words[0]):
                words.pop(0)
            if words and words[0] in _PROGRAMS:
                yield words
            words = []


def check(words: list[str]) -> None:
    """Parse a call as its program would.

    Raises:
        UsageError: an option or a value is not the program's (click's error, or typer's own copy of it).
        AssertionError: there is no such command or module.
    """
    program, *arguments = words
    if program == "python":
        assert arguments[:1] == ["-m"], words
        assert importlib.util.find_spec(arguments[1]) is not None, f"no module {arguments[1]}"
        return
    commands = COMMANDS if program == "grok-sweeps" else _ray_commands()
    name, *rest = arguments
    if name == "--help":
        return
    assert name in commands, f"{program} has no command {name}"
    command = commands[name]
    if isinstance(command, click.Group):  # `ray job submit`
        name, *rest = rest
        command = command.commands[name]
    command.make_context(name, rest)


@cache
def _ray_commands() -> Mapping[str, Any]:
    from ray.scripts.scripts import cli

    commands: Mapping[str, Any] = cli.commands
    return commands
