"""EF21."""

from __future__ import annotations

from typing import ClassVar

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import State, Vector
from fogline.training.context import DeviceContext


@METHODS.add("ef21")
class Ef21(FedAvg):
    """The root keeps the mean of what all devices have last told of their movement, of which they send changes
    (Richtarik, Sokolov and Fatkhullin, NeurIPS 2021, arXiv 2106.05203, algorithm 2; partial participation: Fatkhullin
    et al., arXiv 2110.03294).

    ``g += sum over those asked of c_i / N``, ``x += g``, with ``c_i`` of the stage ``ef21`` on the uplink of devices.
    Those of the N devices that are not asked stand in g with what they told last, and all weigh the same. (In the paper
    ``v_i`` is a gradient; here it is how far local training went.)

    A late change counts in full. What a parent drops or refuses is missing in g for good, as its device takes it for
    told; so rules that leave some out are refused, and over-selection where late changes are not folded. A fog has no
    rounds of its own. Memory: a model at every device and at the root.
    """

    columnwise: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    inner_rounds: ClassVar[bool] = False
    adds_changes: ClassVar[bool] = True

    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate({"delta": Weighted(device.end - device.start, 1.0)}, device.local)

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        known = state.get("known", 0.0) + folded.total("delta") / group.population
        return model + known, {"known": known}

    def staleness_weight(self, staleness: int) -> float:
        return 1.0
