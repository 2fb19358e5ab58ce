"""What a node's folder says of its membership, so that it need not be said again: who it is, and who is above it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.errors import NoIdentityError, TrustError
from fogline.governance.subject import Role
from fogline.network.transport.messages import Certificate, ParentAddress

FILE = "member.json"
FORMAT = 1
"""It changes when the file means something else."""


class Membership(msgspec.Struct, frozen=True):
    """A node, as it joined."""

    name: str
    role: Role
    parents: tuple[ParentAddress, ...]
    """The one at which it enrolled, then others."""
    format: int = FORMAT

    @classmethod
    def of(cls, name: str, role: Role, issued: Certificate) -> Membership:
        """From what came back when it joined."""
        others = (
            tuple(
                parent_address
                for parent_address in issued.parent_addresses
                if parent_address.name != issued.parent_address.name
            )
            if role == "device"
            else ()
        )
        return cls(name, role, (issued.parent_address, *others))

    def write(self, folder: Path) -> None:
        """Write the membership into the node's folder."""
        (folder / FILE).write_bytes(msgspec.json.encode(self))

    @classmethod
    def read(cls, folder: Path, role: Role) -> Membership:
        """From a node's folder.

        Raises:
            TrustError: the node has not joined, or as another role; or another version of Fogline wrote it.
        """
        try:
            found = msgspec.json.decode((folder / FILE).read_bytes(), type=cls)
        except (FileNotFoundError, NotADirectoryError):
            run = f"fogline join NAME@HOST:PORT --role {role} --token TOKEN"
            raise NoIdentityError(f"No {role} has joined in {folder}; run: {run}") from None
        except UNREADABLE as error:
            raise TrustError(f"{folder / FILE} is damaged ({error}); join again with a new token.") from None
        if found.format != FORMAT:
            raise TrustError(
                f"{folder / FILE} has format {found.format}; this version of Fogline reads {FORMAT}. Use the version "
                "that wrote it, or join again with a new token."
            )
        if found.role != role:
            raise TrustError(f"{folder} holds the {found.role} {found.name}; run: fogline {found.role} run")
        return found
