"""FetchSGD."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.codecs.count_sketch import CountSketch
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.stages.sparse_code import largest
from fogline.training.context import DeviceContext


@METHODS.add("fetchsgd")
class FetchSgd(FedAvg):
    """Devices send a count sketch of their movement; momentum, and what is left to be done, are sketches at the server
    (Rothchild et al., ICML 2020, arXiv 2007.07540, algorithm 1).

    ``m = momentum m + mean S(x_i - x)``, ``e += server_rate m``, ``d = top_k U(e)``, ``e -= S(d)``, ``x += d``: S
    sketches, U estimates every number, and top_k keeps the ``share`` of them that is largest. A sketch has the part
    ``size`` of the model's numbers, in ``rows`` rows; a row wants several times as many cells as numbers are kept, or
    they drown each other. (In the paper devices take one step; here they may take more.)

    A movement that stays as it is comes to ``server_rate / (1 - momentum)`` of itself. Sketches of one seed add up, so
    fogs that merge add them as they come, and secure aggregation masks them alone. Devices keep nothing, so they may
    come once. Memory: two sketches at the root. A fog has no rounds of its own.
    """

    columnwise: ClassVar[bool] = False
    linear: ClassVar[bool] = False
    movement_only: ClassVar[bool] = False
    inner_rounds: ClassVar[bool] = False
    movement: ClassVar[str] = ""

    momentum: float = bounded(0.9, ge=0, lt=1)
    server_rate: float = bounded(0.1, gt=0)
    size: float = bounded(0.5, gt=0, le=1)
    share: float = bounded(0.01, gt=0, le=1)
    rows: int = bounded(5, ge=1, le=100)
    seed: int = bounded(0, ge=0)
    """Of the cells: anything, the same for a whole run."""

    def report(self, device: DeviceContext) -> ClientUpdate:
        sketch = self._sketch(device.end.size).of(device.end - device.start)
        return ClientUpdate({"sketch": Weighted(sketch, float(device.plan.samples))}, device.local)

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        sketch = self._sketch(model.size)
        momentum = self.momentum * state.get("momentum", 0.0) + folded.mean("sketch")
        error = state.get("error", 0.0) + self.server_rate * momentum
        estimates, step = sketch.estimates(error), np.zeros_like(model)
        chosen = largest(np.abs(estimates), math.ceil(self.share * model.size))
        step[chosen] = estimates[chosen]
        return model + step, {"momentum": momentum, "error": error - sketch.of(step)}

    def _sketch(self, count: int) -> CountSketch:
        return CountSketch(count, self.rows, max(1, math.ceil(self.size * count / self.rows)), self.seed)
