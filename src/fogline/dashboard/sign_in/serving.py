"""The page beside a cloud that runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

from fogline.dashboard.server import answered, listening
from fogline.dashboard.sign_in.app import PeoplePage
from fogline.dashboard.sign_in.sessions import Sessions
from fogline.dashboard.sign_in.settings import SignIn
from fogline.network.cloud.cloud import CloudUp


@asynccontextmanager
async def with_page(
    make: Callable[[], AbstractAsyncContextManager[CloudUp]], folder: Path, sign_in: SignIn
) -> AsyncGenerator[CloudUp]:
    """A cloud, and its page for people who sign in.

    Args:
        make: makes the cloud.
        folder: the cloud's.
        sign_in: the settings.

    Raises:
        DashboardError: nobody can listen where the page should be, or its certificate cannot be used.
    """
    certificate, key = sign_in.pem or (None, None)
    with listening(*sign_in.settings.listening) as listener:
        async with make() as up:
            sessions = Sessions(up, folder)
            with closing(PeoplePage(sign_in, sessions)) as page:
                async with answered(page, listener, certificate, key):
                    looking = asyncio.create_task(page.look())
                    try:
                        yield up
                    finally:
                        looking.cancel()
                        await sessions.close_all()  # Streams end by that.
