"""What a path and a method mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.server.answers import Reply
from fogline.serving.server.body import Receive


@dataclass(slots=True)
class Call:
    """A request that was routed."""

    headers: Mapping[bytes, bytes]
    receive: Receive
    model: str = ""
    version: str = ""


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True)
class Operation:
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
    below: dict[str, _Node] = field(default_factory=dict)
    methods: dict[str, Operation] = field(default_factory=dict)


class Routes:
    """Finds the operation of a request.

    Args:
        operations: all there are.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            node = self._root
            for part in operation.path.split("/")[1:]:
                node = node.below.setdefault(part, _Node())
            node.methods[operation.method] = operation

    def find(self, method: str, path: str, call: Call) -> Handler:
        """Who answers; the names in the path are put into the call.

        Raises:
            ProtocolError: nobody.
        """
        node = self._root
        for part in path.split("/")[1:]:
            known = node.below.get(part)
            if known is None:
                if (known := node.below.get("{model}")) is not None:
                    call.model = part
                elif (known := node.below.get("{version}")) is not None:
                    call.version = part
                else:
                    raise ProtocolError("There is nothing at this address; /docs shows what there is.", 404)
            node = known
        operation = node.methods.get(method)
        if operation is None:
            if not node.methods:
                raise ProtocolError("There is nothing at this address; /docs shows what there is.", 404)
            raise ProtocolError(f"This address takes {' or '.join(node.methods)}, not {method[:20]}.", 405)
        return operation.handler
