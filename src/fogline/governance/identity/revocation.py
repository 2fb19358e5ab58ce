"""Who may no longer come in: lists that the authority signs, and of which every node keeps a copy.

What is on a list stays on every later one, so two lists can always be brought together, in any order and by anybody who
has them: nothing is lost where a machine goes back to an old backup. Who was revoked comes back by joining anew, which
begins another membership.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import CertificateError, RevocationError, SignatureError
from fogline.governance.identity.authority import Authority, open_signed
from fogline.governance.identity.serials import member_since, milliseconds
from fogline.governance.signatures.envelope import seal
from fogline.governance.subject import Subject

PAYLOAD_TYPE = "application/vnd.fogline.revocations+msgpack"


class Revocations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Memberships and serial numbers that count no more."""

    issued: float = 0.0
    """Unix time."""
    names: dict[str, int] = {}
    """Moments (milliseconds of Unix time) by name, in lower case as TLS compares them: memberships of that name that
    began up to then are over."""
    serials: frozenset[str] = frozenset()
    """In hexadecimal."""

    def __bool__(self) -> bool:
        """Whether anybody is on it."""
        return bool(self.names or self.serials)

    def adding(self, now: float, names: Iterable[str] = (), serials: Iterable[str] = ()) -> Revocations:
        """The next list, with these names and serial numbers on it too."""
        added = {name.lower(): milliseconds(now) for name in names}
        return self.joined(Revocations(now, added, frozenset(serial.lower() for serial in serials)), now)

    def joined(self, other: Revocations, now: float) -> Revocations:
        """The list of all that is on one of two."""
        return Revocations(now, _latest(self.names, other.names), self.serials | other.serials)

    def revoked(self, subject: Subject, serial: str) -> bool:
        """Whether the holder of that certificate is to be refused."""
        return self.ended(subject.name, member_since(serial)) or serial.lower() in self.serials

    def ended(self, name: str, since: int) -> bool:
        """Whether the membership of that name that began at a moment (milliseconds of Unix time) is over."""
        return since <= self.names.get(name.lower(), -1)

    def following(self, name: str, since: int) -> int:
        """A moment from which on a new membership of that name is not over; ``since``, if it can be."""
        return max(since, self.names.get(name.lower(), -1) + 1)

    def contains(self, other: Revocations) -> bool:
        """Whether all that is on the other list is on this one."""
        own = self.names
        return other.serials <= self.serials and all(own.get(name, -1) >= at for name, at in other.names.items())

    def newer(self, other: Revocations | None) -> bool:
        """Whether this list replaces the other: it says all that the other says, and more."""
        return other is None or (self.contains(other) and not other.contains(self))

    @property
    def digest(self) -> str:
        """SHA-256 of what is on it, in hexadecimal; empty for an empty list."""
        if not self:
            return ""
        return hashlib.sha256(msgspec.msgpack.encode((self.names, self.serials), order="deterministic")).hexdigest()

    def sign(self, authority: Authority) -> bytes:
        """The list as bytes that every node can verify. The same list gives the same payload."""
        payload = msgspec.msgpack.encode(self, order="deterministic")
        return seal(PAYLOAD_TYPE, payload, authority.sign)

    @classmethod
    def verify(cls, data: bytes, root: bytes) -> Revocations:
        """The list that an authority signed.

        Args:
            data: what :meth:`sign` gave.
            root: the authority's certificate, PEM.

        Raises:
            RevocationError: it cannot be read, or the authority did not sign it.
        """
        try:
            payload = open_signed(data, PAYLOAD_TYPE, root)
        except (SignatureError, CertificateError) as error:
            raise RevocationError(f"The revocation list cannot be used: {error}") from None
        try:
            return msgspec.msgpack.decode(payload, type=cls)
        except UNREADABLE:
            raise RevocationError("The revocation list cannot be read.") from None


class HeldLists:
    """The signed lists that a node holds. Together they count; mostly it is one.

    There is more than one only where a cloud went back to a backup and signed before it heard of what it had forgotten.

    Args:
        root: the authority's certificate, PEM.
        signed: lists that were kept; what cannot be verified is left out.
        authority: at the cloud, which makes one list of several.
    """

    def __init__(self, root: bytes, signed: Iterable[bytes] = (), authority: Authority | None = None) -> None:
        self._root = root
        self._authority = authority
        self._lists: list[tuple[bytes, Revocations]] = []
        self.all = Revocations()
        """What is on any of them."""
        self.take(signed)

    @property
    def signed(self) -> tuple[bytes, ...]:
        """The lists as the authority signed them."""
        return tuple(data for data, _ in self._lists)

    def take(self, signed: Iterable[bytes], now: float = 0.0) -> bool:
        """Take over lists that no other says all of; whether there was one.

        What the authority did not sign is left out.
        """
        before = self.signed
        for data in signed:
            try:
                other = Revocations.verify(data, self._root)
            except RevocationError:
                continue  # Whoever sent it: what is here stays.
            if other and not any(one.contains(other) for _, one in self._lists):
                kept = [(body, one) for body, one in self._lists if not other.contains(one)]
                self._lists = [*kept, (data, other)]
                self.all = self.all.joined(other, other.issued)
        if self._authority is not None and len(self._lists) > 1:
            self.replace(self.all.joined(self.all, now))
        return self.signed != before

    def replace(self, following: Revocations) -> None:
        """Sign a list that takes the place of all; only at the cloud."""
        assert self._authority is not None
        assert following.contains(self.all)
        self._lists, self.all = [(following.sign(self._authority), following)], following


def _latest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, -1), other.get(name, -1)) for name in {*one, *other}}
