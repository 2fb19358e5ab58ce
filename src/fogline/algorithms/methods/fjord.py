"""FjORD."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from fogline.algorithms.distillation import divergence
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.context import DeviceContext
from fogline.training.local import LocalResult
from fogline.training.sub_models import ModelCutter, SubModel

if TYPE_CHECKING:
    from fogline.training.torch.module_device import ModuleDevice


@METHODS.add("fjord")
class FjORD(FedAvg):
    """Ordered dropout: every step trains a width of the device's or less (Horvath et al., NeurIPS 2021, 2102.13451).

    A device has of every hidden layer the first ``p_max`` of its units. In each step it draws a width p <= p_max among
    ``widths`` and 1, and trains the first p of the units: they learn to work without the others, and the model can be
    cut to any of the widths. Aggregation is HeteroFL's, over those who have a number (algorithm 1).

    With ``distils`` a step trains both: ``CE(p_max) + (1 - alpha) CE(p) + alpha KL(p, p_max)`` at temperature tau, the
    larger one the teacher (equation 4, with the teacher trained too, as the paper finds best; alpha = tau = 1). Steps
    are plain SGD, at the job's rate. For classification, where it distils.

    Args:
        widths: of the smaller models, the widest first.
        distils: whether the width that is drawn learns from the device's own.
        alpha: how much of what it learns is the teacher's.
        tau: temperature of both.
    """

    widths: tuple[float, ...] = (0.8, 0.6, 0.4, 0.2)
    distils: bool = False
    alpha: float = bounded(1.0, ge=0, le=1)
    tau: float = bounded(1.0, gt=0)

    def sub_models(self, model: ModelCutter) -> Iterable[SubModel]:
        return (model.narrow(width) for width in self.widths)

    def local_round(self, device: DeviceContext) -> LocalResult:
        device = cast("ModuleDevice", device)
        module = device.module(device.start)
        optimizer, nested = device.sgd(module), device.nested()
        for batch in device.batches():
            place = int(device.rng.integers(len(nested)))
            optimizer.zero_grad()
            if not self.distils or place == 0:
                loss = device.loss(nested[place](module, batch), batch)
            else:
                whole, part = nested[0](module, batch), nested[place](module, batch)
                told = divergence(device.answers(part)[-1], device.answers(whole)[-1], self.tau)
                loss = device.loss(whole, batch) + self.alpha * told
                if self.alpha < 1.0:
                    loss = loss + (1.0 - self.alpha) * device.measured(part, batch)
            loss.backward()
            optimizer.step()
        return device.trained(module)
