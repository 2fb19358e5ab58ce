"""The check that every call passes: who calls is known, is not revoked, and its role may make that call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from inspect import isasyncgenfunction
from typing import Any

import grpc
import grpc.aio

from fogline.governance.identity.credentials import CertificateFacts
from fogline.governance.roles import CALLS, refusal
from fogline.network.timing import PATIENCE
from fogline.network.transport.grpc import Methods

Context = grpc.aio.ServicerContext[Any, Any]
Admit = Callable[[Context], Awaitable[CertificateFacts]]
Check = Callable[[Any, Context], Awaitable[None]]
"""Told of a call's request, or of what brings its frames; ends the call of who may not make it."""


def permitted(service: str, methods: Methods, admit: Admit) -> Methods:
    """A service's methods, each behind the check of its caller's role.

    Args:
        service: its full name; the last part of it and the method's name are the call in the table of roles.
        methods: what the calls do.
        admit: who calls; ends the call of who may not come in at all.

    Raises:
        KeyError: the table of roles has no such call.
    """
    short = service.rpartition(".")[2]
    return {name: _checked(f"{short}/{name}", handler, admit) for name, handler in methods.items()}


def _checked(call: str, handler: Any, admit: Admit) -> Any:
    _ = CALLS[call]  # Now, not when somebody calls.

    async def check(request: Any, context: Context) -> None:
        why = refusal((await admit(context)).subject, call)
        if why is not None:
            if handler.stream_stream is not None:
                await _heard(request)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, why)

    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(_answering(handler.unary_unary, check))
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(_wrapped(handler.unary_stream, check))
    return grpc.stream_stream_rpc_method_handler(_wrapped(handler.stream_stream, check))


async def _heard(frames: AsyncIterator[bytes]) -> None:
    """Take what the caller sends first: gRPC tells a caller whose write fails that it has, and loses why."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await anext(frames, b"")


def _wrapped(work: Any, check: Check) -> Any:
    """gRPC tells generators from coroutines that write by themselves."""
    return _generating(work, check) if isasyncgenfunction(work) else _answering(work, check)


def _answering(work: Any, check: Check) -> Any:
    async def answer(request: Any, context: Context) -> Any:
        await check(request, context)
        return await work(request, context)

    return answer


def _generating(work: Any, check: Check) -> Any:
    async def generate(request: Any, context: Context) -> AsyncIterator[bytes]:
        await check(request, context)
        async with aclosing(work(request, context)) as answers:
            async for answer in answers:
                yield answer

    return generate
