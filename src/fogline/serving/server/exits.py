"""Early exits: of several complete answers, the first that is sure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from fogline.inference.card import Exits, Scores
from fogline.inference.confidence import confidence
from fogline.inference.runtimes.base import Array


def first_sure(exits: Exits, scores: Scores, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs, with each example's first sure answer in the place of the last exit's.

    An answer is sure if its confidence reaches the exit's threshold (BranchyNet, Teerapittayanon et al., 2016, there
    by the entropy).
    """
    final = outputs[exits.outputs[-1]].copy()
    waiting = np.ones(len(final), dtype=np.bool_)
    for name, threshold in zip(exits.outputs, exits.thresholds, strict=False):
        sure = waiting & (confidence(msgspec.structs.replace(scores, output=name), outputs) >= threshold)
        final[sure] = outputs[name][sure]
        waiting &= ~sure
    return {**outputs, exits.outputs[-1]: final}
