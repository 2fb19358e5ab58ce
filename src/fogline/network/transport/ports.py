"""What a connection needs of the node around it, in both directions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fogline.governance.identity.credentials import CertificateFacts
from fogline.governance.subject import Subject
from fogline.network.transport.messages import DownFrame, Present, Push, UpFrame, Welcome
from fogline.network.transport.session import Session
from fogline.processes.messages import Decoder


class UnreachableError(LookupError):
    """Nobody can be asked now; later somebody may."""


@dataclass(frozen=True)
class Call:
    """A question that children may ask beside their stream."""

    question: Decoder[Any]
    answer: Callable[[Any], Awaitable[bytes]]
    """The bytes that go back. It may raise :class:`UnreachableError` where the child should ask again later, a
    LookupError where that is of no use, and a TimeoutError."""


class Below(Protocol):
    """Who is told of what comes from children, and says what they may do."""

    up_frames: Decoder[UpFrame]
    """Reads what a child says."""

    def calls(self) -> Mapping[str, Call]:
        """What children may ask beside, by the name of the method."""
        ...

    def refusal(self, subject: Subject, serial: str) -> str | None:
        """Why a node may not connect here; None if it may."""
        ...

    def objection(self, facts: CertificateFacts, present: Present) -> str | None:
        """Why a node may not be a child as it presents itself; None if it may."""
        ...

    def arrived(self, session: Session) -> Welcome:
        """A child is there (again)."""
        ...

    def departed(self, session: Session) -> None:
        """Take note that a child's connection is gone."""
        ...

    def twins(self, name: str, here: str, there: str) -> None:
        """A second program shows a child's identity: the addresses of the one that is connected, and of that one."""
        ...

    def from_child(self, session: Session, frame: UpFrame) -> None:
        """Take a frame that a child sent."""
        ...

    def wants(self, subject: Subject, push: Push) -> str | None:
        """Why a blob is not wanted; None if it is."""
        ...

    def withheld(self, subject: Subject, digest: str) -> str | None:
        """Why somebody may not have a blob; None if he may, if there is one."""
        ...

    def carried(self, down: int, up: int) -> None:
        """So many bytes of blobs went to a child, or came from one."""
        ...

    async def obtain(self, digest: str, doubted: bool = False) -> tuple[Path, int]:
        """Where a blob lies that a child asks for, and its bytes; fetched from above if need be.

        Args:
            digest: the blob's.
            doubted: what the child was sent before was damaged.

        Raises:
            LookupError: there is none.
            StorageError: it cannot be kept here.
        """
        ...


class Above(Protocol):
    """Who is told of what comes from the parent."""

    down_frames: Decoder[DownFrame]
    """Reads what the parent says."""

    def present(self) -> Present:
        """How the node presents itself."""
        ...

    def connected(self, parent: str, welcome: Welcome) -> None:
        """The parent is there (again)."""
        ...

    def disconnected(self, parent: str, why: str) -> None:
        """Take note that the connection to the parent is gone."""
        ...

    def from_parent(self, parent: str, frame: DownFrame) -> None:
        """Take a frame that the parent sent."""
        ...

    async def rested(self) -> None:
        """Wait for a moment at which a change of parent costs little."""
        ...
