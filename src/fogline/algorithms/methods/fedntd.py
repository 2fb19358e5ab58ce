"""FedNTD."""

from __future__ import annotations

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array

AWAY = -1e9
"""A logit that leaves nothing of its class, and stays a number when it is multiplied by nothing."""


@METHODS.add("fedntd")
class FedNTD(FedAvg):
    """Distils what the received model says of the classes that are not the true one (Lee et al., 2022).

    Adds ``beta KL(q_g || q)`` to the loss of an example: q and q_g are the softmax over all classes but its own, at
    temperature tau, of the device's logits and of the received model's (arXiv 2106.03097, equations 4 and 5). The
    paper takes beta 1 and tau 1. For labels that are classes. One more forward pass a step.
    """

    beta: float = bounded(1.0, ge=0)
    tau: float = bounded(1.0, gt=0)

    def adjust_loss(self, loss: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        teacher = device.outputs_at(device.model, batch)
        return loss + self.beta * not_true_divergence(batch.outputs, teacher, batch.targets, self.tau)


def not_true_divergence(outputs: Array, teacher: Array, targets: Array, tau: float) -> Array:
    """Mean KL divergence of outputs (B, ..., C) from the teacher's over the classes that labels (B, ...) do not name.

    Labels below zero mark what has no truth, and do not count.

    Raises:
        ValueError: targets are no labels.
    """
    if targets.is_floating_point():
        raise ValueError(f"FedNTD wants integer labels; these targets are {targets.dtype}")
    labels, known = targets.clamp(min=0)[..., None], targets >= 0
    own, others = ((logits / tau).scatter(-1, labels, AWAY).log_softmax(-1) for logits in (outputs, teacher))
    divergence = (others.exp() * (others - own)).sum(-1)
    return (divergence * known).sum() / known.sum().clamp(min=1)
