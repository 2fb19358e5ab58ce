"""Why a device's training failed, as one sentence that names it. A failure never ends the cohort; a bug does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fogline.aggregation.sweep import bound
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.task import Task
from fogline.user_code.bugs import attempt, reason_of

__all__ = ["attempt", "client_name", "failed", "results", "wrong_targets"]


def failed(task: Task, job: ClientJob, reason: str | Exception, samples: int) -> LocalResult:
    """A result without numbers that count.

    Raises:
        CodeError: the reason is a bug, which no device can help.
    """
    client = f"Client '{client_name(task, job.client)}'"
    sentence = reason_of(reason, client) if isinstance(reason, Exception) else f"{client}: {reason.rstrip('.')}."
    return LocalResult(job.client, job.start, job.counters, samples, 0, np.nan, np.nan, sentence)


def results(
    task: Task,
    jobs: Sequence[ClientJob],
    ends: Tensor,
    counters: Tensor,
    sizes: Sequence[int],
    losses: Tensor,
    moved: bool = False,
) -> list[LocalResult]:
    """What devices hand back; failed, where losses or weights are not finite.

    ``ends`` (K, floats), ``counters`` (K, integers), ``sizes`` (K,) examples that have a truth, and ``losses`` (T, K),
    zero after a device's last step. ``moved``: the ends are distances from the start, of which bounds are wanted.
    """
    table, vectors, integers = losses.cpu().numpy(), _fetched(ends), counters.cpu().numpy()
    # Both are finite only if all numbers are, and cost less than to look at each.
    bounds = _bounds(ends, vectors) if moved else []
    whole = np.array(bounds) if moved else ends.sum(1).cpu().numpy()
    steps = np.array([job.steps for job in jobs])
    # A running sum: the order of other sums, and so their last bits, depend on the shape of the table.
    means, roots = table.cumsum(0)[-1] / steps, np.sqrt(np.square(table).cumsum(0)[-1] / steps)
    sound = (np.isfinite(means) & np.isfinite(whole)).tolist()
    done: list[LocalResult] = []
    for i, (job, mean, root) in enumerate(zip(jobs, means.tolist(), roots.tolist(), strict=True)):
        if not sizes[i]:
            done.append(failed(task, job, "none of its targets has a truth", 0))
        elif sound[i]:
            top = bounds[i] if moved else None
            done.append(LocalResult(job.client, vectors[i], integers[i], sizes[i], job.steps, mean, root, None, top))
        else:
            done.append(failed(task, job, _not_finite(table[: job.steps, i]), sizes[i]))
    return done


def _fetched(ends: Tensor) -> npt.NDArray[Any]:
    """Rows in the main memory; from a GPU into pages that stay in place, several times faster than into others."""
    if ends.device.type != "cuda":
        return ends.cpu().numpy()
    room = torch.empty(ends.shape, dtype=ends.dtype, pin_memory=True)
    return room.copy_(ends).numpy()


def _bounds(ends: Tensor, vectors: npt.NDArray[Any]) -> list[float]:
    """See :func:`bound`; where the numbers already are."""
    if ends.device.type == "cpu" or not ends.numel():
        return [bound(vector) for vector in vectors]
    return ends.abs().amax(1).tolist()


def _not_finite(losses: npt.NDArray[np.float64]) -> str:
    """Says where training left the numbers."""
    bad = np.flatnonzero(~np.isfinite(losses))
    if not len(bad):
        return "weights are not finite after training"
    return f"the loss is {losses[bad[0]]} in step {bad[0] + 1} of {len(losses)}"


def too_few(examples: int, local: LocalTraining) -> str | None:
    """What is wrong with a device that has so few examples."""
    if examples == 0:
        return "it has no examples"
    if examples < local.smallest_batch:
        return f"it has {examples} example, and the model wants {local.smallest_batch} at least in a batch"
    return None


def client_name(task: Task, client: int) -> str:
    """What people call a device."""
    return str(task.data.clients[client])


def wrong_targets(
    targets: Tensor, classes: int | None, ignored: Sequence[int], untold: Collection[int]
) -> tuple[int, str | None]:
    """The lowest label, and what is wrong with the labels, before a kernel reads outside its memory."""
    if classes is None or targets.numel() == 0 or targets.is_floating_point():
        return 0, None
    low, high = (int(bound) for bound in targets.aminmax())
    if low >= 0 and high < classes:
        return low, None
    odd = (targets < 0) | (targets >= classes)
    for label in ignored:
        odd &= targets != label
    if bool(odd.any()):
        left = sorted(set(targets[odd].unique().tolist()) & set(untold))
        hint = f", and the loss does not leave out {left[0]}" if left else ""
        return low, f"labels run from {low} to {high}; the model has outputs for 0 to {classes - 1}{hint}"
    return low, None
