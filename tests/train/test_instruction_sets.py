"""What holds float32 to float64, under smaller instruction sets too: a bound may not be met by one processor's luck.

The largest set of this processor is what the rest of the tests run under.
"""

from __future__ import annotations

import os
import platform
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

ROOT = Path(__file__).parents[2]


class Instructions(NamedTuple):
    """What torch, MKL and the compiler of our kernels call a set."""

    aten: str
    mkl: str
    march: str


BELOW = {
    "AVX2": [Instructions("default", "SSE4_2", "x86-64")],
    "AVX512": [Instructions("default", "SSE4_2", "x86-64"), Instructions("avx2", "AVX2", "x86-64-v3")],
}
"""The sets below what torch calls this processor's own."""


def compiler_for(march: str, folder: Path) -> str:
    """A compiler that builds for `march` what is asked to be built for this processor."""
    real = shlex.quote(os.environ.get("CXX", "c++"))
    path = folder / "compiler"
    path.write_text(
        "#!/bin/sh\n"
        f'for word; do shift; [ "$word" = -march=native ] && word=-march={march}; set -- "$@" "$word"; done\n'
        f'exec {real} "$@"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the sets are those of x86_64")
@pytest.mark.parametrize(
    "below", [pytest.param(0, id="least"), pytest.param(1, id="one below", marks=pytest.mark.slow)]
)
def test_the_bounds_on_rounding_hold_under_a_smaller_instruction_set(below: int, tmp_path: Path) -> None:
    here = torch.backends.cpu.get_cpu_capability()
    if below >= len(BELOW.get(here, [])):
        pytest.skip(f"torch has no such set below {here}")
    instructions = BELOW[here][below]
    environment = {
        **os.environ,
        "ATEN_CPU_CAPABILITY": instructions.aten,
        "MKL_ENABLE_INSTRUCTIONS": instructions.mkl,
        "CXX": compiler_for(instructions.march, tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    # Of the interpreted kernels, which do not depend on the set, one size stands for those of torch's around them.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "rounding"]
    command += ["-k", "not fused or odd", "tests/train", "tests/bench"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"vector instructions: {instructions.aten.upper()}," in done.stdout
    assert list(tmp_path.glob("grok-sweeps/kernels-*.so")), "the kernels were not built for it"
