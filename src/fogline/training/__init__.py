"""Local training: what a device is asked, the engines that do it, and the backends behind them.

Backends are imported by name (``fogline.training.torch``, ``fogline.training.sklearn``), so that a machine
without PyTorch or scikit-learn can do everything else.
"""

from fogline.attributes import describe_attributes
from fogline.training.choosing.autotune import Choice, autotune
from fogline.training.context import DeviceContext, LocalBatch, RoundContext
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import LocalMethod, overrides
from fogline.training.plan import Plan
from fogline.training.task import Engine, Sums, Task

__all__ = [
    "Choice",
    "ClientJob",
    "DeviceContext",
    "Engine",
    "LocalBatch",
    "LocalMethod",
    "LocalResult",
    "LocalTraining",
    "Plan",
    "RoundContext",
    "Sums",
    "Task",
    "autotune",
    "overrides",
]

describe_attributes(__name__)
