"""The store: a directory (later a bucket) that holds everything that matters about every sweep."""

from grok_sweeps.store.objects import ObjectInfo, ObjectStore
from grok_sweeps.store.sweep import SweepStore
from grok_sweeps.store.uri import open_objects

__all__ = ["ObjectInfo", "ObjectStore", "SweepStore", "open_objects"]
