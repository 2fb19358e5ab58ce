"""The server, put together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fogline.registry.release import Vitals
from fogline.serving.server.http.dispatch import Dispatcher
from fogline.serving.server.http.handlers import Handlers
from fogline.serving.server.http.listener import HttpListener
from fogline.serving.server.versions.hooks import Hooks
from fogline.serving.server.versions.memory import give_back
from fogline.serving.server.versions.repository import Open, Repository
from fogline.serving.settings import Settings

if TYPE_CHECKING:
    from fogline.serving.server.grpc.listener import Rpc


@dataclass(frozen=True)
class Addresses:
    """Addresses at which a server listens."""

    http: str
    grpc: str = ""
    """Empty where it does not speak gRPC."""


class Server:
    """Serves models over HTTP and gRPC. It is made within an event loop.

    Args:
        settings: how.
        open_: loads a version.
        hooks: who watches, and who is asked.
        on_vitals: is told how versions fare, from time to time.
    """

    def __init__(
        self,
        settings: Settings,
        open_: Open,
        hooks: Hooks = Hooks(),  # noqa: B008 - it is frozen
        on_vitals: Callable[[Vitals], None] = lambda vitals: None,
    ) -> None:
        self._pulse = settings.pulse
        self._on_vitals = on_vitals
        self._beating: asyncio.TimerHandle | None = None
        self.repository = Repository(settings, open_, hooks)
        refused: Counter[int] = Counter()
        handlers = Handlers(self.repository, refused)
        self._http = HttpListener(Dispatcher(handlers.operations(), settings, refused))
        self._rpc: Rpc | None = None
        if settings.grpc:
            from fogline.serving.server.grpc.listener import Rpc  # It takes 10 MB.

            self._rpc = Rpc(self.repository, settings, refused)

    async def start(self) -> Addresses:
        """Listen.

        Raises:
            OSError: an address is taken.
        """
        self._wait()
        return Addresses(await self._http.start(), "" if self._rpc is None else await self._rpc.start())

    async def stop(self) -> None:
        """Answer what has come, and end."""
        if self._beating is not None:
            self._beating.cancel()
        await self._http.stop()
        if self._rpc is not None:
            await self._rpc.stop()
        await self.repository.close()

    def _wait(self) -> None:
        self._beating = asyncio.get_running_loop().call_later(self._pulse, self._beat)

    def _beat(self) -> None:
        for served in self.repository.watched():
            vitals = served.beat()
            if vitals is not None:
                self._on_vitals(vitals)
        give_back()  # What large requests took.
        self._wait()
