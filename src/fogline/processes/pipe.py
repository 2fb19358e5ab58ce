"""What a process and its helper say to each other, over a socket pair: requests and their answers.

Both ask and both answer, whenever they like: a request has a number, and its answer has the same. A helper that does
one thing at a time has a :class:`BlockingPipe` at its end.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any, Generic, TypeVar

import msgspec

from fogline.decoding import UNREADABLE
from fogline.processes.framing import Frame, FrameKind, framed, next_frame, read_frame
from fogline.processes.messages import Decoder, encode

log = logging.getLogger("fogline.processes")
Heard = TypeVar("Heard")
Answer = TypeVar("Answer")
GONE = "The other end is gone."


class PipeError(ConnectionError):
    """A request was not carried out, or the other end is gone; the text is a sentence."""


class PipeClosedError(PipeError):
    """The other end is gone, or this one was closed: there will be no answer."""


class RequestService(Generic[Heard]):
    """What an end does for the other one.

    Args:
        requests: reads what the other end asks.
        answer: carries it out; what it raises is told there.
    """

    def __init__(self, requests: Decoder[Heard], answer: Callable[[Heard], Awaitable[msgspec.Struct]]) -> None:
        self.requests = requests
        self.answer = answer


class Pipe(Generic[Answer]):
    """One end. Made by :meth:`over`.

    Args:
        reader: from the other end.
        writer: to it.
        answers: reads what the other end answers.
        largest: bytes that a message may have.
        service: what this end does for the other one; None: nothing, and a request is no message.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: Decoder[Answer],
        largest: int,
        service: RequestService[Any] | None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answers = answers
        self._largest = largest
        self._service = service
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self.garbled = ""
        """What came over the pipe and was no message, which has closed it; empty: nothing such."""
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def over(
        cls, channel: socket.socket, answers: Decoder[Answer], largest: int, service: RequestService[Any] | None = None
    ) -> Pipe[Answer]:
        """An end over one socket of a pair; see the class."""
        reader, writer = await asyncio.open_connection(sock=channel, limit=1 << 20)
        return cls(reader, writer, answers, largest, service)

    async def ask(self, request: msgspec.Struct) -> Answer:
        """Have something done.

        Raises:
            PipeError: it was not.
        """
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(FrameKind.REQUEST, number, self._encoded(request))
            return await waiting
        finally:
            del self._waiting[number]

    def tell(self, request: msgspec.Struct) -> None:
        """Say something that needs no answer; nothing happens if the other end is gone."""
        if not self._reading.done():
            self._send(FrameKind.REQUEST, 0, self._encoded(request))

    async def closed(self) -> None:
        """Wait until the other end is gone, or this one was closed."""
        await asyncio.wait((self._reading,))

    async def close(self) -> None:
        """Close the pipe, and end what waits for an answer."""
        self._reading.cancel()
        await self.closed()

    def _encoded(self, message: msgspec.Struct) -> bytes:
        body = encode(message)
        if len(body) > self._largest:
            raise PipeError(f"A message of {len(body)} bytes is too large; the largest has {self._largest}.")
        return body

    def _send(self, kind: FrameKind, number: int, body: bytes) -> None:
        if self._reading.done():
            raise PipeClosedError(GONE)
        self._writer.write(framed(Frame(kind, number, body)))

    async def _read(self) -> None:
        try:
            while True:
                self._take(await next_frame(self._reader, self._largest))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The other end is gone.
        except UNREADABLE as error:
            self.garbled = str(error)
            log.error("What came over the pipe is no message: %s", error)
        finally:
            self._writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(PipeClosedError(GONE))
            for task in self._working:
                task.cancel()

    def _take(self, frame: Frame) -> None:
        if frame.kind is FrameKind.REQUEST:
            if self._service is None:
                raise msgspec.DecodeError("a request, where nothing is to be asked")
            self._begin(self._service, frame)
            return
        waiting = self._waiting.get(frame.number)
        if waiting is None or waiting.done():
            return  # Nobody waits for it any more.
        if frame.kind is FrameKind.ANSWER:
            waiting.set_result(self._answers.decode(frame.body))
        else:
            waiting.set_exception(PipeError(frame.body.decode()))

    def _begin(self, service: RequestService[Any], frame: Frame) -> None:
        task = asyncio.create_task(self._carry_out(service, service.requests.decode(frame.body), frame.number))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _carry_out(self, service: RequestService[Any], request: Any, number: int) -> None:
        kind = FrameKind.ANSWER
        try:
            body = self._encoded(await service.answer(request))
        except Exception as error:
            log.info("%s failed", type(request).__name__, exc_info=error)
            kind, body = FrameKind.FAILURE, (str(error) or type(error).__name__).encode(errors="replace")
        if number and not self._reading.done():
            self._send(kind, number, body)


class BlockingPipe(Generic[Heard]):
    """The end of a helper that does one thing at a time, and asks nothing itself.

    Args:
        channel: its socket.
        requests: reads what it is asked.
    """

    def __init__(self, channel: socket.socket, requests: Decoder[Heard]) -> None:
        self._channel = channel
        self._stream = channel.makefile("rb")
        self._requests = requests
        self._number = 0

    def __iter__(self) -> Iterator[Heard]:
        """The requests, until the other end is gone; each is to be answered before the next."""
        while (frame := read_frame(self._stream)) is not None:
            self._number = frame.number
            yield self._requests.decode(frame.body)

    def answer(self, answer: msgspec.Struct) -> None:
        """Answer the last request.

        Raises:
            OSError: the other end is gone.
        """
        self._channel.sendall(framed(Frame(FrameKind.ANSWER, self._number, encode(answer))))
