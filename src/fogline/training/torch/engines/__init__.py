"""Engines of the PyTorch backend by name, the reference first."""

from fogline.training.torch.engines.base import TorchEngine
from fogline.training.torch.engines.loop import LoopEngine
from fogline.training.torch.engines.stacked import Flat, Stacked

ENGINES: dict[str, type[TorchEngine]] = {engine.name: engine for engine in (LoopEngine, Flat, Stacked)}

__all__ = ["ENGINES", "Flat", "LoopEngine", "Stacked", "TorchEngine"]
