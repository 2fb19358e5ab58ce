"""Layers with hand-written backward passes, and models that are chains of them."""

from fogline.training.torch.kernels import conv, dense, pool, tokens
from fogline.training.torch.kernels.chain import Chain

__all__ = ["Chain", "conv", "dense", "pool", "tokens"]
