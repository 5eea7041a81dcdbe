"""Which pack trains next, and what becomes of a pack whose attempt has failed. Pure: no Ray, no store, no clock."""

from grok_sweeps.cluster.schedule.attempt import Attempt, Queued
from grok_sweeps.cluster.schedule.events import (
    Action,
    Ended,
    EndWorker,
    Event,
    Failed,
    FailureKind,
    FailureReported,
    Reported,
    Room,
    RoomChanged,
    Say,
    Start,
    StopAsked,
    StoreFailed,
    TellWorkersToStop,
    TrialWanted,
    WorkerReady,
)
from grok_sweeps.cluster.schedule.schedule import Limits, Schedule

__all__ = [
    "Action",
    "Attempt",
    "EndWorker",
    "Ended",
    "Event",
    "Failed",
    "FailureKind",
    "FailureReported",
    "Limits",
    "Queued",
    "Reported",
    "Room",
    "RoomChanged",
    "Say",
    "Schedule",
    "Start",
    "StopAsked",
    "StoreFailed",
    "TellWorkersToStop",
    "TrialWanted",
    "WorkerReady",
]
