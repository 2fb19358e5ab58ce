"""A number in eight bits."""

from __future__ import annotations

import math

import numpy as np

from fogline.codecs import int8 as blocks
from fogline.params import State
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, LinkContext, Named, Stage, StageError
from fogline.stages.registry import STAGES

CODES, SCALES = "codes/", "scales/"
"""How the names of the two arrays begin that a vector becomes."""


@STAGES.add("int8")
class Int8(Stage):
    """Eight bits a number: blocks of 256 with a scale each, rounded at random so that nothing is lost on average.

    The scale of a block is its largest magnitude by 127, and a number comes out at most one scale away from what it
    was (QSGD: Alistarh et al., NeurIPS 2017, with the largest magnitude in place of the norm). Integers go as they are.

    With ``feedback`` a sender remembers what the rounding took and gave, and adds it to its next message (Karimireddy
    et al., ICML 2019).
    """

    codes = True
    feedback: bool = False

    @property
    def remembers(self) -> bool:
        return self.feedback

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        encoded, rng = Named(), link.rng
        after = {name: lost for name, lost in state.items() if name not in update}  # Until it is sent again.
        for name in sorted(update):  # In an order of its own: from a file they come in another.
            vector = update[name]
            if vector.dtype.kind != "f":
                encoded[name] = vector
                continue
            before = state.get(name)
            if before is not None and before.shape == vector.shape:
                vector = vector + before
            codes, scales = blocks.rounded(vector, rng)
            encoded[CODES + name], encoded[SCALES + name] = codes, scales
            if self.feedback and math.isfinite(float(scales.sum())):
                after[name] = vector - blocks.restored(codes, scales)
        return encoded, after

    def receive(self, encoded: Named) -> Named:
        update = Named()
        for name, array in encoded.items():
            if name.startswith(CODES):
                inner = name.removeprefix(CODES)
                update[inner] = _restored(inner, array, encoded.get(SCALES + inner))
            elif not name.startswith(SCALES):
                if array.dtype.kind not in "iu":
                    raise StageError(f"its '{name}' is {array.dtype}, and no code of int8")
                update[name] = array
            elif CODES + name.removeprefix(SCALES) not in encoded:
                raise StageError(f"it has scales of '{name.removeprefix(SCALES)}', and no codes")
        return update

    def layout(self, layout: Layout) -> Layout:
        made: dict[str, Extent] = {}
        for name, extent in layout.items():
            if extent.dtype.kind != "f":
                made[name] = extent
                continue
            made[CODES + name] = Extent(np.dtype(np.int8), extent.count)
            made[SCALES + name] = Extent(extent.dtype, -(-extent.count // blocks.BLOCK))
        return made


def _restored(name: str, codes: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    if scales is None:
        raise StageError(f"it has codes of '{name}', and no scales")
    if codes.dtype != np.int8 or codes.ndim != 1 or scales.dtype.kind != "f":
        raise StageError(f"its codes of '{name}' are {codes.dtype} {codes.shape} with scales of {scales.dtype}")
    if scales.shape != (-(-codes.size // blocks.BLOCK),):
        raise StageError(f"it has {codes.size} codes of '{name}' with {scales.size} scales: one is for {blocks.BLOCK}")
    return blocks.restored(codes, scales)
