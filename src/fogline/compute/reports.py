"""What a node writes for its parent: an update or a partial result, through the stages of its uplink."""

from __future__ import annotations

from pathlib import Path

from fogline.aggregation import Partial, Update
from fogline.compute.effects import SENDER, CarryOut
from fogline.compute.files import read_state, write, write_state
from fogline.compute.messages import Message, update_through
from fogline.nodes.messages import Key
from fogline.params import write_arrays
from fogline.stages import LinkContext, Pipeline


def write_report(
    asked: CarryOut, key: Key, value: Update | Partial, stages: Pipeline, link: LinkContext, decodes: bool = False
) -> tuple[Key, ...]:
    """Write what goes up, and what the stages keep of it; the keys of what was written.

    Args:
        asked: the files.
        key: of the update.
        value: what the stages are given.
        stages: of the uplink.
        link: what they know of it.
        decodes: whether it is written as the parent would read it, for an exchange.

    Raises:
        CodeError: a stage is wrong.
    """
    if not stages:
        write(asked.writes[key], value)
        return (key,)
    before = read_state(asked.reads.get(SENDER))
    if decodes:
        made, state = update_through(value, stages, before, link)
        write(asked.writes[key], made)
    else:
        arrays, state = Message.of_update(value).encoded(stages, before, link)
        write_arrays(Path(asked.writes[key]), arrays)
    if not state:
        return (key,)
    write_state(asked.writes[SENDER], state)
    return (key, SENDER)
