"""Parameters of what a job names or a program makes: annotated in its class, and checked wherever one is made.

A job says ``mu = "x"`` and a program ``FedProx(mu="x")``; both get the same sentence. An annotation is read as it
stands, and only plain ones are checked (``float``, ``int``, ``bool``, ``str``, ``None`` and what joins them): others
may not be there where the class is used.

A number that has a range says so where its default stands: ``mu: float = bounded(0.01, ge=0)``, or ``bounded(ge=0)``
where there is none.
"""

from __future__ import annotations

import inspect
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import wraps
from numbers import Integral, Real
from types import NoneType
from typing import Any, NamedTuple, TypeVar, cast, dataclass_transform, overload

from fogline.plugins import suggest

PLAIN: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "bool": (bool, bool),
    "int": (Integral, int),
    "float": (Real, float),
    "str": (str, str),
    "None": (NoneType, lambda none: none),
}
"""What an annotation takes, by name, and what is made of it: NumPy's numbers become Python's, which a job can hold."""
LISTS = {
    "tuple[str, ...]": ("str", "texts"),
    "tuple[float, ...]": ("float", "numbers"),
    "tuple[int, ...]": ("int", "whole numbers"),
}
"""Annotations of several values: what each of them is, by its name above, and in words."""


RANGE = "range"
"""Where a field keeps its range, in its metadata."""
Number = TypeVar("Number", int, float, int | None, float | None, tuple[int, ...], tuple[float, ...])


class Range(NamedTuple):
    """Between which numbers a parameter may be; None: there is no such end."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __str__(self) -> str:
        words = zip(("at least", "above", "at most", "below"), self, strict=True)
        ends = [f"{word} {end:g}" for word, end in words if end is not None]
        return " and ".join(ends) or "finite"

    def __contains__(self, value: object) -> bool:
        """Whether a number is finite and within the ends."""
        if not isinstance(value, Real):
            return False
        number = float(value)
        return (
            math.isfinite(number)
            and (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
        )


@overload
def bounded(
    *, ge: float | None = None, gt: float | None = None, le: float | None = None, lt: float | None = None
) -> Any: ...
@overload
def bounded(
    default: Number,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Number: ...
def bounded(
    default: Any = MISSING,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:
    """A parameter's default, and the range that it has to be in: ``p: float = bounded(0.1, gt=0, le=1)``.

    A value outside, or one that is not finite, is refused where one of the class is made; None is in every range, where
    the annotation takes it, and of several numbers each has to be in it. An heir that gives another default without
    annotating it keeps the range.

    Args:
        default: where nothing is said; left out, a value must be given.
        ge: at least that.
        gt: above that.
        le: at most that.
        lt: below that.
    """
    return field(default=default, metadata={RANGE: Range(ge, gt, le, lt)})


class Signature(NamedTuple):
    """What may be handed over where one of a class is made."""

    parameters: Mapping[str, inspect.Parameter]
    checked: bool
    """False where the class takes whatever it is given (``*args``, ``**kwargs``)."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Parametrised:
    """Base of what has parameters: they are annotated fields, and an heir becomes a frozen dataclass by itself."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _take_plain_values(cls)
        dataclass(frozen=True, repr=False)(cls)
        check_when_made(cls)

    def __repr__(self) -> str:
        known = fields(cast("Any", self))
        shown = [f.name for f in known if not f.kw_only or getattr(self, f.name) != f.default]
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _take_plain_values(kind: type) -> None:
    """Make ``mu = 0.1`` count where ``mu`` is a parameter of a parent: a dataclass looks at what is annotated only."""
    inherited = {f.name: f for base in reversed(kind.__mro__[1:]) if is_dataclass(base) for f in fields(base)}
    annotations = dict(inspect.get_annotations(kind))
    for name, value in list(vars(kind).items()):
        if name in inherited and name not in annotations and not hasattr(value, "__get__"):
            annotations[name] = inherited[name].type
            if isinstance(value, Field):
                continue
            value = tuple(cast("list[Any]", value)) if isinstance(value, list) else value
            parent = inherited[name]
            setattr(kind, name, field(default=value, kw_only=parent.kw_only, metadata=parent.metadata))
    kind.__annotations__ = annotations


def check_when_made(kind: type) -> None:
    """Let a class with an ``__init__`` of its own refuse parameters that it does not take.

    What its making then raises is a ``ValueError``, of one sentence.
    """
    init = vars(kind).get("__init__")
    if init is None:
        return
    signature = after_first(init)

    @wraps(init)
    def checked(self: Any, /, *values: Any, **named: Any) -> None:
        if signature.checked:
            values, named = (), fitted(type(self).__name__, type(self), signature, values, named)
        init(self, *values, **named)

    kind.__init__ = checked


def signature_of(kind: type) -> Signature:
    """What a class takes."""
    init = inspect.getattr_static(kind, "__init__")
    return Signature({}, True) if init is object.__init__ else after_first(init)


def after_first(function: Callable[..., Any]) -> Signature:
    """What a function takes after its first argument, which is not given by who names it."""
    known = list(inspect.signature(function).parameters.values())[1:]
    rest = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return Signature({one.name: one for one in known}, all(one.kind not in rest for one in known))


def fitted(
    subject: str,
    kind: type,
    signature: Signature,
    values: Sequence[Any],
    named: Mapping[str, Any],
    error: type[ValueError] = ValueError,
) -> dict[str, Any]:
    """The parameters of a thing by name, each as its annotation wants it.

    Args:
        subject: whose they are: ``rule 'trimmed_mean'``.
        kind: its class.
        signature: what the class takes.
        values: what was given without a name, in order.
        named: what was given with one.
        error: what is raised.

    Raises:
        ValueError: there is no such parameter, one is missing, or a value has another type; one sentence, of the kind
            ``error``.
    """
    known = signature.parameters
    ordered = [name for name, one in known.items() if one.kind is not one.KEYWORD_ONLY]
    if len(values) > len(ordered):
        has = f"its parameters are {', '.join(known)}" if known else "it has none"
        raise error(f"{_begun(subject)} has no {_ordinal(len(ordered) + 1)} parameter; {has}")
    given = dict(zip(ordered, values, strict=False))
    for name, value in named.items():
        if name in given:
            raise error(f"Parameter '{name}' of {subject} is given twice.")
        if name not in known:
            raise error(f"{_begun(subject)} has no parameter '{name}'{_meant(kind, name, known)}")
        given[name] = value
    lacking = [name for name, one in known.items() if one.default is one.empty and name not in given]
    if lacking:
        raise error(f"{_begun(subject)} wants a value for {', '.join(lacking)}.")
    fitting = {name: _fitting(subject, known[name], value, error) for name, value in given.items()}
    for name, limits in _ranges(kind).items():
        value = fitting[name] if name in fitting else known[name].default if name in known else None
        several = isinstance(value, tuple)
        numbers = cast("tuple[Any, ...]", value) if several else () if value is None else (value,)
        for number in numbers:
            if number not in limits:
                must = "each must be" if several else "it must be"
                finite = "a finite number " if number != number or number in (math.inf, -math.inf) else ""
                raise error(f"Parameter '{name}' of {subject} is {reprlib.repr(value)}; {must} {finite}{limits}.")
    return fitting


def _ranges(kind: type) -> dict[str, Range]:
    """The ranges of a class's parameters, by name; a default that an heir gives has to be in them too."""
    known = fields(kind) if is_dataclass(kind) else ()
    return {one.name: one.metadata[RANGE] for one in known if RANGE in one.metadata}


def _fitting(subject: str, parameter: inspect.Parameter, value: Any, error: type[ValueError]) -> Any:
    """A value as a parameter takes it; any, where its annotation is not a plain one."""
    annotation = parameter.annotation
    wanted = annotation.__name__ if isinstance(annotation, type) else str(annotation).strip("'\"")
    if wanted in LISTS:
        return _several(subject, parameter.name, value, wanted, error)
    names = [part.strip().replace("NoneType", "None") for part in wanted.split("|")]
    if not all(name in PLAIN for name in names) or any(type(value) is PLAIN[name][1] for name in names):
        return value
    for name in names:
        if _is_one(value, name):
            return PLAIN[name][1](value)
    shown = " ".join(reprlib.repr(value).split())
    article = "an" if names[0] == "int" else "a"
    raise error(f"Parameter '{parameter.name}' of {subject} is {shown}; it wants {article} {' or '.join(names)}.")


def _several(subject: str, name: str, value: Any, wanted: str, error: type[ValueError]) -> tuple[Any, ...]:
    """Several values as a parameter takes them; one need not stand in a list."""
    kind, words = LISTS[wanted]
    values = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else (value,)
    if not all(_is_one(one, kind) for one in values):
        raise error(f"Parameter '{name}' of {subject} is {reprlib.repr(value)}; it wants a list of {words}.")
    return tuple(PLAIN[kind][1](one) for one in values)


def _is_one(value: Any, name: str) -> bool:
    """Whether a value is of a plain type; a truth is no number."""
    return isinstance(value, PLAIN[name][0]) and (name == "bool" or not isinstance(value, bool))


def _meant(kind: type, name: str, known: Mapping[str, Any]) -> str:
    """What may have been meant by a parameter that there is not, or why it is none."""
    if not hasattr(kind, name):
        return suggest(name, known) or "; it has none"
    value = getattr(kind, name)
    annotations = (str(inspect.get_annotations(base).get(name, "")) for base in kind.__mro__)
    if callable(value) or any("ClassVar" in annotation for annotation in annotations):
        return f": '{name}' is set in the class, for all of it"
    return f": annotate it in the class to make it one: {name}: {type(value).__name__} = {value!r}"


def _begun(subject: str) -> str:
    """A subject as a sentence begins with it; a class by itself is written as it is."""
    return subject[0].upper() + subject[1:] if " " in subject else subject


def _ordinal(number: int) -> str:
    words = ("first", "second", "third", "fourth", "fifth")
    return words[number - 1] if number <= len(words) else f"{number}th"
