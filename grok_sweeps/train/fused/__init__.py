"""Triton kernels for training the MLP on a GPU: `programs` hold the code of the device, `kernels` launches it."""

from grok_sweeps.train.fused.kernels import FusedKernels, FusedUnavailableError, load

__all__ = ["FusedKernels", "FusedUnavailableError", "load"]
