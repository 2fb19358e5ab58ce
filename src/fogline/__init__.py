"""Fogline: federated learning across a cloud, fog nodes and devices."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fogline.algorithms import Algorithm, FedAvg
    from fogline.data import load
    from fogline.jobs import Evaluation, Job, JobError, Local, Privacy, Tier, Tree
    from fogline.monitoring.mishaps import RunError
    from fogline.monitoring.result import Result
    from fogline.monitoring.run_files import load_run
    from fogline.simulation.callbacks import STOP
    from fogline.simulation.simulate import simulate
    from fogline.simulation.surveys.query import query
    from fogline.training.sklearn import SklearnTask
    from fogline.training.torch import TorchTask as Task
    from fogline.training.torch.adapters import Bottleneck, Lora, adapt
    from fogline.user_code.bugs import CodeError

__version__ = "0.1.0"

# Names are imported when they are first used: importing the package itself must cost nothing.
_HOMES = {
    "Algorithm": "fogline.algorithms",
    "Bottleneck": "fogline.training.torch.adapters",
    "CodeError": "fogline.user_code.bugs",
    "Evaluation": "fogline.jobs",
    "FedAvg": "fogline.algorithms",
    "Job": "fogline.jobs",
    "JobError": "fogline.jobs",
    "Local": "fogline.jobs",
    "Lora": "fogline.training.torch.adapters",
    "Privacy": "fogline.jobs",
    "Result": "fogline.monitoring.result",
    "RunError": "fogline.monitoring.mishaps",
    "STOP": "fogline.simulation.callbacks",
    "SklearnTask": "fogline.training.sklearn",
    "Task": "fogline.training.torch:TorchTask",
    "Tier": "fogline.jobs",
    "Tree": "fogline.jobs",
    "adapt": "fogline.training.torch.adapters",
    "load": "fogline.data",
    "load_run": "fogline.monitoring.run_files",
    "query": "fogline.simulation.surveys.query",
    "simulate": "fogline.simulation.simulate",
}

__all__ = [
    "STOP",
    "Algorithm",
    "Bottleneck",
    "CodeError",
    "Evaluation",
    "FedAvg",
    "Job",
    "JobError",
    "Local",
    "Lora",
    "Privacy",
    "Result",
    "RunError",
    "SklearnTask",
    "Task",
    "Tier",
    "Tree",
    "adapt",
    "load",
    "load_run",
    "query",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fogline' has no attribute '{name}'")
    home, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(home), attribute or name)


def __dir__() -> list[str]:
    """What there is, imported or not; for completion."""
    return sorted([*__all__, "__doc__", "__version__"])
