"""Whether an example's output, or a buffer, depends on the other examples of its batch: then none must be added."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fogline.randomness import seeded
from fogline.training.choosing.rehearsal import moved
from fogline.training.torch.failure import attempt
from fogline.training.torch.task import TorchTask

EXAMPLES, MORE = 3, 2
SHARE = 0.1
"""How far the weights are moved for a look: a part of a model that begins at zero would not be seen."""
ROUNDINGS = 1e3
CLIENTS = 20
"""As many devices are asked for examples at most."""


def mixes_examples(task: TorchTask) -> bool:
    """Found out by a look at a batch with and without some more examples.

    A model that cannot be looked at so, or of which no device has examples enough, is taken to mix them.
    """
    return _looked(task, training=True) is not False


def seen_to_mix(task: TorchTask) -> bool:
    """The same, but of a model that could be looked at, and as it is judged, without what it draws in training."""
    return _looked(task, training=False) is True


def _looked(task: TorchTask, training: bool) -> bool | None:
    """None: there is no telling."""
    x = None if task.takes_several else _inputs(task)
    if x is None:
        return None
    outcomes = attempt(lambda: _outcomes(task, [x[:-MORE], x], training))
    if isinstance(outcomes, Exception):
        return None
    (outputs, buffers), (more_outputs, more_buffers) = outcomes
    return not all(map(_close, [outputs, *buffers], [more_outputs[: len(outputs)], *more_buffers]))


def _inputs(task: TorchTask) -> Tensor | None:
    """Examples of one device; None if none has enough."""
    for client in range(min(len(task.data.clients), CLIENTS)):
        examples = attempt(lambda client=client: task.data.at(client))
        if not isinstance(examples, Exception) and len(examples.y) > MORE:
            return task.inputs(examples.array[: EXAMPLES + MORE])
    return None


def _outcomes(task: TorchTask, batches: list[Tensor], training: bool) -> list[tuple[Tensor, list[Tensor]]]:
    """Outputs and buffers of each batch, from one and the same start."""
    module, initial = task.untrained().train(training), task.initial(0)
    start = moved(initial.vector, task.spec.trainable, SHARE, np.random.default_rng(0))
    outcomes: list[tuple[Tensor, list[Tensor]]] = []
    for x in batches:
        task.layout.load(module, start, initial.counters)
        with seeded(task.seed), torch.no_grad():
            outputs = task.side_by_side(module(x.clone()))
        buffers = [buffer.clone() for buffer in module.buffers()]
        outcomes.append((outputs, buffers))
    return outcomes


def _close(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    allowed = ROUNDINGS * torch.finfo(one.dtype).eps
    return torch.allclose(one, other, rtol=allowed, atol=allowed)
