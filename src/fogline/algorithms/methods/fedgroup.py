"""FedGroup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext

OWN, MODEL, GROUP, CENTRE, FIRST = "own-", "model-", "group-", "centre-", "first"
"""How names begin: of what a device sends; in the root's state, of a group's model, of the group of a device, and of a
group's direction; and the name of the model before the first round."""
TURNS = 20
"""Turns of k-means at most."""

Rows = npt.NDArray[np.float64]


@METHODS.add("fedgroup")
class FedGroup(FedAvg):
    """Several models, one for each group of devices whose first updates point the same way (after Duan et al., 2021).

    Every device's first update is from the same model. Those of the first round are grouped by k-means of their
    directions (arXiv 2010.06870, algorithm 2; here of sketches of them: products with ``directions`` random vectors,
    in place of singular ones), a device that comes later joins the group whose direction is nearest to its own, and all
    stay where they are. Group j has FedAvg of its devices: ``x_j += sum_i n_i D_i / sum_i n_i``. The job's model is the
    first group's, which the cloud judges; a device is judged with its own group's.

    The root keeps a model for each group and sends them all down, with the model before the first round. Fogs have no
    rounds of their own. A first round of few devices makes poor groups, and at most as many as it has devices.
    """

    alike: ClassVar[bool] = False
    own_names: ClassVar[bool] = True
    own_prefix: ClassVar[str] = OWN
    inner_rounds: ClassVar[bool] = False
    movement: ClassVar[str] = f"{OWN}*"

    groups: int = bounded(2, ge=1)
    directions: int = bounded(32, ge=1)

    def broadcast(self, state: State) -> State:
        return {name: vector for name, vector in state.items() if not name.startswith(CENTRE)}

    def begin(self, device: DeviceContext) -> Vector:
        own = device.received.get(GROUP + device.name)
        model: Vector = device.model
        return device.received.get(FIRST, model) if own is None else _model(device, own)

    def judge(self, device: DeviceContext) -> Vector:
        own = device.received.get(GROUP + device.name)
        model: Vector = device.model
        return model if own is None else _model(device, own)

    def report(self, device: DeviceContext) -> ClientUpdate:
        moved = Weighted(device.end - device.start, float(device.plan.samples))
        return ClientUpdate({OWN + device.name: moved}, device.local)

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        new = folded.means(OWN)
        known = {client: int(state[GROUP + client][0]) for client in new if GROUP + client in state}
        came = {client: update for client, update in new.items() if client not in known}
        begins = FIRST not in state
        state = {**state, **(self._grouped(came, state) if came else {})}
        if begins:
            state[FIRST] = model
            known = {client: int(state[GROUP + client][0]) for client in new}
        models = [state.get(f"{MODEL}{j}", model) for j in range(_count(state))]
        for j, one in enumerate(models):
            members = [client for client, its in known.items() if its == j]
            weights = np.array([np.max(folded.weights[OWN + client]) for client in members])
            if weights.sum() > 0:
                pulls = (weights / weights.sum()).astype(one.dtype)
                models[j] = one + pulls @ np.stack([new[client] for client in members])
        return models[0], state | {f"{MODEL}{j}": one for j, one in enumerate(models) if j}

    def _grouped(self, came: Mapping[str, Vector], state: State) -> State:
        """Groups of devices that came, by name in the state; and of the first ones, the groups' directions."""
        rows = _sketches(np.stack(list(came.values())), self.directions)
        centres = np.stack([state[f"{CENTRE}{j}"] for j in range(_count(state))]) if _count(state) else None
        made: State = {}
        if centres is None:
            centres = _centres(rows, self.groups)
            made |= {f"{CENTRE}{j}": centre for j, centre in enumerate(centres)}
        nearest = np.argmax(rows @ centres.T, axis=1)
        return made | {GROUP + client: np.array([float(j)]) for client, j in zip(came, nearest, strict=True)}


def _model(device: DeviceContext, group: Vector) -> Vector:
    """The model of a group; the job's own is the first one's."""
    model: Vector = device.model
    return device.received.get(f"{MODEL}{int(group[0])}", model)


def _count(state: State) -> int:
    """How many groups there are."""
    return sum(name.startswith(CENTRE) for name in state)


def _unit(rows: Rows) -> Rows:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def _sketches(updates: Vector, directions: int) -> Rows:
    """Of updates (n, P) their products with the same random vectors, as rows (n, directions) of length one."""
    rng = np.random.default_rng(0)
    products = [updates @ rng.standard_normal(updates.shape[1], np.float32) for _ in range(directions)]
    return _unit(np.stack(products, axis=1).astype(np.float64))


def _centres(rows: Rows, groups: int) -> Rows:
    """Directions (groups, directions) of spherical k-means; each begins at the row that is farthest from the others."""
    chosen = [0]
    while len(chosen) < min(groups, len(rows)):
        chosen.append(int(np.argmin((rows @ rows[chosen].T).max(axis=1))))
    centres = rows[chosen]
    for _ in range(TURNS):
        nearest = np.argmax(rows @ centres.T, axis=1)
        sums = [rows[nearest == j].sum(axis=0) if (nearest == j).any() else centres[j] for j in range(len(centres))]
        before, centres = centres, _unit(np.stack(sums))
        if np.array_equal(before, centres):
            break
    return centres
