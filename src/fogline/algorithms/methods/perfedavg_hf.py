"""Per-FedAvg with second derivatives, Hessian-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from fogline.algorithms.methods.perfedavg import PerFedAvg
from fogline.algorithms.own_models import PersonalModels
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.context import DeviceContext, LocalBatch, RoundContext
from fogline.training.local import LocalResult
from fogline.training.plan import Plan

if TYPE_CHECKING:
    from fogline.training.torch.module_device import ModuleDevice


@METHODS.add("perfedavg_hf")
class PerFedAvgHF(PerFedAvg):
    """Per-FedAvg with the second derivative, from two gradients (Fallah et al., 2020, arXiv 2002.07948, HF).

    ``w -= eta (g - alpha (grad f_i(w + delta g) - grad f_i(w - delta g)) / (2 delta))``, where g is the gradient at
    ``w - alpha grad f_i(w)`` (equation 9). A batch for each of the three, as in the paper. Four gradients a step, which
    the plan counts as steps; in plain PyTorch, on ``loop``. Dropout would differ between the two gradients.
    """

    delta: float = bounded(1e-3, gt=0)
    perturb = PersonalModels.perturb

    def work(self, plan: Plan, device: RoundContext) -> Plan:
        return plan.replace(steps=4 * plan.steps)

    def local_round(self, device: DeviceContext) -> LocalResult:
        device = cast("ModuleDevice", device)
        module, rate, steps = device.module(device.start), device.plan.learning_rate, max(1, device.plan.steps // 4)
        weights = [parameter for parameter in module.parameters() if parameter.requires_grad]

        def gradient(along: Sequence[Any], factor: float, batch: LocalBatch, loss: Any) -> list[Any]:
            """At the weights moved along a vector; they are put back."""
            before = [parameter.detach().clone() for parameter in weights]
            _move(weights, along, factor)
            for parameter in weights:
                parameter.grad = parameter.new_zeros(parameter.shape)
            loss(module(batch.inputs), batch).backward()
            _move(weights, [old - parameter.detach() for old, parameter in zip(before, weights, strict=True)], 1.0)
            return [parameter.grad for parameter in weights]

        for one, two, three in zip(*(device.batches(steps) for _ in range(3)), strict=True):
            inner = gradient(weights, 0.0, one, device.loss)
            outer = gradient(inner, -self.alpha, two, device.measured)
            up, down = (gradient(outer, by, three, device.measured) for by in (self.delta, -self.delta))
            curved = [(a - b) / (2.0 * self.delta) for a, b in zip(up, down, strict=True)]
            _move(weights, outer, -rate)
            _move(weights, curved, rate * self.alpha)
        return device.trained(module)


def _move(weights: Sequence[Any], along: Sequence[Any], factor: float) -> None:
    for parameter, direction in zip(weights, along, strict=True):
        parameter.data.add_(direction, alpha=factor)
