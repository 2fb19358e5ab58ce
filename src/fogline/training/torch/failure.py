"""Why a device's training failed, as one sentence that names it. A failure never ends the cohort."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from torch import Tensor

from fogline.params import Counters, Vector
from fogline.training.local import ClientJob, Trained
from fogline.training.torch.losses import IGNORED
from fogline.training.torch.task import TorchTask

Result = TypeVar("Result")


def attempt(train: Callable[[], Result]) -> Result | Exception:
    """Run what reaches into a user's model, loss or method; what it raises is the answer, not the end.

    This is the one place where anything may be raised: the code called is not ours.
    """
    try:
        return train()
    except Exception as error:  # noqa: BLE001 - a user's model may raise anything, and must fail alone
        return error


def failed(task: TorchTask, job: ClientJob, reason: str | Exception, samples: int) -> Trained:
    """A result without numbers that count."""
    if isinstance(reason, Exception):
        lines = str(reason).strip().splitlines()
        reason = f"training raised {type(reason).__name__}" + (f": {lines[0]}" if lines else "")
    reason = reason.rstrip(".")
    sentence = f"Client '{client_name(task, job.client)}': {reason}."
    return Trained(job.client, job.start, job.counters, samples, 0, np.nan, np.nan, sentence)


def finished(
    task: TorchTask, job: ClientJob, end: Vector, counters: Counters, samples: int, losses: Vector
) -> Trained:
    """A result, failed if its losses (steps,) or weights are not finite."""
    if not np.isfinite(losses).all():
        step = int(np.flatnonzero(~np.isfinite(losses))[0]) + 1
        return failed(task, job, f"the loss is {losses[step - 1]} in step {step} of {job.steps}", samples)
    if not np.isfinite(end).all():
        return failed(task, job, "weights are not finite after training", samples)
    mean, rms = float(losses.mean()), float(np.sqrt(np.square(losses).mean()))
    return Trained(job.client, end, counters, samples, job.steps, mean, rms)


def client_name(task: TorchTask, client: int) -> str:
    """What people call a device."""
    return str(task.data.clients[client])


def wrong_targets(task: TorchTask, targets: Tensor) -> str | None:
    """What is wrong with a device's labels, before a kernel reads outside its memory.

    None if nothing is, and for tasks that do not classify.
    """
    classes = task.outputs
    if classes is None or targets.numel() == 0:
        return None
    low, high = (int(bound) for bound in targets.aminmax())
    if high >= classes or (low < 0 and bool(((targets < 0) & (targets != IGNORED)).any())):
        return f"labels run from {low} to {high}; the model has outputs for 0 to {classes - 1}"
    return None
