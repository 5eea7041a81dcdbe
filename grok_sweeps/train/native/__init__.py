"""Compiled kernels for training on the CPU, built from `kernels.cpp` on the machine that uses them."""

from grok_sweeps.train.native.build import NativeBuildError
from grok_sweeps.train.native.kernels import Kernels, load

__all__ = ["Kernels", "NativeBuildError", "load"]
