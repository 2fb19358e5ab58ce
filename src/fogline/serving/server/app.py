"""The HTTP side of the server, as an ASGI application."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.server.answers import Reply, refusal
from fogline.serving.server.body import Gone, Message, Receive
from fogline.serving.server.failures import explained
from fogline.serving.server.operations import Call, Operation, Routes

Send = Callable[[Message], Awaitable[None]]


class App:
    """Answers HTTP requests.

    Args:
        operations: what can be asked.
        refused: where refusals are counted, by status.
    """

    def __init__(self, operations: Sequence[Operation], refused: Counter[int]) -> None:
        self._routes = Routes(operations)
        self._refused = refused

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one."""
        try:
            reply = await self._reply(scope, receive)
        except Gone:
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: MutableMapping[str, Any], receive: Receive) -> Reply:
        headers = dict(scope["headers"])
        method: str = scope["method"]
        call = Call(headers, receive)
        try:
            if method == "POST" and b"origin" in headers:
                _check_origin(headers[b"origin"], headers.get(b"host", b""))
            handler = self._routes.find("GET" if method == "HEAD" else method, scope["path"], call)
            return await handler(call)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001 - one request must not end the server, nor show it from inside
            refused = explained(error, f"{method} {scope['path']}")
            self._refused[refused.status] += 1
            return refusal(str(refused), refused.status)


def _check_origin(origin: bytes, host: bytes) -> None:
    """A page of another site must not use a person's browser to get at a server that only listens here."""
    if origin.partition(b"//")[2] != host:
        raise ProtocolError("A page of another site may not ask here.", 403)
