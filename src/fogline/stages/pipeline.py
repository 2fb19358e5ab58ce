"""The stages of a link in order: one after the other where something is sent, backwards where it is received."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fogline.params import State
from fogline.stages.base import Layout, Link, Named, Stage, StageError
from fogline.stages.registry import make, parsed
from fogline.training.bugs import CodeError, attempt, said, sure


class Pipeline:
    """Stages of one link, in the order in which a message goes through them; without any, it is false."""

    def __init__(self, stages: Sequence[Stage] = ()) -> None:
        self.stages = tuple(stages)

    def __bool__(self) -> bool:
        return bool(self.stages)

    def send(self, update: Named, state: State, link: Link) -> tuple[Named, State]:
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
            send = partial(stage.send, update, own, link.at(place))
            update, own = sure(f"{type(stage).__name__}.send", send)
            if own and not stage.remembers:
                raise CodeError(f"{type(stage).__name__}.send returns a state to keep, but the stage does not remember")
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
            encoded = found
        return encoded

    def layout(self, layout: Layout) -> Layout:
        """Type and length of the arrays that go over the link, where such vectors are sent."""
        for stage in self.stages:
            layout = stage.layout(layout)
        return layout


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
    return Pipeline(stages)
