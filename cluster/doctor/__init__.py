"""What a sweep needs, tried out: the store, this machine, a Ray jobs server. Every check is a value."""

from grok_sweeps.cluster.doctor.check import Check, Level

__all__ = ["Check", "Level"]
