"""What may come in: nodes by their certificates, jobs by the owner's policy."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from fogline.governance.errors import BundleError, PolicyError, RevocationError
from fogline.governance.offers import Needs, Offers
from fogline.governance.policy import decide, read_policy
from fogline.governance.subject import Subject
from fogline.network.contract import Ticket
from fogline.storage import Database

if TYPE_CHECKING:
    from fogline.governance.revocation import Revocations

REVOKED = "revoked"
SIGNED = ("task", "task_parameters", "algorithm")
"""Keys of a job that name code, or are handed to it: what runs must be what the developer signed."""


class NotAllowed(PermissionError):  # noqa: N818 - read aloud, it is the answer
    """A job may not run here; the text says why, for both sides."""


class Gate:
    """Decides for one node.

    Args:
        root: certificate of the authority (PEM).
        policy: the owner's file; read anew for every job, so that a change counts at once.
        offers: what the machine has.
        code: folder for unpacked code.
        database: where the list of revoked nodes is kept.
        device: whether the node trains; what a job needs, only devices must have.
    """

    def __init__(
        self, root: bytes, policy: Path, offers: Offers, code: Path, database: Database, device: bool = True
    ) -> None:
        self._device = device
        self._root = root
        self._policy = policy
        self._offers = offers
        self._code = code
        self._database = database
        self.revoked = database.get(REVOKED, REVOKED) or b""
        """The list as the authority signed it; empty where nobody was revoked."""
        self._list: Revocations | None = None
        if self.revoked:
            from fogline.governance.revocation import Revocations

            self._list = Revocations.verify(self.revoked, root)

    def admit(self, ticket: Ticket, bundle: Path) -> Path:
        """Where the code of a job that may run here was unpacked.

        Raises:
            NotAllowed: it may not; one sentence.
        """
        from fogline.governance.bundle import open_bundle  # Not above: until a job comes, a device needs no library.

        try:
            opened = open_bundle(bundle)
            needs = ticket.needs if self._device else Needs()
            decision = decide(read_policy(self._policy), opened.manifest, opened.signer, needs, self._offers)
            if not decision.allowed:
                raise NotAllowed(decision.reason)
            changed = differing(opened.manifest.job, ticket.text)
            if changed is not None:
                raise NotAllowed(f"The cloud changed {changed}, which the developer had signed, so the job is refused.")
            return opened.unpack(self._code)
        except (BundleError, PolicyError) as error:
            raise NotAllowed(str(error)) from error

    def refusal(self, subject: Subject, serial: str) -> str | None:
        """Why a node may not connect; None if it may."""
        if self._list is not None and self._list.revoked(subject, serial):
            return f"{subject.name} was revoked by the operator; it must join again with a new token"
        return None

    def take_revoked(self, signed: bytes) -> bool:
        """Take over a list of revoked nodes, if it is the authority's and newer; whether it was."""
        from fogline.governance.revocation import Revocations

        try:
            newer = Revocations.verify(signed, self._root)
        except RevocationError:
            return False  # Not the authority's: whoever sent it, the list that is here stays.
        if not newer.newer(self._list):
            return False
        self.revoked, self._list = signed, newer
        self._database.put(REVOKED, REVOKED, signed)
        return True

    @property
    def revocations(self) -> Revocations:
        """The list."""
        from fogline.governance.revocation import Revocations

        return self._list or Revocations()


def differing(signed: str, resolved: str) -> str | None:
    """A key on whose value two jobs differ, among those that name code; None if there is none."""
    one, other = _named(signed), _named(resolved)
    return next((key for key in SIGNED if one[key] != other[key]), None)


def _named(text: str) -> dict[str, object]:
    job = tomllib.loads(text)
    algorithm = job.get("algorithm", {})
    name = algorithm if isinstance(algorithm, str) else algorithm.get("name", "fedavg")
    return {
        "task": job.get("task", ""),
        "task_parameters": job.get("task_parameters") or {},
        "algorithm": name,
    }
