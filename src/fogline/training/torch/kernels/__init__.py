"""Layers with hand-written backward passes, and models that are chains of them."""

from fogline.training.torch.kernels import conv, dense, tokens  # noqa: F401  They enter the registry.
from fogline.training.torch.kernels.chain import Chain

__all__ = ["Chain"]
