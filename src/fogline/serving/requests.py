"""What a node's agent and its prediction server ask of each other, and the answers: both ask and both answer."""

from __future__ import annotations

import msgspec

from fogline.inference.card import PersonalOrigin
from fogline.processes.messages import Decoder, decoder
from fogline.registry.release import Vitals
from fogline.serving.settings import Settings
from fogline.serving.slots import VersionSlot

LARGEST = 16 << 20
"""Bytes of the largest message."""


class LoadVersion(msgspec.Struct, frozen=True, tag=True):
    """To the server: load a version. A live one takes the place of what answered before."""

    card: bytes
    paths: dict[str, str]
    """Where its files lie, by digest."""
    slot: VersionSlot
    personal: PersonalOrigin | None = None
    """Where the part of it comes from that is this device's own."""


class Expect(msgspec.Struct, frozen=True, tag=True):
    """To the server: these models will be loaded, or will not (any more). Who asks for them meanwhile is told so."""

    models: tuple[str, ...]
    coming: bool = True


class SwapVersion(msgspec.Struct, frozen=True, tag=True):
    """To the server: let a version that is loaded answer."""

    model: str
    version: int


class DropVersion(msgspec.Struct, frozen=True, tag=True):
    """To the server: let a version go; one that is not loaded is no error."""

    model: str
    version: int


class AnswerRows(msgspec.Struct, frozen=True, tag=True):
    """To the server: answer what a tier below is unsure of."""

    ask: bytes
    """See :mod:`fogline.serving.cascade.wire`."""


class Offload(msgspec.Struct, frozen=True, tag=True):
    """To the agent: have the tier above answer this."""

    ask: bytes
    seconds: float
    """That the answer is waited for."""


class VersionPulse(msgspec.Struct, frozen=True, tag=True):
    """To the agent, which gives no answer: how a version fares."""

    vitals: Vitals


Request = Settings | Expect | LoadVersion | SwapVersion | DropVersion | AnswerRows | Offload | VersionPulse
""":class:`Settings` come first: the server begins to listen."""


class ServerReady(msgspec.Struct, frozen=True, tag=True):
    """Answer of a server that listens, with its addresses."""

    http: str
    grpc: str
    """Empty where it does not speak gRPC."""


class CallDone(msgspec.Struct, frozen=True, tag=True):
    """Answer to a call that was carried out."""

    data: bytes = b""
    """The answer to what was asked, where it was a question."""


Answer = ServerReady | CallDone
REQUESTS: Decoder[Request] = decoder(Request)
ANSWERS: Decoder[Answer] = decoder(Answer)
