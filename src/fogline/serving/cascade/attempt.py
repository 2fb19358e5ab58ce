"""Work that may take too long or fail, and must not take anybody with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

log = logging.getLogger("fogline.serving")

Result = TypeVar("Result")


class Failure(NamedTuple):
    """Why there is no result: the end of a sentence."""

    why: str
    error: BaseException | None = None
    """What was raised, if anything was."""


async def attempt(work: Coroutine[Any, Any, Result], seconds: float, what: str) -> Result | Failure:
    """What the work gives, or why it gave nothing within the time. It is cancelled then, and not waited for.

    Whatever it raises is a failure too, and is logged.

    Args:
        work: begun here.
        seconds: at most.
        what: it is, for the log.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()  # Nothing happens to one that is done.
    if not task.done():
        return Failure(f"took longer than {seconds * 1000:.0f} ms")
    if task.cancelled():
        return Failure("was cancelled")
    if (error := task.exception()) is not None:
        log.info("%s failed", what, exc_info=error)
        return Failure(f"failed: {error or type(error).__name__}", error)
    return task.result()
