"""The steps of an exchange: what they compute, and what their halves must give. Simulation and network call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Protocol, cast

import msgspec
import numpy as np
import numpy.typing as npt

from fogline.aggregation import Arrays, Partial, UnusableUpdateError, Update, from_arrays
from fogline.compute.folding import Form
from fogline.exchanges import OWN, SEED, Exchange, ExchangeError
from fogline.exchanges.base import PROOF, SECRET, TRUST, Received
from fogline.nodes.messages import Key
from fogline.params.files import KINDS
from fogline.privacy.identity import AgreementIdentity, stand_in
from fogline.stages import StageError
from fogline.training.hook_calls import a, read_only
from fogline.user_code.bugs import PROGRAMMING, CodeError, attempt, blame

EMPTY: Arrays = {}


class NotKeptError(KeyError):
    """A half looks for what its state does not hold: nobody but its author is to blame."""

    def __str__(self) -> str:
        return f"its state has no '{self.args[0]}'"


class _KeptArrays(dict[str, npt.NDArray[Any]]):
    """A half's own state."""

    def __missing__(self, name: str) -> npt.NDArray[Any]:
        raise NotKeptError(name)


class Folds(Protocol):
    """What an exchange's result is folded by: :class:`fogline.compute.groups.Groups`."""

    def unfit(self, value: Update | Partial) -> str | None:
        """Why nothing of a value's form and kind can be folded; None if it can."""
        ...

    def refusal(self, value: Update | Partial) -> str | None:
        """Why a value by itself cannot be folded; None if it can."""
        ...

    def misfit(self, form: Form) -> str | None:
        """Why updates of that form do not fit the model; None if they do."""
        ...

    def as_update(self, value: Update | Partial) -> Update:
        """A partial result as one update."""
        ...

    def decoded(self, value: Update | Partial) -> Update | Partial:
        """A value in no code."""
        ...


@dataclass(frozen=True, slots=True)
class Payload:
    """Named arrays: what is sent in a step, or what a half keeps."""

    arrays: Arrays

    @property
    def nbytes(self) -> int:
        """Bytes that its numbers take in transport."""
        return sum(array.nbytes + 8 for array in self.arrays.values())

    def to_arrays(self) -> Arrays:
        """The arrays."""
        return self.arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Payload:
        """Of these arrays."""
        return cls(arrays)


@dataclass(frozen=True, slots=True)
class Combined:
    """What an exchange came to."""

    result: Update | Partial
    """Is folded in place of the children's updates."""
    left_out: dict[str, str]
    """Children that reported and are not in it, and why."""
    silent: tuple[str, ...]
    """Children that are in it and have not reported."""


def brought(exchange: Exchange, value: Arrays, folds: Folds) -> Arrays:
    """What a child has made for its parent as an exchange takes it: as one update, also where an aggregator merged.

    Raises:
        ExchangeError: nothing can be folded of it.
    """
    decodes = "code" in value and not exchange.adds_codes
    if "partial" not in value and not decodes:
        return value
    try:
        made = from_arrays(value)
        return folds.as_update(folds.decoded(made) if decodes else made).to_arrays()
    except UnusableUpdateError as error:
        raise ExchangeError(f"What this node has merged cannot be brought: {error}") from error


def first_state(
    exchange: Exchange, update: Arrays, child: str, seed: bytes, identity: AgreementIdentity | None = None
) -> Arrays:
    """A child's state before the first step.

    Args:
        exchange: what it takes part in.
        update: what it trained, as arrays.
        child: its name.
        seed: 32 bytes, for all that is random in its half.
        identity: what it shows, where the exchange wants that.

    Raises:
        ExchangeError: the exchange wants it, and there is none.
    """
    state = update | {OWN: _bytes(child.encode()), SEED: _bytes(seed)}
    if not exchange.identified:
        return state
    if identity is None:
        raise ExchangeError("This node has nothing to show who it is, which the exchange wants of all.")
    trust = _bytes(msgspec.msgpack.encode(identity.trust))
    return state | {SECRET: _bytes(identity.secret), PROOF: _bytes(identity.proof), TRUST: trust}


def simulated_state(exchange: Exchange, update: Arrays, child: str, seed: int, key: Key) -> Arrays:
    """The same of a simulated child: the job's seed and the key of its update decide all that is random."""
    drawn = blake2b(f"{seed}/{key}".encode(), digest_size=32).digest()
    identity = stand_in(seed, child) if exchange.identified else None
    return first_state(exchange, update, child, drawn, identity)


def child_step(exchange: Exchange, number: int, state: Arrays, received: Arrays) -> tuple[Payload, Payload]:
    """What a child sends in a step, and its next state.

    Raises:
        ExchangeError: it cannot go on.
        CodeError: the exchange's code is wrong.
    """
    step, hook = exchange.steps[number], "child"
    bugs = PROGRAMMING if number else (*PROGRAMMING, LookupError)  # At first a child has nothing that others have sent.
    payload, after = _pair(
        exchange,
        hook,
        _called(exchange, hook, step, lambda: exchange.child(step, _kept(state), read_only(received)), bugs),
    )
    return Payload(_arrays(exchange, hook, payload)), Payload(_arrays(exchange, hook, after))


def parent_step(
    exchange: Exchange, number: int, state: Arrays, payloads: Mapping[str, Arrays], folds: Folds | None = None
) -> tuple[dict[str, Payload], Payload]:
    """The replies to those children who have one, and the parent's next state.

    Args:
        exchange: whose step it is.
        number: of the step.
        state: of the parent, before it.
        payloads: what children sent in it.
        folds: takes what it comes to: a child whose update does not fit is out. None where it is not folded.

    Raises:
        ExchangeError: the request cannot go on.
        CodeError: the exchange's code is wrong.
    """
    if number == 0 and folds is not None:
        payloads = {child: payload for child, payload in payloads.items() if _fits(exchange, payload, folds)}
    replies, after = _parent(exchange, number, state, payloads)
    if payloads and not replies:
        raise ExchangeError(
            f"{type(exchange).__name__}.parent gives no reply to any child in step '{exchange.steps[number]}', and a "
            "child without one is out; give each that stays a reply, which may be empty: {child: {}}"
        )
    return {child: replies[child] for child in payloads if child in replies}, after


def combined(exchange: Exchange, state: Arrays, payloads: Mapping[str, Arrays], folds: Folds | None = None) -> Combined:
    """What the last step comes to, on what children reported.

    Args:
        exchange: whose last step it is.
        state: of the parent, before that.
        payloads: what children sent in it.
        folds: takes the result; None where it is not folded.

    Raises:
        ExchangeError: nothing comes of it, or nothing that can be folded.
        CodeError: the exchange's code is wrong.
    """
    replies, after = _parent(exchange, len(exchange.steps) - 1, state, payloads)
    result = _called(exchange, "result", exchange.steps[-1], lambda: exchange.result(_kept(after.arrays)))
    if not isinstance(result, Update | Partial):
        raise _wrong(exchange, "result", f"gives {a(result)}; it must give an Update or a Partial")
    if folds is not None:
        try:
            result = folds.decoded(result)
        except StageError as error:
            raise ExchangeError(f"What the exchange came to cannot be decoded: {error}") from error
        _check_foldable(exchange, folds, result, payloads)
    why = f"step '{exchange.steps[-1]}' of the exchange left it out"
    left_out = {child: why for child in payloads if child not in replies}
    return Combined(result, left_out, tuple(child for child in replies if child not in payloads))


def why_none(
    exchange: Exchange, state: Arrays, payloads: Mapping[str, Arrays], folds: Folds | None = None
) -> dict[str, str]:
    """Children whose reports would not be in the result, and why; the arguments are those of :func:`combined`. Without
    these, it comes to one."""
    why: dict[str, str] = {}
    while True:
        left = {child: payload for child, payload in payloads.items() if child not in why}
        try:
            more = combined(exchange, state, left, folds).left_out if left else {}
        except ExchangeError as error:
            return why | dict.fromkeys(left, str(error))
        if not more:
            return why
        why |= more


def _parent(
    exchange: Exchange, number: int, state: Arrays, payloads: Mapping[str, Arrays]
) -> tuple[dict[str, Payload], Payload]:
    """The parent's half of a step, and what it must give."""
    step, hook = exchange.steps[number], "parent"
    seen: dict[str, Received] = {child: read_only(payload) for child, payload in payloads.items()}
    replies, after = _pair(
        exchange, hook, _called(exchange, hook, step, lambda: exchange.parent(step, _kept(state), seen))
    )
    if not isinstance(replies, Mapping):
        raise _wrong(exchange, hook, f"gives {a(replies)} as replies; it must be a dictionary by child")
    made = cast("Mapping[str, Any]", replies)
    given = {child: Payload(_arrays(exchange, hook, reply)) for child, reply in made.items()}
    return given, Payload(_arrays(exchange, hook, after))


def _fits(exchange: Exchange, payload: Arrays, folds: Folds) -> bool:
    """Whether a child's update, as it says in the first step, fits the model."""
    try:
        form = _called(exchange, "form", exchange.steps[0], lambda: exchange.form(read_only(payload)))
    except ExchangeError:
        return False
    return form is None or folds.misfit(form) is None


def _check_foldable(exchange: Exchange, folds: Folds, result: Update | Partial, payloads: Mapping[str, Arrays]) -> None:
    """Refuse what would be refused in every round, or in this one.

    What is no update of this job is the developer's doing, unless a child has sent other types than the rest.
    """
    unfit = folds.unfit(result)
    kinds = {frozenset(array.dtype for array in payload.values()) for payload in payloads.values()}
    if unfit is not None and len(kinds) == 1:
        raise _wrong(
            exchange,
            "result",
            f"gives what this job cannot fold: {unfit.rstrip('.')}; give an Update of the model's vectors, or the "
            "partial result of a fold of the tier's rule",
        )
    why = unfit or folds.refusal(result)
    if why is not None:
        raise ExchangeError(f"What the exchange came to cannot be folded: {why}")


def _called(
    exchange: Exchange,
    hook: str,
    step: str,
    function: Callable[[], Any],
    bugs: tuple[type[Exception], ...] = PROGRAMMING,
) -> Any:
    """What a hook gives. What data can cause is the exchange's failure, and a bug is named as one."""
    given = attempt(function)
    if isinstance(given, ExchangeError):
        raise given
    if isinstance(given, UnusableUpdateError):
        raise ExchangeError(f"Step '{step}' gave no update: {given}") from given
    subject = f"{type(exchange).__name__}.{hook}"
    if isinstance(given, (CodeError, NotKeptError, *bugs)):
        raise blame(subject, given)
    if isinstance(given, Exception):
        raise ExchangeError(f"{blame(f'Step {step!r} of {subject}', given).plain}.") from given
    return given


def _kept(state: Arrays) -> Received:
    return MappingProxyType(_KeptArrays(read_only(state)))


def _pair(exchange: Exchange, hook: str, given: Any) -> tuple[Any, Any]:
    if not (isinstance(given, tuple) and len(cast("tuple[Any, ...]", given)) == 2):
        raise _wrong(exchange, hook, f"gives {a(given)}; it must give two things, the second its state")
    return cast("tuple[Any, Any]", given)


def _arrays(exchange: Exchange, hook: str, given: Any) -> Arrays:
    if not isinstance(given, Mapping):
        raise _wrong(exchange, hook, f"gives {a(given)}; it must be a dictionary of arrays")
    arrays: Arrays = {}
    for name, array in cast("Mapping[Any, Any]", given).items():
        kind: Any = getattr(array, "dtype", None)
        if not isinstance(name, str) or not isinstance(array, np.ndarray) or kind.kind not in "biuf":
            raise _wrong(exchange, hook, f"gives {a(array)} as '{name}'; it must be an array of numbers")
        if kind not in KINDS.values():
            types = ", ".join(sorted(str(each) for each in KINDS.values()))
            raise _wrong(exchange, hook, f"gives {kind} as '{name}'; files and messages hold {types}")
        arrays[name] = np.ascontiguousarray(cast("npt.NDArray[Any]", array))
    return arrays


def _bytes(text: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


def _wrong(exchange: Exchange, hook: str, what: str) -> CodeError:
    return CodeError(f"{type(exchange).__name__}.{hook} {what}")
