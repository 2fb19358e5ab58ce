"""What the server answers over HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from fogline.serving.protocol.asking import Answer, Ask
from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.protocol.rest import read_request
from fogline.serving.server import facts, pages
from fogline.serving.server.answers import Reply, in_json, page, prediction
from fogline.serving.server.metrics import KIND, as_text
from fogline.serving.server.operations import Call, Found, Operation
from fogline.serving.server.repository import Repository
from fogline.serving.server.served import Served

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

    def operations(self) -> tuple[Operation, ...]:
        """All there are."""
        return (
            Operation("POST", f"{MODEL}/infer", "Ask a model for a prediction", self.infer, INFER),
            Operation("POST", f"{VERSION}/infer", "Ask a version of a model", self.infer, INFER),
            Operation("POST", f"{MODEL}/labels", "Tell the truth about an earlier request", self.labels, LABELS),
            Operation("POST", f"{VERSION}/labels", "The same, for a version", self.labels, LABELS),
            Operation("GET", MODEL, "What a model takes and gives", self.model),
            Operation("GET", VERSION, "What a version takes and gives", self.model),
            Operation("GET", f"{MODEL}/example", "A request that the model takes", self.example),
            Operation("GET", f"{VERSION}/example", "A request that the version takes", self.example),
            Operation("GET", f"{MODEL}/ready", "Whether a model answers", self.model_ready),
            Operation("GET", f"{VERSION}/ready", "Whether a version answers", self.model_ready),
            Operation("GET", f"{MODEL}/stats", "What a model has done", self.stats),
            Operation("GET", f"{VERSION}/stats", "What a version has done", self.stats),
            Operation("GET", "/v2/models/stats", "What all models have done", self.stats),
            Operation("POST", "/v2/repository/index", "All models, with their versions", self.index, {}),
            Operation("POST", "/v2/repository/models/{model}/load", "Load a model again", self.load, {}),
            Operation("POST", "/v2/repository/models/{model}/unload", "Let a model go", self.unload, {}),
            Operation("GET", "/v2", "What this server is", self.server),
            Operation("GET", "/v2/health/live", "Whether the server runs", self.live),
            Operation("GET", "/v2/health/ready", "Whether the server answers", self.ready),
            Operation("GET", "/metrics", "Numbers for Prometheus", self.metrics, produces="text/plain"),
            Operation("GET", "/openapi.json", "This description", self.openapi),
            Operation("GET", "/docs", "This description as a page", self.docs, produces="text/html"),
            Operation("GET", "/", "Where to begin", self.welcome, produces="text/html"),
        )

    # Predictions

    def infer(self, call: Call) -> Found:
        """A prediction."""
        length = call.headers.get(b"inference-header-content-length")
        served = self._repository.find(call.model, call.version)
        ask = read_request(served.signature, call.body, None if length is None else _number(length))
        found = served.answer(ask, came=call.came)
        if isinstance(found, Answer):
            return prediction(*served.writer.write(ask, found))
        return _infer_later(served, ask, found)

    def labels(self, call: Call) -> Reply:
        """Delayed labels."""
        answered = self._repository.answered(call.model, call.version)
        given = _read(_labels, call.body)
        watches = [served.watch for served in answered if served.watch is not None]
        return in_json({"matched": max((watch.label(given.id, given.labels) for watch in watches), default=0)})

    # About models

    def model(self, call: Call) -> Reply:
        """Metadata."""
        served = self._repository.find(call.model, call.version)
        return in_json(facts.metadata(served, self._repository.lines[call.model]))

    async def example(self, call: Call) -> Reply:
        """A request body."""
        served = self._repository.find(call.model, call.version)
        return in_json(await asyncio.to_thread(facts.example, served.card, served.locate))

    def model_ready(self, call: Call) -> Reply:
        """Whether it is loaded."""
        ready = self._repository.is_ready(call.model, call.version)
        return in_json({"name": call.model, "ready": ready}, 200 if ready else 503)

    def stats(self, call: Call) -> Reply:
        """Counts since loading."""
        chosen = self._repository.chosen(call.model, call.version)
        return in_json({"model_stats": [facts.statistics(served) for served in chosen]})

    # The repository

    def index(self, call: Call) -> Reply:
        """Models and versions."""
        return in_json(facts.index(self._repository, _read(_index, call.body or b"{}").ready))

    async def load(self, call: Call) -> Reply:
        """Load again."""
        await self._repository.reload(call.model)
        return in_json({})

    def unload(self, call: Call) -> Reply:
        """Let go."""
        self._repository.unload(call.model)
        return in_json({})

    # About the server

    def server(self, call: Call) -> Reply:
        """Name, version, extensions."""
        return in_json(facts.server())

    def live(self, call: Call) -> Reply:
        """It is, if it can say so."""
        return in_json({"live": True})

    def ready(self, call: Call) -> Reply:
        """Whether a model is live."""
        ready = self._repository.ready
        return in_json({"ready": ready}, 200 if ready else 503)

    def metrics(self, call: Call) -> Reply:
        """For Prometheus."""
        return Reply(200, KIND, as_text(self._repository, self._refused))

    def openapi(self, call: Call) -> Reply:
        """The description."""
        return in_json(pages.openapi(self.operations()))

    def docs(self, call: Call) -> Reply:
        """The description, to read and to try."""
        return page(pages.docs())

    def welcome(self, call: Call) -> Reply:
        """Where to begin."""
        return page(pages.welcome(self._repository, call.headers.get(b"host", b"").decode("latin-1")))


async def _infer_later(served: Served, ask: Ask, found: asyncio.Task[Answer]) -> Reply:
    return prediction(*served.writer.write(ask, await found))


def _read(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"The request cannot be read: {error}.") from None


def _number(header: bytes) -> int:
    if not header.isdigit() or len(header) > 12:
        raise ProtocolError("The header Inference-Header-Content-Length must be a number of bytes.")
    return int(header)
