"""Users' own tools that hear of a sweep: a webhook, Prometheus, MLflow, Weights & Biases. None can break it or keep it waiting."""

from cluster.hooks.hooks import Hooks, open_hooks

__all__ = ["Hooks", "open_hooks"]
