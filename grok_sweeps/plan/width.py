"""How many lanes a worker trains at once where the spec leaves it open: by device and by the shape of the runs.

On a CPU a lane more saves its share of what a step costs in calls, and takes cache from its neighbours: small networks
gain twofold up to 16 lanes, the paper's gain a few per cent up to some MiB of state and lose beyond (measured in
`tests/bench/README.md`). On a GPU lanes fill the device; there a worker also measures what a lane takes, and trains no
more than fit (`grok_sweeps.train.memory`).
"""

from __future__ import annotations

from grok_sweeps.config import RunConfig
from grok_sweeps.plan.estimate import state_bytes

CPU_BYTES = 4 << 20
"""State of the lanes of a CPU worker together, weights and moments."""
CPU_LANES = 16
"""Lanes of a CPU worker at most."""
GPU_LANES = 128


def auto_lanes(config: RunConfig, device: str) -> int:
    """Lanes of a worker on `device` (cpu or cuda) that trains runs of this shape."""
    if device == "cuda":
        return GPU_LANES
    return max(1, min(CPU_LANES, CPU_BYTES // state_bytes(config)))
