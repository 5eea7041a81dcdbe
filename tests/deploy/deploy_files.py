"""The files of `deploy/`, read as what reads them does."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
POLICY = (DEPLOY / "s3-policy.json").read_text()
COMPOSE_VARIABLES = {"RAY_AUTH_TOKEN": "a-token", "S3_SECRET_KEY": "a-secret"}
"""What `deploy/.env` has to hold."""


def load(name: str) -> Any:
    """A YAML file of `deploy/`."""
    return yaml.safe_load((DEPLOY / name).read_text())


def load_compose() -> Any:
    """The compose file with its variables filled in, as `docker compose config` does.

    Raises:
        KeyError: a variable has neither a default nor a value in `COMPOSE_VARIABLES`.
    """

    def value(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":-")
        return default or COMPOSE_VARIABLES[name.partition(":?")[0]]

    return yaml.safe_load(re.sub(r"\$\{([^}]+)\}", value, (DEPLOY / "compose.yaml").read_text()))


def pins() -> dict[str, str]:
    """The versions of constraints.txt, by package."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def complaints(linter: str, *arguments: str, text: str | None = None) -> str:
    """What a linter of this environment says of files, or of a text on its standard input."""
    program = Path(sysconfig.get_path("scripts")) / linter
    done = subprocess.run([program, *arguments], check=False, input=text, capture_output=True, text=True)
    return done.stdout + done.stderr
