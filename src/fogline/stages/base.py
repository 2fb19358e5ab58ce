"""A stage: something that stands on a link and changes what is sent there.

A stage has a sending half and a receiving half, which are pure: what the sender remembers from one message to the next
(the error that a code made, say) is its state, and the runtime stores it, journals it and hands it back. Parameters are
annotated fields; the class becomes a frozen dataclass by itself::

    class Half(Stage):
        \"\"\"Sixteen bits a number.\"\"\"

        def send(self, update, state, link):
            return {name: vector.astype("float16") for name, vector in update.items()}, state

        def receive(self, encoded):
            return {name: vector.astype("float32") for name, vector in encoded.items()}

        def layout(self, layout):
            return {name: Extent(np.dtype("float16"), extent.count) for name, extent in layout.items()}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from fogline.parameters import Parametrised
from fogline.params import Spec, State
from fogline.params.pieces import Extent, file_size

Named = dict[str, npt.NDArray[Any]]
"""Flat arrays by name: the vectors of an update, or what a stage made of them."""
Layout = Mapping[str, Extent]
"""Type and length of each of them."""
MANY = 10**9
"""Numbers of a large model, for what a code may lose of one."""


class StageError(ValueError):
    """A stage that cannot stand where a job puts it, or what cannot be what it has sent; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class LinkContext:
    """What a stage may know of the message that it works on."""

    seed: int = 0
    """Of all that is random in it: by the job, the sender and the message, the same in simulation and on real nodes."""
    movement: str = "delta"
    """Name of the vector that moves the model, or a pattern; empty where there is none, as in a model going down."""
    place: int = 0
    """The stage's own, in the list of the link."""
    common: int = 0
    """Of what is random and the same for all senders of the round."""

    @property
    def rng(self) -> np.random.Generator:
        """A new random source of the seed; only the sending half may draw."""
        return np.random.default_rng((self.seed, self.place))

    @property
    def common_rng(self) -> np.random.Generator:
        """A new random source of the seed that all senders of the round have."""
        return np.random.default_rng(self.common)

    def at(self, place: int) -> LinkContext:
        """The same for the stage at that place."""
        return replace(self, place=place)


class Stage(Parametrised):
    """One stage; parameters are fields."""

    lossy: ClassVar[bool] = True
    """Whether the receiver has other numbers than the sender had."""
    linear: ClassVar[bool] = False
    """Whether all senders of a round share the code, and that of a sum is the sum of the codes: what they come to loses
    nothing in the same code, and codes of single vectors are added without being decoded (:class:`VectorCode`)."""
    unbiased: ClassVar[bool] = False
    """Whether what is received is what was sent, on average over all seeds."""
    codes: ClassVar[bool] = False
    """Whether it makes codes, which are no numbers any more: no stage may come after it."""
    single: ClassVar[bool] = False
    """Whether it is about one sender's own movement, so that the sums of a fog that only merges are not for it; of
    one that makes no codes, what is received is what was sent."""
    changes: ClassVar[bool] = False
    """Whether what is received is a change since the sender's last message, which only some methods can add up."""

    def fitted(self, spec: Spec) -> Self:
        """The stage for a model of that layout; most do not look at it."""
        return self

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        """What goes over the link.

        Args:
            update: named vectors (n,), which can only be read.
            state: what this sender's stage returned the last time; empty the first time.
            link: what is known of the message.

        Returns:
            Flat arrays by name, and the state to keep.
        """
        raise NotImplementedError

    def receive(self, encoded: Named) -> Named:
        """What was sent, as far as it can be told; it may come from anybody.

        Raises:
            ValueError: it cannot be what :meth:`send` makes; one sentence.
        """
        raise NotImplementedError

    def layout(self, layout: Layout) -> Layout:
        """Type and length of the arrays that :meth:`send` makes of such vectors."""
        raise NotImplementedError

    def error(self, count: int) -> float:
        """What is lost of a vector of ``count`` numbers at most: the expected square of the error's L2 norm, over the
        square of the vector's.

        It holds for any vector whose numbers are within the range of its type; infinity: nothing is promised.
        """
        return math.inf if self.lossy else 0.0

    def size(self, layout: Layout) -> int:
        """Bytes on the link, where such vectors are sent through this stage alone."""
        return file_size(self.layout(layout))

    def check(self) -> None:
        """Refuse parameters that make no sense.

        Raises:
            StageError: one sentence.
        """

    @property
    def remembers(self) -> bool:
        """Whether the sender keeps a state from one message to the next."""
        return False
