"""What every stage shares that makes a code of each vector by itself: names, lengths, refusals, and error feedback."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any, ClassVar

import numpy as np

from fogline.params import State, Vector
from fogline.params.pieces import Extent
from fogline.stages.base import Layout, LinkContext, Named, Stage, StageError

PLAIN, SHAPE = "plain", "shape"
"""Parts of every code: integers, which go as they are; and a vector's length with the bytes of one of its numbers."""
VALUES = "values"
"""The part of a linear code that is added; all others are the same for all senders of a round."""
KEPT = "kept"
"""Under which a sender keeps what else a code goes on from, beside what was lost."""
_SHAPE = Extent(np.dtype(np.int64), 2)
_FLOATS = {kind.itemsize: kind for kind in map(np.dtype, (np.float16, np.float32, np.float64))}
_BILLION = 10**9


class VectorCode(Stage):
    """Base of stages that code vectors of floating-point numbers, each by itself; integers go as they are.

    An heir gives :meth:`encode`, :meth:`decode` and :meth:`parts`. The arrays of a vector's code go as ``part/vector``.
    One that is linear has its numbers in the part :data:`VALUES`, of the vector's type, and draws all others from the
    seed that the senders of a round share: then aggregators add its numbers, and decode the sum.
    What a message says of their lengths is held against :meth:`parts` before anything is decoded, so no message claims
    a vector longer than its bytes can be the code of.

    With ``feedback`` a sender remembers what the code lost of a vector, and adds it to the next vector of that name
    (Karimireddy et al., ICML 2019, arXiv 1901.09847). That is for codes that lose less than all there is, on average
    (:meth:`Stage.error` below 1): of others what is remembered would grow.
    """

    codes: ClassVar[bool] = True
    feedback: bool = field(default=False, kw_only=True)

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        """The code of a vector (n,), as flat arrays by part; it can only be read.

        Numbers that are not finite must stay so where they are decoded: it is the receiver's to refuse them.
        """
        raise NotImplementedError

    def encode_next(self, vector: Vector, rng: np.random.Generator, kept: Vector | None) -> tuple[Named, Vector | None]:
        """As :meth:`encode`, for a code that goes on from what it kept of the last vector of that name; with what to
        keep of this one.
        """
        return self.encode(vector, rng), None

    def decode(self, parts: Named, extent: Extent) -> Vector:
        """The vector of that type and length, of parts that have the types and the lengths of :meth:`parts`.

        Raises:
            StageError: the numbers in them cannot be a code; one sentence.
        """
        raise NotImplementedError

    def parts(self, extent: Extent) -> Layout:
        """Type and length of each part of a vector's code; ``extent`` may be any that a stranger claims."""
        raise NotImplementedError

    @property
    def remembers(self) -> bool:
        return self.feedback

    def check(self) -> None:
        if self.feedback and not self.error(_BILLION) < 1:
            raise StageError(
                "with feedback what is remembered could grow without end, since the code promises no error below all "
                "there is; leave feedback out, or take more bits"
            )

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        encoded, rng = Named(), link.common_rng if self.linear else link.rng
        after = {name: lost for name, lost in state.items() if name not in update}  # Until it is sent again.
        for name in sorted(update):  # In an order of its own: from a file they come in another.
            vector = update[name]
            if vector.dtype.kind != "f":
                encoded[f"{PLAIN}/{name}"] = vector
                continue
            before = state.get(name)
            if before is not None and before.shape == vector.shape:
                vector = vector + before
            parts, kept = self.encode_next(vector, rng, state.get(f"{KEPT}/{name}"))
            if kept is not None:
                after[f"{KEPT}/{name}"] = kept
            encoded[f"{SHAPE}/{name}"] = np.array([vector.size, vector.itemsize], np.int64)
            encoded |= {f"{part}/{name}": array for part, array in parts.items()}
            if self.feedback:
                with np.errstate(over="ignore", invalid="ignore"):
                    lost = vector - self.decode(parts, Extent(vector.dtype, vector.size))
                if np.isfinite(lost).all():
                    after[name] = lost
        return encoded, after

    def receive(self, encoded: Named) -> Named:
        update, codes = self._sorted(encoded)
        return update | {name: self._decoded(name, parts) for name, parts in codes.items()}

    def is_same(self, other: VectorCode | None) -> bool:
        """Whether it is the same code, whatever either remembers."""
        return other is not None and replace(self, feedback=False) == replace(other, feedback=False)

    def check_encoded(self, encoded: Named) -> None:
        """Refuse what has not the parts of a code, without decoding it.

        Raises:
            StageError: one sentence.
        """
        for name, parts in self._sorted(encoded)[1].items():
            self._checked(name, parts)

    def layout(self, layout: Layout) -> Layout:
        made: dict[str, Extent] = {}
        for name, extent in layout.items():
            if extent.dtype.kind != "f":
                made[f"{PLAIN}/{name}"] = extent
                continue
            made[f"{SHAPE}/{name}"] = _SHAPE
            made |= {f"{part}/{name}": one for part, one in self.parts(extent).items()}
        return made

    def _sorted(self, encoded: Named) -> tuple[Named, dict[str, Named]]:
        """What goes as it is, and the parts of each vector's code."""
        plain, codes = Named(), dict[str, Named]()
        for key, array in encoded.items():
            part, _, name = key.partition("/")
            if part != PLAIN:
                codes.setdefault(name or key, {})[part] = array
            elif array.dtype.kind in "iub":
                plain[name] = array
            else:
                raise StageError(f"its '{name}' is {array.dtype}, and no code of {self._name}")
        return plain, codes

    def _decoded(self, name: str, parts: Named) -> Vector:
        extent = self._checked(name, parts)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return self.decode(parts, extent)
        except StageError as error:
            raise StageError(f"its '{name}' is no code of {self._name}: {error}") from error

    def _checked(self, name: str, parts: Named) -> Extent:
        """Type and length of the vector, if these are the parts of its code; its shape is taken out of them."""
        shape = parts.pop(SHAPE, None)
        if shape is None:
            raise StageError(f"its '{name}' is no code of {self._name}: it does not say how many numbers it has")
        extent = claimed(name, shape)
        wanted = self.parts(extent)
        for part in {**wanted, **parts}:
            array, one = parts.get(part), wanted.get(part)
            has = "nothing" if array is None else f"{array.dtype} {array.shape}"
            if array is None or one is None or (array.dtype, array.shape) != (one.dtype, (one.count,)):
                wants = "nothing" if one is None else f"{one.dtype} ({one.count},)"
                raise StageError(
                    f"its '{name}' of {extent.count} numbers has {has} as {part}, where {self._name} has {wants}"
                )
        return extent

    @property
    def _name(self) -> str:
        return type(self).__name__


def claims(encoded: Named) -> int:
    """How many numbers a message claims to be the code of, in all its vectors.

    Raises:
        StageError: no vector has such a length.
    """
    shapes = ((name, array) for name, array in encoded.items() if name.startswith(f"{SHAPE}/"))
    return sum(claimed(name.removeprefix(f"{SHAPE}/"), array).count for name, array in shapes)


def claimed(name: str, shape: np.ndarray[Any, Any]) -> Extent:
    """Type and length that a message claims of a vector.

    Raises:
        StageError: no vector has these.
    """
    if (shape.dtype, shape.shape) != (_SHAPE.dtype, (_SHAPE.count,)):
        raise StageError(f"its '{name}' does not say how many numbers it has")
    count, size = map(int, shape)
    if count < 0 or size not in _FLOATS:
        raise StageError(f"its '{name}' claims to be {count} numbers of {size} bytes each")
    return Extent(_FLOATS[size], count)
