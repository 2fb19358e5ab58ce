"""FedPVR."""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np

from fogline.algorithms.base import ClientUpdate, Weighted
from fogline.algorithms.methods.scaffold import Scaffold
from fogline.algorithms.registry import METHODS
from fogline.params import Spec, State, Vector
from fogline.training.context import DeviceContext


@METHODS.add("fedpvr")
class FedPVR(Scaffold):
    """SCAFFOLD's control variates in the last layers only, FedAvg in the others (Li et al., 2023, arXiv 2212.02191).

    Device drift is largest in the classifier, and diversity in the layers before it helps. ``layers`` is a pattern of
    parameters' names (``"head.*"``); if it is empty, those of the last trainable layer are corrected.
    """

    layers: str = ""

    def prepare(self, device: DeviceContext) -> State:
        state = super().prepare(device)
        return state | {"correction": state["correction"] * _mask(device.spec, self.layers)}

    def report(self, device: DeviceContext) -> ClientUpdate:
        report = super().report(device)
        change = report.terms["control"].vector * _mask(device.spec, self.layers)
        terms = report.terms | {"control": Weighted(change, 1.0)}
        return report._replace(terms=terms, local={"control": device.local["control"] + change})


def _mask(spec: Spec, pattern: str) -> Vector:
    """(P,) ones where the pattern names a parameter, else zeros.

    Raises:
        ValueError: it names none.
    """
    trained = spec.trained_names
    last = trained[-1].rpartition(".")[0]
    chosen = [name for name in trained if (fnmatchcase(name, pattern) if pattern else name.rpartition(".")[0] == last)]
    if not chosen:
        raise ValueError(f"no parameter is called '{pattern}'; there are {', '.join(trained)}")
    mask = np.zeros(spec.trainable, spec.dtype)
    for name in chosen:
        mask[spec.slices[name]] = 1.0
    return mask
