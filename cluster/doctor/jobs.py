"""Ask a Ray jobs server who it is, within a bounded time."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from urllib.parse import SplitResult, urlsplit

from grok_sweeps.cluster.doctor.check import Check, failure, ok, warning
from grok_sweeps.cluster.no_redirect import NoRedirect

TIMEOUT_S = 5.0
_NAME = "Ray jobs server"
_MOST_BYTES = 64 << 10
NOT_REACHED = "is not reached"
"""Said of a server that does not answer at all, which is all that one hears of a cluster that is gone."""


def check_jobs_server(address: str, token: str | None, ray_version: str | None, timeout_s: float = TIMEOUT_S) -> Check:
    """Ask the server at `address` (http://host:8265) for its version.

    Args:
        address: of the Ray dashboard, which serves the jobs API.
        token: of Ray's token authentication, or None.
        ray_version: of this machine, which has to be the server's.
        timeout_s: seconds to wait for the connection, and for the answer.
    """
    parts = _parts(address)
    if parts is None:
        return failure(_NAME, "what --address names is no address", "give http://HOST:8265")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return failure(_NAME, f"'{parts.scheme}://{parts.hostname or ''}' is no address", "give http://HOST:8265")
    shown = f"{parts.scheme}://{parts.netloc}"
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{shown}{parts.path.rstrip('/')}/api/version", headers=headers)  # noqa: S310
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=timeout_s) as answer:
            version = json.loads(answer.read(_MOST_BYTES))["ray_version"]
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            return failure(_NAME, f"{shown} asks for a token", "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH")
        return failure(_NAME, f"{shown} answers HTTP {error.code}", "give the address of Ray's dashboard")
    except OSError as error:
        why = getattr(error, "reason", error)
        return failure(_NAME, f"{shown} {NOT_REACHED}: {why}", "check address, port and firewall")
    except (HTTPException, ValueError, KeyError, TypeError):
        return failure(_NAME, f"{shown} is no Ray dashboard", "give the address of Ray's dashboard")
    if version != ray_version:
        return warning(_NAME, f"{shown} runs Ray {version}, this machine has {ray_version}", "install the same version")
    return ok(_NAME, f"{shown} runs Ray {version}")


def _parts(address: str) -> SplitResult | None:
    """The parts of a URL, or None where it is none."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts
