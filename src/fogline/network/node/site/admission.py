"""What may come in: nodes by their certificates, jobs by the owner's policy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fogline.governance.approvals.standing import Standing, believed, standing_under
from fogline.governance.errors import BundleError, SitePolicyError
from fogline.governance.policy.offers import Needs, Offers
from fogline.governance.policy.policy import decide, not_in_force, read_policy, rule_for
from fogline.governance.policy.protection import adds_answers_up, fewest_in_sum, has_noise, sums_securely
from fogline.governance.policy.tables import SiteTable
from fogline.governance.policy.terms import Policy, PrivacyBudget
from fogline.governance.subject import Subject
from fogline.network.node.site.fleet_policy import FleetPolicyKeeper
from fogline.network.node.site.signed_job import departing, differing
from fogline.network.node.site.uses import UseCounter
from fogline.network.transport.messages import JobAnnouncement
from fogline.privacy.accounting.events import UNITS
from fogline.processes.messages import decoder, encode
from fogline.storage import Database

if TYPE_CHECKING:
    from fogline.governance.approvals.approval import Approval
    from fogline.governance.bundles.bundle import Bundle
    from fogline.governance.identity.authority import Authority
    from fogline.governance.identity.revocation import HeldLists, Revocations

REVOKED = "revoked"
SERIAL = "policy serial"
"""Kind of the document: the highest serial number of an owner's signature under the policy here."""
URGENT = ("refused", "waiting", "approved")
"""Which of several standings counts: the first of these."""
LISTS = decoder(tuple[bytes, ...])


class NotAllowedError(PermissionError):
    """A job may not run here; the text says why, for both sides."""


class UnapprovedError(NotAllowedError):
    """A job may not run here yet: it waits for the owners."""


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
        name: the node's.
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
        name: str = "",
    ) -> None:
        self._device = device
        self._name = name
        self.uses = UseCounter(database)
        self.fleet_policy = FleetPolicyKeeper(root, database)
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
            UnapprovedError: it may not yet.
            StorageError: that it begins cannot be written down.
        """
        from fogline.governance.bundles.bundle import (
            open_bundle,  # Not above: until a job comes, a device needs no library.
        )

        try:
            self.fleet_policy.take(announcement.fleet_policy)
            opened, policies = open_bundle(bundle), self._policies()
            for policy in policies:
                self._check_job(policy, opened, announcement)
            words = believed(announcement.approvals, announcement.job, opened.digest, self._name)
            for policy in policies:
                _check_approved(policy, opened, announcement, words)
            for policy in policies:
                self._count(policy, opened, announcement)
            return opened.unpack(self._code)
        except (BundleError, SitePolicyError) as error:
            raise NotAllowedError(str(error)) from error

    def standing(self, bundle: Path, digest: str, job: str, approvals: Iterable[bytes]) -> Standing | None:
        """How a job stands with the owners whom the policies here name; None where it needs no approval, or will be
        refused anyway.

        Args:
            bundle: its bundle.
            digest: SHA-256 of that, in hexadecimal.
            job: its id.
            approvals: what owners signed.
        """
        from fogline.governance.bundles.bundle import open_bundle

        try:
            manifest, policies = open_bundle(bundle).manifest, self._policies()
        except (BundleError, SitePolicyError):
            return None
        words = believed(approvals, job, digest, self._name)
        found = [standing_under(policy, manifest, words) for policy in policies]
        standings = [standing for standing in found if standing is not None]
        return min(standings, key=lambda standing: URGENT.index(standing.state), default=None)

    def approved_by(self, announcement: JobAnnouncement) -> tuple[str, ...]:
        """Owners whom the policies here name that have approved a job, by name and key.

        Raises:
            SitePolicyError: the policy cannot be read.
        """
        owners = {owner.public_key: owner for policy in self._policies() for owner in policy.owners.signers}
        words = believed(announcement.approvals, announcement.job, announcement.bundle.digest, self._name)
        keys = [word.owner.public_key for word in words if word.verdict == "approve"]
        return tuple(f"{owners[key].name} ({owners[key].fingerprint})" for key in keys if key in owners)

    def _policies(self) -> list[Policy]:
        """The owner's policy, and the fleet's, if there is one: both must allow what runs.

        Raises:
            SitePolicyError: one cannot be read, or is older than one that held here.
        """
        own, fleet = read_policy(self._policy), self.fleet_policy.policy()
        newest = int(self._database.get(SERIAL, SERIAL) or b"0")
        if own.serial < newest:
            raise SitePolicyError(
                f"The policy {own.path} has the owner's signature {own.serial}, and {newest} held here before: an "
                "older one was put back. Put the newest back, or let the owner sign this one again."
            )
        if own.serial > newest:
            self._database.put(SERIAL, SERIAL, str(own.serial).encode())
        return [own] if fleet is None else [own, fleet]

    def _count(self, policy: Policy, opened: Bundle, announcement: JobAnnouncement) -> None:
        """Refuse what would be one use too many of a policy."""
        rule = rule_for(policy, opened.manifest)
        spent = None if rule is None else self.uses.begin(policy, rule, announcement.job)
        if spent is not None:
            raise NotAllowedError(spent)

    def _check_job(self, policy: Policy, opened: Bundle, announcement: JobAnnouncement) -> None:
        """Refuse what the policy does not allow, and what is not as the developer signed it."""
        needs = announcement.needs if self._device else Needs()
        why = not_in_force(policy, datetime.now())
        if why is None:
            decision = decide(policy, opened.manifest, opened.signer, needs, self._offers)
            why = None if decision.allowed else decision.reason
        if why is None and self._device:
            why = unprotected(policy, announcement.text, announcement.surveys)
        if why is None and (changed := differing(opened.manifest.job, announcement.text)) is not None:
            why = f"The cloud changed {changed}, which the developer had signed, so the job is refused."
        if why is not None:
            raise NotAllowedError(why)

    def went_back(self) -> None:
        """This node went back to a backup: what was counted under the policy that holds now is not all that began.

        Raises:
            SitePolicyError: the policy cannot be read.
            StorageError: it cannot be written down.
        """
        for policy in self._policies():
            self.uses.went_back(policy)

    def policy_text(self) -> str:
        """The owner's policy as it stands in its file now; empty where there is none.

        Raises:
            OSError, UnicodeDecodeError: it cannot be read.
        """
        return self._policy.read_text("utf-8-sig") if self._policy.exists() else ""

    @property
    def folder(self) -> Path:
        """Where the owner's policy lies: the node's folder."""
        return self._policy.parent

    def tables(self) -> tuple[SiteTable, ...]:
        """The site's tables that tasks may see in an altered copy, as the policy says now.

        Raises:
            SitePolicyError: the policy cannot be read.
        """
        return read_policy(self._policy).tables

    def budget(self) -> PrivacyBudget | None:
        """What the owner and the fleet let the data here give away over all jobs, as the policies say now; None: there
        is no limit.

        Raises:
            SitePolicyError: a policy cannot be read.
        """
        found = [policy.privacy for policy in self._policies() if policy.privacy is not None]
        if len(found) < 2:
            return found[0] if found else None
        # The least of both is within each: at a smaller delta the same noise costs more.
        one, other = found
        unit = one.unit if UNITS.index(one.unit) > UNITS.index(other.unit) else other.unit
        return PrivacyBudget(min(one.epsilon, other.epsilon), min(one.delta, other.delta), unit)

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


def _check_approved(policy: Policy, opened: Bundle, announcement: JobAnnouncement, words: Sequence[Approval]) -> None:
    """Refuse what the owners have not approved, or not as it would run."""
    standing = standing_under(policy, opened.manifest, words)
    if standing is None:
        return
    said = f"{policy.path} lets {opened.manifest.task} run with the owners' approval (signer.approval), and it is"
    if standing.state == "waiting":
        raise UnapprovedError(f"{said} {standing.why}: fogline approvals show {announcement.job}")
    if standing.state == "refused":
        raise NotAllowedError(f"{said} {standing.why}")
    changed = departing(opened.manifest.job, announcement.text)
    if changed is not None:
        raise NotAllowedError(
            f"The cloud changed {changed}, which was signed and approved otherwise, so the job is refused."
        )


def unprotected(policy: Policy, text: str, surveys: bool) -> str | None:
    """Why a job gives away more than it promises or the owner lets it; None if it does not.

    Args:
        policy: the owner's.
        text: the job (TOML).
        surveys: whether the device is to be asked beside the training. Nothing else decides whether it is.
    """
    noise, summed = has_noise(text), sums_securely(text, policy.secure_aggregation)
    singly = surveys and not (summed and adds_answers_up(text))
    if policy.secure_aggregation and singly and not (policy.either and noise):
        return (
            f"{policy.path} wants secure aggregation (privacy.secure_aggregation), and the job asks devices beside the "
            "training, whose answers go up one by one, as no secagg adds them up; take that, or leave judges on "
            "devices and queries out."
        )
    if fewest_in_sum(text) < policy.minimum:
        return (
            f"{policy.path} wants at least {policy.minimum} devices in what is handed on (privacy.minimum), and the "
            "cloud made it fewer than the developer had signed, so the job is refused."
        )
    if not noise and (policy.privacy is None or (policy.either and summed)):
        return None
    from fogline.jobs.files.reading import parse_job

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
