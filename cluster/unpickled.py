"""What Tune is given and wants to pickle, for a restore that this project never does."""

from __future__ import annotations

from typing import Any


class Unpickled:
    """Stays here with what it holds."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
