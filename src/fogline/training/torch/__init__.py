"""The PyTorch backend: a task from a module, and its engines."""

from fogline.training.torch.engines import ENGINES, Loop
from fogline.training.torch.task import TorchTask

__all__ = ["ENGINES", "Loop", "TorchTask"]
