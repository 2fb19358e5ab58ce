"""gRPC as Fogline uses it: channels and servers over mutual TLS, and their limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from fogline.governance.identity.credentials import Credentials
from fogline.governance.subject import dns_name
from fogline.network.timing import BEAT, PATIENCE, SILENCE
from fogline.network.transport.messages import MAX_MESSAGE, ParentAddress

if TYPE_CHECKING:
    Method = grpc.RpcMethodHandler[bytes, bytes]
else:
    Method = grpc.RpcMethodHandler
Methods = Mapping[str, Method]
"""Methods of a service by name; they take and give bytes."""


def alive(beat: float, silence: float) -> list[tuple[str, Any]]:
    """Options of a connection, for either side: a peer that goes without a word is noticed after ``beat + silence``
    seconds."""
    return [
        ("grpc.keepalive_time_ms", int(1000 * beat)),
        ("grpc.keepalive_timeout_ms", int(1000 * silence)),
        ("grpc.http2.ping_timeout_ms", int(1000 * silence)),  # Where it is longer, and it is, that one counts.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", int(500 * beat)),
        ("grpc.http2.max_ping_strikes", 0),
    ]


LIMITS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_metadata_size", 8 << 10),
    *alive(BEAT, SILENCE),
    ("grpc.enable_http_proxy", 0),
]
SERVING: list[tuple[str, Any]] = [
    *LIMITS,
    ("grpc.server_handshake_timeout_ms", int(1000 * PATIENCE)),
    ("grpc.max_concurrent_streams", 64),
    ("grpc.max_connection_idle_ms", int(3000 * PATIENCE)),  # A connection on which nobody asks anything.
    ("grpc.so_reuseport", 0),
]


def dial(identity: Credentials, address: str, name: str) -> grpc.aio.Channel:
    """A channel to a node; only the node of that name is accepted at the other end."""
    credentials = grpc.ssl_channel_credentials(identity.root, identity.key, identity.certificate)
    options = [*LIMITS, ("grpc.ssl_target_name_override", dns_name(name)), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(address, credentials, options)


def dial_for_enrolment(root: bytes, endpoint: ParentAddress) -> grpc.aio.Channel:
    """A channel to an enrolment endpoint, for those who have no certificate yet."""
    options = [
        *LIMITS,
        ("grpc.ssl_target_name_override", dns_name(endpoint.name)),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.aio.secure_channel(endpoint.address, grpc.ssl_channel_credentials(root), options)


def server(handlers: Mapping[str, Methods]) -> grpc.aio.Server:
    """A server of methods by service and name."""
    made = grpc.aio.server(options=SERVING)
    made.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, dict(methods)) for service, methods in handlers.items()]
    )
    return made


def listen(made: grpc.aio.Server, identity: Callable[[], Credentials], address: str, mutual: bool = True) -> int:
    """Serve at an address; the port.

    ``identity``: asked at every handshake, so that a renewed certificate is shown from then on.

    Raises:
        OSError: the address is taken, or is not this machine's.
    """
    shown: list[bytes] = []

    def configuration() -> grpc.ServerCertificateConfiguration | None:
        now = identity()
        if shown and shown[-1] == now.certificate:
            return None
        shown[:] = [now.certificate]
        pair = [(now.key, now.certificate)]
        return grpc.ssl_server_certificate_configuration(pair, now.root if mutual else None)

    first = configuration()
    assert first is not None
    # None says that nothing has changed, which the stubs do not know.
    credentials = grpc.dynamic_ssl_server_credentials(first, configuration, mutual)  # pyright: ignore[reportArgumentType]
    try:
        port = made.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise OSError(
            f"Nobody can listen at {address}: it is taken, or is no address of this machine; choose "
            "another with --listen or --door"
        )
    return port
