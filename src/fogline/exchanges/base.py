"""The contract of an exchange: the child's half, the parent's half, and what comes of both.

Between the end of a child's training and its report, the two halves take the same steps in turn. In each step every
child makes a payload; when all payloads are there, or the step's time is up, the parent makes a reply for each child,
with which that child takes its next step. The payload of the last step is what the child reports. There is no reply
to it: what the parent's half has come to then is folded, in place of the children's updates, as one result.

Both halves are pure functions of arrays: no clock, no file, no chance but :data:`SEED`. The runtime keeps their states
and all payloads, sends them at least once, and goes on from them after a crash. What a half cannot accept it raises
:class:`ExchangeError` for: in the child's half that child fails, in the parent's half the whole request does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

import numpy.typing as npt

from fogline.aggregation import Arrays, Partial, Update
from fogline.errors import FoglineError
from fogline.parameters import Parametrised
from fogline.user_code.classes import check_methods

Received = Mapping[str, npt.NDArray[Any]]
"""Named arrays that may only be read."""
SEED = "seed"
"""Name of 32 bytes (uint8) in a child's first state: all that is random in its half comes from them. A real device
draws them from the operating system; a simulated one has them from the job's seed."""
OWN = "own"
"""Name of the child's own name (UTF-8, uint8) in its first state: parents know children by it."""

SECRET, PROOF, TRUST = "identity/secret", "identity/proof", "identity/trust"
"""Names in a child's first state of what :class:`fogline.privacy.identity.AgreementIdentity` holds, where that is
wanted: bytes (uint8), the last in MessagePack."""


class ExchangeError(FoglineError, ValueError):
    """A half of an exchange cannot go on with what it was given; the text says why."""


class Exchange(Parametrised, ABC):
    """A pair of pure machines. Parameters are annotated fields: a subclass becomes a frozen dataclass by itself."""

    steps: ClassVar[tuple[str, ...]]
    """Names of the steps, in order; at least one."""
    identified: ClassVar[bool] = False
    """Whether a child has to show who it is. Then its first state holds :data:`SECRET`, :data:`PROOF` and :data:`TRUST`
    besides."""
    only_sums: ClassVar[bool] = False
    """Whether a parent learns the sum of its children's updates, and no single one."""

    adds_codes: ClassVar[bool] = False
    """Whether it only adds up: then it gets an update in the linear code of its link, if that has one, and hands on in
    its result what the arrays have as ``code``. Otherwise the code is decoded before."""

    def __new__(cls, *_: object, **__: object) -> Self:
        check_exchange(cls)
        return super().__new__(cls)

    def check_cohort(self, cohort: int) -> None:
        """Refuse rounds of so many before there is one. By itself an exchange takes any number.

        Raises:
            ExchangeError: it cannot work with so many; the text says why.
        """

    @property
    def largest_sum(self) -> float:
        """Of what :meth:`for_sums` gives: the largest number that it takes of one device."""
        return math.inf

    def for_sums(self) -> Exchange | None:
        """The same for what devices answer to a query, or find of a model: it takes an update of one vector of weight
        1, and its result is the sum, of weight 1. None: it cannot, so that a job with it that asks devices beside the
        training is refused where it shows only sums. By itself an exchange cannot."""
        return None

    def form(self, payload: Received) -> tuple[Any, ...] | None:
        """What a child's payload of the first step says of its update: the shape of the counters, and then, by names in
        order, the name and the shape of each vector. A child whose update does not fit the model is out, however many
        say the same. By itself an exchange says nothing of it (None).

        Raises:
            ExchangeError: it says nothing that can be read; the child is out.
        """
        return None

    @abstractmethod
    def child(self, step: str, state: Received, received: Received) -> tuple[Arrays, Arrays]:
        """A child's payload for a step, and its state after it.

        Args:
            step: which.
            state: what the step before gave. Before the first: the arrays of the child's trained update (as
                :meth:`fogline.aggregation.Update.to_arrays` names them), :data:`SEED` and :data:`OWN`.
            received: the parent's reply to the step before; empty in the first.

        Raises:
            ExchangeError: this child cannot go on.
        """

    @abstractmethod
    def parent(
        self, step: str, state: Received, payloads: Mapping[str, Received]
    ) -> tuple[Mapping[str, Arrays], Arrays]:
        """The parent's reply to each child, and its state after the step.

        A child that gets no reply is out: for the rest of the request if there are more steps, and of the result if it
        was the last (its reply may be empty, and is not sent).

        Args:
            step: which.
            state: what the step before gave; empty before the first.
            payloads: by child, of those who are still there, in the order of the requests.

        Raises:
            ExchangeError: the request cannot go on with these.
        """

    @abstractmethod
    def result(self, state: Received) -> Update | Partial:
        """What is folded: an update with the mean of the children's and their summed weight and count, or a partial
        result.

        Args:
            state: of the parent, after the last step.

        Raises:
            ExchangeError: nothing comes of it.
        """


def check_exchange(kind: type[Exchange]) -> None:
    """Refuse a class that is no exchange yet.

    Raises:
        ValueError: it names no steps, or does not define a half as it is called; one sentence.
    """
    steps: Any = getattr(kind, "steps", ())
    if not (
        isinstance(steps, tuple) and steps and all(isinstance(step, str) for step in cast("tuple[Any, ...]", steps))
    ):
        raise ValueError(f'The exchange {kind.__name__} names no steps; it needs steps = ("first", ...).')
    check_methods("exchange", kind, Exchange, ("child", "parent", "result"))
