"""EF21's half at the device: the change since the last message, in a code."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.stages.base import MANY, Layout, Named, StageError
from fogline.stages.registry import STAGES, make
from fogline.stages.vector_code import VectorCode


@STAGES.add("ef21")
class Ef21Code(VectorCode):
    """The difference between a vector and what its receiver knows of it from all messages before, in another code
    (Richtarik, Sokolov and Fatkhullin, NeurIPS 2021, arXiv 2106.05203, algorithm 2).

    ``c_i = C(v_i - g_i)``, ``g_i += c_i``: the code C loses less and less where vectors come to rest, so devices whose
    data differ may all come to rest. The method ``ef21`` adds up the changes at the root; no other can be told of them.
    The code is one that loses less than all there is and keeps nothing; its own feedback is off.
    """

    single = True
    changes: ClassVar[bool] = True
    code: str = "top_k(share=0.01)"

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        return self._inner.encode(vector, rng)

    def encode_next(self, vector: Vector, rng: np.random.Generator, kept: Vector | None) -> tuple[Named, Vector | None]:
        known = np.zeros_like(vector) if kept is None or kept.shape != vector.shape else kept
        parts = self._inner.encode(vector - known, rng)
        with np.errstate(over="ignore", invalid="ignore"):
            after = known + self._inner.decode(parts, Extent(vector.dtype, vector.size))
        return parts, after if np.isfinite(after).all() else kept

    def decode(self, parts: Named, extent: Extent) -> Vector:
        return self._inner.decode(parts, extent)

    def parts(self, extent: Extent) -> Layout:
        return self._inner.parts(extent)

    def error(self, count: int) -> float:
        """What the code loses of the change."""
        return self._inner.error(count)

    @property
    def remembers(self) -> bool:
        return True

    def check(self) -> None:
        if self.feedback:
            raise StageError("it goes on from what it has sent, and remembers no errors; leave feedback out")
        made = make(self.code)
        if not isinstance(made, VectorCode) or self._inner.remembers or (self._inner.lossy and self.error(MANY) >= 1):
            raise StageError(
                f"'{self.code}' is no code that it can go on with: it takes one of single vectors that loses less than "
                "all there is and keeps nothing, such as top_k(share=0.01)"
            )

    @property
    def _inner(self) -> VectorCode:
        return _without_feedback(self.code)


@lru_cache
def _without_feedback(text: str) -> VectorCode:
    made = make(text)
    assert isinstance(made, VectorCode)
    return replace(made, feedback=False)
