"""What methods share that let one model learn from what another says."""

from __future__ import annotations

from fogline.training.method import Array


def divergence(outputs: Array, teacher: Array, tau: float) -> Array:
    """Mean Kullback–Leibler divergence of outputs (B, ..., C) from a teacher's, both softened by tau.

    It is times tau squared, so that the size of its gradient does not depend on tau. None goes to the teacher.
    """
    learned, told = (outputs / tau).log_softmax(-1), (teacher.detach() / tau).log_softmax(-1)
    return (told.exp() * (told - learned)).sum(-1).mean() * tau**2
