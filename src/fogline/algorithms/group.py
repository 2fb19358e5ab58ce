"""An aggregator's numbers: its model and state, and how they change. Pure functions on values.

The state machines say *when* a group adopts its parent's model, moves or reports; the functions here say what
that does to the numbers. Simulation and network call the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation import (
    Arrays,
    Folded,
    Update,
    divided,
    is_per_number,
    weight_from_arrays,
    weights_to_arrays,
)
from fogline.algorithms import hooks
from fogline.algorithms.base import METRIC, AggregatorContext, Algorithm, Weighted
from fogline.algorithms.hooks import BUFFERS
from fogline.params import Counters, Params, Spec, State, Vector
from fogline.privacy.noise_state import NoiseState

CLIP = "clip"
__all__ = ["BUFFERS", "Down", "GroupModel", "adopt", "evaluation_model", "group_update", "move", "root", "send_down"]


@dataclass(frozen=True, slots=True)
class Down:
    """What an aggregator sends its children: (floats,) model, its counters, the algorithm's vectors."""

    vector: Vector
    counters: Counters
    received: State = field(default_factory=dict)
    clip: float | None = None
    """The L2 norm that units scale their movements down to, where it changes from round to round."""

    @property
    def extras(self) -> int:
        """Bytes of what comes beside the model: the algorithm's vectors, and the clip."""
        return sum(vector.nbytes for vector in self.received.values()) + (0 if self.clip is None else 8)

    @property
    def nbytes(self) -> int:
        """Bytes of counters and of what comes beside the model."""
        return self.counters.nbytes + self.extras

    def to_arrays(self) -> Arrays:
        """A flat dictionary of arrays; the vectors are not copied."""
        received = {f"received/{name}": vector for name, vector in self.received.items()}
        return {"vector": self.vector, "counters": self.counters} | received | clip_to_arrays(self.clip)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Down:
        """Read what :meth:`to_arrays` wrote."""
        return cls(arrays["vector"], arrays["counters"], _under("received/", arrays), clip_from_arrays(arrays))


def clip_to_arrays(clip: float | None) -> Arrays:
    """The clip as an array, or no array."""
    return {} if clip is None else {CLIP: np.array([clip])}


def clip_from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> float | None:
    """What :func:`clip_to_arrays` wrote."""
    return float(arrays[CLIP].item()) if CLIP in arrays else None


@dataclass(frozen=True, slots=True)
class GroupModel:
    """An aggregator's numbers at one version."""

    vector: Vector
    counters: Counters
    state: State = field(default_factory=dict)
    start: Vector | None = None
    """Below the root: the parent's model that the group set out from."""
    totals: dict[str, Weighted] = field(default_factory=dict)
    """Below the root: sums over its rounds of what devices reported, with the summed weights."""
    moves: int = 0
    """Rounds of its own since the parent's model."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means of what devices said of themselves in its last round, by ``metric/<name>``."""
    noise: NoiseState | None = None
    """What it keeps to add noise, where it does."""
    rule: State = field(default_factory=dict)
    """What its rule made of the last round, by name, where that remembers it."""

    def to_arrays(self) -> Arrays:
        """A flat dictionary of arrays; the vectors are not copied."""
        arrays: Arrays = {"vector": self.vector, "counters": self.counters, "moves": np.array([self.moves])}
        arrays |= {f"state/{name}": vector for name, vector in self.state.items()}
        arrays |= {f"total/{name}": term.vector for name, term in self.totals.items()}
        arrays |= weights_to_arrays({name: term.weight for name, term in self.totals.items()})
        arrays |= {f"mean/{name}": np.array([value]) for name, value in self.metrics.items()}
        arrays |= {f"rule/{name}": vector for name, vector in self.rule.items()}
        if self.noise is not None:
            arrays |= {f"noise/{name}": array for name, array in self.noise.to_arrays().items()}
        return arrays if self.start is None else arrays | {"start": self.start}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> GroupModel:
        """Read what :meth:`to_arrays` wrote."""
        totals = _under("total/", arrays)
        return cls(
            arrays["vector"],
            arrays["counters"],
            _under("state/", arrays),
            arrays.get("start"),
            {name: Weighted(vector, weight_from_arrays(name, arrays)) for name, vector in totals.items()},
            int(arrays["moves"][0]),
            {name: float(mean[0]) for name, mean in _under("mean/", arrays).items()},
            NoiseState.from_arrays(_under("noise/", arrays)),
            _under("rule/", arrays),
        )


def root(params: Params) -> GroupModel:
    """The root's numbers before the first round."""
    return GroupModel(params.vector, params.counters)


def send_down(algorithm: Algorithm, group: GroupModel) -> Down:
    """What the group's children get."""
    return Down(group.vector, group.counters, hooks.broadcast(algorithm, group.state))


def adopt(algorithm: Algorithm, spec: Spec, group: GroupModel | None, down: Down) -> GroupModel:
    """An inner aggregator takes its parent's model."""
    head = slice(spec.trainable)
    before = None if group is None else group.vector[head]
    state = {} if group is None else group.state
    state = hooks.receive(algorithm, before, down.vector[head], state, down.received)
    noise, rule = (None, {}) if group is None else (group.noise, group.rule)
    return GroupModel(down.vector, down.counters, state, start=down.vector, noise=noise, rule=rule)


def move(
    algorithm: Algorithm, spec: Spec, group: GroupModel, folded: Folded, facts: AggregatorContext, inside: bool
) -> GroupModel:
    """The group's model after a round: trainable numbers by the algorithm, buffers averaged plainly."""
    head, tail = group.vector[: spec.trainable], group.vector[spec.trainable :]
    moved, state = hooks.server_update(algorithm, head, folded, group.state, replace(facts, spec=spec), inside)
    vector = np.empty_like(group.vector)
    vector[: spec.trainable] = moved
    vector[spec.trainable :] = tail + folded.mean(BUFFERS) if tail.size else tail
    counters = np.maximum(group.counters, folded.counters) if group.counters.size else group.counters
    totals = _add_totals(group.totals, folded) if inside else {}
    metrics = _metrics(folded)
    return GroupModel(vector, counters, state, group.start, totals, group.moves + 1, metrics, group.noise)


def evaluation_model(algorithm: Algorithm, spec: Spec, group: GroupModel) -> Params:
    """The model that is judged and handed out."""
    head = hooks.evaluation_model(algorithm, group.vector[: spec.trainable], group.state)
    if head.ctypes.data == group.vector.ctypes.data:
        return Params(spec, group.vector, group.counters)  # As it is: a large model is not copied.
    return Params(spec, np.concatenate([head, group.vector[spec.trainable :]]), group.counters)


def group_update(algorithm: Algorithm, spec: Spec, group: GroupModel) -> Update:
    """What an inner aggregator that made rounds of its own sends up."""
    assert group.start is not None
    start, difference = group.start[: spec.trainable], group.vector - group.start
    rounds = max(1, group.moves)
    # A group is as heavy as in one of its rounds, and all that was reported adds up: vector * weight is the total.
    totals = {
        name: Weighted(_mean_of(term, rounds), term.weight / rounds)
        for name, term in group.totals.items()
        if name != BUFFERS and not name.startswith(METRIC)
    }
    weight = totals[algorithm.movement].weight if algorithm.movement in totals else 1.0
    terms = hooks.group_update(algorithm, start, difference[: spec.trainable], weight, totals)
    for name, term in group.totals.items():  # The mean over its rounds.
        if name.startswith(METRIC) and np.all(term.weight):
            terms[name] = Weighted(term.vector / term.weight, term.weight / rounds)
    vectors = {name: term.vector for name, term in terms.items()}
    weights = {name: term.weight for name, term in terms.items()}
    if spec.floats > spec.trainable:
        vectors[BUFFERS] = difference[spec.trainable :]
        weights[BUFFERS] = group.totals[BUFFERS].weight / rounds if is_per_number(weight) else weight
    return Update(vectors, weights, group.counters)


def _metrics(folded: Folded) -> dict[str, float]:
    told = [name for name in folded.weights if name.startswith(METRIC) and np.all(folded.weights[name])]
    return {name: float(folded.mean(name)[0]) for name in told}


def _mean_of(term: Weighted, rounds: int) -> Vector:
    """The means of that many rounds, added up, from the totals and the summed weights."""
    if is_per_number(term.weight):
        return divided(term.vector, term.weight) * rounds
    return term.vector * (rounds / term.weight) if term.weight else term.vector


def _add_totals(totals: dict[str, Weighted], folded: Folded) -> dict[str, Weighted]:
    added = dict(totals)
    for name in folded.sums:
        old = added.get(name)
        vector, weight = folded.total(name), folded.weights[name]
        added[name] = Weighted(vector, weight) if old is None else Weighted(old.vector + vector, old.weight + weight)
    return added


def _under(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> State:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
