"""The operator's part: what is signed with the keys that never lie on a running cloud.

Each function takes the offline metadata that the cloud shows (None: none at hand) and gives the next for the cloud to
adopt. A copy stays in the operator's folder. So older metadata, from a backup or from a cloud that was broken into,
takes nothing back: the newer of both is gone on from.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from fogline.governance.signatures.signers import Signer
from fogline.inference.card import Digest, ModelName
from fogline.registry.trust.names import APPROVALS, OFFLINE, ONLINE, RELEASES, MetadataRole
from fogline.registry.trust.offline_metadata import (
    OfflineMetadata,
    VerifiedOfflineMetadata,
    load_offline_metadata,
    open_offline_metadata,
    read_approvals,
    save_offline_metadata,
)
from fogline.registry.trust.results import CardApproval
from fogline.registry.trust.signing import MetadataError, find_key, make_keys, moment, public_half, seal
from fogline.registry.trust.terms import DelegatedRole, Delegations, Key, Root, TargetFile, Targets
from fogline.registry.trust.terms import Role as Keyring

DAY = 86400.0
ROOT_DAYS = 3 * 365
TARGETS_DAYS = 365
MOST_APPROVED = 200
"""Approvals of a model that are kept; the oldest go first."""
TOP: tuple[MetadataRole, ...] = ("root", "timestamp", "snapshot", "targets")
"""Roles whose keys stand in the root; that of ``rounds`` stands in the targets."""


def create(online: Path, offline: Path, now: float | None = None) -> bytes:
    """Make all keys and the first metadata of a fleet's releases.

    Args:
        online: the cloud's folder for its keys (``timestamp``, ``snapshot``, ``rounds``).
        offline: the operator's folder (``root``, ``targets``), to be moved away from the cloud and backed up.
        now: Unix time; None asks the clock.

    Returns:
        The first root metadata, which every node must get in a way that it trusts
        (:func:`fogline.registry.trust.binding.bind_root`).

    Raises:
        MetadataError: there is offline metadata in the operator's folder already, or a folder cannot be written.
        SignatureError: the keys cannot be written.
    """
    if load_offline_metadata(offline) is not None:
        raise MetadataError(f"{offline} holds the keys of a fleet already; nodes trust them, so they are not replaced.")
    now = _clock(now)
    private = make_keys(offline, OFFLINE)
    signers = {role: key.signer for role, key in private.items()}
    signers |= {signer.name: signer for signer in make_online_keys(online)}
    keys = {role: public_half(signer) for role, signer in signers.items()}
    offline_metadata = OfflineMetadata(
        (seal(_root(1, keys, now), private["root"]),),
        seal(_targets(1, {}, _delegations(keys["rounds"]), now), private["targets"]),
    )
    save_offline_metadata(online, offline_metadata)
    # The operator's copy comes last: it says that all the rest is there.
    save_offline_metadata(offline, offline_metadata)
    return offline_metadata.roots[0]


def make_online_keys(online: Path) -> tuple[Signer, ...]:
    """New keys for the cloud, beside those it has; their public halves, for :func:`rotate_online`.

    Raises:
        SignatureError: they cannot be written.
    """
    return tuple(key.signer for key in make_keys(online, ONLINE).values())


def approve(
    offline: Path, theirs: OfflineMetadata | None, model: ModelName, card: Digest, by: str, now: float | None = None
) -> OfflineMetadata:
    """The offline metadata with a card approved for a model.

    Args:
        offline: the operator's folder.
        theirs: the offline metadata that the cloud shows.
        model: the model's name.
        card: digest of the card.
        by: who approves it.
        now: Unix time; None asks the clock.

    Raises:
        MetadataError: the cloud's offline metadata must not be believed, or the folder cannot be used.
        SignatureError: the key is not there or cannot be used.
    """
    now = _clock(now)
    offline_metadata, opened = _newest(offline, theirs)
    others = [approval for approval in _approvals(offline_metadata, model) if approval.card != card]
    return _relist(offline, offline_metadata, opened, model, [*others, CardApproval(card, by, now)], now)


def withdraw(
    offline: Path, theirs: OfflineMetadata | None, model: ModelName, card: Digest, now: float | None = None
) -> OfflineMetadata:
    """The offline metadata with a card approved no more. Arguments and errors as in :func:`approve`."""
    offline_metadata, opened = _newest(offline, theirs)
    before = _approvals(offline_metadata, model)
    after = [approval for approval in before if approval.card != card]
    if len(after) == len(before):
        raise MetadataError(f"Card {card[:12]}… of {model} was not approved, so there is nothing to withdraw.")
    return _relist(offline, offline_metadata, opened, model, after, _clock(now))


def newer(offline: Path, theirs: OfflineMetadata) -> OfflineMetadata | None:
    """The operator's own copy, where it is newer than what the cloud shows: the cloud has gone back to a backup, and
    nodes refuse releases beside older approvals. None where it is not, or there are no keys there.

    Raises:
        MetadataError: the cloud's offline metadata must not be believed.
    """
    own = load_offline_metadata(offline)
    if own is None:
        return None
    first = own.roots[0]
    return own if open_offline_metadata(own, first).age > open_offline_metadata(theirs, first).age else None


def check_keys(offline: Path, theirs: OfflineMetadata | None) -> None:
    """Whether the folder holds the keys that count, so that metadata can be signed. Errors as in :func:`approve`."""
    _, opened = _newest(offline, theirs)
    for role in OFFLINE:
        find_key(offline, role, opened.root.roles[role].keyids)


def prolong(offline: Path, theirs: OfflineMetadata | None, now: float | None = None) -> OfflineMetadata:
    """The offline metadata with its time begun anew. Arguments and errors as in :func:`approve`."""
    return _rotate(offline, theirs, {}, _clock(now))


def rotate_online(
    offline: Path, theirs: OfflineMetadata | None, signers: Iterable[Signer], now: float | None = None
) -> OfflineMetadata:
    """The offline metadata with new keys for the cloud; the old ones count no more. For a cloud that was broken into.

    Args:
        offline: the operator's folder.
        theirs: the offline metadata that the cloud shows.
        signers: what :func:`make_online_keys` gave on the new cloud.
        now: Unix time; None asks the clock.

    Raises:
        MetadataError, SignatureError: as in :func:`approve`, or a key is missing.
    """
    changed = {signer.name: public_half(signer) for signer in signers}
    if set(changed) != set(ONLINE):
        raise MetadataError(f"New keys of a cloud must be one each for {', '.join(ONLINE)}.")
    return _rotate(offline, theirs, changed, _clock(now))


def rotate_offline(offline: Path, theirs: OfflineMetadata | None, now: float | None = None) -> OfflineMetadata:
    """The metadata with new keys for root and targets, made in the operator's folder. Errors as in :func:`approve`."""
    check_keys(offline, theirs)  # Before keys are made that nobody needs.
    made = make_keys(offline, OFFLINE)
    return _rotate(offline, theirs, {role: public_half(key.signer) for role, key in made.items()}, _clock(now))


# Inside


def _newest(offline: Path, theirs: OfflineMetadata | None) -> tuple[OfflineMetadata, VerifiedOfflineMetadata]:
    """The cloud's offline metadata or one's own, whichever the keys signed last."""
    own = load_offline_metadata(offline)
    if own is None:
        raise MetadataError(f"There are no keys for releases in {offline}; name the folder that holds them.")
    opened = open_offline_metadata(own, own.roots[0])
    if theirs is None:
        return own, opened
    shown = open_offline_metadata(theirs, own.roots[0])
    # Of two of one age the cloud's was adopted, and the other never can be.
    return (theirs, shown) if shown.age >= opened.age else (own, opened)


def _relist(
    offline: Path,
    offline_metadata: OfflineMetadata,
    opened: VerifiedOfflineMetadata,
    model: ModelName,
    approvals: list[CardApproval],
    now: float,
) -> OfflineMetadata:
    body = msgspec.json.encode(approvals[-MOST_APPROVED:])
    path = APPROVALS + _checked(model, approvals)
    files = opened.targets.targets | {path: TargetFile.from_data(path, body, ["sha256"])}
    targets = _targets(opened.targets.version + 1, files, opened.targets.delegations, now)
    key = find_key(offline, "targets", opened.root.roles["targets"].keyids)
    following = OfflineMetadata(offline_metadata.roots, seal(targets, key), offline_metadata.approvals | {model: body})
    save_offline_metadata(offline, following)
    return following


def _rotate(offline: Path, theirs: OfflineMetadata | None, changed: Mapping[str, Key], now: float) -> OfflineMetadata:
    offline_metadata, opened = _newest(offline, theirs)
    keys = {**_keys(opened), **changed}
    root = _root(opened.root.version + 1, keys, now)
    targets = _targets(opened.targets.version + 1, opened.targets.targets, _delegations(keys["rounds"]), now)
    before = find_key(offline, "root", opened.root.roles["root"].keyids)
    after = find_key(offline, "root", root.roles["root"].keyids)
    signing = find_key(offline, "targets", root.roles["targets"].keyids)
    following = OfflineMetadata(
        (*offline_metadata.roots, seal(root, before, after)), seal(targets, signing), offline_metadata.approvals
    )
    save_offline_metadata(offline, following)
    return following


def _root(version: int, keys: Mapping[str, Key], now: float) -> Root:
    named = {keys[role].keyid: keys[role] for role in TOP}
    roles = {role: Keyring([keys[role].keyid], 1) for role in TOP}
    return Root(version, expires=moment(now + ROOT_DAYS * DAY), keys=named, roles=roles, consistent_snapshot=True)


def _targets(version: int, files: dict[str, TargetFile], delegations: Delegations | None, now: float) -> Targets:
    return Targets(version, expires=moment(now + TARGETS_DAYS * DAY), targets=files, delegations=delegations)


def _delegations(rounds: Key) -> Delegations:
    role = DelegatedRole("rounds", [rounds.keyid], 1, terminating=True, paths=[f"{RELEASES}*"])
    return Delegations({rounds.keyid: rounds}, {"rounds": role})


def _keys(opened: VerifiedOfflineMetadata) -> dict[str, Key]:
    delegations = opened.targets.delegations
    assert delegations is not None
    (rounds,) = delegations.keys.values()
    return {role: opened.root.keys[opened.root.roles[role].keyids[0]] for role in TOP} | {"rounds": rounds}


def _approvals(offline_metadata: OfflineMetadata, model: ModelName) -> tuple[CardApproval, ...]:
    body = offline_metadata.approvals.get(model)
    return read_approvals(body) if body else ()


def _checked(model: str, approvals: list[CardApproval]) -> str:
    try:
        msgspec.convert((model, [a.card for a in approvals]), type=tuple[ModelName, list[Digest]])
    except msgspec.ValidationError as error:
        raise MetadataError(f"The approval cannot be signed: {error}.") from None
    return model


def _clock(now: float | None) -> float:
    return time.time() if now is None else now
