"""The operator's side of the cloud's interface."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec

from fogline.errors import FoglineError, InputError
from fogline.governance.audit_log.export import exporting
from fogline.governance.bundles.bundle import pack
from fogline.governance.identity.identity import Identity
from fogline.governance.signatures.signers import Signer
from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud.records import ApprovalReport, LogLine, NodeInfo, Record, Stop
from fogline.network.cloud.requests import (
    AnyModel,
    AuditPage,
    FleetNews,
    Forgetting,
    LedgerPage,
    Linked,
    Moving,
    Name,
    NewFleetPolicy,
    NewReleaseKeys,
    NewToken,
    NumberedLine,
    OfflineMetadataMessage,
    OwnerDecision,
    SetPolicies,
    SetRetrainRule,
    Stopping,
    Submit,
    Text,
    Which,
)
from fogline.network.cloud.results import Contents, ResultError, write
from fogline.network.transport.chunks import ChunkError, first_answer, receive
from fogline.network.transport.grpc import dial
from fogline.network.transport.messages import OPERATOR_SERVICE, PIECE, SERVICE, Blob, Fetch, Have, Push
from fogline.processes.messages import decoder, encode
from fogline.registry.model_report import ModelReport, Steer
from fogline.storage import CorruptBlobError, open_blobs

WRONG = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED)
"""What the cloud says of a request that it understands, and refuses."""


class OperatorApiError(FoglineError, RuntimeError):
    """The cloud refused, or does not answer; the text is a sentence."""


class RequestRefusedError(InputError, OperatorApiError):
    """The cloud cannot do what was asked for: there is no such thing, or it makes no sense."""


class Client:
    """Talks to a cloud.

    Args:
        channel: to it.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def submit(
        self,
        text: str,
        bundle: bytes,
        priority: int = 0,
        planned: bool = False,
        wait: float = 60.0,
    ) -> Record:
        """Put a job into the queue."""
        blob = await self._push(bundle)
        asked = Submit(text, blob, priority, planned, wait)
        return await self._ask("Submit", asked, Record)

    async def jobs(self, name: str = "") -> list[Record]:
        """The records of all jobs, or of the one that is named."""
        return await self._ask("Jobs", Name(name), list[Record])

    async def stop(self, name: str, how: Stop = "keep") -> Record:
        """End a job. ``how``: what becomes of what it has learned."""
        return await self._ask("Stop", Stopping(name, how), Record)

    async def approvals(self) -> list[ApprovalReport]:
        """Jobs that wait for owners, here or at nodes."""
        return await self._ask("Approvals", Name(), list[ApprovalReport])

    async def approval(self, job: str) -> ApprovalReport:
        """What a job wants, in words, and what owners said to it."""
        return await self._ask("Approval", Name(job), ApprovalReport)

    async def decide(self, job: str, envelope: bytes) -> ApprovalReport:
        """Hand in what an owner signed: how the job stands now."""
        return await self._ask("Decide", OwnerDecision(job, envelope), ApprovalReport)

    async def publish_policy(self, data: bytes) -> str:
        """Give the fleet a policy, signed by an operator."""
        return (await self._ask("PublishPolicy", NewFleetPolicy(data), Text)).text

    async def policies(self) -> SetPolicies:
        """The fleet's policy and the cloud's own."""
        return await self._ask("Policies", Name(), SetPolicies)

    async def ledgers(self) -> list[tuple[str, bytes]]:
        """The newest end of each node's ledger of privacy, as the node signed it, by the node."""
        found: list[tuple[str, bytes]] = []
        kind = decoder(LedgerPage)
        with _in_words():
            async for message in self._channel.unary_stream(f"/{OPERATOR_SERVICE}/Ledgers")(encode(Name())):
                found += kind.decode(message).ends
        return found

    async def fetch(self, file: Blob, path: Path) -> None:
        """Fetch a job's bundle into a file."""
        await self._fetch(file, path)

    async def nodes(self) -> list[NodeInfo]:
        """Who is or was connected."""
        return await self._ask("Nodes", Name(), list[NodeInfo])

    async def follow(self) -> AsyncGenerator[FleetNews]:
        """What the cloud knows of jobs and nodes, and what becomes of it, for as long as the connection holds."""
        kind = decoder(FleetNews)
        call = self._channel.unary_stream(f"/{OPERATOR_SERVICE}/Follow")(encode(Name()))
        try:
            with _in_words():
                async for message in call:
                    yield kind.decode(message)
        finally:
            call.cancel()

    async def audit_log(self, to: Path) -> None:
        """Fetch the cloud's audit log into a file."""
        pages = self._channel.unary_stream(f"/{OPERATOR_SERVICE}/AuditLog")(encode(Name()))
        kind = decoder(AuditPage)
        with _in_words(), exporting(to) as add:
            async for message in pages:
                page: AuditPage = kind.decode(message)
                add(page.head, page.lines)

    async def forget_jobs(self, name: str = "", older: float | None = None) -> str:
        """Forget a job that is over, or all that have been over for so many seconds."""
        return (await self._ask("ForgetJobs", Forgetting(name, older), Text)).text

    async def forget_node(self, name: str) -> str:
        """Forget a node that was revoked."""
        return (await self._ask("ForgetNode", Name(name), Text)).text

    async def move(self, address: str) -> str:
        """Tell the nodes below the cloud where it will be reached."""
        return (await self._ask("Move", Moving(address), Text)).text

    async def notices(self) -> list[LogLine]:
        """What happened to the cloud that an operator must know, the newest last."""
        return await self._ask("Notices", Name(), list[LogLine])

    async def revoke(self, name: str) -> str:
        """Revoke a node's membership: it is cut off everywhere, and may not come back."""
        return (await self._ask("Revoke", Name(name), Text)).text

    async def token(self, asked: NewToken) -> str:
        """A token for a new node."""
        return (await self._ask("Token", asked, Text)).text

    async def watch(self, name: str, after: int = 0, follow: bool = True) -> AsyncIterator[LogLine]:
        """A job's log; ``follow``: as it grows, until the job is over."""
        kind = decoder(NumberedLine)
        with _in_words():
            async for message in self._channel.unary_stream(f"/{OPERATOR_SERVICE}/Watch")(
                encode(Name(name, after, follow))
            ):
                yield kind.decode(message).line

    async def result(self, job: str, to: Path) -> Contents:
        """Fetch the files of a job's result, as far as they are there, into a folder."""
        stream = aiter(self._channel.unary_stream(f"/{OPERATOR_SERVICE}/Result")(encode(Name(job))))
        try:
            return await write(stream, to)
        except grpc.aio.AioRpcError as error:
            raise _sentence(error) from error
        except (ResultError, ChunkError, StopAsyncIteration, msgspec.DecodeError) as error:
            raise OperatorApiError(str(error) or "The cloud ended the transfer.") from error

    # Models.

    async def models(self, model: str = "") -> list[ModelReport]:
        """What is known of all models, or of the one that is named."""
        return await self._ask("Models", AnyModel(model), list[ModelReport])

    async def steer(self, wanted: Steer) -> str:
        """Change where a model's versions go."""
        return (await self._ask("Steer", wanted, Text)).text

    async def offline_metadata(self) -> bytes:
        """All that the operator's offline keys have signed."""
        return (await self._ask("OfflineMetadata", AnyModel(), OfflineMetadataMessage)).data

    async def adopt(self, offline_metadata: bytes) -> str:
        """Hand in what was signed anew."""
        return (await self._ask("Adopt", OfflineMetadataMessage(offline_metadata), Text)).text

    async def new_release_keys(self) -> tuple[Signer, ...]:
        """Have the cloud make new keys for releases: their public halves. They count once they are signed."""
        return await self._ask("NewReleaseKeys", NewReleaseKeys(), tuple[Signer, ...])

    async def export(self, model: str, version: int, path: Path) -> None:
        """Write a version into a file."""
        file: Blob = await self._ask("Export", Which(model, version), Blob)
        await self._fetch(file, path)

    async def take_in(self, path: Path) -> str:
        """Bring a version that was exported."""
        blob = await self._push(await asyncio.to_thread(path.read_bytes))
        return (await self._ask("Import", blob, Text)).text

    async def link(self, model: str, to: str, accuracy: float | None, budget: float | None) -> str:
        """Make a cascade of two models."""
        return (await self._ask("Link", Linked(model, to, accuracy, budget), Text)).text

    async def retrain(self, model: str, psi: float | None, cooldown: float) -> str:
        """Say when a model's job runs again by itself."""
        return (await self._ask("Retrain", SetRetrainRule(model, psi, cooldown), Text)).text

    # Inside.

    async def _fetch(self, file: Blob, path: Path) -> None:
        store = open_blobs(path.parent / f".{path.name}.part")
        writer = store.writer(file.digest, file.size)
        try:
            stream = aiter(self._channel.unary_stream(f"/{SERVICE}/Fetch")(encode(Fetch(file.digest))))
            await first_answer(stream)  # Its size, which is known.
            await receive(stream, writer, file.size)
            writer.finish()
        except grpc.aio.AioRpcError as error:
            raise _sentence(error) from error
        except (ChunkError, CorruptBlobError) as error:
            raise OperatorApiError(f"The cloud sends another file than it was asked for: {error}") from error
        finally:
            writer.close()
        store.path(file.digest).replace(path)
        shutil.rmtree(path.parent / f".{path.name}.part")

    async def _ask(self, method: str, message: msgspec.Struct, kind: Any) -> Any:
        with _in_words():
            answer = await self._channel.unary_unary(f"/{OPERATOR_SERVICE}/{method}")(encode(message), timeout=60)
            return decoder(kind).decode(answer)

    async def _push(self, data: bytes) -> Blob:
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        call = self._channel.stream_stream(f"/{SERVICE}/Push")()
        try:
            await call.write(encode(Push(blob.digest, blob.size)))
            have: Have = decoder(Have).decode(await _answer(call))
            for start in range(have.offset, len(data), PIECE):
                await call.write(b"\x00" + data[start : start + PIECE])
            if have.offset < len(data):
                await call.done_writing()
                await _answer(call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            # A write to a call that the cloud has ended says only that it has; why, the call knows.
            raise _refused(await call.code(), await call.details() or "") from error
        finally:
            call.cancel()
        return blob


@asynccontextmanager
async def connect(folder: Path, name: str, address: str) -> AsyncGenerator[Client]:
    """A client with the identity in a folder, connected to the cloud of that name at ``host:port``."""
    async with dial(Identity.load(folder), address, name) as channel:
        yield Client(channel)


def bundle_of(text: str, folder: Path | None, files: Sequence[Path], key: SigningKey) -> bytes:
    """Pack a job's code and sign it."""
    return pack(text, folder, files, key, time.time())


async def _answer(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> bytes:
    answer = await call.read()
    if not isinstance(answer, bytes):
        raise _refused(await call.code(), (await call.details()) or "The cloud ended the transfer.")
    return answer


@contextmanager
def _in_words() -> Generator[None]:
    """What goes wrong with a call inside, as a sentence.

    Raises:
        OperatorApiError: the cloud refused, does not answer, or says what nobody understands.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _sentence(error) from error
    except msgspec.DecodeError as error:
        raise OperatorApiError(f"The cloud answers what is no answer ({error}); is it of another version?") from error


def _sentence(error: grpc.aio.AioRpcError) -> OperatorApiError:
    return _refused(error.code(), error.details() or "")


def _refused(code: grpc.StatusCode, details: str) -> OperatorApiError:
    if code == grpc.StatusCode.UNAVAILABLE:
        return OperatorApiError(
            f"The cloud does not answer ({_short(details)}); does it run, and can this machine reach it?"
        )
    kind = RequestRefusedError if code in WRONG else OperatorApiError
    return kind(details or str(code))


def _short(details: str) -> str:
    """The last clause of gRPC's long-winded reasons."""
    return (details or "no connection").rpartition("last error: ")[2].rpartition("UNKNOWN: ")[2]
