"""A node's connections to its children: it listens, checks who dials, and keeps one session per child."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NoReturn
from urllib.parse import unquote
from weakref import WeakValueDictionary

import grpc
import grpc.aio
import msgspec

from fogline.governance.errors import CertificateError
from fogline.governance.identity.certificates import certificate_of_peer, read_certificate
from fogline.governance.identity.credentials import CertificateFacts
from fogline.network.timing import LONGEST_CONNECTION, PATIENCE
from fogline.network.transport.chunks import ChunkError, patient, pieces, receive
from fogline.network.transport.clones import CloneDetector
from fogline.network.transport.grpc import Method, Methods
from fogline.network.transport.messages import (
    ALIVE,
    OLDEST,
    PIECE,
    PROTOCOL,
    DownFrame,
    Fetch,
    Have,
    Present,
    Push,
    Size,
    UpFrame,
    Welcome,
)
from fogline.network.transport.ports import Below, Call, UnreachableError
from fogline.network.transport.session import Session
from fogline.processes.messages import Decoder, decoder, encode
from fogline.storage import Blobs, BlobTooLargeError, CorruptBlobError, StorageError

FETCH, PUSH = decoder(Fetch), decoder(Push)

Context = grpc.aio.ServicerContext[Any, Any]


class Downlink:
    """The server's side of the control streams and of blobs.

    Args:
        blobs: where pushed values go.
        below: told of everything.
    """

    def __init__(self, blobs: Blobs, below: Below) -> None:
        self.sessions: dict[str, Session] = {}
        self._blobs = blobs
        self._below = below
        self._rivals = CloneDetector()
        self._arriving: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def methods(self) -> Methods:
        """The calls that children may make, by name, for the gRPC server."""
        return {
            "Control": grpc.stream_stream_rpc_method_handler(self.control),
            "Fetch": grpc.unary_stream_rpc_method_handler(self.fetch),
            "Push": grpc.stream_stream_rpc_method_handler(self.push),
            **{name: _answering(call) for name, call in self._below.calls().items()},
        }

    def close(self) -> None:
        """End the connections of all children, whose streams never end by themselves: a server that stops would break
        them off, and gRPC would write tracebacks of that into the log."""
        for session in self.sessions.values():
            session.end("its parent is stopped")

    async def control(self, frames: AsyncIterator[bytes], context: Context) -> None:
        """Serve a child's control stream until one side ends it."""
        facts = await self.admit(context)
        present = await self._presented(facts, frames, context)
        session = Session(facts, present, address_of(context.peer()))
        before = self.sessions.get(session.name)
        if before is not None:
            await self._tell_apart(before, session, context)
            before.end("it connected anew")
            self._drop(before)
        self._rivals.came(session.name, present.instance)
        self.sessions[session.name] = session
        welcome = self._below.arrived(session)
        writer = asyncio.create_task(_write(context, welcome, session))
        reader = asyncio.create_task(self._read(frames, session))
        for task in (writer, reader):
            task.add_done_callback(lambda _: session.gone.set())  # Whatever ended it, nobody waits for it any more.
        # TLS looks at a certificate when a connection is made; a renewed one is shown by the next.
        expiry = asyncio.get_running_loop().call_later(
            min(facts.expires - time.time(), LONGEST_CONNECTION), session.end, "its certificate expired"
        )
        try:
            await session.gone.wait()
        except asyncio.CancelledError:
            return  # The child is gone, or the server stops: nobody is there to be told why.
        finally:
            expiry.cancel()
            reader.cancel()
            self._drop(session)
            silent = await session.silence(writer)
        if silent:
            await context.abort(grpc.StatusCode.UNAVAILABLE, session.why)

    async def _tell_apart(self, before: Session, session: Session, context: Context) -> None:
        """A child connects that is connected. If both are there, the first one stays: else they would throw each
        other out for ever."""
        name, one, other = session.name, before.present.instance, session.present.instance
        if not self._rivals.is_twin(name, one, other):
            return
        if self._rivals.is_news(name, one, other):
            self._below.twins(name, before.address, session.address)
        why = f"another program, at {before.address}, is connected with the identity of {name}; was its folder copied?"
        await _abort(context, grpc.StatusCode.ALREADY_EXISTS, why)

    async def fetch(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """A child asks for a blob."""
        asked = await _decoded(FETCH, request, context)
        withheld = self._below.withheld((await self.admit(context)).subject, asked.digest)
        if withheld is not None:
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, withheld)
        obtaining = asyncio.ensure_future(self._below.obtain(asked.digest, asked.doubted))
        try:
            while not (await asyncio.wait((obtaining,), timeout=PATIENCE))[0]:
                yield ALIVE
            path, size = obtaining.result()
        except UnreachableError as error:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
        except LookupError as error:
            await _abort(context, grpc.StatusCode.NOT_FOUND, str(error))
        except StorageError as error:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        finally:
            obtaining.cancel()
        if not 0 <= asked.offset <= size:
            await _abort(context, grpc.StatusCode.OUT_OF_RANGE, f"the blob has {size} bytes")
        yield encode(Size(size))
        left = size - asked.offset
        try:
            async for piece in pieces(path, asked.offset, asked.zstd):
                left = max(0, left - PIECE)
                yield piece
        finally:  # A child hangs up as soon as it has the last piece.
            self._below.carried(size - asked.offset - left, 0)

    async def push(self, chunks: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """A child brings a blob."""
        subject = (await self.admit(context)).subject
        stream = patient(chunks)
        try:
            first = await anext(stream, b"")
        except TimeoutError:
            await _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, "nothing came for a while")
        asked: Push = await _decoded(PUSH, first, context)
        refusal = self._below.wants(subject, asked)
        if refusal is not None:
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, refusal)
        async with self._arriving.setdefault(
            asked.digest, asyncio.Lock()
        ):  # Of two children with the same bytes, one brings them.
            async for answer in self._take(asked, stream, context):
                yield answer

    async def _take(self, asked: Push, stream: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        if self._blobs.has(asked.digest):
            yield encode(Have(asked.size))
            return
        try:
            writer = await asyncio.to_thread(self._blobs.writer, asked.digest, asked.size)
        except BlobTooLargeError as error:
            await _abort(context, grpc.StatusCode.OUT_OF_RANGE, str(error))
        except StorageError as error:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        try:
            before = writer.offset
            yield encode(Have(before))
            if before < asked.size:
                await receive(stream, writer, asked.size)
            await asyncio.to_thread(writer.finish)
            self._below.carried(0, asked.size - before)
            refused = None
        except (ChunkError, CorruptBlobError) as error:
            refused = grpc.StatusCode.DATA_LOSS, str(error)
        except TimeoutError:
            refused = grpc.StatusCode.DEADLINE_EXCEEDED, "nothing came for a while"
        except StorageError as error:
            refused = grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
        finally:
            writer.close()
        if refused is not None:
            if not asked.job:  # A node only tries again; a person wants to know why.
                await _drained(stream, asked.size)
            await _abort(context, *refused)
        yield encode(Have(asked.size))

    async def admit(self, context: Context) -> CertificateFacts:
        """Who dials; the call is ended if it may not."""
        try:
            facts = read_certificate(certificate_of_peer(context.auth_context()))
        except CertificateError as error:
            await _abort(context, grpc.StatusCode.UNAUTHENTICATED, str(error))
        await self.check(facts, context)
        return facts

    async def check(self, facts: CertificateFacts, context: Context) -> None:
        """End the call of somebody who may not be here, or not any more."""
        refusal = self._below.refusal(facts.subject, facts.serial)
        if refusal is not None:
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, refusal)

    async def _presented(self, facts: CertificateFacts, frames: AsyncIterator[bytes], context: Context) -> Present:
        try:
            async with asyncio.timeout(PATIENCE):
                first: UpFrame = self._below.up_frames.decode(await anext(frames))
        except (TimeoutError, StopAsyncIteration):
            await _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, "a node must present itself at once")
        except msgspec.DecodeError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"that is no frame: {error}")
        if not isinstance(first, Present):
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "a node must present itself first")
        if not OLDEST <= first.protocol <= PROTOCOL:
            why = (
                f"this node takes versions {OLDEST} to {PROTOCOL} of the protocol, not {first.protocol}; install the "
                "same Fogline, on parents before their children"
            )
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, why)
        # It may have been revoked since it dialled; from here on, whoever revokes it finds its session.
        why = self._below.refusal(facts.subject, facts.serial) or self._below.objection(facts, first)
        if why is not None:
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, why)
        return first

    async def _read(self, frames: AsyncIterator[bytes], session: Session) -> None:
        try:
            async for frame in frames:
                self._below.from_child(session, self._below.up_frames.decode(frame))
            session.end("it went away")
        except msgspec.DecodeError as error:
            session.end(f"it sent what is no frame: {error}")
        except grpc.aio.AioRpcError as error:
            session.end(f"the connection broke: {error.details()}")

    def _drop(self, session: Session) -> None:
        if self.sessions.get(session.name) is session:
            del self.sessions[session.name]
            self._below.departed(session)


def address_of(peer: str) -> str:
    """``host:port`` out of what gRPC calls a peer: ``ipv4:10.0.0.5:41234``, ``ipv6:%5Bfd00::5%5D:41234``."""
    return unquote(peer).partition(":")[2][:200]


async def _write(context: Context, welcome: Welcome, session: Session) -> None:
    try:
        frame: DownFrame = welcome
        while True:
            async with session.writing:
                await context.write(encode(frame))
            frame = await session.frames.get()
    except grpc.aio.AioRpcError as error:
        session.end(f"the connection broke: {error.details()}")


def _answering(call: Call) -> Method:
    """A child asks, and is answered at once."""

    async def answer(request: bytes, context: Context) -> bytes:
        asked = await _decoded(call.question, request, context)
        try:
            return await call.answer(asked)
        except UnreachableError as error:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
        except LookupError as error:
            await _abort(context, grpc.StatusCode.NOT_FOUND, str(error))
        except TimeoutError:
            await _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, "the answer took too long")

    return grpc.unary_unary_rpc_method_handler(answer)


async def _decoded(kind: Decoder[Any], data: bytes, context: Context) -> Any:
    try:
        return kind.decode(data)
    except msgspec.DecodeError as error:
        await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"that is no such message: {error}")


async def _drained(chunks: AsyncIterator[bytes], most: int) -> None:
    """Take the rest of what was announced, and keep nothing: gRPC tells a caller whose write fails that it has, and
    loses why."""
    with suppress(TimeoutError):
        async for chunk in chunks:
            most -= max(1, len(chunk) - 1)
            if most <= 0:
                return


async def _abort(context: Context, code: grpc.StatusCode, why: str) -> NoReturn:
    await context.abort(code, why)
    raise AssertionError("gRPC ends the call at abort")
