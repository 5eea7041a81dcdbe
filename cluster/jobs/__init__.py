"""The driver as a Ray Job: hand it over, join it, watch it, stop it."""

from grok_sweeps.cluster.jobs.server import Job, JobsServer

__all__ = ["Job", "JobsServer"]
