"""Named questions to a device's examples, answered in sums (federated analytics).

A query is a pure function of one device's examples that gives sums by name: what it gives for two devices together is
what it gives for each, added. Only the sums over at least as many devices as the job's ``tree.minimum`` reach the cloud
as an answer. Its name and parameters are one text, such as ``histogram(low=0, high=1, bins=20)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fogline.data import Examples
from fogline.data.inputs import Array, named
from fogline.parameters import after_first, fitted
from fogline.plugins import Registry, read_call, suggest
from fogline.training.figures import in_one_order, numbers_by_name
from fogline.user_code.bugs import attempt

Query = Callable[..., dict[str, float]]
Parameter = float | int | str | bool
QUERIES: Registry[Query] = Registry("query", "fogline.compute.surveys.queries", first="label_counts")


MOST_BINS = 100_000


class QueryError(ValueError):
    """A query that no device can answer, as it is asked; the text is the end of a sentence."""


@QUERIES.add("label_counts")
def label_counts(examples: Examples) -> dict[str, float]:
    """How many examples there are of each class: ``count/CLASS``."""
    if examples.y.dtype.kind not in "iu":
        raise QueryError(
            "label_counts counts classes, and these targets are numbers: ask for moments instead, or, where they are "
            "classes, say classes= where the data is made"
        )
    classes, counts = np.unique(examples.y, return_counts=True)
    return {f"count/{label}": float(count) for label, count in zip(classes.tolist(), counts.tolist(), strict=True)}


@QUERIES.add("moments")
def moments(examples: Examples, of: str = "y") -> dict[str, float]:
    """Count, sum and sum of squares: of the targets (``y``), or of all numbers of an input (``x``, ``x['name']``)."""
    values = _numbers(examples, of)
    with np.errstate(over="ignore", invalid="ignore"):  # Whoever asks is told what is too large.
        return {"count": float(values.size), "sum": float(values.sum()), "squares": float(np.square(values).sum())}


@QUERIES.add("histogram")
def histogram(examples: Examples, low: float, high: float, bins: int = 20, of: str = "y") -> dict[str, float]:
    """How many numbers fall into each of ``bins`` equal bins from ``low`` to ``high``: ``bin/INDEX``; and how many are
    outside: ``below``, ``above``."""
    values = _numbers(examples, of)
    counts = np.histogram(values, bins, (low, high))[0].tolist()
    sums = {f"bin/{place}": float(count) for place, count in enumerate(counts) if count}
    outside = {"below": float((values < low).sum()), "above": float((values > high).sum())}
    return sums | {name: count for name, count in outside.items() if count}


def _check_bins(low: float, high: float, bins: int = 20, **_: object) -> None:
    if not math.isfinite(high - low) or not low < high:
        raise QueryError(f"it needs finite numbers with low < high, not low={low:g} and high={high:g}")
    if not 1 <= bins <= MOST_BINS:
        raise QueryError(f"it has 1 to {MOST_BINS:,} bins, not {bins:,}")


Names = Callable[..., Sequence[str]]
NAMES: dict[str, Names] = {}
"""By query, the names of its sums, from the number of classes (None: there are none) and the query's parameters. They
are the same for all devices: where only the sums of all may be seen, names must tell nothing of one."""


def _of_classes(classes: int | None) -> Sequence[str]:
    if classes is None:
        raise QueryError("the data says of no number of classes")
    return [f"count/{label}" for label in range(classes)]


def _of_bins(classes: int | None, low: float, high: float, bins: int = 20, of: str = "y") -> Sequence[str]:
    return [*(f"bin/{place}" for place in range(bins)), "below", "above"]


def _of_moments(classes: int | None, of: str = "y") -> Sequence[str]:
    return ["count", "sum", "squares"]


NAMES.update({"label_counts": _of_classes, "moments": _of_moments, "histogram": _of_bins})
CHECKS: dict[str, Callable[..., None]] = {"histogram": _check_bins}
"""Of queries whose parameters can be wrong in more than their types: raise :class:`QueryError`."""


def answer(text: str, examples: Examples) -> dict[str, float]:
    """What a query gives for a device's examples.

    Raises:
        ValueError: there is no such query, or it does not suit the data.
        TypeError: what it gives are no sums by name.
    """
    name, parameters = parse_query(text)
    return numbers_by_name(QUERIES[name](examples, **parameters))


def check_query(text: str, examples: Examples | None) -> None:
    """Refuse, before a run, what no device could answer.

    Args:
        text: the query.
        examples: some that are like those of devices; None where there are none.

    Raises:
        ValueError: one sentence.
    """
    name, parameters = parse_query(text)
    if examples is None:
        return
    given = attempt(lambda: QUERIES[name](examples, **parameters))
    if isinstance(given, QueryError):  # What else goes wrong may be these examples' doing.
        raise ValueError(f"The query '{text}' cannot be asked: {given}") from given


def names_of(text: str, classes: int | None) -> tuple[str, ...]:
    """The names of all sums that a query can give.

    Args:
        text: the query.
        classes: of the data.

    Raises:
        QueryError: it does not say them, or not of such data, or in no order that is the same on every node; the end of
            a sentence.
    """
    name, parameters = parse_query(text)
    if name not in NAMES:
        raise QueryError(f"it does not say the names of its sums; add them to NAMES['{name}'], beside the query")
    given = NAMES[name](classes, **parameters)
    try:
        return in_one_order(given, f"what NAMES['{name}'] gives")
    except ValueError as error:
        raise QueryError(str(error)) from None


def parse_query(text: str) -> tuple[str, dict[str, Parameter]]:
    """The name and the parameters of a query.

    Raises:
        ValueError: it is no query, there is none of that name, or its parameters are others; a sentence.
    """
    call = read_call(text)
    query = QUERIES.find(call.name)
    signature = after_first(query.thing)
    if not signature.checked:  # It takes whatever it is given.
        if call.values:
            raise ValueError(f"The query '{query.name}' takes parameters by name only: {query.name}(name=value)")
        return query.name, call.named
    parameters = fitted(f"query '{query.name}'", object, signature, call.values, call.named)
    if query.name in CHECKS:
        try:
            CHECKS[query.name](**parameters)
        except QueryError as error:
            raise ValueError(f"The query '{text}' cannot be asked: {error}") from error
    return query.name, parameters


def asked_by(text: str) -> tuple[str, dict[str, Parameter]]:
    """What a query asks: its name and all its parameters, also those that the text leaves to their defaults.

    Raises:
        ValueError: as :func:`parse_query`.
    """
    name, given = parse_query(text)
    known = after_first(QUERIES[name]).parameters.values()
    return name, {one.name: one.default for one in known if one.default is not one.empty} | given


def figures(text: str, sums: Mapping[str, float]) -> dict[str, float]:
    """What people read of a query's sums: of ``moments`` the mean and the standard deviation too."""
    if parse_query(text)[0] != "moments" or not sums.get("count"):
        return dict(sums)
    mean = sums["sum"] / sums["count"]
    return {**sums, "mean": mean, "std": math.sqrt(max(0.0, sums["squares"] / sums["count"] - mean * mean))}


def _numbers(examples: Examples, of: str) -> Array:
    columns = {"y": examples.y, **named(examples.x)}
    if of not in columns:
        raise QueryError(f"there is no '{of}' to ask for{suggest(of, columns)}")
    return np.asarray(columns[of], np.float64).ravel()
