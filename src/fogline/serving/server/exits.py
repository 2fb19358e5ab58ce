"""Early exits: of several complete answers, the first that is sure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fogline.inference.card import Card, Exits, Scores
from fogline.inference.runtimes.base import Array


def first_sure(exits: Exits, scores: Scores, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs, with each example's first sure answer in the place of the last exit's.

    An answer is sure if its largest probability reaches the exit's threshold (BranchyNet, Teerapittayanon et al.,
    2016, there with the entropy).
    """
    final = outputs[exits.outputs[-1]].copy()
    open_ = np.ones(len(final), dtype=np.bool_)
    for name, threshold in zip(exits.outputs, exits.thresholds, strict=False):
        sure = open_ & (confidence(outputs[name], scores) >= threshold)
        final[sure] = outputs[name][sure]
        open_ &= ~sure
    return {**outputs, exits.outputs[-1]: final}


def confidence(output: Array, scores: Scores) -> Array:
    """The largest probability of each example: shape (batch,)."""
    if scores.kind == "probabilities":
        return output.max(axis=1)
    logits = output.astype(np.float64) / scores.temperature
    return 1.0 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)


def of_card(card: Card) -> tuple[Exits, Scores] | None:
    """The exits of a version that has some."""
    return (card.exits, card.scores or Scores(card.exits.outputs[-1])) if card.exits is not None else None
