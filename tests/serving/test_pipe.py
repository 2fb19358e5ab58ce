"""The pipe between agent and server: both ask, both answer, either may vanish."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.registry.release import Tally, Vitals
from fogline.serving.pipe import (
    Answer,
    AnswerRows,
    CallDone,
    DropVersion,
    LoadVersion,
    Offload,
    Pipe,
    PipeError,
    Request,
    SwapVersion,
    VersionPulse,
)
from tests.patience import PATIENCE

Carry = Callable[[Request], Awaitable[Answer]]


async def nothing(request: Request) -> Answer:
    return CallDone()


@asynccontextmanager
async def pair(one: Carry, other: Carry) -> AsyncGenerator[tuple[Pipe, Pipe]]:
    left, right = socket.socketpair()
    a, b = await Pipe.over(left, one), await Pipe.over(right, other)
    yield a, b
    await a.close()
    await b.close()


def test_both_ask_at_once_and_answers_find_their_questions() -> None:
    async def echo(request: Request) -> Answer:
        assert isinstance(request, AnswerRows | Offload)
        await asyncio.sleep(0.001 * (len(request.ask) % 7))
        return CallDone(request.ask)

    async def run() -> None:
        async with pair(echo, echo) as (a, b):
            asks = [bytes([i]) * i for i in range(100)]
            answers = await asyncio.gather(
                *(a.ask(AnswerRows(ask)) for ask in asks), *(b.ask(Offload(ask, 1.0)) for ask in asks)
            )
        assert answers == [CallDone(ask) for ask in asks] * 2

    asyncio.run(run())


def test_what_is_told_arrives_and_needs_no_answer() -> None:
    heard: list[Request] = []

    async def hear(request: Request) -> Answer:
        heard.append(request)
        return CallDone()

    vitals = Vitals("m", 3, Tally(answers=5, latency=(1, 2)))

    async def run() -> None:
        async with pair(nothing, hear) as (a, b):
            a.tell(VersionPulse(vitals))
            assert await a.ask(SwapVersion("m", 4)) == CallDone()
            assert await b.ask(DropVersion("m", 4)) == CallDone()

    asyncio.run(run())
    assert heard == [VersionPulse(vitals), SwapVersion("m", 4)]


def test_failures_are_sentences() -> None:
    async def fail(request: Request) -> Answer:
        raise OSError("The disk is full.")

    async def run() -> None:
        async with pair(nothing, fail) as (a, _):
            for _ in range(2):
                with pytest.raises(PipeError, match=r"^The disk is full\.$"):
                    await a.ask(LoadVersion(b"", {}, "live"))

    asyncio.run(run())


def test_who_waits_is_told_that_the_other_end_is_gone() -> None:
    begun = asyncio.Event()

    async def never(request: Request) -> Answer:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        async with pair(nothing, never) as (a, b):
            waiting = asyncio.ensure_future(a.ask(SwapVersion("m", 1)))
            await begun.wait()
            await b.close()
            with pytest.raises(PipeError, match="gone"):
                await waiting
            await a.closed()
            with pytest.raises(PipeError, match="gone"):
                await a.ask(SwapVersion("m", 1))
            a.tell(SwapVersion("m", 1))

    asyncio.run(run())


def test_a_message_that_is_too_large_is_not_sent() -> None:
    async def run() -> None:
        async with pair(nothing, nothing) as (a, _):
            with pytest.raises(PipeError, match="too large"):
                await a.ask(AnswerRows(bytes(17 << 20)))
            assert await a.ask(AnswerRows(bytes(15 << 20))) == CallDone()

    asyncio.run(run())


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=40) | st.lists(st.integers(0, 3)).map(msgspec.msgpack.encode), st.booleans())
def test_garbage_ends_the_pipe_and_nothing_else(data: bytes, framed: bool) -> None:
    async def run() -> None:
        left, right = socket.socketpair()
        pipe = await Pipe.over(left, nothing)
        with right:
            right.sendall(len(data).to_bytes(4, "big") + data if framed else data)
        await asyncio.wait_for(pipe.closed(), PATIENCE)
        await pipe.close()

    asyncio.run(run())
