"""What methods on narrower models share: which widths make sense, and which of them differ on a model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from fogline.training.sub_models import ModelCutter, SubModel


def check_widths(widths: tuple[float, ...]) -> None:
    """Refuse a row of widths that names none, or one twice, or a wider one after a narrower.

    Raises:
        ValueError: one sentence.
    """
    if not widths:
        raise ValueError("widths is empty; name one or more between 0 and 1, the widest first")
    for wider, width in pairwise(widths):
        if width == wider:
            raise ValueError(f"widths has {width:g} twice; name each width once")
        if width > wider:
            raise ValueError(f"widths has {width:g} after {wider:g}; name the widest first")


def unlike_models(model: ModelCutter, widths: tuple[float, ...], subject: str) -> Iterator[SubModel]:
    """The model with these widths, each unlike the one before, and the first unlike the whole.

    Args:
        model: makes them.
        widths: the widest first.
        subject: the method, for people.

    Raises:
        ValueError: two of them are one model, as no layer has enough units to tell them apart; one sentence.
    """
    wider, spec = 1.0, model.spec
    for width in widths:
        made = model.narrow(width)
        if made.task.spec == spec:
            raise ValueError(
                f"{subject}'s widths {wider:g} and {width:g} give the same model, as no layer has enough units to tell "
                f"them apart; leave {width:g} out of widths, or make the layers wider"
            )
        yield made
        wider, spec = width, made.task.spec
