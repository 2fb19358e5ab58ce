"""Two models become a cascade: the threshold is fitted to the test set that both were judged on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from fogline.inference.card import Card, Cascade, Point
from fogline.inference.cascade import fit
from fogline.inference.packaging.evaluation import read_evaluation
from fogline.registry.catalogue import CatalogueError


def fitted(
    small: Card, large: Card, path_of: Callable[[str], Path], accuracy: float | None, budget: float | None
) -> Cascade:
    """When the small model asks the large one.

    Args:
        small: whose confidence decides.
        large: that it asks.
        path_of: where files lie, by digest.
        accuracy: the least that the pair must reach.
        budget: largest share of the samples that may be sent up.

    Raises:
        ValueError: they cannot be compared, or the goal is out of reach.
    """
    names = f"{small.model} and {large.model}"
    if small.model == large.model:
        raise CatalogueError(f"{small.model} cannot ask itself; name a larger model.")
    if small.evaluation is None or large.evaluation is None:
        raise CatalogueError(f"{names} must both be classifiers that were judged on a test set.")
    ours, theirs = (read_evaluation(path_of(asset.digest)) for asset in (small.evaluation, large.evaluation))
    if ours.labels != theirs.labels:
        raise CatalogueError(f"{names} were judged on other examples, so they cannot be compared.")
    if set(small.inputs) != set(large.inputs) or not set(small.answers) <= set(large.answers):
        raise CatalogueError(f"{names} take or give other tensors, so one cannot answer for the other.")
    made = fit(ours.confidence, ours.correct, theirs.correct, to=large.model, target_accuracy=accuracy, budget=budget)
    return replace(made, budget=chosen(made).offloaded if budget is None else budget)


def chosen(cascade: Cascade) -> Point:
    """Where a cascade stands on its curve."""
    return min(cascade.curve, key=lambda point: abs(point.threshold - cascade.threshold))
