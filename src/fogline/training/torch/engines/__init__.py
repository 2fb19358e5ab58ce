"""Engines of the PyTorch backend: every file registers its own by a decorator."""

from fogline.training.torch.engines.base import TorchEngine
from fogline.training.torch.engines.loop import LoopEngine
from fogline.training.torch.engines.stacked import Flat, Stacked

__all__ = ["Flat", "LoopEngine", "Stacked", "TorchEngine"]
