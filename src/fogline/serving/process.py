"""The prediction server as a node's agent sees it: started, asked, and started again when it ended by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fogline.inference.card import PersonalOrigin
from fogline.processes.pipe import Pipe, PipeClosedError, PipeError, RequestService
from fogline.processes.process import GRACE, HelperProcess, module
from fogline.registry.release import Vitals
from fogline.retries import RESTART_SERVER, Failures
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
from fogline.serving.settings import Settings
from fogline.serving.slots import VersionSlot
from fogline.serving.update.ports import ServerError, Serving
from fogline.storage import StorageError

log = logging.getLogger("fogline.serving")
PROGRAM = "fogline.serving.server.program"


class ServerProcess:
    """Keeps a server running.

    Args:
        settings: how it runs.
        log_file: takes what it says.
        expected: what it should have loaded.
        ready: told where it listens, at every start.
        ended: told why it ended by itself; asked for what is expected afterwards.
        broken: told which of these it could not load, and why.
        pulse: told how versions fare.
        above: has the tier above answer a question, within so many seconds.
    """

    def __init__(
        self,
        settings: Settings,
        log_file: Path,
        expected: Callable[[], Sequence[Serving]],
        ready: Callable[[ServerReady], None],
        ended: Callable[[str], None],
        broken: Callable[[Serving, str], None],
        pulse: Callable[[Vitals], None],
        above: Callable[[bytes, float], Awaitable[bytes]],
    ) -> None:
        self._settings = settings
        self._log_file = log_file
        self._expected = expected
        self._ready = ready
        self._ended = ended
        self._broken = broken
        self._pulse = pulse
        self._above = above
        self._coming: set[str] = set()
        """Models that will be served."""
        self._pipe: Pipe[Answer] | None = None
        self._up = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled; then it ends after its last requests."""
        failures = Failures(RESTART_SERVER)
        while True:
            try:
                async with self._started() as server:
                    found = await self._listen(server.pipe)
                    try:
                        await self._begin(server.pipe, found)
                        failures.over()
                        await server.pipe.closed()
                    except PipeError:
                        pass  # It ended while it loaded.
                    why = await server.ended()
                    log.error("%s; its log is %s", why, self._log_file)
                    self._ended(why)
            except (PipeError, OSError, StorageError) as error:  # No version is to blame.
                log.error("The server did not start: %s; its log is %s", error, self._log_file)
            await asyncio.sleep(failures.another())

    def expect(self, model: str, coming: bool) -> None:
        """See :class:`fogline.serving.update.ports.PredictionServer`."""
        (self._coming.add if coming else self._coming.discard)(model)
        if self._pipe is not None:
            self._pipe.tell(Expect((model,), coming))

    async def load(
        self, card: bytes, paths: Mapping[str, Path], slot: VersionSlot, personal: PersonalOrigin | None = None
    ) -> None:
        """See :class:`fogline.serving.update.ports.PredictionServer`."""
        await self._ask(LoadVersion(card, {digest: str(path) for digest, path in paths.items()}, slot, personal))

    async def swap(self, model: str, version: int) -> None:
        """See :class:`fogline.serving.update.ports.PredictionServer`."""
        await self._ask(SwapVersion(model, version))

    async def drop(self, model: str, version: int) -> None:
        """See :class:`fogline.serving.update.ports.PredictionServer`."""
        await self._ask(DropVersion(model, version))

    async def infer(self, ask: bytes) -> bytes:
        """Answer what a tier below is unsure of.

        Raises:
            ServerError: it cannot.
        """
        answer = await self._ask(AnswerRows(ask))
        assert isinstance(answer, CallDone)
        return answer.data

    async def _ask(self, request: Request) -> Answer:
        await self._up.wait()
        pipe = self._pipe
        if pipe is None:
            raise ServerError("the server has just ended")
        try:
            return await pipe.ask(request)
        except PipeError as error:
            raise ServerError(str(error)) from error

    @asynccontextmanager
    async def _started(self) -> AsyncGenerator[HelperProcess[Answer]]:
        server = await HelperProcess.start(
            module(PROGRAM),
            self._log_file,
            ANSWERS,
            largest=LARGEST,
            service=RequestService(REQUESTS, self._answer),
            threads=self._settings.threads,
            name="The server",
        )
        try:
            yield server
        finally:
            self._pipe = None
            self._up.clear()
            await server.end(grace=GRACE)  # It has its last requests to answer.

    async def _listen(self, pipe: Pipe[Answer]) -> ServerReady:
        found = await pipe.ask(self._settings)
        assert isinstance(found, ServerReady)
        return found

    async def _begin(self, pipe: Pipe[Answer], found: ServerReady) -> None:
        """Have it load what it should have loaded."""
        expected = self._expected()
        await pipe.ask(Expect(tuple(sorted(self._coming))))
        for one in expected:
            paths = {digest: str(path) for digest, path in one.paths.items()}
            try:
                await pipe.ask(LoadVersion(one.card, paths, one.slot, one.personal))
            except PipeClosedError:
                raise
            except PipeError as error:
                self._broken(one, str(error))
        self._pipe = pipe
        self._up.set()
        self._ready(found)

    async def _answer(self, request: Request) -> Answer:
        match request:
            case Offload(ask=ask, seconds=seconds):
                return CallDone(await self._above(ask, seconds))
            case VersionPulse(vitals=vitals):
                self._pulse(vitals)
                return CallDone()
            case _:
                raise ValueError("That is for the server, not for the agent.")
