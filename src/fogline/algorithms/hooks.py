"""What the hooks of a round are given and must give: called here, and nowhere else.

A device's hooks (``prepare``, ``begin``, ``report``) let pass what numbers can cause, so that the device fails; for
what an aggregator's hooks raise there is no device to blame.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fogline.aggregation import Folded, Weight, fault, is_per_number
from fogline.aggregation.sweep import bound
from fogline.aggregation.update import MissingTermError
from fogline.algorithms.base import METRIC, AggregatorContext, Algorithm, ClientUpdate, Weighted, shown
from fogline.data import Examples
from fogline.params import State, Vector
from fogline.plugins import nearest
from fogline.training.context import DeviceContext, RoundContext
from fogline.training.hook_calls import a, call, guarded, wrong
from fogline.training.phase import Phases, TrainingPhase
from fogline.training.plan import Plan
from fogline.training.reading import read_only
from fogline.user_code.bugs import CodeError, NotFiniteError

BUFFERS = "buffers"
"""Name under which the runtime averages the model's floating-point buffers."""


# Devices


def work(method: Algorithm, plan: Plan, device: RoundContext) -> Plan:
    """How much a device trains.

    Raises:
        CodeError: it gives something else than a plan.
    """
    result = call(method, "work", plan, device, numeric=False)
    if not isinstance(result, Plan):
        raise wrong(method, "work", f"gives {a(result)}; it must give a plan: return plan.replace(steps=...)")
    if result.samples != plan.samples:
        raise wrong(method, "work", "changes how many samples the device has; change it by plan.replace(...)")
    return result


def prepare(method: Algorithm, device: DeviceContext) -> State:
    """The device's state before training."""
    return _state(method, "prepare", call(method, "prepare", device))


def begin(method: Algorithm, device: DeviceContext) -> Vector:
    """Where training starts, (P,)."""
    return _model(method, "begin", call(method, "begin", device), device.model)


def phases(method: Algorithm, hook: str, device: DeviceContext) -> Phases:
    """A device's training in phases, to be driven by :func:`next_phase`; ``hook``: ``phases`` or ``fine_tune``."""
    given = call(method, hook, device)
    if not isinstance(given, Generator):
        raise wrong(method, hook, f"gives {a(given)}; it must yield its phases: end = yield TrainingPhase(...)")
    return cast("Phases", given)


def next_phase(
    method: Algorithm, hook: str, under_way: Phases, end: Vector | None, device: DeviceContext
) -> TrainingPhase | State:
    """The next phase; or, when they are over, what the device keeps.

    Args:
        method: whose.
        hook: which of its hooks.
        under_way: what :func:`phases` gave.
        end: where the phase before ended, (P,); None before the first.
        device: whose round it is.
    """

    def advance() -> Any:
        try:
            return under_way.send(cast("Vector", read_only(end)))
        except StopIteration as over:
            return device.local if over.value is None else over.value

    given = guarded(method, hook, advance)
    if not isinstance(given, TrainingPhase):
        if isinstance(given, Mapping):
            return _state(method, hook, given)
        raise wrong(method, hook, f"gives {a(given)}; it must yield TrainingPhase(...), and may return a state")
    if given.steps is not None and given.steps < 1:
        raise wrong(method, hook, f"gives a phase of {given.steps} steps; there must be one at least")
    return replace(
        given,
        start=None if given.start is None else _model(method, hook, given.start, device.model),
        local=None if given.local is None else _state(method, hook, given.local),
    )


def judge(method: Algorithm, device: DeviceContext) -> Vector:
    """The weights (P,) that a device is judged with."""
    return _model(method, "judge", call(method, "judge", device), device.model)


def judged_outputs(
    method: Algorithm, outputs: npt.NDArray[Any], examples: Examples, device: DeviceContext
) -> npt.NDArray[Any]:
    """The outputs that a device is judged by, of the shape of the model's."""
    given = call(method, "judged_outputs", outputs, examples, device)
    if not isinstance(given, np.ndarray) or given.shape != outputs.shape:
        raise wrong(method, "judged_outputs", f"gives {shown(given)}; it must give {shown(outputs)}")
    return given.astype(outputs.dtype)


def report(method: Algorithm, device: DeviceContext) -> ClientUpdate:
    """What a device sends up, and what it keeps.

    Raises:
        NotFiniteError: some of its numbers are not finite.
    """
    result = call(method, "report", device)
    if not isinstance(result, ClientUpdate):
        raise wrong(method, "report", f"gives {a(result)}; it must give ClientUpdate(terms, local)")
    terms = _terms(method, "report", result.terms, device.model.size)
    terms |= metric_terms(method, "report", result.metrics, float(device.plan.samples))
    for name, term in terms.items():
        if not np.isfinite(bound(term.vector)) or fault(name, term.vector, term.weight, 1.0) is not None:
            raise NotFiniteError(f"what {type(method).__name__}.report gives as '{name}' {_not_finite(term)}")
    return ClientUpdate(terms, _state(method, "report", result.local))


def metric_terms(method: Algorithm, hook: str, metrics: Any, weight: float) -> dict[str, Weighted]:
    """Metrics as terms, which fold as all others do."""
    if not isinstance(metrics, Mapping):
        raise wrong(method, hook, f"gives {a(metrics)} as metrics; it must be a dictionary of numbers")
    terms: dict[str, Weighted] = {}
    for name, value in cast("Mapping[str, Any]", metrics).items():
        if not _is_number(value):
            raise wrong(method, hook, f"gives {a(value)} as the metric '{name}'; it must be a number")
        terms[METRIC + _name(method, hook, name)] = Weighted(np.array([value], np.float64), weight)
    return terms


# Aggregators


def broadcast(method: Algorithm, state: State) -> State:
    """What children get beside the model."""
    return _state(method, "broadcast", call(method, "broadcast", state, numeric=False))


def receive(method: Algorithm, group: Vector | None, model: Vector, state: State, received: State) -> State:
    """An inner aggregator's state when its parent's model arrives."""
    return _state(method, "receive", call(method, "receive", group, model, state, received, numeric=False))


def server_update(
    method: Algorithm, model: Vector, folded: Folded, state: State, group: AggregatorContext, inside: bool
) -> tuple[Vector, State]:
    """The next model, finite and of the same type, and the next state."""
    hook = "inner_update" if inside else "server_update"
    seen = replace(folded, sums=read_only(folded.sums), weights=read_only(folded.weights))
    try:
        result = call(method, hook, model, seen, state, group, numeric=False)
    except CodeError as error:
        if isinstance(error.__cause__, MissingTermError) and not error.line:  # It is not that hook that was written.
            raise _unreported(method, hook, error.__cause__.name, folded) from error
        raise
    if not (isinstance(result, tuple) and len(cast("tuple[Any, ...]", result)) == 2):
        raise wrong(method, hook, f"gives {a(result)}; it must give the model and the state: return model, state")
    moved, after = cast("tuple[Any, Any]", result)
    return _model(method, hook, moved, model), _state(method, hook, after)


def _unreported(method: Algorithm, hook: str, name: str, folded: Folded) -> CodeError:
    """That devices report nothing of a name that a hook folds which the method has from its parent."""
    reported = [given for given in folded.sums if given != BUFFERS and not given.startswith(METRIC)]
    meant = f"; did you mean '{name}'?" if nearest(name, reported) else ""
    gives = f"gives {' and '.join(repr(given) for given in reported)}" if reported else "gives no vector"
    return wrong(method, "report", f"{gives}, and nothing named '{name}', which {hook} folds{meant}")


def evaluation_model(method: Algorithm, model: Vector, state: State) -> Vector:
    """The root's model as it is judged."""
    result = call(method, "evaluation_model", model, state, numeric=False)
    return _model(method, "evaluation_model", result, model)


def group_update(
    method: Algorithm, start: Vector, delta: Vector, weight: Weight, totals: dict[str, Weighted]
) -> dict[str, Weighted]:
    """What an inner aggregator sends up after rounds of its own."""
    seen = {name: Weighted(read_only(term.vector), term.weight) for name, term in totals.items()}
    given = call(method, "group_update", start, delta, weight, seen, numeric=False)
    terms = _terms(method, "group_update", given, start.size)
    if method.movement and not any(fnmatchcase(name, method.movement) for name in terms):
        raise wrong(method, "group_update", f"gives nothing named '{method.movement}', which moves the parent's model")
    return terms


def staleness_weight(method: Algorithm, staleness: int) -> float:
    """Factor on an update that is that many versions old."""
    weight = call(method, "staleness_weight", staleness, numeric=False)
    if not (_is_number(weight) and np.isfinite(weight) and weight >= 0):
        raise wrong(method, "staleness_weight", f"gives {weight!r}; it must give a finite number, 0 or more")
    return float(weight)


# What they give


def _state(method: Algorithm, hook: str, value: Any) -> State:
    if not isinstance(value, Mapping):
        raise wrong(method, hook, f"gives {a(value)} as state; it must be a dictionary of vectors")
    items = cast("Mapping[str, Any]", value).items()
    return {_name(method, hook, name): _owned(_vector(method, hook, name, vector)) for name, vector in items}


def _terms(method: Algorithm, hook: str, value: Any, trainable: int) -> dict[str, Weighted]:
    if not isinstance(value, Mapping):
        raise wrong(method, hook, f"gives {a(value)} as terms; it must be a dictionary of Weighted(vector, weight)")
    terms: dict[str, Weighted] = {}
    for name, term in cast("Mapping[str, Any]", value).items():
        if not isinstance(term, Weighted):
            raise wrong(method, hook, f"gives {a(term)} as '{name}'; it must be Weighted(vector, weight)")
        if str(name).startswith(METRIC):
            raise wrong(
                method, hook, f"gives a term called '{name}'; numbers about a device belong into metrics={{...}}"
            )
        if name == BUFFERS:
            raise wrong(
                method, hook, f"gives a term called '{BUFFERS}', which is the model's own; call it another name"
            )
        vector = _vector(method, hook, name, term.vector)
        terms[_name(method, hook, name)] = Weighted(vector, _weight(method, hook, name, vector, term.weight))
    for name in terms:
        if fnmatchcase(name, method.movement) and terms[name].vector.size != trainable:
            size = f"{terms[name].vector.size:,} numbers where the model has {trainable:,}"
            raise wrong(method, hook, f"gives '{name}' of {size}")
    return terms


def _weight(method: Algorithm, hook: str, name: str, vector: Vector, value: Any) -> Weight:
    if _is_number(value):
        return float(value)
    if not isinstance(value, np.ndarray):
        given = f"{a(value)} as the weight of '{name}'"
        raise wrong(method, hook, f"gives {given}; it must be a number, or an array of one for each of its numbers")
    weight = cast("npt.NDArray[Any]", value)
    if weight.shape != vector.shape or weight.dtype.kind not in "fiu":
        given = f"weights of {weight.dtype}, {weight.shape}, for '{name}' of shape {vector.shape}"
        raise wrong(method, hook, f"gives {given}; there must be one number for each")
    return weight


def _model(method: Algorithm, hook: str, value: Any, model: Vector) -> Vector:
    vector = _vector(method, hook, "", value)
    if vector.shape != model.shape:
        raise wrong(method, hook, f"gives a model of shape {vector.shape} where {model.shape} is wanted")
    if vector.dtype != model.dtype:
        with np.errstate(over="ignore"):
            vector = vector.astype(model.dtype)
    if not math.isfinite(bound(vector)):
        bad = np.flatnonzero(~np.isfinite(vector))
        count = f"{bad.size:,} of {vector.size:,} numbers"
        what = f"a model in which {count} are not finite (number {bad[0]} is {vector[bad[0]]})"
        raise wrong(method, hook, f"gives {what}") from NotFiniteError(what)
    return vector


def _vector(method: Algorithm, hook: str, name: str, value: Any) -> Vector:
    named = f"'{name}'" if name else "the model"
    if not isinstance(value, np.ndarray):
        hint = "value.numpy()" if hasattr(value, "numpy") else "such as np.array([3.0], np.float32)"
        raise wrong(method, hook, f"gives {named} as {a(value)}; it must be a NumPy vector ({hint})")
    vector = cast("Vector", value)
    if vector.ndim != 1 or vector.dtype.kind not in "fiu":
        raise wrong(method, hook, f"gives {named} as {vector.dtype} of shape {vector.shape}; it must be a vector (n,)")
    return vector


def _name(method: Algorithm, hook: str, name: object) -> str:
    if not isinstance(name, str):
        raise wrong(method, hook, f"gives something under the name {name!r}; names are text")
    return name


def _owned(vector: Vector) -> Vector:
    """What a hook hands back may be a view that it could only read; whose memory it is decides."""
    owner = vector
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if vector.flags.writeable or not owner.flags.writeable:
        return vector
    view = vector.view()
    view.flags.writeable = True
    return view


def _is_number(value: object) -> bool:
    return isinstance(value, Real | np.number)


def _not_finite(term: Weighted) -> str:
    bad = np.flatnonzero(~np.isfinite(term.vector))
    if not bad.size:
        weight = term.weight
        if not is_per_number(weight):
            return f"has weight {weight}"
        wrong = np.flatnonzero(~((weight >= 0.0) & (weight < np.inf)))
        return f"has weight {weight[wrong[0]]} at number {wrong[0]} of {weight.size}"
    return f"is not finite: number {bad[0]} of {term.vector.size} is {term.vector[bad[0]]}"
