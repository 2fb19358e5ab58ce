"""The policy of the whole fleet: signed once by an operator, handed down with every job, and kept by every node.

It holds beside the policy of a node's own owner: what runs must be allowed by both, so an owner can be stricter than
the fleet, and never looser. A cloud that leaves it out changes nothing: a node goes on with the newest that it has.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import CertificateError, SitePolicyError
from fogline.governance.identity.statements import body_of, make_statement, speaker_of
from fogline.governance.policy.keys import parse_policy
from fogline.governance.policy.terms import Policy
from fogline.governance.subject import Subject
from fogline.storage import Database

if TYPE_CHECKING:
    from fogline.governance.identity.credentials import Credentials

PURPOSE = b"fogline policy of a fleet, version 1\n"
SOURCE = "the fleet's policy"
KIND = "fleet policy"
LARGEST = 32 * 1024
"""Bytes of its text."""


class FleetPolicy(msgspec.Struct, frozen=True):
    """What an operator said."""

    at: float
    """Unix time, by the operator's clock: the newest counts."""
    text: str
    """The policy (TOML); empty: it was taken back."""


DECODER = msgspec.msgpack.Decoder(FleetPolicy)


def sign_fleet_policy(text: str, operator: Credentials) -> bytes:
    """A fleet's policy, signed with an operator's certificate.

    Raises:
        SitePolicyError: it is too long, or none.
    """
    if len(text.encode()) > LARGEST:
        raise SitePolicyError(f"A fleet's policy may have {LARGEST} bytes; this one has {len(text.encode())}.")
    parse_policy(text, SOURCE)
    return make_statement(PURPOSE, msgspec.msgpack.encode(FleetPolicy(time.time(), text)), operator)


def verified_fleet_policy(data: bytes, root: bytes) -> tuple[Subject, FleetPolicy]:
    """Who signed a fleet's policy, and what it says.

    Args:
        data: what :func:`sign_fleet_policy` gave.
        root: certificate of the authority (PEM).

    Raises:
        SitePolicyError: no operator of the whole fleet has signed it.
    """
    try:
        speaker = speaker_of(data, PURPOSE, root)
    except CertificateError as error:
        raise SitePolicyError(f"What came as the fleet's policy cannot be believed: {error}") from None
    if speaker.role != "operator" or speaker.nodes:
        raise SitePolicyError(f"The fleet's policy was signed by {speaker.name}, who is no operator of all nodes.")
    return speaker, _read(data)


class FleetPolicyKeeper:
    """Keeps the newest policy of the fleet.

    Args:
        root: certificate of the authority (PEM).
        database: the node's.
    """

    def __init__(self, root: bytes, database: Database) -> None:
        self._root = root
        self._database = database

    @property
    def held(self) -> bytes:
        """As it was signed; empty where there is none."""
        return self._database.get(KIND, KIND) or b""

    def take(self, data: bytes) -> bool:
        """Keep a policy of the fleet, if it is newer than the one here; whether it is.

        Raises:
            SitePolicyError: no operator of the fleet has signed it, or it is no policy.
            StorageError: it cannot be kept.
        """
        if not data or data == self.held:
            return False
        (_, said), before = verified_fleet_policy(data, self._root), _read(self.held) if self.held else None
        parse_policy(said.text, SOURCE)
        if before is not None and said.at <= before.at:
            return False
        self._database.put(KIND, KIND, data)
        return True

    def policy(self) -> Policy | None:
        """The newest; None where there is none, or where an operator took it back (its text is empty)."""
        text = _read(self.held).text if self.held else ""
        return parse_policy(text, SOURCE) if text.strip() else None


def _read(data: bytes) -> FleetPolicy:
    try:
        return DECODER.decode(body_of(data) or b"")
    except UNREADABLE:
        raise SitePolicyError("What came as the fleet's policy cannot be read.") from None
