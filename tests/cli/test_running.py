"""A node that is started where something is in the way: what may pass is waited for, what will not is said at once."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest

from fogline.cli.running import entered
from fogline.governance.errors import EarlyIdentityError, ExpiredIdentityError, IdentityError, NoIdentityError
from fogline.retries import Backoff
from fogline.storage import StorageError, StorageFullError

PASSING = [
    StorageFullError("The disk is full"),
    OSError(errno.ENOSPC, "No space left on device"),
    ExpiredIdentityError("The identity expired; set this machine's clock right"),
    EarlyIdentityError("The identity holds from tomorrow on; set this machine's clock right"),
]


def failing(*errors: Exception) -> Callable[[], AbstractAsyncContextManager[str]]:
    """A node that starts after so many failures."""
    left = list(errors)

    @asynccontextmanager
    async def node() -> AsyncGenerator[str]:
        if left:
            raise left.pop(0)
        yield "up"

    return node


async def start(make: Callable[[], AbstractAsyncContextManager[str]]) -> str:
    async with AsyncExitStack() as stack:
        return await entered(stack, make, Backoff(0.001, 0.01))


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_what_may_pass_is_said_once_and_waited_for(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asyncio.run(start(failing(error, error, error))) == "up"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{error}. The node tries again" in said


@pytest.mark.parametrize(
    "error",
    [StorageError("no records"), OSError(errno.EADDRINUSE, "taken"), NoIdentityError("none"), IdentityError("?")],
)
def test_what_will_not_pass_ends_it_at_once(error: Exception) -> None:
    with pytest.raises(type(error)):
        asyncio.run(start(failing(error)))
