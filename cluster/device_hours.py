"""Counts the device-hours that a sweep's packs hold, over all its drivers, and says when its budget of them is spent.

Device-hours are GPU-hours where packs hold GPUs (half a GPU for two hours is one), else hours of CPU cores. What a
driver has counted stands in its heartbeat, and the next driver goes on from there; a driver that is killed loses what
it counted since. A GPU that is there and that no pack holds is not counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any


class DeviceHours:
    """The device-hours of a sweep whose packs each hold `bundle` (Ray resources). Safe between threads.

    Args:
        bundle: what a pack holds; None while that is not known.
        most: the budget, in GPU-hours or core-hours; None: no limit.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        bundle: Mapping[str, float] | None = None,
        most: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind: str | None = None
        self._a_pack = 0.0
        self._most, self._clock = most, clock
        self._lock = threading.Lock()
        self._hours = {"gpu": 0.0, "core": 0.0}
        self._packs, self._at = 0, clock()
        if bundle is not None:
            self.hold_each(bundle)

    def hold_each(self, bundle: Mapping[str, float]) -> None:
        """Say what each pack holds, where that was not known at first."""
        self._kind = "gpu" if bundle.get("GPU") else "core"
        self._a_pack = bundle.get("GPU") or bundle.get("CPU", 0.0)

    def go_on_from(self, status: Mapping[str, Any] | None) -> None:
        """Add what earlier drivers counted, as it stands in the sweep's last heartbeat."""
        for kind in self._hours:
            self._hours[kind] += float((status or {}).get(f"{kind}_hours") or 0.0)

    def hold(self, packs: int) -> None:
        """From now on so many packs hold their devices."""
        self._count(packs)

    def to_status(self) -> dict[str, Any]:
        """What the heartbeat says of it: the hours of each kind, which kind this driver counts, and its budget."""
        self._count()
        hours = {f"{kind}_hours": spent for kind, spent in self._hours.items()}
        return {**hours, "hours_of": self._kind, "max_device_hours": self._most}

    def over(self) -> str | None:
        """That the budget is spent, in words; None while it is not."""
        self._count()
        if self._most is None or self._kind is None or self._hours[self._kind] < self._most:
            return None
        name = {"gpu": "GPU-hours", "core": "core-hours"}[self._kind]
        return f"the budget of {self._most:g} {name} is spent; resume with a larger --max-gpu-hours"

    def _count(self, packs: int | None = None) -> None:
        """Count up to now; from now on `packs` are held, if that is given."""
        with self._lock:
            now = self._clock()
            if self._kind is not None:
                self._hours[self._kind] += self._packs * self._a_pack * (now - self._at) / 3600
            self._at = now
            self._packs = self._packs if packs is None else packs
