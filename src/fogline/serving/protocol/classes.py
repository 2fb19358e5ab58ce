"""The classification extension: the best classes of an output as text."""

from __future__ import annotations

import numpy as np

from fogline.inference.card import Card
from fogline.inference.runtimes.base import Array
from fogline.serving.protocol.errors import ProtocolError


def best_classes(card: Card, name: str, scores: Array, count: int) -> Array:
    """The best classes of every example, best first: BYTES of shape (batch, count), ``value:index[:label]``.

    Args:
        card: of the version; it may name the classes.
        name: of the output.
        scores: shape (batch, classes).
        count: how many are wanted; fewer where there are fewer.

    Raises:
        ProtocolError: the output is none of class scores.
    """
    if scores.ndim != 2 or scores.dtype.kind not in "iuf":
        raise ProtocolError(f"Output '{name}' holds no class scores, so it has no best classes.")
    labels = card.scores.labels if card.scores is not None and card.scores.output == name else ()
    order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :count]
    made = np.empty(order.shape, dtype=np.object_)
    for (row, place), index in np.ndenumerate(order):
        which = int(index)
        label = f":{labels[which]}" if which < len(labels) else ""
        made[row, place] = f"{scores[row, which]:f}:{which}{label}".encode()
    return made
