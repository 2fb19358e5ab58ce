"""A server on real sockets, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import uvloop

from fogline.inference.card import Card
from fogline.inference.runtimes.base import Locate, Runtime
from fogline.registry.release import Vitals
from fogline.serving.server.server import Addresses, Server
from fogline.serving.server.versions.hooks import Hooks
from fogline.serving.settings import Settings
from tests.patience import PATIENCE
from tests.serving.server.models import nowhere

T = TypeVar("T")


class Running:
    """A server, and the loop that it runs in."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server, addresses: Addresses) -> None:
        self.loop = loop
        self.server = server
        self.http = addresses.http
        self.grpc = addresses.grpc

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def load(self, card: Card, slot: Any = "live") -> None:
        """Load a model that has no files."""
        self.run(self.server.repository.load(card, nowhere, slot))

    def swap(self, model: str, version: str) -> None:
        """Swap in the server's own thread."""

        async def swap() -> None:
            self.server.repository.swap(model, version)

        self.run(swap())

    def connection(self, timeout: float = PATIENCE) -> http.client.HTTPConnection:
        """A plain client."""
        host, _, port = self.http.rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=timeout)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (parsed where it is JSON) and headers."""
        connection = self.connection()
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            got = answer.read()
            facts = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, json.loads(got) if "json" in facts["content-type"] else got, facts
        finally:
            connection.close()


@contextmanager
def running(
    make: Callable[[Card, Locate], Runtime],
    settings: Settings | None = None,
    hooks: Hooks | None = None,
    on_vitals: Callable[[Vitals], None] = lambda vitals: None,
) -> Generator[Running]:
    """A server that opens models as it is told to."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Running:
        server = Server(settings or Settings(control=True), make, hooks or Hooks(), on_vitals)
        return Running(loop, server, await server.start())

    try:
        made = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
        yield made
        made.run(made.server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
