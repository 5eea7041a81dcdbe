"""`python -m grok_sweeps.cluster.leave_node` on a node about to go: have its packs write their states and leave.

For a pod's preStop hook or a spot instance's notice. Ray is told that the node is preempted, so nothing new starts on
it; its packs see that within a second, write their states and are handed back. Ray by itself gives them no signal.
"""

from __future__ import annotations

import sys
import time

from grok_sweeps.cluster.joined_ray import JoinedRay
from grok_sweeps.cluster.ray_private import drain
from grok_sweeps.cluster.ray_state import this_node, trials_on
from grok_sweeps.cluster.stopping import STATES_WAIT_S
from grok_sweeps.errors import ClusterError

_LOOK_EVERY_S = 0.5


def main() -> int:
    """Leave; 0 where no pack is left on the node."""
    session = JoinedRay("auto", {})
    try:
        session.start()
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        node = this_node()
        drain(node, STATES_WAIT_S)
        until = time.monotonic() + STATES_WAIT_S
        while (left := trials_on(node)) and time.monotonic() < until:
            time.sleep(_LOOK_EVERY_S)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        session.close()
    print(f"node {node} leaves with {left} packs under way")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
