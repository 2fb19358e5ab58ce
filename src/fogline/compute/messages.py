"""What goes over a link: updates, partial results and models, as the stages of the link make them.

A message is a dictionary of arrays, for safetensors. What stages have made stands under ``staged/`` in it; weights,
counts, counters and buffers (a variance that is slightly wrong can be zero) go beside it as they are.

What comes in a linear code stays in it, so that codes are added as they are and the sum is decoded once. It does not
where a sum of codes is not the code of the sum: with a weight for each number, or of a smaller model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fogline.aggregation import Arrays, Partial, Update, bound, from_arrays
from fogline.algorithms.group import BUFFERS, Down, clip_from_arrays, clip_to_arrays
from fogline.params import State
from fogline.params.pieces import Extent, file_size
from fogline.stages import LinkContext, Named, Pipeline, StageError
from fogline.stages.linear import apart, lengths, together
from fogline.stages.vector_code import PLAIN, VALUES
from fogline.user_code.bugs import CodeError, line_of

STAGED = "staged/"
MODEL = "model"
"""Name under which stages see the trained numbers of a model that goes down."""
RECEIVED = "received/"
NONE = Pipeline()
_MOST = {np.dtype(kind): float(np.finfo(kind).max) * 2.0**-32 for kind in (np.float32, np.float64)}
"""Up to which numbers of a type are added in a code: of billions of such the sum can be decoded."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """What goes over a link, before any stage."""

    vectors: Named
    """What stages work on."""
    rest: Arrays
    """What goes as it is."""
    code: bytes = b""
    """Where the vectors are the numbers of the link's linear code: all else of it."""

    @classmethod
    def of_update(cls, value: Update | Partial) -> Message:
        """An update or a partial result."""
        arrays = value.to_arrays()
        arrays.pop("code", None)
        names = _names(arrays, _kind(arrays))
        return cls({inner: arrays.pop(name) for inner, name in names.items()}, arrays, value.code)

    @classmethod
    def of_model(cls, down: Down, trained: int) -> Message:
        """A model with the method's vectors. ``trained``: its numbers that are no buffers."""
        rest = {BUFFERS: down.vector[trained:], "counters": down.counters} | clip_to_arrays(down.clip)
        return cls({MODEL: down.vector[:trained]} | _under(RECEIVED, down.received), rest)

    def encoded(self, stages: Pipeline, state: State, link: LinkContext) -> tuple[Arrays, State]:
        """As it goes over the link, and what the sender keeps.

        Raises:
            CodeError: a stage is wrong.
        """
        if self.code:
            return self.rest | _under(STAGED, together(self.vectors, self.code)), state
        staged, after = stages.send(self.vectors, state, link)
        return self.rest | _under(STAGED, staged), after

    def size(self, stages: Pipeline) -> int:
        """Bytes on the link."""
        return file_size(_layout(self.rest) | _under(STAGED, stages.layout(_layout(self.vectors))))


def decoded_update(arrays: Arrays, stages: Pipeline) -> Update | Partial:
    """The update or partial result that came over a link, in the link's linear code if it can be added in it.

    Raises:
        StageError, UnusableUpdateError: the arrays are none, or did not go through these stages.
    """
    staged, rest = _parted(arrays)
    prefix, code = _kind(rest), b""
    if plain := sorted({*_names(rest, prefix), *({"code"} & rest.keys())}):
        raise StageError(f"its '{plain[0]}' did not go through the stages of this link")
    stages.check_claims(staged)
    if stages.code is not None and _can_be_added(staged, rest):
        vectors, code = apart(staged, stages.code)
    else:
        vectors = stages.receive(staged)
    value = from_arrays(rest | _under(prefix, vectors))
    value.code = code
    return value


def decoded(value: Update | Partial, stages: Pipeline) -> Update | Partial:
    """The same in no code.

    Raises:
        StageError: it is in a code, and not in that of these stages.
    """
    if not value.code:
        return value
    if stages.code is None:
        raise StageError("it comes in a linear code, and its link has none")
    vectors = value.sums if isinstance(value, Partial) else value.vectors
    numbers = {name: vector for name, vector in vectors.items() if name in lengths(value.code)}
    vectors = vectors | stages.receive(together(numbers, value.code))
    if isinstance(value, Partial):
        return replace(value, sums=vectors, code=b"")
    return replace(value, vectors=vectors, code=b"")


def decoded_model(arrays: Arrays, stages: Pipeline) -> Down:
    """The model that came over a link.

    Raises:
        StageError, KeyError: the arrays are none, or did not go through these stages.
    """
    return model_of(*opened(arrays, stages))


def opened(arrays: Arrays, stages: Pipeline) -> tuple[Named, Arrays]:
    """What stages have worked on, and what went as it is.

    Raises:
        StageError: it cannot have gone through these stages.
    """
    staged, rest = _parted(arrays)
    return stages.receive(staged), rest


def model_of(vectors: Named, rest: Arrays) -> Down:
    """The model that a message holds: what stages work on, and what goes as it is.

    Raises:
        KeyError: it holds something else.
    """
    received = {name.removeprefix(RECEIVED): vector for name, vector in vectors.items() if name.startswith(RECEIVED)}
    vector = np.concatenate([vectors[MODEL], rest[BUFFERS]])
    return Down(vector, rest["counters"], received, clip_from_arrays(rest))


def update_through(
    value: Update | Partial, stages: Pipeline, state: State, link: LinkContext
) -> tuple[Update | Partial, State]:
    """What a parent has of an update, and what the sender keeps: both halves at once, as in a simulation."""
    message = Message.of_update(value)
    arrays, after = message.encoded(stages, state, link)
    made = _own(decoded_update, arrays, stages)
    if not made.code:
        _check_same(message, Message.of_update(made))
    return made, after


def model_through(down: Down, trained: int, stages: Pipeline, link: LinkContext) -> Down:
    """What children have of a model: both halves at once."""
    message = Message.of_model(down, trained)
    arrays, _ = message.encoded(stages, {}, link)
    made = _own(decoded_model, arrays, stages)
    _check_same(message, Message.of_model(made, made.vector.size - down.vector.size + trained))
    return made


def _own(decoded: Callable[[Arrays, Pipeline], T], arrays: Arrays, stages: Pipeline) -> T:
    """What stages make of what they have sent themselves: nobody else is to blame."""
    try:
        return decoded(arrays, stages)
    except (StageError, KeyError) as error:
        line = line_of((error.__cause__ or error).__traceback__)
        raise CodeError(f"a stage cannot receive what it has sent: {error}", line) from error


def _check_same(sent: Message, received: Message) -> None:
    """Stages give back vectors of the names and the lengths that were sent."""
    before, after = ({name: vector.size for name, vector in each.vectors.items()} for each in (sent, received))
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            raise CodeError(
                f"the stages of a link give back '{name}' as {_numbers(after.get(name))} where "
                f"{_numbers(before.get(name))} were sent"
            )


def _numbers(size: int | None) -> str:
    return "nothing" if size is None else f"{size:,} numbers"


def _parted(arrays: Arrays) -> tuple[Named, Arrays]:
    """What stages have worked on, and what went as it is."""
    staged = {name.removeprefix(STAGED): array for name, array in arrays.items() if name.startswith(STAGED)}
    return staged, {name: array for name, array in arrays.items() if not name.startswith(STAGED)}


def _can_be_added(staged: Named, rest: Arrays) -> bool:
    """Whether the numbers of a linear code may be added to others, and no sum overflows where it is decoded."""
    if "ranges" in rest:
        return False
    for key, array in staged.items():
        part, _, name = key.partition("/")
        weight = rest.get(f"weight/{name}")
        if part == PLAIN or weight is None or weight.size != 1:
            return False
        if part == VALUES:
            times = 1.0 if "partial" in rest else abs(float(weight.item()))
            if array.dtype not in _MOST or not bound(array) * times < _MOST[array.dtype]:
                return False
    return True


def _kind(arrays: Arrays) -> str:
    """How the names of the vectors begin."""
    return "sum/" if "partial" in arrays else "vector/"


def _names(arrays: Arrays, prefix: str) -> dict[str, str]:
    """Names in a message, by the names that stages see."""
    names = {name.removeprefix(prefix): name for name in arrays if name.startswith(prefix)}
    return {inner: name for inner, name in names.items() if inner != BUFFERS}


def _layout(arrays: Arrays) -> dict[str, Extent]:
    return {name: Extent(array.dtype, array.size) for name, array in arrays.items()}


def _under(prefix: str, named: Mapping[str, T]) -> dict[str, T]:
    return {prefix + name: thing for name, thing in named.items()}
