"""Steps between a request and its report: what child and parent keep of an exchange, and how it goes on.

The arithmetic is the runtime's (:mod:`fogline.exchanges` says what it computes). Here stands who has sent what. A
payload is in the journal before it is sent; it is sent until the parent answers; the answer to a step says that it was
taken. A child that is missing when a step's time is up is out for the rest of the request. What a child sends in the
last step is its report, so that receipts, deadlines and refusals are those of every other round; but it says neither
how many examples the child has nor how large its loss is: what it wants to tell, it tells in the steps. A child is a
device, or an aggregator with what it has merged.
"""

from __future__ import annotations

import msgspec

from fogline.nodes.effects import ChildStep
from fogline.nodes.events import StepComputed
from fogline.nodes.messages import Key, Marks, Report, Step, reply_key, step_key, update_key
from fogline.nodes.records import Posted, Stepped

COMBINED = "/combined"


def state_key(parent: str, task: int, number: int) -> Key:
    """Name of a child's state before that step of its exchange: before the first it is the trained update."""
    return f"{step_key(parent, task, number)}/own"


def round_key(parent: str, first: int, number: int) -> Key:
    """Name of the parent's state after that step of a round, whose requests are numbered from ``first``."""
    return f"{step_key(parent, first, number)}/all"


def combined_key(parent: str, first: int) -> Key:
    """Name of what the exchange of a round came to."""
    return f"{update_key(parent, first)}{COMBINED}"


def is_combined(key: Key) -> bool:
    """Whether an update is what the exchange of a round came to, and not one child's."""
    return key.endswith(COMBINED)


class ChildExchange(msgspec.Struct, gc=False):
    """What a child must not forget of the exchange that it is in."""

    name: str
    """The child's."""
    parent: str
    task: int
    steps: int
    devices: int = 1
    """For which it speaks,"""
    marks: Marks = b""
    """and which these are, where reports say that."""
    number: int = -1
    """The last step whose payload is stored; -1: none yet."""

    @property
    def is_last(self) -> bool:
        """Whether the step to be computed next is the last."""
        return self.number + 2 == self.steps

    def compute(self, received: Key | None) -> ChildStep:
        """The next step, with the parent's answer to the one before."""
        parent, task, number = self.parent, self.task, self.number + 1
        payload = update_key(parent, task) if self.is_last else step_key(parent, task, number)
        before, after = state_key(parent, task, number), state_key(parent, task, number + 1)
        return ChildStep(self.name, task, number, before, received, payload, after)

    def awaits(self, step: Step) -> bool:
        """Whether that is the answer for which it waits, unless a step is being computed."""
        mine = (step.task, step.number) == (self.task, self.number)
        return mine and step.value == reply_key(self.parent, step.task, step.number)

    def computed(self, event: StepComputed) -> tuple[Stepped | Posted, tuple[Key, ...]] | None:
        """What is written when a step was computed, and values that nobody needs then; None if it is another one's.

        A report says neither how many examples the child has nor how large its loss is.
        """
        parent, task, unneeded = self.parent, self.task, self.used()
        if (event.task, event.number) != (task, self.number + 1):
            return None
        if event.failure:
            return Posted(Report(task, None, failure=event.failure)), unneeded
        if self.is_last:
            report = Report(task, update_key(parent, task), devices=self.devices, marks=self.marks)
            return Posted(report), (*unneeded, state_key(parent, task, event.number + 1))
        return Stepped(task, event.number), unneeded

    def sends(self) -> Step:
        """What is sent until the parent answers."""
        return Step(self.task, self.number, step_key(self.parent, self.task, self.number))

    def keys(self) -> tuple[Key, ...]:
        """Values that are still needed: the state before the next step, and what is sent."""
        state = state_key(self.parent, self.task, self.number + 1)
        return (state,) if self.number < 0 else (state, step_key(self.parent, self.task, self.number))

    def used(self) -> tuple[Key, ...]:
        """Values that nobody needs once the next step is computed."""
        before = () if self.number < 0 else (reply_key(self.parent, self.task, self.number),)
        return (*self.keys(), *before)


def superseded(parent: str, event: StepComputed, reported: bool) -> tuple[Key, ...]:
    """What a step has made that nobody waits for. ``reported``: whether its request has its report."""
    made = (step_key(parent, event.task, event.number), state_key(parent, event.task, event.number + 1))
    return made if reported else (*made, update_key(parent, event.task))


class RoundExchange(msgspec.Struct, gc=False):
    """What an aggregator must not forget of the exchange of its round."""

    steps: int
    first: int = 0
    """First request of the round."""
    number: int = 0
    """The step that is being taken."""
    came: dict[int, None] = {}
    """Requests whose payload of that step is stored,"""
    answered: tuple[int, ...] = ()
    """and those that got an answer to the step before."""

    @property
    def goes_on(self) -> bool:
        """Whether a step before the last is being taken; the last one's payloads are reports."""
        return self.number < self.steps - 1

    def begin(self, first: int) -> None:
        """A round begins."""
        self.first, self.number, self.came, self.answered = first, 0, {}, ()

    def state(self, parent: str) -> Key | None:
        """The parent's state before the step that is being taken."""
        return round_key(parent, self.first, self.number - 1) if self.number else None

    def keys(self, parent: str) -> tuple[Key, ...]:
        """Values that are still needed."""
        state, number = self.state(parent), self.number
        payloads = [step_key(parent, task, number) for task in self.came]
        replies = [reply_key(parent, task, number - 1) for task in self.answered]
        return (*payloads, *replies) if state is None else (state, *payloads, *replies)
