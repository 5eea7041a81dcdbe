"""The names of the ways to compute steps, by device, the fastest last; see `grok_sweeps.train.engine`."""

ENGINES = {"cpu": ("eager", "native"), "cuda": ("eager", "graph", "fused")}
