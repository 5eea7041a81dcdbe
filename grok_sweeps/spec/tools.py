"""Where a sweep's user keeps tools of their own: a webhook, a metrics port, an MLflow server, a W&B project.

A spec is kept in the store and shown to anyone who may read it, so what holds credentials is named by an environment
variable, `$NAME`, and a value with credentials in it is refused without being quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from grok_sweeps.errors import SpecError

_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


def check_tool(key: str, value: str, source: str = "") -> None:
    """Check the value of `execution.<key>`; `source` is the environment variable it was read from, if any.

    Raises:
        SpecError: it is no address of such a tool, or holds credentials and stands in the spec. It is not quoted.
    """
    if value.startswith("$") and not source:
        if not _VARIABLE.fullmatch(value):
            raise SpecError(
                f"execution.{key}: '$' begins the name of an environment variable, such as $MY_{key.upper()}."
            )
        return
    where = f"execution.{key}" + (f": the value of ${source}" if source else "")
    is_one, allowed = _TOOLS[key]
    try:
        fits = is_one(value)
    except ValueError:
        fits = False
    if not fits:
        raise SpecError(f"{where}: is not {allowed}; or name an environment variable that holds it, $NAME.")
    if not source and _holds_credentials(value):
        raise SpecError(f"{where}: holds credentials, and a spec is no place for them; put it into an environment "
                        "variable of the driver and write its name here, $NAME.")  # fmt: skip


def variable_of(value: object) -> str | None:
    """The environment variable that a value names, or None."""
    found = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def _holds_credentials(value: str) -> bool:
    return "://" in value and "@" in urlsplit(value).netloc


def _is_url(value: str) -> bool:
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", value)


def _is_uri(value: str) -> bool:
    return bool(urlsplit(value).geturl().strip())


def _is_address(value: str) -> bool:
    host, _, port = value.rpartition(":")
    return not re.search(r"\s", host) and bool(re.fullmatch(r"[0-9]{1,5}", port)) and 1 <= int(port) <= 65535


_TOOLS: dict[str, tuple[Callable[[str], bool], str]] = {
    "webhook": (_is_url, "an http:// or https:// URL"),
    "metrics_port": (_is_address, "a port, or HOST:PORT such as 0.0.0.0:9400"),
    "mlflow": (_is_uri, "a tracking URI such as http://host:5000"),
    "wandb": (lambda value: bool(re.fullmatch(r"([\w.-]+/)?[\w.-]{1,128}", value)), "PROJECT or ENTITY/PROJECT"),
}
