"""A site's own policy: what may run here, when and with how much. It refuses whatever it does not allow."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fogline.governance.errors import SitePolicyError
from fogline.governance.policy.hours import is_open, next_open
from fogline.governance.policy.keys import parse_policy
from fogline.governance.policy.offers import Needs, Offers, missing
from fogline.governance.policy.protection import algorithm_of, fewest_in_sum, has_noise, sums_securely
from fogline.governance.policy.terms import OWNER, Allowed, Decision, Policy, ResourceLimits
from fogline.governance.safe_files import read_bounded
from fogline.governance.signatures.signers import Signer

if TYPE_CHECKING:
    from fogline.governance.bundles.manifest import Manifest

LARGEST = 64 * 1024


def read_policy(path: Path) -> Policy:
    """The policy of a file; the one that refuses everything if there is no file.

    Raises:
        SitePolicyError: the file cannot be read, is not signed by the owner who is pinned, or one line that names the
            key that is wrong.
    """
    try:
        data = read_bounded(path, LARGEST)
    except FileNotFoundError:
        return Policy(path=str(path))
    except OSError as error:
        raise SitePolicyError(f"The policy {path} cannot be read: {error.strerror}.") from error
    if len(data) > LARGEST:
        raise SitePolicyError(f"The policy {path} is longer than {LARGEST} bytes.")
    try:
        policy = parse_policy(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise SitePolicyError(f"The policy {path} is no text in UTF-8.") from None
    if not path.with_name(OWNER).exists():
        return policy
    from fogline.governance.policy.signed import verified_serial  # Not above: it needs a library.

    return msgspec.structs.replace(policy, serial=verified_serial(path, data))


def decide(policy: Policy, manifest: Manifest, signer: Signer, needs: Needs, offers: Offers) -> Decision:
    """Whether a job may run here.

    Args:
        policy: the owner's.
        manifest: what the developer signed.
        signer: whose signature under it was verified.
        needs: what the job asks of the machine.
        offers: what the machine has and the owner gives.
    """
    task = manifest.task
    why = _unlisted(policy, manifest, signer)
    if why is None:
        # From here on the owner's name for the key is used; the bundle may say any name.
        who = f"{entries_of(policy, signer)[0].signer.name} (key {signer.fingerprint})"
        why = _unsuited(policy, manifest, f"{task} of {who}", missing(needs, offers))
        if why is None:
            return Decision(True, f"{policy.path} allows {task} of {who}.")
    return Decision(False, why)


def entries_of(policy: Policy, signer: Signer) -> list[Allowed]:
    """What a policy says of a developer, by the key."""
    return [entry for entry in policy.allowed if entry.signer.public_key == signer.public_key]


def rule_for(policy: Policy, manifest: Manifest) -> Allowed | None:
    """The first entry of a policy that lets a job in; None if none does. One that names who must approve, or how often,
    goes before one that does not: the owner meant the narrower."""
    fitting = [entry for entry in entries_of(policy, manifest.signer) if _fits(entry, manifest)]
    return min(fitting, key=lambda entry: (not entry.approval, entry.uses is None), default=None)


def not_in_force(policy: Policy, local: datetime) -> str | None:
    """Why a policy lets nothing run at this moment, by the clock on the wall; None if it holds."""
    since, until = policy.valid.since, policy.valid.until
    if until is not None and local >= until:
        when = f"{until:%Y-%m-%d %H:%M} (valid.until)"
        return f"{policy.path} held until {when}, so nothing may run; the owner must renew it."
    if since is not None and local < since:
        return f"{policy.path} holds from {since:%Y-%m-%d %H:%M} on (valid.since), so nothing may run yet."
    return None


def _unlisted(policy: Policy, manifest: Manifest, signer: Signer) -> str | None:
    """Why no entry of a policy lets a job in; None if one does."""
    who, task = f"one who says to be {signer.name} (key {signer.fingerprint})", manifest.task
    add = f'a table [[signer]] with name = "{signer.name}", key = "{signer.key}" and tasks = ["{task}"]'
    if not policy.found:
        return f"There is no policy {policy.path}, so nothing may run here; to allow {who}, write into it: {add}"
    entries = entries_of(policy, signer)
    if not entries:
        return f"{policy.path} does not list who signed {task}, {who}; to allow it, add to it: {add}"
    if rule_for(policy, manifest) is not None:
        return None
    who = f"{entries[0].signer.name} (key {signer.fingerprint})"
    entries = [entry for entry in entries if _matches(task, entry.tasks)]
    if not entries:
        return f'{policy.path} does not allow the task {task} of {who}; to allow it, add "{task}" to its tasks.'
    name = algorithm_of(manifest.job)
    entries = [entry for entry in entries if _matches(name, entry.algorithms)]
    if not entries:
        return f'{policy.path} does not allow {task} of {who} with {name}; to allow it, add "{name}" to its algorithms.'
    return (
        f"{policy.path} does not list the code of {task} of {who}, which has the digest {manifest.code}; to allow it, "
        "add that to its code."
    )


def _fits(entry: Allowed, manifest: Manifest) -> bool:
    code = not entry.code or manifest.code in entry.code
    return code and _matches(manifest.task, entry.tasks) and _matches(algorithm_of(manifest.job), entry.algorithms)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _unsuited(policy: Policy, manifest: Manifest, what: str, lack: str | None) -> str | None:
    """Why a job that is let in protects too little, or cannot run; None if neither is so."""
    wanted = policy.secure_aggregation
    relieved = policy.either and has_noise(manifest.job)
    if wanted and not relieved and not sums_securely(manifest.job, wanted):
        ways = " or ".join(f'"{name}"' for name in wanted)
        return (
            f"{policy.path} wants secure aggregation (privacy.secure_aggregation), and {what} has none "
            f"that it names between devices and their aggregators; give the last tier of its tree exchange = {ways}."
        )
    fewest = fewest_in_sum(manifest.job)
    if fewest < policy.minimum:
        return (
            f"{policy.path} wants at least {policy.minimum} devices in what is handed on (privacy.minimum), and {what} "
            f"is content with {fewest}; give the last tier of its tree quorum = {policy.minimum}, or its secure sum "
            "that minimum."
        )
    return None if lack is None else f"{lack[:-1]}, so {what} cannot run here under {policy.path}."


def allowed_now(limits: ResourceLimits, local: datetime, on_mains: bool | None) -> str | None:
    """Why no job may run at this moment, in one sentence; None if one may.

    Args:
        limits: the owner's.
        local: the time on the wall.
        on_mains: whether the machine runs on mains; None if it cannot tell, which counts as no.
    """
    if not is_open(limits.windows, local):
        return f"The owner's hours are closed; they open at {opens_at(limits, local):%H:%M}."
    if limits.mains_only and on_mains is None:
        return "The owner allows jobs on mains only, and this machine cannot tell whether it runs on mains."
    if limits.mains_only and not on_mains:
        return "The owner allows jobs on mains only, and the machine runs on its battery."
    return None


def opens_at(limits: ResourceLimits, local: datetime) -> datetime:
    """The next moment, from ``local`` on, at which the owner's hours are open; ``local`` itself if they are."""
    return next_open(limits.windows, local)
