"""What the server answers over HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from fogline.decoding import UNREADABLE
from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.protocol.messages import InferenceRequest, InferenceResponse
from fogline.serving.protocol.rest import read_request
from fogline.serving.server import facts
from fogline.serving.server.http import pages
from fogline.serving.server.http.metrics import KIND, as_text
from fogline.serving.server.http.replies import Reply, in_json, page, prediction
from fogline.serving.server.http.routes import Found, HttpRequest, Route
from fogline.serving.server.versions.repository import Repository
from fogline.serving.server.versions.served import ServedModel

MODEL, VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
INFER = {"id": "1", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]}]}
LABELS = {"id": "1", "labels": [3]}


class _Labels(msgspec.Struct):
    id: Annotated[str, Meta(min_length=1, max_length=1000)]
    labels: Annotated[list[int | float], Meta(min_length=1, max_length=100_000)]


class _Index(msgspec.Struct):
    ready: bool = False


T = TypeVar("T")
_labels = msgspec.json.Decoder(_Labels).decode
_index = msgspec.json.Decoder(_Index).decode


class Handlers:
    """Answers by operation.

    Args:
        repository: the models.
        refused: refusals by status.
    """

    def __init__(self, repository: Repository, refused: Counter[int]) -> None:
        self._repository = repository
        self._refused = refused

    def operations(self) -> tuple[Route, ...]:
        """All operations that the server offers."""
        return (
            Route("POST", f"{MODEL}/infer", "Ask a model for a prediction", self.infer, INFER),
            Route("POST", f"{VERSION}/infer", "Ask a version of a model", self.infer, INFER),
            Route("POST", f"{MODEL}/labels", "Tell the truth about an earlier request", self.labels, LABELS),
            Route("POST", f"{VERSION}/labels", "The same, for a version", self.labels, LABELS),
            Route("GET", MODEL, "What a model takes and gives", self.model),
            Route("GET", VERSION, "What a version takes and gives", self.model),
            Route("GET", f"{MODEL}/example", "A request that the model takes", self.example),
            Route("GET", f"{VERSION}/example", "A request that the version takes", self.example),
            Route("GET", f"{MODEL}/ready", "Whether a model answers", self.model_ready),
            Route("GET", f"{VERSION}/ready", "Whether a version answers", self.model_ready),
            Route("GET", f"{MODEL}/stats", "What a model has done", self.stats),
            Route("GET", f"{VERSION}/stats", "What a version has done", self.stats),
            Route("GET", "/v2/models/stats", "What all models have done", self.stats),
            Route("POST", "/v2/repository/index", "All models, with their versions", self.index, {}),
            Route("POST", "/v2/repository/models/{model}/load", "Load a model again", self.load, {}),
            Route("POST", "/v2/repository/models/{model}/unload", "Let a model go", self.unload, {}),
            Route("GET", "/v2", "What this server is", self.server),
            Route("GET", "/v2/health/live", "Whether the server runs", self.live),
            Route("GET", "/v2/health/ready", "Whether the server answers", self.ready),
            Route("GET", "/metrics", "Numbers for Prometheus", self.metrics, produces="text/plain"),
            Route("GET", "/openapi.json", "This description", self.openapi),
            Route("GET", "/docs", "This description as a page", self.docs, produces="text/html"),
            Route("GET", "/", "Where to begin", self.welcome, produces="text/html"),
        )

    # Predictions

    def infer(self, call: HttpRequest) -> Found:
        """Answer a request for a prediction."""
        length = call.headers.get(b"inference-header-content-length")
        served = self._repository.find(call.model, call.version)
        ask = read_request(served.signature, call.body, None if length is None else _number(length))
        found = served.answer(ask, came=call.came)
        if isinstance(found, InferenceResponse):
            return prediction(*served.writer.write(ask, found))
        return _infer_later(served, ask, found)

    def labels(self, call: HttpRequest) -> Reply:
        """Take labels that came after the answers."""
        answered = self._repository.answered(call.model, call.version)
        given = _read(_labels, call.body)
        watches = [served.watch for served in answered if served.watch is not None]
        return in_json({"matched": max((watch.label(given.id, given.labels) for watch in watches), default=0)})

    # About models

    def model(self, call: HttpRequest) -> Reply:
        """Answer with a model's metadata: its inputs and outputs."""
        served = self._repository.find(call.model, call.version)
        return in_json(facts.metadata(served, self._repository.lines[call.model]) | facts.parameters(served))

    async def example(self, call: HttpRequest) -> Reply:
        """Answer with a request body that the model would take."""
        served = self._repository.find(call.model, call.version)
        return in_json(await asyncio.to_thread(facts.example, served.card, served.locate))

    def model_ready(self, call: HttpRequest) -> Reply:
        """Answer whether the model is loaded."""
        ready = self._repository.is_ready(call.model, call.version)
        return in_json({"name": call.model, "ready": ready}, 200 if ready else 503)

    def stats(self, call: HttpRequest) -> Reply:
        """Answer with what was counted since the version was loaded."""
        chosen = self._repository.chosen(call.model, call.version)
        return in_json({"model_stats": [facts.statistics(served) for served in chosen]})

    # The repository

    def index(self, call: HttpRequest) -> Reply:
        """Answer with all models and their versions."""
        return in_json(facts.index(self._repository, _read(_index, call.body or b"{}").ready))

    async def load(self, call: HttpRequest) -> Reply:
        """Load a model again that was unloaded."""
        await self._repository.reload(call.model)
        return in_json({})

    def unload(self, call: HttpRequest) -> Reply:
        """Unload a model."""
        self._repository.unload(call.model)
        return in_json({})

    # About the server

    def server(self, call: HttpRequest) -> Reply:
        """Answer with the server's name, version and extensions."""
        return in_json(facts.server())

    def live(self, call: HttpRequest) -> Reply:
        """It is, if it can say so."""
        return in_json({"live": True})

    def ready(self, call: HttpRequest) -> Reply:
        """Whether a model is live."""
        ready = self._repository.ready
        return in_json({"ready": ready}, 200 if ready else 503)

    def metrics(self, call: HttpRequest) -> Reply:
        """Answer with the metrics in the text format of Prometheus."""
        return Reply(200, KIND, as_text(self._repository, self._refused))

    def openapi(self, call: HttpRequest) -> Reply:
        """Answer with the OpenAPI description."""
        return in_json(pages.openapi(self.operations()))

    def docs(self, call: HttpRequest) -> Reply:
        """The description, to read and to try."""
        return page(pages.docs())

    def welcome(self, call: HttpRequest) -> Reply:
        """Answer with a page that says where to begin."""
        return page(pages.welcome(self._repository, call.headers.get(b"host", b"").decode("latin-1")))


async def _infer_later(served: ServedModel, ask: InferenceRequest, found: asyncio.Task[InferenceResponse]) -> Reply:
    return prediction(*served.writer.write(ask, await found))


def _read(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except UNREADABLE as error:
        raise ProtocolError(f"The request cannot be read: {error}.") from None


def _number(header: bytes) -> int:
    if not header.isdigit() or len(header) > 12:
        raise ProtocolError("The header Inference-Header-Content-Length must be a number of bytes.")
    return int(header)
