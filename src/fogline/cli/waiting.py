"""Starting a node where something is in the way that may pass: a full disk, a clock that is not set yet."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TypeVar

from fogline.cli.failures import say
from fogline.governance.errors import UntimelyIdentityError
from fogline.storage import StorageFullError

T = TypeVar("T")
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before a start is tried again: doubled each time."""
FULL = (errno.ENOSPC, errno.EDQUOT)


async def entered(
    stack: AsyncExitStack, make: Callable[[], AbstractAsyncContextManager[T]], first_wait: float = FIRST_WAIT
) -> T:
    """Start what ``make`` makes, again and again where it fails for a reason that may pass; each kind is said once.

    Args:
        stack: ends it.
        make: makes it anew for every attempt.
        first_wait: seconds before the second attempt.
    """
    wait: float = first_wait
    said: type[Exception] | None = None
    while True:
        try:
            return await stack.enter_async_context(make())
        except (StorageFullError, UntimelyIdentityError, OSError) as error:
            if not may_pass(error):
                raise
            if type(error) is not said:
                said = type(error)
                say(f"fogline: {error}. The node tries again, now and then, until it can start.")
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(LONGEST_WAIT, 2 * wait)


def may_pass(error: Exception) -> bool:
    """Whether a start that failed may succeed later with nothing changed but room on the disk, or the clock."""
    return not isinstance(error, OSError) or error.errno in FULL
