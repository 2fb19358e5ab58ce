"""Which rows a tier should send up: thresholds on confidence, fitted on held-out examples.

A row whose confidence is below the threshold goes to the larger model. Every threshold that makes a difference is
tried, so what is chosen is the best on these examples; on others the accuracy is the same within sampling error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fogline.inference.card import Cascade, Point
from fogline.inference.runtimes.base import Array

Numbers = npt.NDArray[np.float64]

POINTS = 100
"""Most points of a curve."""
_STEPS = 200
"""Thresholds of each tier that are tried together for a chain."""


class CascadePolicyError(ValueError):
    """There is no such threshold; the text is a sentence."""


def fit(
    small_confidence: Array,
    small_correct: Array,
    large_correct: Array,
    *,
    to: str,
    target_accuracy: float | None = None,
    budget: float | None = None,
) -> Cascade:
    """The threshold between a model and a larger one.

    Args:
        small_confidence: (rows,), of the small model.
        small_correct: (rows,), whether it is right.
        large_correct: (rows,), whether the larger one is.
        to: the larger model's name.
        target_accuracy: least accuracy of the pair: of all thresholds that reach it, the one with the fewest rows sent.
        budget: largest share of rows sent: of all thresholds within it, the most accurate one. If both are given,
            both hold.

    Raises:
        CascadePolicyError: the target cannot be reached; the sentence says what can be.
        ValueError: there are no rows, or neither a target nor a budget.
    """
    if target_accuracy is None and budget is None:
        raise ValueError("A cascade is fitted to a target accuracy or to a budget; give one of them.")
    curve = _Curve(small_confidence, small_correct, large_correct)
    allowed = curve.sent <= (1.0 if budget is None else budget) + 1e-12
    if target_accuracy is not None:
        chosen = _cheapest(allowed & (curve.accuracy >= target_accuracy - 1e-12), curve.sent)
        if chosen is None:
            raise CascadePolicyError(_unreached(target_accuracy, np.where(allowed, curve.accuracy, -1.0), curve.sent))
    else:
        chosen = int(np.where(allowed, curve.accuracy, -1.0).argmax())
    return curve.cascade(to, chosen)


def fit_chain(
    confidences: tuple[Array, Array],
    correct: tuple[Array, Array, Array],
    *,
    to: tuple[str, str],
    target_accuracy: float | None = None,
    budgets: tuple[float, float] | None = None,
    costs: tuple[float, float] = (1.0, 1.0),
) -> tuple[Cascade, Cascade]:
    """The thresholds of a device and of its fog, of three models on the same rows, fitted together.

    About 200 thresholds of each are tried, with all pairs.

    Args:
        confidences: (rows,) of the device's and of the fog's model.
        correct: (rows,) of the device's, the fog's and the cloud's model.
        to: names of the fog's and of the cloud's model.
        target_accuracy: least accuracy of the three together: of all pairs that reach it, the cheapest.
        budgets: largest shares of all rows that go to the fog, and on to the cloud: of all pairs within them, the most
            accurate one. If both are given, both hold.
        costs: of a row on the way to the fog, and on from there.

    Returns:
        The device's cascade, whose curve has the accuracy of all three with the fog's threshold as chosen; and the
        fog's, whose curve is over the rows that come to it.

    Raises:
        CascadePolicyError: the target cannot be reached; the sentence says what can be.
        ValueError: there are no rows, or neither a target nor budgets.
    """
    if target_accuracy is None and budgets is None:
        raise ValueError("A chain is fitted to a target accuracy or to budgets; give one of them.")
    pairs = _Pairs(confidences, correct)
    most = budgets or (1.0, 1.0)
    allowed = (pairs.to_fog <= most[0] + 1e-12) & (pairs.to_cloud <= most[1] + 1e-12)
    cost = costs[0] * pairs.to_fog + costs[1] * pairs.to_cloud
    if target_accuracy is not None:
        chosen = _cheapest(allowed & (pairs.accuracy >= target_accuracy - 1e-12), cost)
        if chosen is None:
            best = np.where(allowed, pairs.accuracy, -1.0)
            raise CascadePolicyError(_unreached(target_accuracy, best.ravel(), pairs.to_fog.ravel()))
    else:
        accuracy = np.where(allowed, pairs.accuracy, -1.0)
        chosen = _cheapest(accuracy >= accuracy.max() - 1e-12, cost)
    first, second = np.unravel_index(chosen or 0, cost.shape)
    low, high = pairs.thresholds[0][first], pairs.thresholds[1][second]
    above = np.where(_tidy(confidences[1]) < high, correct[2], correct[1])
    device = _Curve(confidences[0], correct[0], above)
    coming = _tidy(confidences[0]) < low
    rows = coming if coming.any() else np.ones(len(coming), np.bool_)
    fog = _Curve(confidences[1][rows], correct[1][rows], correct[2][rows])
    return (
        device.cascade(to[0], device.at(low)),
        fog.cascade(to[1], fog.at(high)),
    )


class _Curve:
    """Every threshold between two models that makes a difference, rising, with what is sent and the pair's accuracy."""

    def __init__(self, confidence: Array, small: Array, large: Array) -> None:
        if not len(confidence) == len(small) == len(large) or not len(small):
            raise ValueError("A cascade is fitted on examples; there are none, or unequally many of each kind.")
        order = np.argsort(_tidy(confidence), kind="stable")
        sorted_confidence = _tidy(confidence)[order]
        # Rows of equal confidence go up together, so a threshold stands before the first of each: in the middle, as a
        # node computes confidence a little differently.
        values, first = np.unique(sorted_confidence, return_index=True)
        gain = np.concatenate([[0.0], np.cumsum(large[order].astype(float) - small[order].astype(float))])
        sent = np.append(first, len(order))
        between = np.maximum((values[:-1] + values[1:]) / 2, np.nextafter(values[:-1], np.inf))
        above = np.nextafter(np.float32(max(1.0, values[-1])), np.float32(np.inf))
        self.thresholds: Numbers = np.concatenate([[min(0.0, values[0])], between, [above]])
        self._values = values
        self.sent: Numbers = sent / len(order)
        self.accuracy: Numbers = (float(np.sum(small, dtype=float)) + gain[sent]) / len(order)

    def at(self, threshold: float) -> int:
        """The one that sends the same rows as this threshold does."""
        return int(np.searchsorted(self._values, threshold))

    def cascade(self, to: str, chosen: int) -> Cascade:
        """With at most :data:`POINTS`, evenly spaced over what is sent, with both ends and the chosen one."""
        places = np.searchsorted(self.sent, np.linspace(0.0, 1.0, POINTS - 1))
        points = tuple(
            Point(float(self.thresholds[i]), float(self.sent[i]), float(self.accuracy[i]))
            for i in np.unique(np.append(places, chosen))
        )
        return Cascade(to, float(self.thresholds[chosen]), points)


class _Pairs:
    """All pairs of thresholds of a chain, (device's, fog's)."""

    def __init__(self, confidences: Sequence[Array], correct: Sequence[Array]) -> None:
        rows = len(correct[0])
        if not rows or {len(part) for part in (*confidences, *correct)} != {rows}:
            raise ValueError("A chain is fitted on examples; there are none, or unequally many of each kind.")
        self.thresholds = [_grid(_tidy(confidence)) for confidence in confidences]
        # A row goes up under every threshold that lies above its confidence: the first such one is its place.
        cells = tuple(
            np.searchsorted(thresholds, _tidy(confidence), side="right")
            for thresholds, confidence in zip(self.thresholds, confidences, strict=True)
        )
        shape = len(self.thresholds[0]), len(self.thresholds[1])

        def below(weights: Array, axes: tuple[int, ...]) -> Numbers:
            sums = np.zeros((shape[0] + 1, shape[1] + 1))
            np.add.at(sums, cells, weights.astype(np.float64))
            sums = sums if len(axes) == 2 else sums.sum(1, keepdims=True)
            for axis in axes:
                sums = sums.cumsum(axis)
            return sums[: shape[0], : shape[1]] / rows

        device, fog, cloud = (np.asarray(part, np.float64) for part in correct)
        self.to_fog: Numbers = np.broadcast_to(below(np.ones(rows), (0,)), shape)
        self.to_cloud = below(np.ones(rows), (0, 1))
        self.accuracy: Numbers = device.mean() + below(fog - device, (0,)) + below(cloud - fog, (0, 1))


def _grid(confidence: Numbers) -> Numbers:
    """Thresholds to try: from none sent to all sent."""
    values = np.unique(np.quantile(confidence, np.linspace(0, 1, _STEPS), method="inverted_cdf"))
    return np.append(values, np.nextafter(values[-1], np.inf))


def _cheapest(fitting: npt.NDArray[np.bool_], cost: Numbers) -> int | None:
    return int(np.where(fitting, cost, np.inf).argmin()) if fitting.any() else None


def _tidy(confidence: Array) -> Numbers:
    """Who gives no confidence has none, and goes up first."""
    return np.nan_to_num(np.asarray(confidence, np.float64), nan=0.0)


def _unreached(target: float, accuracy: Numbers, sent: Numbers) -> str:
    best = int(accuracy.argmax())
    return (
        f"An accuracy of {target:.4f} cannot be reached: the best is {accuracy[best]:.4f}, "
        f"with {100 * sent[best]:.1f} % of the samples sent up. Ask for less, or train a better large model."
    )
