"""The commands that documents and deploy files hold: found, and parsed by the program they name."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache

import click
import typer

from cluster.cli.app import app

COMMANDS: Mapping[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
"""Those of `grok-sweeps`, by name."""

_PROGRAMS = ("grok-sweeps", "ray", "python")
_ENDS = re.compile(r"[;&|()<>]+")


def code_blocks(markdown: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", markdown, flags=re.DOTALL)


def commands_in(shell: str) -> Iterator[list[str]]:
    """Yield the calls of `grok-sweeps`, `ray` and `python -m` in a piece of shell, one list of words each.

    What stands before the program on its line (`until`, `nohup`, `docker compose run client`) is left out.
    """
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in (*lexer, ";"):
            if not _ENDS.fullmatch(word):
                words.append(word)
                continue
            start = next((k for k, w in enumerate(words) if w in _PROGRAMS), None)
            if start is not None:
                yield words[start:]
            words = []


def check(words: list[str]) -> None:
    """Parse a call as its program would.

    Raises:
        click.UsageError: the command, an option or a value is not the program's.
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
    commands[name].make_context(name, rest)


@cache
def _ray_commands() -> Mapping[str, click.Command]:
    from ray.scripts.scripts import add_command_alias, cli  # noqa: F401

    commands: Mapping[str, click.Command] = cli.commands
    return commands
