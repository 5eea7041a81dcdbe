"""A monitor of a sweep, with what it needs."""

from __future__ import annotations

from unittest.mock import Mock

from grok_sweeps.cluster.device_hours import DeviceHours
from grok_sweeps.cluster.journal import Journal, driver_identity
from grok_sweeps.cluster.monitor import Monitor, View
from grok_sweeps.cluster.stopping import StopOnSignal
from grok_sweeps.plan import Plan
from grok_sweeps.store import SweepStore
from grok_sweeps.store.lease import Lease


def monitor_of(
    store: SweepStore,
    plan: Plan,
    view: View | None = None,
    hours: DeviceHours | None = None,
    stopped: StopOnSignal | None = None,
    journal: Journal | None = None,
    lease: Lease | None = None,
) -> Monitor:
    """A monitor that has not begun."""
    view = Mock(spec=View) if view is None else view
    journal = journal or Journal(store, driver_identity(), view.event)
    return Monitor(store, plan, journal, view, hours or DeviceHours({}), stopped or StopOnSignal(), None, lease)
