"""Fogline's side of the serving benchmark: its server as an agent runs it, with everything on.

gRPC listens too; every request is checked, counted and watched for drift against a reference; hard samples are kept;
a cascade looks at every answer, and finds it sure enough.
"""

import asyncio
import hashlib
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from benchmarks.serving.load import SHAPES
from fogline.inference.card import Asset, Card, Cascade, Scores
from fogline.inference.runtimes.onnx import card_of_onnx
from fogline.inference.sketches import build_reference
from fogline.processes.pipe import Pipe, RequestService
from fogline.processes.process import HelperProcess, module
from fogline.serving.process import PROGRAM
from fogline.serving.requests import (
    ANSWERS,
    LARGEST,
    REQUESTS,
    Answer,
    CallDone,
    LoadVersion,
    Request,
    ServerReady,
    SwapVersion,
)
from fogline.serving.settings import Settings

T = TypeVar("T")


class Ours:
    """The server, in a process of its own.

    Args:
        model: ``mlp`` or ``cnn``.
        path: its ONNX file.
        folder: for its files.
    """

    def __init__(self, model: str, path: Path, folder: Path) -> None:
        self._card, self._files = _card(model, path, folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.pid, self._pipe, self.address = self._run(self._start(folder))
        self.version = 0
        self.next_version("live")

    def next_version(self, role: Any = "beside") -> None:
        """Load the next version, and let it answer."""
        self.version += 1
        card = msgspec.structs.replace(self._card, version=self.version)
        self._run(self._pipe.ask(LoadVersion(card.encoded(), self._files, role)))
        if role == "beside":
            self._run(self._pipe.ask(SwapVersion("m", self.version)))

    def stop(self) -> None:
        """End it."""
        self._run(self._pipe.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self, folder: Path) -> tuple[int, Pipe[Answer], str]:
        made = await HelperProcess.start(
            module(PROGRAM),
            folder / "fogline.log",
            ANSWERS,
            largest=LARGEST,
            service=RequestService(REQUESTS, _nothing),
            fresh_log=True,
        )
        pipe = made.pipe
        ready = await pipe.ask(Settings(consent=True, samples=str(folder / "samples")))
        assert isinstance(ready, ServerReady)
        return made.pid, pipe, ready.http


async def _nothing(request: Request) -> Answer:
    return CallDone()


def _card(model: str, path: Path, folder: Path) -> tuple[Card, dict[str, str]]:
    rng = np.random.default_rng(2)
    reference = folder / f"{model}.reference"
    shape = (1000, *SHAPES[model])
    reference.write_bytes(build_reference({"x": rng.random(shape, np.float32)}, rng.random(1000)).encode())
    data = reference.read_bytes()
    asset = Asset(hashlib.sha256(data).hexdigest(), len(data))
    card = msgspec.structs.replace(
        card_of_onnx(path), model="m", scores=Scores("y"), reference=asset, cascade=Cascade("big", threshold=0.0)
    )
    assert card.graph is not None
    return card, {card.graph.digest: str(path), asset.digest: str(reference)}
