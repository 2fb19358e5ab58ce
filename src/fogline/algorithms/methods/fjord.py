"""FjORD."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from numpy.random import Generator

from fogline.algorithms.distillation import divergence
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.algorithms.widths import check_widths, unlike_models
from fogline.parameters import bounded
from fogline.training.method import Array
from fogline.training.sub_models import ModelCutter, SubModel


@METHODS.add("fjord")
class FjORD(FedAvg):
    """Ordered dropout: every step trains a width of the device's or less (Horvath et al., NeurIPS 2021, 2102.13451).

    A device has of every hidden layer the first ``p_max`` of its units. In each step it draws a width p <= p_max among
    ``widths`` and 1, and trains the first p of the units: they learn to work without the others, and the model can be
    cut to any of the widths. Aggregation is HeteroFL's, over those who have a number (algorithm 1).

    With ``distils`` a step trains both: ``CE(p_max) + (1 - alpha) CE(p) + alpha KL(p, p_max)`` at temperature tau, the
    larger one the teacher (equation 4, with the teacher trained too, as the paper finds best; alpha = tau = 1). For
    classification, where it distils.

    Batch normalisation: the paper keeps running statistics for each width. Those of the whole model are from steps that
    train the whole, and are the ones that are judged and served; of a model that is cut afterwards they are measured
    (``SubModel.alone``).

    Args:
        widths: of the smaller models, the widest first; no two may give the same model.
        distils: whether the width that is drawn learns from the device's own.
        alpha: how much of what it learns is the teacher's.
        tau: temperature of both.
    """

    widths: tuple[float, ...] = bounded((0.8, 0.6, 0.4, 0.2), gt=0, lt=1)
    distils: bool = False
    alpha: float = bounded(1.0, ge=0, le=1)
    tau: float = bounded(1.0, gt=0)

    def __post_init__(self) -> None:
        check_widths(self.widths)

    def sub_models(self, model: ModelCutter) -> Iterable[SubModel]:
        return unlike_models(model, self.widths, type(self).__name__)

    def step_models(self, nested: int, rng: Generator) -> Sequence[int]:
        place = int(rng.integers(nested))
        return (0, place) if self.distils and place else (place,)

    def taught_loss(self, loss: Array, outputs: Array, teacher: Array) -> Array:
        return (1.0 - self.alpha) * loss + self.alpha * divergence(outputs, teacher, self.tau)
