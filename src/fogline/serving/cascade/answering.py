"""The answering side of a cascade: a tier runs its larger model for one below."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fogline.inference.runtimes.base import Array
from fogline.serving.cascade.attempt import Failure, attempt
from fogline.serving.cascade.offloader import OffloadResult
from fogline.serving.cascade.wire import OffloadAnswer, Send, WireError, packed, read_ask, values
from fogline.serving.protocol.errors import ProtocolError

Infer = Callable[[str, Mapping[str, Array], float, int], Coroutine[Any, Any, OffloadResult]]
"""Runs a model on inputs, within so many seconds, for a request that came over so many links.

It may ask a tier above in turn: :meth:`Offloader.improve` takes the same seconds and links.
"""


async def answer(ask: bytes, infer: Infer, onward: Callable[[str], Send | None] = lambda model: None) -> bytes:
    """The answer to an ask, in any case: where there is none it holds a sentence.

    Args:
        ask: as it came.
        infer: runs the model that it names.
        onward: the way to the parent for questions about a model that is not here; None for those that are.
    """
    try:
        asked, inputs = read_ask(ask)
    except WireError as error:
        return _sorry(str(error), refused=True)
    left = asked.left_ms / 1000
    if (send := onward(asked.model)) is not None:
        passed = await attempt(send(ask, left), left, f"passing on a question for model {asked.model}")
        if isinstance(passed, Failure):
            return _sorry(f"Model {asked.model} is not here, and asking further up {passed.why}.")
        return passed
    found = await attempt(infer(asked.model, inputs, left, asked.hops), left, f"answering for model {asked.model}")
    if isinstance(found, Failure):
        refused = isinstance(found.error, ProtocolError) and found.error.status == 400
        return _sorry(f"Model {asked.model} {found.why}.", refused)
    try:
        return packed(OffloadAnswer(values(found.outputs), found.tier, found.model, found.version, found.offloaded))
    except WireError as error:
        return _sorry(str(error))


def _sorry(why: str, refused: bool = False) -> bytes:
    return packed(OffloadAnswer(error=why[:512], refused=refused))
