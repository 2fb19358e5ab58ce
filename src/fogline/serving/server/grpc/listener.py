"""Listening for gRPC. What answers is loaded with the first request: it takes some megabytes."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from fogline.serving.server.http.listener import address_of
from fogline.serving.server.versions.repository import Repository
from fogline.serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

GRACE = 10.0
"""Seconds that requests have to end when the server does."""


class _Methods(grpc.GenericRpcHandler):
    """Finds the method of a call."""

    def __init__(self, repository: Repository, refused: Counter[int]) -> None:
        self._repository = repository
        self._refused = refused

    @cached_property
    def _methods(self) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
        from fogline.serving.server.grpc.methods import SERVICE, RpcMethods

        found = RpcMethods(self._repository, self._refused).methods()
        return {f"/{SERVICE}/{name}": method for name, method in found.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._methods.get(handler_call_details.method)


class Rpc:
    """Serves a repository over gRPC.

    Args:
        repository: the models.
        settings: of the server.
        refused: refusals by status.
    """

    def __init__(self, repository: Repository, settings: Settings, refused: Counter[int]) -> None:
        self._address = settings.grpc
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.largest),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", 16 << 10),
                ("grpc.max_concurrent_streams", settings.concurrent),
                ("grpc.server_handshake_timeout_ms", int(1000 * settings.deadline)),
                ("grpc.so_reuseport", 0),
            ]
        )
        self._server.add_generic_rpc_handlers([_Methods(repository, refused)])

    async def start(self) -> str:
        """Listen; the address, with the port that was taken.

        Raises:
            OSError: nobody can listen there.
        """
        address_of(self._address)  # gRPC would take a host without a port, every host, and ports beyond the last one.
        try:
            port = self._server.add_insecure_port(self._address)
        except RuntimeError:
            port = 0
        if port == 0:
            raise OSError(
                f"Nobody can listen at {self._address}: it is taken, or is no address of this machine; choose another "
                "with --grpc"
            )
        await self._server.start()
        return f"{self._address.rpartition(':')[0]}:{port}"

    async def stop(self) -> None:
        """Take no more requests, and end when those that came are answered."""
        await self._server.stop(GRACE)
