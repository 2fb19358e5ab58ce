"""Layers with hand-written backward passes, and models that are made of them."""

from fogline.training.torch.kernels import attention, conv, dense, pool, recurrent, tokens
from fogline.training.torch.kernels.graph import Graph

__all__ = ["Graph", "attention", "conv", "dense", "pool", "recurrent", "tokens"]
