"""`python -m tests.leave_node_at IP`: `grok_sweeps.cluster.leave_node` on one of several nodes of the same machine.

Ray takes a process to be on the first node that it finds on the machine, where a pod or an instance has one alone.
"""

from __future__ import annotations

import functools
import sys

import ray

from grok_sweeps.cluster import leave_node

if __name__ == "__main__":
    ray.init = functools.partial(ray.init, _node_ip_address=sys.argv[1])
    sys.exit(leave_node.main())
