"""What a node's agent and its prediction server say to each other, over a socket pair.

Both ask and both answer, whenever they like: a message has a number, and its answer has the same. Frames hold
MessagePack.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Literal

import msgspec

from fogline.processes.frames import framed, next_frame
from fogline.registry.release import Vitals
from fogline.serving.settings import Settings

log = logging.getLogger("fogline.serving")

LARGEST = 16 << 20
"""Bytes of the largest frame."""


class LoadVersion(msgspec.Struct, frozen=True, tag=True):
    """To the server: load a version. A live one takes the place of what answered before."""

    card: bytes
    paths: dict[str, str]
    """Where its files lie, by digest."""
    role: Literal["live", "beside", "shadow"]


class Expect(msgspec.Struct, frozen=True, tag=True):
    """To the server: these models will be loaded, or will not (any more). Who asks for them meanwhile is told so."""

    models: tuple[str, ...]
    coming: bool = True


class SwapVersion(msgspec.Struct, frozen=True, tag=True):
    """To the server: let a version that is loaded answer."""

    model: str
    version: int


class DropVersion(msgspec.Struct, frozen=True, tag=True):
    """To the server: let a version go; one that is not loaded is no error."""

    model: str
    version: int


class AnswerRows(msgspec.Struct, frozen=True, tag=True):
    """To the server: answer what a tier below is unsure of."""

    ask: bytes
    """See :mod:`fogline.serving.cascade.wire`."""


class Offload(msgspec.Struct, frozen=True, tag=True):
    """To the agent: have the tier above answer this."""

    ask: bytes
    seconds: float
    """That the answer is waited for."""


class VersionPulse(msgspec.Struct, frozen=True, tag=True):
    """To the agent, which gives no answer: how a version fares."""

    vitals: Vitals


Request = Settings | Expect | LoadVersion | SwapVersion | DropVersion | AnswerRows | Offload | VersionPulse
""":class:`Settings` come first: the server begins to listen."""


class ServerReady(msgspec.Struct, frozen=True, tag=True):
    """The server listens."""

    http: str
    grpc: str
    """Empty where it does not speak gRPC."""


class CallDone(msgspec.Struct, frozen=True, tag=True):
    """It was done."""

    data: bytes = b""
    """The answer to what was asked, where it was a question."""


class CallFailed(msgspec.Struct, frozen=True, tag=True):
    """It could not be done."""

    why: str


Answer = ServerReady | CallDone | CallFailed


class _Frame(msgspec.Struct, frozen=True, array_like=True):
    number: int
    """Of a request and its answer; 0: there is none."""
    body: Request | Answer


class PipeError(ConnectionError):
    """A request was not carried out, or the other end is gone; the text is a sentence."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Frame).decode


class Pipe:
    """One end. Made by :meth:`over`.

    Args:
        reader: from the other end.
        writer: to it.
        answer: carries out what it asks.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[Request], Awaitable[Answer]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def over(cls, channel: socket.socket, answer: Callable[[Request], Awaitable[Answer]]) -> Pipe:
        """An end over this socket.

        Args:
            channel: one of a pair.
            answer: carries out what the other end asks; what it raises is told there.
        """
        reader, writer = await asyncio.open_connection(sock=channel, limit=1 << 20)
        return cls(reader, writer, answer)

    async def ask(self, request: Request) -> Answer:
        """Have something done.

        Raises:
            PipeError: it was not.
        """
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(number, request)
            answer = await waiting
        finally:
            del self._waiting[number]
        if isinstance(answer, CallFailed):
            raise PipeError(answer.why)
        return answer

    def tell(self, request: Request) -> None:
        """Say something that needs no answer; nothing happens if the other end is gone."""
        if not self._reading.done():
            self._send(0, request)

    @property
    def is_closed(self) -> bool:
        """Whether the other end is gone, or this one was closed."""
        return self._reading.done()

    async def closed(self) -> None:
        """Wait until the other end is gone, or this one was closed."""
        await asyncio.wait((self._reading,))

    async def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        await self.closed()

    def _send(self, number: int, body: Request | Answer) -> None:
        if self._reading.done():
            raise PipeError("The other end is gone.")
        data = _encode(_Frame(number, body))
        if len(data) > LARGEST:
            raise PipeError(f"A message of {len(data)} bytes is too large; the largest has {LARGEST}.")
        self._writer.write(framed(data))

    async def _read(self) -> None:
        try:
            while True:
                self._take(_decode(await next_frame(self._reader, LARGEST)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The other end is gone.
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.error("What came over the pipe is no message: %s", error)
        finally:
            self._writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(PipeError("The other end is gone."))
            for task in self._working:
                task.cancel()

    def _take(self, frame: _Frame) -> None:
        if isinstance(frame.body, Answer):
            waiting = self._waiting.get(frame.number)
            if waiting is not None and not waiting.done():
                waiting.set_result(frame.body)
            return
        task = asyncio.create_task(self._carry_out(frame.number, frame.body))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _carry_out(self, number: int, request: Request) -> None:
        try:
            answer = await self._answer(request)
        except Exception as error:
            log.info("%s failed", type(request).__name__, exc_info=error)
            answer = CallFailed(str(error) or type(error).__name__)
        if number and not self._reading.done():
            self._send(number, answer)
