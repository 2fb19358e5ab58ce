"""Models as differences to what children hold: what a parent makes of the next version, and a child of what it gets.

Both add the same numbers, decoded from the same bytes, so a child has to the bit what its parent knows it to have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from fogline.aggregation import Arrays
from fogline.algorithms.group import Down
from fogline.compute.files import read_model, write
from fogline.compute.messages import Message, model_of, opened
from fogline.nodes.messages import Key
from fogline.nodes.versions import version_of
from fogline.params import State, map_arrays
from fogline.stages import LinkContext, Named, Pipeline, StageError
from fogline.stages.delta import base

FIRST = "0/"
"""Before the names of what the first stage of a link goes on from."""


def next_model(
    down: Down, held: Down | None, key: Key, trained: int, stages: Pipeline, link: LinkContext
) -> tuple[Down, Arrays | None]:
    """What children have of a version, and the difference that leads them there; None: they get it whole.

    Args:
        down: the version, as it is here.
        held: what children have of the version before; None: there is none.
        key: of the version.
        trained: numbers of the model that are no buffers.
        stages: of the link, a difference first.
        link: what is known of the message.

    Raises:
        CodeError: a stage is wrong.
    """
    delta = stages.delta
    assert delta is not None
    if held is None or version_of(key) % delta.every == 0:
        return down, None
    message, before = Message.of_model(down, trained), Message.of_model(held, trained).vectors
    arrays, _ = message.encoded(stages, State({FIRST + name: vector for name, vector in before.items()}), link)
    made = _added(before, *opened(arrays, stages))
    # What has become infinite on the way would stay so for good.
    return (made, arrays) if _finite(made) or not _finite(down) else (down, None)


def model_from(held: Down, arrays: Arrays, trained: int, stages: Pipeline) -> Down:
    """What a child has, of what it had and a difference.

    Raises:
        StageError, KeyError: the arrays are no difference.
    """
    return _added(Message.of_model(held, trained).vectors, *opened(arrays, stages))


def restore(held: str, differences: Sequence[str], path: str, trained: int, stages: Pipeline) -> None:
    """Write the model that differences lead to, one after the other, from files to a file.

    Raises:
        ValueError: a file holds something else.
    """
    down = read_model(held)
    try:
        for difference in differences:
            down = model_from(down, map_arrays(Path(difference)), trained, stages)
    except (KeyError, SafetensorError, StageError) as error:
        raise ValueError(f"A difference between the parent's models cannot be read: {error}.") from error
    write(path, down)


def _added(before: Named, difference: Named, rest: Arrays) -> Down:
    with np.errstate(over="ignore", invalid="ignore"):
        vectors = {name: base(before, name, vector) + vector for name, vector in difference.items()}
    return model_of(vectors, rest)


def _finite(down: Down) -> bool:
    return all(bool(np.isfinite(vector).all()) for vector in (down.vector, *down.received.values()))
