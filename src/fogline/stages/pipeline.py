"""The stages of a link in order: one after the other where something is sent, backwards where it is received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from fogline.params import Spec, State
from fogline.params.pieces import Extent
from fogline.stages.base import MANY, Layout, LinkContext, Named, Stage, StageError
from fogline.stages.delta import Delta
from fogline.stages.registry import make, parsed
from fogline.stages.vector_code import VectorCode, claims
from fogline.training.hook_calls import a
from fogline.training.reading import read_only
from fogline.user_code.bugs import CodeError, attempt, said, sure


class Pipeline:
    """Stages of one link, in the order in which a message goes through them; without any, it is false.

    Args:
        stages: in that order.
        most: numbers that a message may claim to be the code of; None: any. A code of few bytes may claim many.
    """

    def __init__(self, stages: Sequence[Stage] = (), most: int | None = None) -> None:
        self.stages = tuple(stages)
        self.most = most

    def __bool__(self) -> bool:
        return bool(self.stages)

    @property
    def delta(self) -> Delta | None:
        """The stage that makes models into differences; None: they go whole."""
        return next((stage for stage in self.stages if isinstance(stage, Delta)), None)

    @property
    def code(self) -> VectorCode | None:
        """The linear code that its messages are in, if they are in one: then their numbers may be added."""
        if not self.stages:
            return None
        *before, last = self.stages
        if isinstance(last, VectorCode) and last.linear and all(stage.single for stage in before):
            return last
        return None

    def fitted(self, spec: Spec) -> Pipeline:
        """The same for a model of that layout."""
        fitted = [sure(f"{type(stage).__name__}.fitted", partial(stage.fitted, spec)) for stage in self.stages]
        return Pipeline(fitted, self.most)

    def up_to(self, most: int) -> Pipeline:
        """The same for messages that claim no more numbers than that."""
        return Pipeline(self.stages, most)

    def check_claims(self, encoded: Named) -> None:
        """Refuse a message that claims to be the code of more numbers than it may, before anything is decoded.

        Raises:
            StageError: one sentence.
        """
        if self.most is None or not any(isinstance(stage, VectorCode) for stage in self.stages):
            return
        numbers = claims(encoded)
        if numbers > self.most:
            raise StageError(f"it claims to be the code of {numbers:,} numbers, and may be of {self.most:,}")

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        """What goes over the link, and what the sender keeps: each stage's vectors under its place, ``1/delta``.

        Raises:
            CodeError: a stage is wrong.
        """
        after = State()
        for place, stage in enumerate(self.stages):
            own, prefix = State(), f"{place}/"
            for name, vector in state.items():
                if name.startswith(prefix):
                    own[name.removeprefix(prefix)] = vector
            send = partial(stage.send, dict(read_only(update)), own, link.at(place))
            wanted = layout_of(stage, {name: Extent(vector.dtype, vector.size) for name, vector in update.items()})
            update, own = _sent(stage, sure(f"{type(stage).__name__}.send", send), wanted)
            after |= {prefix + name: vector for name, vector in own.items()}
        return update, after

    def receive(self, encoded: Named) -> Named:
        """What was sent.

        Raises:
            StageError: it cannot have been sent through these stages; one sentence.
        """
        for stage in reversed(self.stages):
            found = attempt(partial(stage.receive, encoded))
            if isinstance(found, StageError):
                raise found
            if isinstance(found, Exception):  # Who sent it may be anybody: it is the message that is refused.
                raise StageError(f"{type(stage).__name__}.receive raised {said(found)}") from found
            if wrong := _not_arrays(found):
                raise StageError(f"{type(stage).__name__}.receive gives {wrong}")
            encoded = found
        return encoded

    def layout(self, layout: Layout) -> Layout:
        """Type and length of the arrays that go over the link, where such vectors are sent."""
        for stage in self.stages:
            layout = layout_of(stage, layout)
        return layout


def layout_of(stage: Stage, layout: Layout) -> Layout:
    """What the stage says of what it makes.

    Raises:
        CodeError: it raised.
    """
    return sure(f"{type(stage).__name__}.layout", partial(stage.layout, layout))


def _sent(stage: Stage, given: Any, wanted: Layout) -> tuple[Named, State]:
    """What ``send`` gave, if it is what it must give and what ``layout`` said: the virtual clock counts by that."""
    name = f"{type(stage).__name__}.send"
    if not (isinstance(given, tuple) and len(cast("tuple[Any, ...]", given)) == 2):
        raise CodeError(f"{name} gives {a(given)}; it must give the arrays and the state: return encoded, state")
    encoded, state = cast("tuple[Any, Any]", given)
    if wrong := _not_arrays(encoded):
        raise CodeError(f"{name} gives {wrong}")
    if wrong := _not_arrays(state):
        raise CodeError(f"{name} gives a state that is {wrong}")
    if state and not stage.remembers:
        raise CodeError(f"{name} returns a state to keep, but the stage does not remember")
    made = {each: Extent(array.dtype, array.size) for each, array in encoded.items()}
    for each in {**wanted, **made}:
        if made.get(each) != wanted.get(each):
            raise CodeError(
                f"{name} gives '{each}' as {_extent(made.get(each))}, but {type(stage).__name__}.layout says "
                f"{_extent(wanted.get(each))}"
            )
    return encoded, state


def _extent(extent: Extent | None) -> str:
    return f"{extent.count:,} numbers of {extent.dtype}" if extent else "nothing"


def _not_arrays(thing: Any) -> str:
    """What is wrong with flat arrays by name; empty if nothing is."""
    if not isinstance(thing, Mapping):
        return f"{a(thing)}; it must be a dictionary of flat arrays"
    for name, array in cast("Mapping[Any, Any]", thing).items():
        if not isinstance(array, np.ndarray):
            return f"a dictionary with {a(array)} as {name!r}; it must have flat arrays"
        kind = cast("np.ndarray", array)
        if kind.ndim != 1 or kind.dtype.kind not in "fiub":
            return (
                f"a dictionary with {kind.dtype} of shape {kind.shape} as {name!r}; it must have flat arrays of numbers"
            )
    return ""


def check_texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The texts, if they are stages in an order that makes sense, as far as it can be told without a program's own.

    Raises:
        StageError: they are not; one sentence.
    """
    for text in texts:
        parsed(text)
    if texts and not any(":" in text for text in texts):
        pipeline(texts)
    return texts


def pipeline(texts: tuple[str, ...]) -> Pipeline:
    """The stages that a tier names.

    Raises:
        StageError: one of them is none, or stands where it makes no sense; one sentence.
    """
    stages = [make(text) for text in texts]
    for place, stage in enumerate(stages[:-1]):
        if stage.codes:
            raise StageError(
                f"'{texts[place + 1]}' stands after '{texts[place]}', which makes codes and leaves no numbers to work "
                "on; put it before"
            )
    _check_delta(texts, stages)
    return Pipeline(stages)


def _check_delta(texts: Sequence[str], stages: Sequence[Stage]) -> None:
    """Refuse a difference that is not the first stage, or that a code follows which may lose too much of it."""
    places = [place for place, stage in enumerate(stages) if isinstance(stage, Delta)]
    if not places:
        return
    if places != [0]:
        raise StageError(f"'{texts[places[-1]]}' is the difference to the model that children hold; put it first, once")
    for text, stage in zip(texts[1:], stages[1:], strict=True):
        if stage.remembers:
            raise StageError(
                f"'{text}' keeps something from one message to the next, and what it loses after '{texts[0]}' is in "
                "the next difference anyway; give it feedback=false, or take another"
            )
        if not stage.error(MANY) < 1:
            raise StageError(
                f"'{text}' may lose more than all there is of a difference, so what children lack could grow without "
                "end; take more bits"
            )
