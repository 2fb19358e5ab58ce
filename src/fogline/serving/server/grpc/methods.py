"""What answers over gRPC."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from fogline.serving.protocol import inference_pb2 as messages
from fogline.serving.protocol.messages import InferenceResponse
from fogline.serving.protocol.rpc import read_request, write_answer
from fogline.serving.server import facts
from fogline.serving.server.failures import explained
from fogline.serving.server.versions.repository import Repository

SERVICE = "inference.GRPCInferenceService"
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

R = TypeVar("R", bound=Message)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


class RpcMethods:
    """The methods of the service.

    Args:
        repository: the models.
        refused: refusals by status.
    """

    def __init__(self, repository: Repository, refused: Counter[int]) -> None:
        self._repository = repository
        self._refused = refused

    def methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The gRPC methods of the server, by name."""
        return {
            "ServerLive": self._method(self._live, messages.ServerLiveRequest),
            "ServerReady": self._method(self._ready, messages.ServerReadyRequest),
            "ServerMetadata": self._method(self._metadata, messages.ServerMetadataRequest),
            "ModelReady": self._method(self._model_ready, messages.ModelReadyRequest),
            "ModelMetadata": self._method(self._model_metadata, messages.ModelMetadataRequest),
            "ModelInfer": self._method(self._infer, messages.ModelInferRequest),
            "ModelStatistics": self._method(self._statistics, messages.ModelStatisticsRequest),
            "RepositoryIndex": self._method(self._index, messages.RepositoryIndexRequest),
            "RepositoryModelLoad": self._method(self._load, messages.RepositoryModelLoadRequest),
            "RepositoryModelUnload": self._method(self._unload, messages.RepositoryModelUnloadRequest),
        }

    def _method(self, answer: Callable[[R], Awaitable[Message]], kind: type[R]) -> grpc.RpcMethodHandler[Any, Any]:
        async def answered(request: R, context: grpc.aio.ServicerContext[R, Message]) -> Message:
            try:
                return await answer(request)
            except Exception as error:  # noqa: BLE001 - one request must not show the server from inside
                refused = explained(error, f"{SERVICE} {kind.__name__}")
            self._refused[refused.status] += 1
            return await context.abort(CODES.get(refused.status, grpc.StatusCode.INTERNAL), str(refused))

        return grpc.unary_unary_rpc_method_handler(
            answered, request_deserializer=kind.FromString, response_serializer=_serialized
        )

    async def _infer(self, request: messages.ModelInferRequest) -> Message:
        came = time.perf_counter_ns()
        served = self._repository.find(request.model_name, request.model_version)
        ask = read_request(served.signature, request)
        found = served.answer(ask, came=came)
        answer = found if isinstance(found, InferenceResponse) else await found
        return write_answer(served.card, served.version, ask, answer)

    async def _live(self, request: messages.ServerLiveRequest) -> Message:
        return messages.ServerLiveResponse(live=True)

    async def _ready(self, request: messages.ServerReadyRequest) -> Message:
        return messages.ServerReadyResponse(ready=self._repository.ready)

    async def _metadata(self, request: messages.ServerMetadataRequest) -> Message:
        return messages.ServerMetadataResponse(**facts.server())

    async def _model_ready(self, request: messages.ModelReadyRequest) -> Message:
        return messages.ModelReadyResponse(ready=self._repository.is_ready(request.name, request.version))

    async def _model_metadata(self, request: messages.ModelMetadataRequest) -> Message:
        served = self._repository.find(request.name, request.version)
        return messages.ModelMetadataResponse(**facts.metadata(served, self._repository.lines[request.name]))

    async def _statistics(self, request: messages.ModelStatisticsRequest) -> Message:
        chosen = self._repository.chosen(request.name, request.version)
        return messages.ModelStatisticsResponse(model_stats=[facts.statistics(served) for served in chosen])

    async def _index(self, request: messages.RepositoryIndexRequest) -> Message:
        return messages.RepositoryIndexResponse(models=facts.index(self._repository, request.ready))

    async def _load(self, request: messages.RepositoryModelLoadRequest) -> Message:
        await self._repository.reload(request.model_name)
        return messages.RepositoryModelLoadResponse()

    async def _unload(self, request: messages.RepositoryModelUnloadRequest) -> Message:
        self._repository.unload(request.model_name)
        return messages.RepositoryModelUnloadResponse()
