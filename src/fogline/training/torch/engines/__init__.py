"""Engines of the PyTorch backend by name, the reference first."""

from fogline.training.torch.engines.base import TorchEngine
from fogline.training.torch.engines.loop import Loop

ENGINES: dict[str, type[TorchEngine]] = {engine.name: engine for engine in (Loop,)}

__all__ = ["ENGINES", "Loop", "TorchEngine"]
