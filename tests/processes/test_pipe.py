"""The pipe between a process and its helper: both ask, both answer, either may vanish."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.processes.framing import Frame, FrameKind, framed
from fogline.processes.messages import Decoder, decoder, encode
from fogline.processes.pipe import BlockingPipe, Pipe, PipeClosedError, PipeError, RequestService
from tests.patience import PATIENCE

LARGEST = 1 << 20


class Question(msgspec.Struct, frozen=True, tag=True):
    """It is answered with the same bytes."""

    data: bytes = b""


class Answered(msgspec.Struct, frozen=True, tag=True):
    """The answer."""

    data: bytes = b""


REQUESTS: Decoder[Question] = decoder(Question)
ANSWERS: Decoder[Answered] = decoder(Answered)
Carry = Callable[[Question], Awaitable[Answered]]


async def echo(request: Question) -> Answered:
    await asyncio.sleep(0.001 * (len(request.data) % 7))
    return Answered(request.data)


@asynccontextmanager
async def pair(one: Carry, other: Carry) -> AsyncGenerator[tuple[Pipe[Answered], Pipe[Answered]]]:
    left, right = socket.socketpair()
    a = await Pipe.over(left, ANSWERS, LARGEST, RequestService(REQUESTS, one))
    b = await Pipe.over(right, ANSWERS, LARGEST, RequestService(REQUESTS, other))
    yield a, b
    await a.close()
    await b.close()


def test_both_ask_at_once_and_answers_find_their_questions() -> None:
    async def run() -> None:
        async with pair(echo, echo) as (a, b):
            asks = [bytes([i]) * i for i in range(100)]
            answers = await asyncio.gather(*(end.ask(Question(ask)) for end in (a, b) for ask in asks))
        assert answers == [Answered(ask) for ask in asks] * 2

    asyncio.run(run())


def test_what_is_told_arrives_and_needs_no_answer() -> None:
    heard: list[bytes] = []

    async def hear(request: Question) -> Answered:
        heard.append(request.data)
        return Answered()

    async def run() -> None:
        async with pair(echo, hear) as (a, b):
            a.tell(Question(b"news"))
            assert await a.ask(Question(b"asked")) == Answered()
            assert await b.ask(Question(b"back")) == Answered(b"back")

    asyncio.run(run())
    assert heard == [b"news", b"asked"]


def test_failures_are_sentences() -> None:
    async def fail(request: Question) -> Answered:
        raise OSError("The disk is full.")

    async def run() -> None:
        async with pair(echo, fail) as (a, _):
            for _ in range(2):
                with pytest.raises(PipeError, match=r"^The disk is full\.$"):
                    await a.ask(Question())

    asyncio.run(run())


def test_who_waits_is_told_that_the_other_end_is_gone() -> None:
    begun = asyncio.Event()

    async def never(request: Question) -> Answered:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        async with pair(echo, never) as (a, b):
            waiting = asyncio.ensure_future(a.ask(Question()))
            await begun.wait()
            await b.close()
            with pytest.raises(PipeClosedError, match="gone"):
                await waiting
            await a.closed()
            with pytest.raises(PipeClosedError, match="gone"):
                await a.ask(Question())
            a.tell(Question())

    asyncio.run(run())


def test_a_message_that_is_too_large_is_not_sent() -> None:
    async def swell(request: Question) -> Answered:
        return Answered(bytes(LARGEST + 1))

    async def run() -> None:
        async with pair(swell, echo) as (a, b):
            with pytest.raises(PipeError, match="too large"):
                await a.ask(Question(bytes(LARGEST)))
            most = bytes(LARGEST - 100)
            assert await a.ask(Question(most)) == Answered(most)
            with pytest.raises(PipeError, match="too large"):
                await b.ask(Question())

    asyncio.run(run())


@pytest.mark.parametrize("service", [False, True])
def test_a_request_where_nothing_is_done_is_no_message(service: bool) -> None:
    async def run() -> None:
        left, right = socket.socketpair()
        pipe = await Pipe.over(left, ANSWERS, LARGEST, RequestService(REQUESTS, echo) if service else None)
        with right:
            right.sendall(framed(Frame(FrameKind.REQUEST, 1, encode(Question() if not service else Answered()))))
            await asyncio.wait_for(pipe.closed(), PATIENCE)
        assert pipe.garbled

    asyncio.run(run())


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.binary(max_size=40) | st.lists(st.integers(0, 3)).map(msgspec.msgpack.encode),
    st.sampled_from([None, *FrameKind]),
)
def test_garbage_ends_the_pipe_and_nothing_else(data: bytes, kind: FrameKind | None) -> None:
    async def run() -> None:
        left, right = socket.socketpair()
        pipe = await Pipe.over(left, ANSWERS, LARGEST, RequestService(REQUESTS, echo))
        waiting = asyncio.ensure_future(pipe.ask(Question()))
        with right:
            right.sendall(data if kind is None else framed(Frame(kind, 1, data)))
        await asyncio.wait_for(pipe.closed(), PATIENCE)
        with pytest.raises(PipeError):
            await waiting

    asyncio.run(run())


def test_an_end_that_does_one_thing_at_a_time_answers_in_order() -> None:
    def work(channel: socket.socket) -> None:
        with channel:
            pipe = BlockingPipe(channel, REQUESTS)
            for request in pipe:
                pipe.answer(Answered(request.data))

    async def run() -> None:
        left, right = socket.socketpair()
        thread = threading.Thread(target=work, args=(right,))
        thread.start()
        pipe = await Pipe.over(left, ANSWERS, LARGEST)
        given_up = asyncio.ensure_future(pipe.ask(Question(b"given up")))
        await asyncio.sleep(0)
        given_up.cancel()
        asks = [bytes([i]) for i in range(50)]
        answers = await asyncio.gather(*(pipe.ask(Question(ask)) for ask in asks))
        assert answers == [Answered(ask) for ask in asks]
        await pipe.close()
        await asyncio.to_thread(thread.join)

    asyncio.run(run())
