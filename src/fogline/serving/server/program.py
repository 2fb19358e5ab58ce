"""The server as a child of a node's agent: ``python -m fogline.serving.server.program FD``.

It ends when the agent closes its end of the socket, after the requests that it has begun.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from fogline.inference.card import read_card
from fogline.inference.runtimes.base import Array, ModelError
from fogline.logs import write_logs
from fogline.processes.child import channel_to_parent
from fogline.processes.pipe import Pipe, RequestService
from fogline.registry.release import Vitals
from fogline.serving.cascade.answering import answer as answer_below
from fogline.serving.cascade.offloader import OffloadResult
from fogline.serving.cascade.wire import Send
from fogline.serving.protocol.messages import InferenceRequest
from fogline.serving.protocol.messages import InferenceResponse as Answered
from fogline.serving.requests import (
    ANSWERS,
    LARGEST,
    REQUESTS,
    Answer,
    AnswerRows,
    CallDone,
    DropVersion,
    Expect,
    LoadVersion,
    Offload,
    Request,
    ServerReady,
    SwapVersion,
    VersionPulse,
)
from fogline.serving.server.assembly import hooks, new_loop, opener
from fogline.serving.server.server import Server
from fogline.serving.server.versions.files import ModelFiles
from fogline.serving.settings import Settings


class ServerProgram:
    """Carries out what the agent asks."""

    def __init__(self) -> None:
        self.pipe: Pipe[Answer] | None = None
        self.server: Server | None = None

    async def answer(self, request: Request) -> Answer:
        """Carry a request out."""
        if isinstance(request, Settings):
            return await self._start(request)
        if self.server is None:
            raise ModelError("The server was not told yet how to run.")
        repository = self.server.repository
        match request:
            case Expect():
                for model in request.models:
                    repository.expect(model, request.coming)
            case LoadVersion():
                files = {digest: Path(path) for digest, path in request.paths.items()}
                await repository.load(read_card(request.card), ModelFiles(files), request.slot, request.personal)
            case SwapVersion():
                repository.swap(request.model, str(request.version))
            case DropVersion():
                repository.drop(request.model, str(request.version))
            case AnswerRows():
                return CallDone(await answer_below(request.ask, self._infer, self._onward))
            case Offload() | VersionPulse():
                raise ModelError("That is for the agent, not for the server.")
        return CallDone()

    async def stop(self) -> None:
        """Answer what has come, and end."""
        if self.server is not None:
            await self.server.stop()

    async def _start(self, settings: Settings) -> ServerReady:
        if self.server is not None:
            raise ModelError("The server runs already.")
        self.server = Server(settings, opener(settings), hooks(settings, self._send_up), self._tell)
        addresses = await self.server.start()
        return ServerReady(addresses.http, addresses.grpc)

    async def _send_up(self, ask: bytes, seconds: float) -> bytes:
        assert self.pipe is not None
        answer = await self.pipe.ask(Offload(ask, seconds))
        return answer.data if isinstance(answer, CallDone) else b""

    def _tell(self, vitals: Vitals) -> None:
        assert self.pipe is not None
        self.pipe.tell(VersionPulse(vitals))

    def _onward(self, model: str) -> Send | None:
        assert self.server is not None
        line = self.server.repository.lines.get(model)
        return self._send_up if line is None or line.live is None else None

    async def _infer(self, model: str, inputs: Mapping[str, Array], left: float, hops: int) -> OffloadResult:
        """Run a model for a tier below."""
        assert self.server is not None
        served = self.server.repository.find(model)
        ask = InferenceRequest(
            served.signature.checked(inputs), served.signature.in_binary, served.signature.rows(inputs)
        )
        found = served.answer(ask, left, hops)
        answer = found if isinstance(found, Answered) else await found
        return OffloadResult(answer.outputs, answer.tier, answer.model, answer.version, answer.offloaded, answer.why)


async def serve(channel: socket.socket) -> None:
    """Serve until the agent hangs up or the process is told to end."""
    child = ServerProgram()
    child.pipe = await Pipe.over(channel, ANSWERS, LARGEST, RequestService(REQUESTS, child.answer))
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    told = asyncio.ensure_future(stopped.wait())
    await asyncio.wait((told, asyncio.ensure_future(child.pipe.closed())), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    await child.stop()
    await child.pipe.close()


def main() -> None:
    """The program."""
    write_logs()
    with channel_to_parent(signal.SIGTERM) as channel, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(channel))


if __name__ == "__main__":
    main()
