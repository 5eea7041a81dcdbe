"""What a job needs of this machine: the code that runs here, and the variables that its user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grok_sweeps
from grok_sweeps.cluster.settings import ALLOCATOR, environment_values
from grok_sweeps.cluster.stopping import STATES_WAIT_S

STOP_WAIT_S = int(STATES_WAIT_S) + 30
"""How long Ray waits for a job to end after SIGTERM: longer than the driver waits for its workers' states."""


def shipped(variables: Sequence[str] = (), *, is_job: bool = False) -> dict[str, Any]:
    """Ray's runtime environment: this package's code, from a checkout or as installed.

    `variables` are names of environment variables whose values go along; whoever may read the cluster's jobs sees
    them. `is_job` says that it is a job's, and not that of a driver's workers.

    Raises:
        SpecError: a variable is not set here.
    """
    values: Mapping[str, str] = {
        **ALLOCATOR,
        **environment_values(variables),
        **({"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)} if is_job else {}),
    }
    return {
        "py_modules": [str(Path(grok_sweeps.__path__[0]))],
        "env_vars": dict(values),
        "excludes": ["**/__pycache__/**"],
    }
