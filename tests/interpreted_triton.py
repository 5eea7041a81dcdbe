"""The fused kernels on a CPU. To be imported before anything imports Triton, which decides then how programs run."""

from __future__ import annotations

import os

_before = os.environ.get("TRITON_INTERPRET")
os.environ["TRITON_INTERPRET"] = "1"
try:
    from grok_sweeps.train.fused import load, programs  # noqa: F401
finally:  # processes that tests start train as they do anywhere
    if _before is None:
        del os.environ["TRITON_INTERPRET"]
    else:
        os.environ["TRITON_INTERPRET"] = _before
