"""Partial layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params.spec import layer_of
from fogline.training.sub_models import ModelCutter, SubModel


@METHODS.add("partial_layers")
class PartialLayers(FedAvg):
    """Weaker devices train some layers only, as in TimelyFL's partial training (Zhang et al., 2023, arXiv 2304.06947).

    A device gets the whole model and runs all of it. It trains the first layers, in the order of ``layers``, that its
    share has room for; the others stay as they came, and gradients need not go back to them. It sends what it trained,
    and every number moves by the mean over those who trained it. Asked for part of a round's work (the policy
    ``timelyfl``), it trains as many layers as that is enough for.

    Args:
        layers: patterns of names, in the order in which devices take layers; empty: from the output to the input.
    """

    layers: tuple[str, ...] = ()

    effort_cuts: ClassVar[bool] = True

    def sub_models(self, model: ModelCutter) -> Iterable[SubModel]:
        trained = model.spec.trained_names
        chosen = [n for pattern in self.layers for n in model.spec.matching([pattern]) if n in trained] or trained[::-1]
        layers = list(dict.fromkeys(layer_of(name) for name in chosen))
        for count in range(len(layers), 0, -1):
            yield model.only(name for name in trained if layer_of(name) in layers[:count])
