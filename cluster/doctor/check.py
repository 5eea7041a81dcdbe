"""The outcome of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is: with a failure, sweeps cannot be trusted to run; with a warning they can, less well."""

    ok = "ok"
    warning = "warning"
    failure = "failure"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it stands, and what to do where it does not stand well."""

    name: str
    level: Level
    text: str
    fix: str = ""


def ok(name: str, text: str) -> Check:
    """It is as it should be."""
    return Check(name, Level.ok, text)


def warning(name: str, text: str, fix: str) -> Check:
    """It works, less well."""
    return Check(name, Level.warning, text, fix)


def failure(name: str, text: str, fix: str) -> Check:
    """It does not work."""
    return Check(name, Level.failure, text, fix)
