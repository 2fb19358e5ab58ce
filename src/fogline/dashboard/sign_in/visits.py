"""Browsers that are on their way to a provider and back: what each must bring with it, once, and within ten minutes."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST = 600.0
"""Seconds that somebody may take to sign in."""
MOST = 4096
"""Visits that are remembered; beyond, the oldest are forgotten."""


def chance() -> str:
    """256 bits that nobody can guess, for an address or a cookie."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Visit:
    """One way to the provider and back."""

    begun: float
    """Seconds, of a clock that only goes forward."""
    state: str = field(default_factory=chance, repr=False)
    """Comes back with the code: it is this browser's."""
    nonce: str = field(default_factory=chance, repr=False)
    """Stands in the ID token: it was made for this visit."""
    verifier: str = field(default_factory=chance, repr=False)
    """Shows that who redeems the code is who asked for it (RFC 7636)."""

    @property
    def challenge(self) -> str:
        """The hash of the verifier, which the provider is told first."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")


class Visits:
    """Those that are going on, each by a cookie of its browser's.

    Args:
        clock: seconds, that only go forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._visits: dict[str, Visit | str] = {}
        """Of one that has failed, why."""

    def begin(self) -> tuple[str, Visit]:
        """A new one, with its cookie."""
        visit = Visit(self._clock())
        return self._keep(visit), visit

    def take(self, cookie: str) -> Visit | None:
        """The visit of a browser that is back. It counts once."""
        visit = self._visits.pop(cookie, None)
        return visit if isinstance(visit, Visit) and self._clock() - visit.begun < LONGEST else None

    def fail(self, why: str) -> str:
        """Keep a sentence for a browser; its new cookie."""
        return self._keep(why)

    def why(self, cookie: str) -> str:
        """The sentence that was kept for a browser; empty: there is none."""
        found = self._visits.get(cookie)
        return found if isinstance(found, str) else ""

    def _keep(self, what: Visit | str) -> str:
        cookie = chance()
        self._visits[cookie] = what
        if len(self._visits) > MOST:
            del self._visits[next(iter(self._visits))]
        return cookie
