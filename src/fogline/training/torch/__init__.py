"""The PyTorch backend: a task from a module, and its engines."""

from fogline.attributes import describe_attributes
from fogline.training.torch.engines import Flat, LoopEngine, Stacked
from fogline.training.torch.repeatable import fix_products
from fogline.training.torch.task import ENGINES, TorchTask

__all__ = ["ENGINES", "Flat", "LoopEngine", "Stacked", "TorchTask"]

describe_attributes(__name__)

fix_products()
