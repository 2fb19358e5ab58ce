"""A node's connection to its parent: dialled from below, kept alive, and made again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import grpc
import grpc.aio
import msgspec

from fogline.governance.credentials import Credentials
from fogline.network.chunks import BadChunk, first_answer, patient, pieces, receive
from fogline.network.contract import (
    DOWN,
    PATIENCE,
    SERVICE,
    Blob,
    Decoder,
    Down,
    Fetch,
    Have,
    Home,
    Present,
    Push,
    Size,
    Up,
    Welcome,
    decoder,
    encode,
)
from fogline.network.wire import dial
from fogline.storage import Blobs, CorruptBlob, Writer

log = logging.getLogger("fogline.network")
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
"""Seconds before a lost connection is tried again: doubled each time, and never quite the same for two nodes."""
TRIES = 3
"""Failed attempts at one parent before the next one on the list is tried."""

FINAL = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.INVALID_ARGUMENT,
)
"""With these a parent says no; with any other, that it cannot now."""
HAVE, SIZE = decoder(Have), decoder(Size)


class Lost(ConnectionError):  # noqa: N818 - read aloud, it is what happened
    """The parent is gone."""


class NotTaken(LookupError):  # noqa: N818 - read aloud, it is what happened
    """The parent will never take that blob."""


class Refused(RuntimeError):  # noqa: N818 - read aloud, it is what happened
    """The parent does not want this node; there is no use in trying again."""


class Above(Protocol):
    """Who is told of what comes from the parent."""

    def present(self) -> Present:
        """How the node presents itself."""
        ...

    def connected(self, parent: str, welcome: Welcome) -> None:
        """The parent is there (again)."""
        ...

    def disconnected(self, parent: str, why: str) -> None:
        """It is gone."""
        ...

    def from_parent(self, parent: str, frame: Down) -> None:
        """It said something."""
        ...


@dataclass
class _Line:
    """One connection."""

    parent: str
    channel: grpc.aio.Channel
    frames: asyncio.Queue[Up]
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
        homes: parents, the preferred one first.
        blobs: where fetched values go.
        above: told of everything.
    """

    def __init__(self, identity: Callable[[], Credentials], homes: list[Home], blobs: Blobs, above: Above) -> None:
        self.homes = homes
        self._identity = identity
        self._blobs = blobs
        self._above = above
        self._line: _Line | None = None
        self._there = asyncio.Event()
        self._fetches: dict[tuple[str, str], _Fetching] = {}

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            Refused: no parent wants this node.
            TrustError: its own identity cannot be used (any more).
        """
        wait, tries, place = FIRST_WAIT, 0, 0
        while True:
            home = self.homes[place % len(self.homes)]
            try:
                await self._serve(home)
            except Lost as loss:
                tries += 1
                if self._line is not None:
                    wait, tries = FIRST_WAIT, 0
                    # The list may have changed since: the parent of so far is tried first.
                    place = next((i for i, other in enumerate(self.homes) if other.name == home.name), place)
                elif tries == 1:
                    log.warning("%s at %s cannot be reached: %s", home.name, home.address, loss)
                self._end(str(loss))
            except Refused as refusal:
                self._end(str(refusal))
                raise
            if tries >= TRIES:
                place, tries = place + 1, 0
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(LONGEST_WAIT, 2 * wait)

    @property
    def parent(self) -> str | None:
        """The parent that is connected."""
        return None if self._line is None else self._line.parent

    async def connection(self) -> None:
        """Wait until a parent is connected."""
        await self._there.wait()

    def send(self, frame: Up) -> None:
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
            Lost: the connection broke, or the parent cannot take it now; it goes on from there the next time.
            NotTaken: the parent never will.
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
            Lost: there is no connection.
            LookupError: the parent refused; the text says why.
        """
        line = self._open()
        with _in_words():
            return await line.channel.unary_unary(method)(encode(message), timeout=seconds)

    def _open(self) -> _Line:
        """The connection, if calls may begin on it.

        Raises:
            Lost: there is none.
        """
        if self._line is None or not self._line.open:
            raise Lost("there is no connection")
        return self._line

    async def _answer(self, call: grpc.aio.StreamStreamCall[bytes, bytes], kind: Decoder[Have]) -> Have:
        answer = await call.read()
        if not isinstance(answer, bytes):
            raise await _reason_of(call, Lost("the parent ended the transfer"))
        return kind.decode(answer)

    async def _fetch(self, blob: Blob, into: Blobs) -> None:
        wait, doubted = FIRST_WAIT, False
        while not into.has(blob.digest):
            await self._there.wait()
            try:
                await self._fetch_once(blob, into, doubted)
            except _Damaged:
                # Once more, after the parent has looked at its own file, and from the first byte.
                if doubted:
                    raise
                doubted = True
            except Lost:
                await asyncio.sleep(wait)
                wait = min(LONGEST_WAIT, 2 * wait)

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
        except (BadChunk, CorruptBlob, msgspec.DecodeError) as error:
            raise _Damaged(f"What {parent} sent is damaged: {error}") from error
        finally:
            writer.close()

    async def _receive(self, line: _Line, writer: Writer, doubted: bool) -> None:
        asked = Fetch(writer.digest, writer.offset, doubted=doubted)
        call = line.channel.unary_stream(f"/{SERVICE}/Fetch")(encode(asked))
        try:
            stream = patient(aiter(call))
            size = SIZE.decode(await first_answer(stream))
            if size.size != writer.size:
                raise BadChunk(f"It has {size.size} bytes, not {writer.size}.")
            if writer.offset < writer.size:
                await receive(stream, writer, writer.size)
        finally:
            call.cancel()

    async def _serve(self, home: Home) -> None:
        """One connection, from dialling to its loss.

        Raises:
            Lost: it is gone, or never came.
            Refused: the parent said so.
        """
        channel = dial(self._identity(), home.address, home.name)
        line = _Line(home.name, channel, asyncio.Queue())
        try:
            call = channel.stream_stream(f"/{SERVICE}/Control")()
            async with asyncio.timeout(PATIENCE):
                await call.write(encode(self._above.present()))
                first = DOWN.decode(_frame(await call.read()))
            if not isinstance(first, Welcome):
                raise Lost(f"{home.name} began with a {type(first).__name__}")
            self._line = line
            self._there.set()
            self._above.connected(home.name, first)
            writing = asyncio.create_task(_write(call, line.frames))
            try:
                while True:
                    self._above.from_parent(home.name, DOWN.decode(_frame(await call.read())))
            finally:
                writing.cancel()
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.PERMISSION_DENIED:
                raise Refused(error.details()) from error
            raise Lost(error.details() or str(error.code())) from error
        except asyncio.InvalidStateError:
            raise Lost("the connection broke") from None
        except TimeoutError:
            raise Lost(f"{home.name} at {home.address} does not answer") from None
        except msgspec.DecodeError as error:
            raise Lost(f"{home.name} sent what is no frame: {error}") from error
        finally:
            line.open = False
            await channel.close()

    def _end(self, why: str) -> None:
        self._there.clear()
        line, self._line = self._line, None
        if line is not None:
            self._above.disconnected(line.parent, why)


async def _write(call: grpc.aio.StreamStreamCall[bytes, bytes], frames: asyncio.Queue[Up]) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # The reader says why it ended.
        while True:
            await call.write(encode(await frames.get()))


@contextlib.contextmanager
def _in_words() -> Generator[None]:
    """What a call ends with, as what it means.

    Raises:
        Lost: the connection broke.
        LookupError: the parent refused.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _reason(error) from error
    except TimeoutError:
        raise Lost("the parent sent nothing for a while") from None
    except asyncio.CancelledError:
        # The end of a connection cancels its calls, and nobody has asked this task to stop.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Lost("the connection ended") from None


def _frame(answer: object) -> bytes:
    if not isinstance(answer, bytes):
        raise Lost("the parent ended the connection")
    return answer


def _reason(error: BaseException) -> Exception:
    """A broken connection can be tried again; a refusal cannot."""
    if isinstance(error, grpc.aio.AioRpcError):
        return _meaning(error.code(), error.details())
    return Lost(str(error) or "the connection broke")


async def _reason_of(call: grpc.aio.StreamStreamCall[bytes, bytes], error: BaseException) -> Exception:
    """Why a transfer ended: what the parent said, if it did, whatever the attempt to write met."""
    if call.done():
        return _meaning(await call.code(), await call.details())
    return _reason(error)


def _meaning(code: grpc.StatusCode, details: str | None) -> Exception:
    text = details or str(code)
    if code == grpc.StatusCode.OUT_OF_RANGE:
        return NotTaken(text)
    return LookupError(text) if code in FINAL else Lost(text)
