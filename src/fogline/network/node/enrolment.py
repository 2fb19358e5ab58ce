"""How a node becomes a member, and stays one: the enrolment endpoint, the first certificate, and the next ones."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio
import msgspec

from fogline.governance.errors import TrustError, UntimelyIdentityError
from fogline.governance.identity.checked import credentials
from fogline.governance.identity.credentials import REST, Credentials
from fogline.governance.identity.proofs import signed
from fogline.governance.subject import Role
from fogline.network.timing import PATIENCE
from fogline.network.transport.grpc import Methods, dial_for_enrolment
from fogline.network.transport.messages import ENROLMENT_SERVICE, SERVICE, Certificate, Enrol, ParentAddress, Renew
from fogline.network.transport.uplink import ConnectionLostError, Uplink
from fogline.processes.messages import Decoder, decoder, encode
from fogline.retries import RENEW_AGAIN
from fogline.storage import StorageError

A = TypeVar("A")
if TYPE_CHECKING:
    from fogline.network.transport.downlink import Context

log = logging.getLogger("fogline.network")
ENROL, RENEW, CERTIFICATE = decoder(Enrol), decoder(Renew), decoder(Certificate)


class Issuer:
    """Answers who asks for a certificate: at the root from the registrar, elsewhere from the parent.

    Args:
        enrol: for a node with a token.
        renew: for a node with a certificate.
    """

    def __init__(
        self, enrol: Callable[[Enrol], Awaitable[Certificate]], renew: Callable[[Renew], Awaitable[Certificate]]
    ) -> None:
        self._enrol = enrol
        self._renew = renew

    @classmethod
    def above(cls, uplink: Uplink, parent_address: Callable[[], ParentAddress]) -> Issuer:
        """Passes requests on; whoever joins through this node gets it as its parent."""

        async def enrol(asked: Enrol) -> Certificate:
            issued: Certificate = CERTIFICATE.decode(await uplink.unary(f"/{SERVICE}/Enrol", asked))
            return msgspec.structs.replace(issued, parent_address=parent_address())

        async def renew(asked: Renew) -> Certificate:
            return CERTIFICATE.decode(await uplink.unary(f"/{SERVICE}/Renew", asked))

        return cls(enrol, renew)

    def enrolment(self) -> Methods:
        """For the server of the enrolment endpoint, which asks nobody for a certificate."""

        async def enrol(request: bytes, context: Context) -> bytes:
            return await _answered(request, context, ENROL, self._enrol)

        return {"Enrol": grpc.unary_unary_rpc_method_handler(enrol)}

    def methods(self) -> Methods:
        """For members: renewal, and what aggregators pass on from their enrolment endpoints."""

        async def enrol(request: bytes, context: Context) -> bytes:
            return await _answered(request, context, ENROL, self._enrol)

        async def renew(request: bytes, context: Context) -> bytes:
            return await _answered(request, context, RENEW, self._renew)

        return {
            "Enrol": grpc.unary_unary_rpc_method_handler(enrol),
            "Renew": grpc.unary_unary_rpc_method_handler(renew),
        }


async def join(endpoint: ParentAddress, token_text: str, name: str, role: Role, folder: Path) -> Certificate:
    """Become a member: hand the token in at an enrolment endpoint, and keep the certificate that comes back.

    Args:
        endpoint: the node whose enrolment endpoint it is, and the address of that.
        token_text: from the operator.
        name: of this node.
        role: what it will be.
        folder: for its identity.

    Raises:
        TrustError: the token or the answer is not right.
        ConnectionError: nobody answers at the enrolment endpoint.
    """
    from fogline.governance.identity.identity import Identity
    from fogline.governance.identity.tokens import read_token

    token = read_token(token_text)
    key = Identity.create_key(folder)
    async with dial_for_enrolment(token.root, endpoint) as channel:
        try:
            answer = await channel.unary_unary(f"/{ENROLMENT_SERVICE}/Enrol")(
                encode(Enrol(token.id, token.secret, name, role, key.csr())), timeout=3 * PATIENCE
            )
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise ConnectionError(
                    f"nobody answers at the enrolment endpoint {endpoint.address}: {error.details()}"
                ) from error
            raise TrustError(error.details() or str(error.code())) from error
    issued: Certificate = CERTIFICATE.decode(answer)
    key.install(issued.certificate, token.root)
    credentials(folder)  # Checked here once, so that the node starts light.
    return issued


async def keep_valid(folder: Path, uplink: Uplink) -> None:
    """Renew the identity in a folder in good time, for as long as the node runs."""
    clock = asyncio.get_running_loop().time
    earliest = clock()
    while True:
        try:
            identity = await asyncio.to_thread(credentials, folder)
        except UntimelyIdentityError as error:  # The clock may be set right.
            log.error("this node's certificate cannot be renewed now: %s", error)
            await asyncio.sleep(RENEW_AGAIN)
            continue
        except TrustError as error:
            log.error("this node's certificate cannot be renewed: %s", error)
            return
        wait = max(identity.renew_at - time.time(), earliest - clock())
        if wait > 0:
            # Never all nodes at once, and in pieces: a sleeping machine's clock goes on.
            await asyncio.sleep(min(wait * random.uniform(0.9, 1.0) + 0.1, 3600.0))
            continue
        await uplink.connection()
        try:
            renewed = await renew(folder, identity, uplink)
            log.info("the certificate of %s was renewed", identity.subject.name)
            earliest = clock() + REST * renewed.life
            if renewed.renew_at <= time.time():
                log.warning("%s", too_new(renewed))
        except (ConnectionLostError, LookupError, TrustError) as error:
            log.warning("the certificate of %s was not renewed: %s", identity.subject.name, error)
            left = identity.expires - time.time()
            await asyncio.sleep(min(RENEW_AGAIN, max(1.0, left / 10)))


def too_new(renewed: Credentials) -> str:
    """What is to be said where a certificate that has just come should be renewed already."""
    shown = time.strftime("%Y-%m-%d %H:%M", time.localtime())
    return (
        f"the certificate that {renewed.subject.name} has just got is past two thirds of its life by this machine's "
        f"clock, which shows {shown}: set the clock right. It is not renewed again before a tenth of its life is over"
    )


async def renew(folder: Path, identity: Credentials, uplink: Uplink) -> Credentials:
    """Get the next certificate from above.

    Raises:
        ConnectionLostError: there is no connection.
        LookupError: it was refused.
        TrustError: what came back is not right.
    """
    from fogline.governance.identity.identity import Identity

    key = Identity.create_key(folder)
    request = key.csr()
    asked = Renew(request, identity.certificate, signed(identity, request))
    issued: Certificate = CERTIFICATE.decode(await uplink.unary(f"/{SERVICE}/Renew", asked))
    key.install(issued.certificate, identity.root, identity.subject)
    return credentials(folder)


async def _answered(
    request: bytes, context: Context, kind: Decoder[A], answer: Callable[[A], Awaitable[Certificate]]
) -> bytes:
    try:
        return encode(await answer(kind.decode(request)))
    except msgspec.DecodeError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"that is no such request: {error}")
    except (TrustError, LookupError) as error:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
    except (ConnectionError, StorageError) as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
    raise AssertionError("gRPC ends the call at abort")
