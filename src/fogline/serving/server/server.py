"""The server, put together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fogline.serving.server.app import App
from fogline.serving.server.gate import Gate
from fogline.serving.server.handlers import Handlers
from fogline.serving.server.hooks import Hooks
from fogline.serving.server.listener import Listener
from fogline.serving.server.repository import Open, Repository
from fogline.serving.server.settings import Settings


@dataclass(frozen=True)
class Addresses:
    """Where a server listens."""

    http: str
    grpc: str = ""
    """Empty where it does not speak gRPC."""


class Server:
    """Serves models over HTTP and gRPC. It is made within an event loop.

    Args:
        settings: how.
        open_: loads a version.
        hooks: who watches, and who is asked.
    """

    def __init__(self, settings: Settings, open_: Open, hooks: Hooks = Hooks()) -> None:  # noqa: B008 - it is frozen
        self.repository = Repository(settings, open_, hooks)
        refused: Counter[int] = Counter()
        gate = Gate(settings.concurrent)
        handlers = Handlers(self.repository, settings, gate, refused)
        self._http = Listener(App(handlers.operations(), refused), settings)

    async def start(self) -> Addresses:
        """Listen.

        Raises:
            OSError: an address is taken.
        """
        return Addresses(await self._http.start())

    async def stop(self) -> None:
        """Answer what has come, and end."""
        await self._http.stop()
        await self.repository.close()
