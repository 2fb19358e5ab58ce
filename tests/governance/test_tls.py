"""Identities in real mutual TLS: who gets in, who does not, and what the server sees."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from fogline.governance.identity.authority import Authority
from fogline.governance.identity.certificates import certificate_of_peer, serial_of, subject_of_peer
from fogline.governance.identity.identity import Identity
from fogline.governance.subject import dns_name
from tests.governance.conftest import Join
from tests.patience import PATIENCE

grpc = pytest.importorskip("grpc")
METHOD = "/test/Who"


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority whose clock is the real one, since TLS asks the real clock."""
    return Authority.create(tmp_path_factory.mktemp("living"), now=time.time() - 7 * 86400)


async def who(context: Any) -> bytes:
    seen = context.auth_context()
    return f"{subject_of_peer(seen).uri} {serial_of(certificate_of_peer(seen))}".encode()


async def call(server: Identity, client: Identity, name: str) -> str:
    """What a server sees of a client that demands that name of it."""

    async def answer(_: bytes, context: Any) -> bytes:
        return await who(context)

    handler = grpc.method_handlers_generic_handler("test", {"Who": grpc.unary_unary_rpc_method_handler(answer)})
    serving = grpc.aio.server()
    serving.add_generic_rpc_handlers((handler,))
    pair = [(server.key, server.certificate)]
    port = serving.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair, server.root, True))
    await serving.start()
    credentials = grpc.ssl_channel_credentials(client.root, client.key, client.certificate)
    options = [("grpc.ssl_target_name_override", dns_name(name)), ("grpc.enable_retries", 0)]
    try:
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            return (await channel.unary_unary(METHOD)(b"", timeout=PATIENCE)).decode()
    except grpc.aio.AioRpcError as error:
        return f"refused: {error.code().name}"
    finally:
        await serving.stop(None)


def seen(server: Identity, client: Identity, name: str) -> str:
    return asyncio.run(call(server, client, name))


def test_both_ends_know_each_other(living: Authority, join: Join) -> None:
    fog = join(living, "Fog_1.north", "fog", now=time.time())
    device = join(living, "press-7", "device", now=time.time())
    assert seen(fog, device, "fog_1.North") == f"fogline://device/main/press-7 {device.serial}"


def test_a_server_with_another_name_is_refused(living: Authority, join: Join) -> None:
    fog = join(living, "fog-1", "fog", now=time.time())
    device = join(living, "press-7", "device", now=time.time())
    assert seen(fog, device, "fog-2") == "refused: UNAVAILABLE"


def test_a_device_cannot_pose_as_a_server(living: Authority, join: Join) -> None:
    """It joined under the name of a fog; its certificate is good for calling only."""
    poser = join(living, "fog-1", "device", now=time.time())
    device = join(living, "press-7", "device", now=time.time())
    assert seen(poser, device, "fog-1") == "refused: UNAVAILABLE"


def test_expired_certificates_are_refused(living: Authority, join: Join) -> None:
    fog = join(living, "fog-1", "fog", now=time.time())
    expired = join(living, "press-7", "device", days=1, now=time.time() - 2 * 86400)
    assert seen(fog, expired, "fog-1").startswith("refused")
    old_fog = join(living, "fog-2", "fog", days=1, now=time.time() - 2 * 86400)
    device = join(living, "press-8", "device", now=time.time())
    assert seen(old_fog, device, "fog-2").startswith("refused")


def test_nodes_of_another_authority_are_refused(
    living: Authority, tmp_path_factory: pytest.TempPathFactory, join: Join
) -> None:
    foreign = Authority.create(tmp_path_factory.mktemp("foreign"))
    fog = join(living, "fog-1", "fog", now=time.time())
    stranger = join(foreign, "press-7", "device", now=time.time())
    trusting = Identity(stranger.folder, stranger.facts, stranger.key, stranger.certificate, living.root_pem)
    assert seen(fog, trusting, "fog-1").startswith("refused")
    device = join(living, "press-8", "device", now=time.time())
    foreign_fog = join(foreign, "fog-2", "fog", now=time.time())
    lax = Identity(foreign_fog.folder, foreign_fog.facts, foreign_fog.key, foreign_fog.certificate, living.root_pem)
    assert seen(lax, device, "fog-2").startswith("refused")
