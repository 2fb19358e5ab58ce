"""What a path and a method mean."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any
from urllib.parse import unquote

from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.server.http.replies import Reply


@dataclass(slots=True)
class HttpRequest:
    """A request that has come in."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    """Names in small letters."""
    body: bytes = b""
    model: str = ""
    version: str = ""
    came: int = field(default_factory=perf_counter_ns)
    """When it was there, by :func:`time.perf_counter_ns`; it may have waited since."""


Found = Reply | Coroutine[Any, Any, Reply]
"""An answer, or, where it takes a while, what to await for it."""
Handler = Callable[[HttpRequest], Found]


@dataclass(frozen=True)
class Route:
    """One thing that can be asked over HTTP."""

    method: str
    path: str
    """With ``{model}`` and ``{version}`` in the place of names."""
    summary: str
    handler: Handler
    example: Mapping[str, Any] | None = None
    """A body, where it takes one."""
    produces: str = "application/json"


@dataclass
class _Node:
    below: dict[str, _Node] = field(default_factory=dict["str", "_Node"])
    methods: dict[str, Route] = field(default_factory=dict[str, Route])


class Routes:
    """Finds the operation of a request.

    Args:
        operations: all there are.
    """

    def __init__(self, operations: Sequence[Route]) -> None:
        self._root = _Node()
        for operation in operations:
            node = self._root
            for part in operation.path.split("/")[1:]:
                node = node.below.setdefault(part, _Node())
            node.methods[operation.method] = operation

    def find(self, call: HttpRequest) -> Handler:
        """Who answers; the names in the path are put into the call.

        Raises:
            ProtocolError: nobody.
        """
        methods = self._methods(call)
        if not methods:
            raise ProtocolError("There is nothing at this address; /docs shows what there is.", 404)
        operation = methods.get("GET" if call.method == "HEAD" else call.method)
        if operation is None:
            raise ProtocolError(f"This address takes {' or '.join(methods)}, not {call.method[:20]}.", 405)
        return operation.handler

    def _methods(self, call: HttpRequest) -> Mapping[str, Route]:
        node = self._root
        parts = call.path.split("/")[1:]
        for place, part in enumerate(parts, start=1):
            below = node.below
            # A name that ends an address, such as stats, may be a model's as well.
            if part in below and (place == len(parts) or below[part].below):
                node = below[part]
            elif "{model}" in below:
                node, call.model = below["{model}"], unquote(part)
            elif "{version}" in below:
                node, call.version = below["{version}"], unquote(part)
            else:
                return {}
        return node.methods
