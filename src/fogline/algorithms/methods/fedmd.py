"""FedMD."""

from __future__ import annotations

from typing import ClassVar

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.own_models import MODEL, OwnModels
from fogline.algorithms.registry import METHODS
from fogline.data import Examples
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext
from fogline.training.method import Array


@METHODS.add("fedmd")
class FedMD(OwnModels):
    """Devices share class scores of public examples instead of weights (Li & Wang, 2019, arXiv 1910.03581).

    The consensus is the mean of the devices' scores f_k(x) on every public x. A device digests it, ``epochs`` passes of
    SGD over the public examples by the mean of |f_k(x) - consensus(x)|, then revisits its own examples: the job's local
    training (algorithm 1). The rate and the batch are the job's in both. The paper first trains each model on labelled
    public examples (the job's ``start`` can be such a model), and draws some of them for every round; here all take
    part. Scores are outputs before the softmax.

    A fog has no rounds of its own. Wants data with a ``public`` part. Sends as many numbers as that has scores.
    """

    needs_public: ClassVar[bool] = True

    epochs: int = bounded(1, ge=0)

    def begin(self, device: DeviceContext) -> Vector:
        weights = super().begin(device)
        if "consensus" not in device.received:
            return weights
        public, plan = device.public, device.plan
        consensus = device.received["consensus"].reshape(public.count, -1)
        for _ in range(self.epochs):
            order, size = device.rng.permutation(public.count), plan.batch_size or public.count
            for first in range(0, public.count, size):
                some = order[first : first + size]
                batch = Examples(public.part(some).x, consensus[some])
                weights = weights - plan.learning_rate * device.gradient_at(weights, batch, distance)
        return weights

    def report(self, device: DeviceContext) -> ClientUpdate:
        scores = device.outputs_at(device.end, device.public)
        return ClientUpdate({"scores": Weighted(scores.ravel(), 1.0)}, {MODEL: device.end})

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        return model, {"consensus": folded.mean("scores")}


def distance(outputs: Array, scores: Array) -> Array:
    """Mean distance of outputs (n, ...) from scores (n, k)."""
    return abs(outputs.reshape(scores.shape) - scores).mean()
