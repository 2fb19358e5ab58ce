"""Who may no longer come in: a list that the authority signs and every fog keeps a copy of."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fogline.governance.authority import Authority, open_signed
from fogline.governance.envelope import seal
from fogline.governance.errors import CertificateError, RevocationError, SignatureError
from fogline.governance.subject import Subject

PAYLOAD_TYPE = "application/vnd.fogline.revocations+msgpack"


class Revocations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Revoked names and serial numbers. The list that was signed last has the highest number."""

    number: int = 0
    issued: float = 0.0
    """Unix time."""
    names: frozenset[str] = frozenset()
    """In lower case, as TLS compares them."""
    serials: frozenset[str] = frozenset()
    """In hexadecimal."""

    def adding(self, now: float, names: Iterable[str] = (), serials: Iterable[str] = ()) -> Revocations:
        """The next list, with these names and serial numbers on it too."""
        lowered = frozenset(name.lower() for name in names)
        numbers = frozenset(serial.lower() for serial in serials)
        return Revocations(self.number + 1, now, self.names | lowered, self.serials | numbers)

    def removing(self, now: float, names: Iterable[str] = ()) -> Revocations:
        """The next list, without these names: their machines may join again. Serial numbers stay for good."""
        return Revocations(self.number + 1, now, self.names - {name.lower() for name in names}, self.serials)

    def revoked(self, subject: Subject, serial: str) -> bool:
        """Whether the holder of that certificate is to be refused."""
        return subject.name.lower() in self.names or serial.lower() in self.serials

    def newer(self, other: Revocations | None) -> bool:
        """Whether this list replaces the other. An older one never does, even if its signature is good."""
        return other is None or self.number > other.number

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
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise RevocationError("The revocation list cannot be read.") from None
