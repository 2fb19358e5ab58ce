"""Base of a job's parts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

_whole = ContextVar("whole", default=False)
Explain = Callable[[type, ValidationError, Mapping[str, Any]], Exception]
_explain: list[Explain] = []


def explains(function: Explain) -> Explain:
    """Registers what makes a sentence of a part's errors: it knows all parts, which are made of the one below."""
    _explain.append(function)
    return function


@dataclass(frozen=True, slots=True)
class Demand:
    """In a field's annotation: what would be right, where the types do not say it well enough for people."""

    text: str
    """Stands after "it must be"."""


@contextmanager
def as_a_whole() -> Generator[None]:
    """Parts that are made inside are parts of a whole, which says what is wrong with them."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


class SentenceErrors(type(BaseModel)):
    """Makes parts in Python: what is wrong with one is the sentence that it would be in a job file."""

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        if _whole.get():
            return super().__call__(*args, **fields)
        try:
            with as_a_whole():
                return super().__call__(*args, **fields)
        except ValidationError as error:
            raise _explain[-1](cls, error, fields) from error


class StrictModel(BaseModel, metaclass=SentenceErrors):
    """Unknown keys are errors, values do not change, and a part prints what differs from the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    called: ClassVar[str]
    """What a sentence calls it: ``a tier``."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """True is 1 to Python, and a mistake in a job."""
        if isinstance(value, bool) and info.field_name is not None:
            kinds = str(cls.model_fields[info.field_name].annotation)
            if "bool" not in kinds and ("int" in kinds or "float" in kinds):
                raise PydanticCustomError("number", "no truth value")
        return value

    def __str__(self) -> str:
        return repr(self)

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.is_required() or value != field.get_default(call_default_factory=True):
                yield name, value
