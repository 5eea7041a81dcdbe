"""Tools of users that hear of a sweep (webhook, Prometheus, MLflow, W&B). None can break it or keep it waiting."""

from grok_sweeps.cluster.hooks.hooks import Hooks, open_hooks

__all__ = ["Hooks", "open_hooks"]
