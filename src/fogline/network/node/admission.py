"""What may come in: nodes by their certificates, jobs by the owner's policy."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fogline.governance.errors import BundleError, SitePolicyError
from fogline.governance.policy.offers import Needs, Offers
from fogline.governance.policy.policy import Policy, PrivacyBudget, decide, read_policy
from fogline.governance.policy.protection import exchange_of_devices, tiers_of
from fogline.governance.subject import Subject
from fogline.network.transport.messages import JobAnnouncement
from fogline.privacy.accounting.events import UNITS
from fogline.processes.messages import decoder, encode
from fogline.storage import Database

if TYPE_CHECKING:
    from fogline.governance.identity.authority import Authority
    from fogline.governance.identity.revocation import HeldLists, Revocations

REVOKED = "revoked"
LISTS = decoder(tuple[bytes, ...])
SIGNED = (
    "task",
    "task_parameters",
    "algorithm",
    "rules",
    "exchanges",
    "exchange of devices",
    "stages",
    "queries",
    "privacy",
)
"""Keys of a job that name code, or are handed to it, or protect what comes of it: what runs must be what the developer
signed."""


class NotAllowedError(PermissionError):
    """A job may not run here; the text says why, for both sides."""


class AdmissionControl:
    """Decides for one node.

    Args:
        root: certificate of the authority (PEM).
        policy: the owner's file; read anew for every job, so that a change counts at once.
        offers: what the machine has.
        code: folder for unpacked code.
        database: where the lists of revoked nodes are kept.
        device: whether the node trains; what a job needs, only devices must have.
        authority: at the cloud, which signs these lists.
    """

    def __init__(
        self,
        root: bytes,
        policy: Path,
        offers: Offers,
        code: Path,
        database: Database,
        device: bool = True,
        authority: Authority | None = None,
    ) -> None:
        self._device = device
        self.root = root
        self._policy = policy
        self._offers = offers
        self._code = code
        self._database = database
        self._authority = authority
        self._lists: HeldLists | None = None
        """None where nobody was revoked: then a device needs no library."""
        kept = database.get(REVOKED, REVOKED)
        if kept:
            self._held().take(LISTS.decode(kept))

    def admit(self, announcement: JobAnnouncement, bundle: Path) -> Path:
        """Where the code of a job that may run here was unpacked.

        Raises:
            NotAllowedError: it may not; one sentence.
        """
        from fogline.governance.bundles.bundle import (
            open_bundle,  # Not above: until a job comes, a device needs no library.
        )

        try:
            opened = open_bundle(bundle)
            needs = announcement.needs if self._device else Needs()
            policy = read_policy(self._policy)
            decision = decide(policy, opened.manifest, opened.signer, needs, self._offers)
            if not decision.allowed:
                raise NotAllowedError(decision.reason)
            unfit = unprotected(policy, announcement.text, announcement.surveys) if self._device else None
            if unfit is not None:
                raise NotAllowedError(unfit)
            changed = differing(opened.manifest.job, announcement.text)
            if changed is not None:
                raise NotAllowedError(
                    f"The cloud changed {changed}, which the developer had signed, so the job is refused."
                )
            return opened.unpack(self._code)
        except (BundleError, SitePolicyError) as error:
            raise NotAllowedError(str(error)) from error

    def budget(self) -> PrivacyBudget | None:
        """What the owner lets the data here give away over all jobs, as the policy says now; None: there is no limit.

        Raises:
            SitePolicyError: the policy cannot be read.
        """
        return read_policy(self._policy).privacy

    def refusal(self, subject: Subject, serial: str) -> str | None:
        """Why a node may not connect; None if it may."""
        if self._lists is not None and self._lists.all.revoked(subject, serial):
            return f"{subject.name} was revoked by the operator; it must join again with a new token"
        return None

    @property
    def revoked(self) -> tuple[bytes, ...]:
        """The lists of revoked nodes as the authority signed them: mostly one, or none."""
        return () if self._lists is None else self._lists.signed

    @property
    def holds(self) -> str:
        """The digest of what is on them; empty where nobody was revoked."""
        return "" if self._lists is None else self._lists.all.digest

    @property
    def revocations(self) -> Revocations:
        """What the lists of revoked nodes say."""
        return self._held().all

    def take_revoked(self, signed: Iterable[bytes]) -> bool:
        """Take over lists of revoked nodes, as far as they are the authority's and say more; whether one did.

        Raises:
            StorageError: they cannot be kept, and hold only for now.
        """
        if not self._held().take(signed, time.time()):
            return False
        self._keep()
        return True

    def revoke(self, name: str) -> None:
        """End the memberships of a name; only at the cloud.

        Raises:
            StorageError: the list cannot be kept, and holds only for now.
        """
        lists = self._held()
        lists.replace(lists.all.adding(time.time(), [name]))
        self._keep()

    def _held(self) -> HeldLists:
        if self._lists is None:
            from fogline.governance.identity.revocation import HeldLists

            self._lists = HeldLists(self.root, (), self._authority)
        return self._lists

    def _keep(self) -> None:
        self._database.put(REVOKED, REVOKED, encode(self.revoked))


def differing(signed: str, resolved: str) -> str | None:
    """A key on whose value two jobs differ, among those that name code; None if there is none."""
    one, other = _named(signed), _named(resolved)
    return next((key for key in SIGNED if one[key] != other[key]), None)


def unprotected(policy: Policy, text: str, surveys: bool) -> str | None:
    """Why a job gives away more than it promises or the owner lets it; None if it does not.

    Args:
        policy: the owner's.
        text: the job (TOML).
        surveys: whether the device is to be asked beside the training. Nothing else decides whether it is.
    """
    if policy.secure_aggregation and surveys:
        return (
            f"{policy.path} wants secure aggregation (privacy.secure_aggregation), and the job asks devices beside the "
            "training, whose answers go up one by one; leave queries and judges on devices out."
        )
    if policy.privacy is None and "privacy" not in tomllib.loads(text):
        return None
    from fogline.jobs.reading import parse_job

    job = parse_job(text)
    if policy.privacy is None:
        said = "It has [privacy] and asks devices beside the training, without noise, so it is refused; leave queries"
        return f"{said} and judges out." if surveys else None
    unit = policy.privacy.unit
    said = f"{policy.path} allows what ε = {policy.privacy.epsilon:g} gives away of each {unit} ([privacy])"
    if job.privacy is None:
        return f"{said}, and the job has no differential privacy; give it a table [privacy]."
    if UNITS.index(job.privacy.unit) < UNITS.index(unit):
        return f"{said}, and the job protects each {job.privacy.unit} only; set privacy.unit to '{unit}'."
    if surveys:
        return f"{said}, and the job asks devices beside the training, without noise; leave queries and judges out."
    return None


def _named(text: str) -> dict[str, object]:
    job = tomllib.loads(text)
    algorithm, tiers = job.get("algorithm", {}), tiers_of(job)
    name = algorithm if isinstance(algorithm, str) else algorithm.get("name", "fedavg")
    return {
        "task": job.get("task", ""),
        "task_parameters": job.get("task_parameters") or {},
        "algorithm": name,
        "rules": {name: tier["rule"] for name, tier in tiers.items() if tier.get("rule", "none") != "none"},
        "exchanges": {
            name: (tier["exchange"], tier.get("exchange_parameters") or {})
            for name, tier in tiers.items()
            if tier.get("exchange")
        },
        "exchange of devices": exchange_of_devices(job),  # Another tier below would take it from them.
        "stages": {name: tier["uplink"] for name, tier in tiers.items() if tier.get("uplink")},
        "queries": job.get("queries") or [],
        "privacy": _privacy(job.get("privacy")),
    }


def _privacy(table: Any) -> object:
    """What a job says of differential privacy, with defaults where it says nothing."""
    if table is None:
        return None
    from fogline.jobs.privacy import Privacy

    return Privacy.model_validate(table)
