"""A node's connection to its parent: dialled from below, kept alive, and made again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass

import grpc
import grpc.aio
import msgspec

from fogline.errors import FoglineError
from fogline.governance.errors import TrustError
from fogline.governance.identity.credentials import Credentials
from fogline.network.timing import CERTIFICATE_SECONDS, PATIENCE, SPREAD, STEADY
from fogline.network.transport.chunks import ChunkError, first_answer, patient, pieces, receive
from fogline.network.transport.grpc import dial
from fogline.network.transport.messages import (
    SERVICE,
    Blob,
    Fetch,
    Have,
    Leaving,
    ParentAddress,
    Push,
    Size,
    UpFrame,
    Welcome,
)
from fogline.network.transport.ports import Above
from fogline.network.transport.search import ClonedIdentityError, ConnectionLostError, Search
from fogline.processes.messages import Decoder, decoder, encode
from fogline.retries import FETCH_AGAIN, Failures
from fogline.storage import Blobs, BlobWriter, CorruptBlobError

log = logging.getLogger("fogline.network")

FINAL = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.INVALID_ARGUMENT,
)
"""With these a parent says no; with any other, that it cannot now."""
HAVE, SIZE = decoder(Have), decoder(Size)


class UpdateNotTakenError(LookupError):
    """The parent will never take that blob."""


class RefusedByParentError(FoglineError, RuntimeError):
    """The parent does not want this node; there is no use in trying again."""


@dataclass
class _Line:
    """One connection."""

    parent: str
    channel: grpc.aio.Channel
    frames: asyncio.Queue[UpFrame]
    open: bool = True
    """Whether calls may begin on it."""


class _Damaged(LookupError):  # noqa: N818 - read aloud, it is what happened
    """The parent sent other bytes than it should."""


@dataclass
class _Fetching:
    """A blob that is on its way here."""

    task: asyncio.Task[None]
    waiting: int = 0
    """How many wait for it."""


class Uplink:
    """Keeps a node connected to one of its parents.

    Args:
        identity: what it shows; read anew for every connection, so that a new certificate is taken up.
        parent_addresses: parents, the node's own first: it goes back to that one whenever it can.
        blobs: where fetched values go.
        above: told of everything.
    """

    def __init__(
        self, identity: Callable[[], Credentials], parent_addresses: list[ParentAddress], blobs: Blobs, above: Above
    ) -> None:
        self.parent_addresses = parent_addresses
        self.own = parent_addresses[0]
        self._identity = identity
        self._blobs = blobs
        self._above = above
        self._line: _Line | None = None
        self._there = asyncio.Event()
        self._returning = False
        """Whether the node leaves its parent for its own one."""
        self._fetches: dict[tuple[str, str], _Fetching] = {}

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            RefusedByParentError: no parent wants this node.
            TrustError: its own identity cannot be used (any more).
        """
        search = Search(lambda: self.parent_addresses)
        clock = asyncio.get_running_loop().time
        while True:
            parent_address, began = search.next(), clock()
            try:
                await self._serve(parent_address)
            except ConnectionLostError as loss:
                if self._line is not None:
                    search.lost(parent_address, steady=clock() - began >= STEADY)
                else:
                    search.failed(parent_address, loss)
                if self._returning:
                    search.turn_to(self.own)
                self._end(str(loss))
            except RefusedByParentError as refusal:
                self._end(str(refusal))
                raise
            self._returning = False
            await asyncio.sleep(search.wait())

    @property
    def parent(self) -> str | None:
        """The parent that is connected."""
        return None if self._line is None else self._line.parent

    async def connection(self) -> None:
        """Wait until a parent is connected."""
        await self._there.wait()

    def send(self, frame: UpFrame) -> None:
        """Say something; dropped where nobody is connected (state machines say it again)."""
        if self._line is not None:
            self._line.frames.put_nowait(frame)

    async def fetch(self, blob: Blob, into: Blobs | None = None) -> None:
        """See that a blob is here: from the parent, once for all who ask, and from where it broke off.

        ``into``: another store than that of jobs.

        Raises:
            LookupError: the parent does not have it (any more).
            StorageError: it cannot be kept here.
        """
        blobs = into or self._blobs
        if blobs.has(blob.digest):
            return
        key = (blobs.where, blob.digest)
        fetching = self._fetches.get(key)
        if fetching is None or fetching.task.done():
            fetching = self._fetches[key] = _Fetching(asyncio.create_task(self._fetch(blob, blobs)))
        fetching.waiting += 1
        try:
            await asyncio.shield(fetching.task)
        finally:
            fetching.waiting -= 1
            if not fetching.waiting:  # Nobody wants it any more: the parent may hang.
                fetching.task.cancel()
                if self._fetches.get(key) is fetching:
                    del self._fetches[key]
                await asyncio.wait((fetching.task,))  # Until it has let go of the file.

    async def push(self, blob: Blob, job: str, task: int) -> None:
        """See that a blob is at the parent.

        Raises:
            ConnectionLostError: the connection broke, or the parent cannot take it now; it goes on from there the next
                time.
            UpdateNotTakenError: the parent never will.
            LookupError: the parent does not want it.
            StorageError: it is damaged here, or gone.
        """
        call = self._open().channel.stream_stream(f"/{SERVICE}/Push")()
        try:
            await call.write(encode(Push(blob.digest, blob.size, job, task)))
            have = await self._answer(call, HAVE)
            if have.offset < blob.size:
                async for piece in pieces(self._blobs.path(blob.digest), have.offset, have.zstd):
                    await call.write(piece)
                await call.done_writing()
                await self._answer(call, HAVE)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, msgspec.DecodeError) as error:
            if call.done() and await call.code() == grpc.StatusCode.DATA_LOSS:
                await asyncio.to_thread(self._blobs.verify, blob.digest)
            raise await _reason_of(call, error) from error
        finally:
            call.cancel()

    async def unary(self, method: str, message: msgspec.Struct, seconds: float = 3 * PATIENCE) -> bytes:
        """One question, one answer, within so many seconds.

        Raises:
            ConnectionLostError: there is no connection.
            LookupError: the parent refused; the text says why.
        """
        line = self._open()
        with _in_words():
            return await line.channel.unary_unary(method)(encode(message), timeout=seconds)

    def _open(self) -> _Line:
        """The connection, if calls may begin on it.

        Raises:
            ConnectionLostError: there is none.
        """
        if self._line is None or not self._line.open:
            raise ConnectionLostError("there is no connection")
        return self._line

    async def _answer(self, call: grpc.aio.StreamStreamCall[bytes, bytes], kind: Decoder[Have]) -> Have:
        answer = await call.read()
        if not isinstance(answer, bytes):
            raise await _reason_of(call, ConnectionLostError("the parent ended the transfer"))
        return kind.decode(answer)

    async def _fetch(self, blob: Blob, into: Blobs) -> None:
        failures, doubted = Failures(FETCH_AGAIN), False
        while not into.has(blob.digest):
            await self._there.wait()
            try:
                await self._fetch_once(blob, into, doubted)
            except _Damaged:
                # Once more, after the parent has looked at its own file, and from the first byte.
                if doubted:
                    raise
                doubted = True
            except ConnectionLostError:
                await asyncio.sleep(failures.another())

    async def _fetch_once(self, blob: Blob, into: Blobs, doubted: bool) -> None:
        writer = await asyncio.to_thread(into.writer, blob.digest, blob.size)
        parent = "the parent"
        try:
            line = self._open()
            parent = line.parent
            with _in_words():
                await self._receive(line, writer, doubted)
            # The parent has it too: after a power cut it is fetched again.
            await asyncio.to_thread(writer.finish, False)
        except (ChunkError, CorruptBlobError, msgspec.DecodeError) as error:
            raise _Damaged(f"What {parent} sent is damaged: {error}") from error
        finally:
            writer.close()

    async def _receive(self, line: _Line, writer: BlobWriter, doubted: bool) -> None:
        asked = Fetch(writer.digest, writer.offset, doubted=doubted)
        call = line.channel.unary_stream(f"/{SERVICE}/Fetch")(encode(asked))
        try:
            stream = patient(aiter(call))
            size = SIZE.decode(await first_answer(stream))
            if size.size != writer.size:
                raise ChunkError(f"It has {size.size} bytes, not {writer.size}.")
            if writer.offset < writer.size:
                await receive(stream, writer, writer.size)
        finally:
            call.cancel()

    async def _serve(self, parent_address: ParentAddress) -> None:
        """One connection, from dialling to its loss.

        Raises:
            ConnectionLostError: it is gone, or never came.
            RefusedByParentError: the parent said so.
        """
        channel = dial(self._identity(), parent_address.address, parent_address.name)
        line = _Line(parent_address.name, channel, asyncio.Queue())
        try:
            call = channel.stream_stream(f"/{SERVICE}/Control")()
            async with asyncio.timeout(PATIENCE):
                await call.write(encode(self._above.present()))
                first = self._above.down_frames.decode(_frame(await call.read()))
            if not isinstance(first, Welcome):
                raise ConnectionLostError(f"{parent_address.name} began with a {type(first).__name__}")
            self._line = line
            self._there.set()
            self._above.connected(parent_address.name, first)
            beside = [asyncio.create_task(_write(call, line.frames))]
            if parent_address.name != self.own.name:
                beside.append(asyncio.create_task(self._return_parent_address(line)))
            try:
                while True:
                    frame = self._above.down_frames.decode(_frame(await call.read()))
                    self._above.from_parent(parent_address.name, frame)
            finally:
                for task in beside:
                    task.cancel()
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.PERMISSION_DENIED:
                raise RefusedByParentError(error.details()) from error
            if error.code() == grpc.StatusCode.ALREADY_EXISTS:
                raise ClonedIdentityError(error.details() or "") from error
            raise ConnectionLostError(error.details() or str(error.code())) from error
        except asyncio.InvalidStateError:
            raise ConnectionLostError("the connection broke") from None
        except TimeoutError:
            raise ConnectionLostError(f"{parent_address.name} at {parent_address.address} does not answer") from None
        except msgspec.DecodeError as error:
            raise ConnectionLostError(f"{parent_address.name} sent what is no frame: {error}") from error
        finally:
            line.open = False
            await channel.close()

    async def _return_parent_address(self, line: _Line) -> None:
        """Leave a parent when the node's own one is back; its children come one after the other."""
        try:
            while not await self._answers(self.own):
                pass
        except TrustError as error:  # The connection that there is goes on; the next one looks again.
            log.warning("%s cannot be looked for: %s", self.own.name, error)
            return
        await asyncio.sleep(SPREAD * random.random())
        await self._above.rested()
        log.info("%s is back: leaving %s for it", self.own.name, line.parent)
        self._returning = True
        line.frames.put_nowait(Leaving())

    async def _answers(self, parent_address: ParentAddress) -> bool:
        """Wait until a parent can be reached; False: the certificate should be looked at again before going on."""
        try:
            async with (
                asyncio.timeout(CERTIFICATE_SECONDS),
                dial(self._identity(), parent_address.address, parent_address.name) as channel,
            ):
                await channel.channel_ready()
        except TimeoutError:
            return False
        return True

    def _end(self, why: str) -> None:
        self._there.clear()
        line, self._line = self._line, None
        if line is not None:
            self._above.disconnected(line.parent, why)


async def _write(call: grpc.aio.StreamStreamCall[bytes, bytes], frames: asyncio.Queue[UpFrame]) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # The reader says why it ended.
        while True:
            await call.write(encode(await frames.get()))


@contextlib.contextmanager
def _in_words() -> Generator[None]:
    """What a call ends with, as what it means.

    Raises:
        ConnectionLostError: the connection broke.
        LookupError: the parent refused.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _reason(error) from error
    except TimeoutError:
        raise ConnectionLostError("the parent sent nothing for a while") from None
    except asyncio.CancelledError:
        # The end of a connection cancels its calls, and nobody has asked this task to stop.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionLostError("the connection ended") from None


def _frame(answer: object) -> bytes:
    if not isinstance(answer, bytes):
        raise ConnectionLostError("the parent ended the connection")
    return answer


def _reason(error: BaseException) -> Exception:
    """A broken connection can be tried again; a refusal cannot."""
    if isinstance(error, grpc.aio.AioRpcError):
        return _meaning(error.code(), error.details())
    return ConnectionLostError(str(error) or "the connection broke")


async def _reason_of(call: grpc.aio.StreamStreamCall[bytes, bytes], error: BaseException) -> Exception:
    """Why a transfer ended: what the parent said, if it did, whatever the attempt to write met."""
    if call.done():
        return _meaning(await call.code(), await call.details())
    return _reason(error)


def _meaning(code: grpc.StatusCode, details: str | None) -> Exception:
    text = details or str(code)
    if code == grpc.StatusCode.OUT_OF_RANGE:
        return UpdateNotTakenError(text)
    return LookupError(text) if code in FINAL else ConnectionLostError(text)
