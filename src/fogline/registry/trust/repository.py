"""All files of a repository of releases as one immutable value, and how the next one is signed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from fogline.governance.signatures.signing import SigningKey
from fogline.registry.release import Release, read_release
from fogline.registry.trust.names import APPROVALS, RELEASES, TIMESTAMP, content_name, metadata_name
from fogline.registry.trust.offline_metadata import OfflineMetadata, VerifiedOfflineMetadata
from fogline.registry.trust.signing import find_key, moment, seal, unseal
from fogline.registry.trust.terms import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

KEPT = 8
"""Versions of metadata that stay, for those who are about to fetch them over a slow link."""


class Lifetimes(msgspec.Struct, frozen=True):
    """Seconds for which the cloud's signatures hold. They are renewed at half of that."""

    timestamp: float = 86400.0
    snapshot: float = 7 * 86400.0
    rounds: float = 7 * 86400.0


class ReleaseRepository(msgspec.Struct, frozen=True):
    """The files by their names, and which versions are the newest."""

    files: dict[str, bytes]
    root: int
    targets: int
    rounds: int
    snapshot: int

    def newest(self, role: str, version: int) -> bytes:
        """The bytes of a role's metadata of that version."""
        return self.files[metadata_name(role, version)]

    def opened(self) -> VerifiedOfflineMetadata:
        """The operator's part as metadata."""
        root, targets = self.newest("root", self.root), self.newest("targets", self.targets)
        return VerifiedOfflineMetadata(unseal(Root, root).signed, unseal(Targets, targets).signed)

    def offline_metadata(self) -> OfflineMetadata:
        """What of it the operator signed."""
        targets = self.newest("targets", self.targets)
        return OfflineMetadata(
            tuple(self.newest("root", version) for version in range(1, self.root + 1)),
            targets,
            {path.removeprefix(APPROVALS): self.files[name] for path, name in _contents(targets)},
        )

    def releases(self) -> dict[str, Release]:
        """The newest release of each model."""
        rounds = self.newest("rounds", self.rounds)
        return {path.removeprefix(RELEASES): read_release(self.files[name]) for path, name in _contents(rounds)}


class OnlineKeys(msgspec.Struct, frozen=True):
    """The cloud's keys, for as long as something is signed."""

    timestamp: SigningKey
    snapshot: SigningKey
    rounds: SigningKey
    lifetimes: Lifetimes
    now: float
    """Unix time."""

    @classmethod
    def of(cls, folder: Path, opened: VerifiedOfflineMetadata, lifetimes: Lifetimes, now: float) -> OnlineKeys:
        """The keys of a folder that offline metadata names.

        Raises:
            SignatureError: one is not there or cannot be used.
        """
        root, delegations = opened.root, opened.targets.delegations
        assert delegations is not None
        return cls(
            find_key(folder, "timestamp", root.roles["timestamp"].keyids),
            find_key(folder, "snapshot", root.roles["snapshot"].keyids),
            find_key(folder, "rounds", delegations.keys),
            lifetimes,
            now,
        )


def first_repository(
    offline_metadata: OfflineMetadata, opened: VerifiedOfflineMetadata, keys: OnlineKeys
) -> ReleaseRepository:
    """A new repository that holds no release yet."""
    empty = ReleaseRepository({}, opened.root.version, opened.targets.version, rounds=0, snapshot=0)
    return _issued(_with_operator_files(empty, offline_metadata, opened), keys, rounds={})


def with_release(repository: ReleaseRepository, release: Release, keys: OnlineKeys) -> ReleaseRepository:
    """The repository with a model's newest release, in place of the one before."""
    body, path = msgspec.json.encode(release), RELEASES + release.model
    target = TargetFile.from_data(path, body, ["sha256"])
    held = msgspec.structs.replace(repository, files=repository.files | {content_name(target.hashes["sha256"]): body})
    return _issued(held, keys, rounds=_rounds(repository) | {path: target})


def with_offline_metadata(
    repository: ReleaseRepository, offline_metadata: OfflineMetadata, opened: VerifiedOfflineMetadata, keys: OnlineKeys
) -> ReleaseRepository:
    """The repository with what the operator signed."""
    held = _with_operator_files(repository, offline_metadata, opened)
    signed_by = unseal(Targets, repository.newest("rounds", repository.rounds)).signatures
    stays = keys.rounds.signer.fingerprint in signed_by
    return _issued(held, keys, rounds=None if stays else _rounds(repository), snapshot=True)


def renewed(repository: ReleaseRepository, keys: OnlineKeys) -> ReleaseRepository:
    """The repository with new signatures where half of the time is over; the same one if that is nowhere so."""
    due = {role for role, moment in due_times(repository, keys.lifetimes).items() if moment <= keys.now}
    if not due:
        return repository
    return _issued(
        repository, keys, rounds=_rounds(repository) if "rounds" in due else None, snapshot="snapshot" in due
    )


def leapt(repository: ReleaseRepository, keys: OnlineKeys) -> ReleaseRepository:
    """The repository signed anew, in versions that no signature of before can have had."""
    listed, above = _rounds(repository), int(keys.now) - 1
    higher = msgspec.structs.replace(
        repository, rounds=max(repository.rounds, above), snapshot=max(repository.snapshot, above)
    )
    return _issued(higher, keys, rounds=listed, above=above)


def due_times(repository: ReleaseRepository, lifetimes: Lifetimes) -> dict[str, float]:
    """When each of the cloud's signatures is to be renewed, in Unix time."""
    expiries = {
        "timestamp": unseal(Timestamp, repository.files[TIMESTAMP]).signed.expires,
        "snapshot": unseal(Snapshot, repository.newest("snapshot", repository.snapshot)).signed.expires,
        "rounds": unseal(Targets, repository.newest("rounds", repository.rounds)).signed.expires,
    }
    return {role: expiry.timestamp() - getattr(lifetimes, role) / 2 for role, expiry in expiries.items()}


def _with_operator_files(
    repository: ReleaseRepository, offline_metadata: OfflineMetadata, opened: VerifiedOfflineMetadata
) -> ReleaseRepository:
    files = dict(repository.files)
    files |= {metadata_name("root", place): root for place, root in enumerate(offline_metadata.roots, 1)}
    files[metadata_name("targets", opened.targets.version)] = offline_metadata.targets
    files |= {
        name: offline_metadata.approvals[path.removeprefix(APPROVALS)]
        for path, name in _contents(offline_metadata.targets)
    }
    return msgspec.structs.replace(repository, files=files, root=opened.root.version, targets=opened.targets.version)


def _issued(
    repository: ReleaseRepository,
    keys: OnlineKeys,
    rounds: dict[str, TargetFile] | None,
    snapshot: bool = False,
    above: int = 0,
) -> ReleaseRepository:
    """Sign what has changed, and what vouches for it; the timestamp's version is above a number."""
    if rounds is not None:
        repository = _with_rounds(repository, keys, rounds)
    if rounds is not None or snapshot:
        repository = _with_snapshot(repository, keys)
    return _pruned(_with_timestamp(repository, keys, above))


def _with_rounds(repository: ReleaseRepository, keys: OnlineKeys, rounds: dict[str, TargetFile]) -> ReleaseRepository:
    version = repository.rounds + 1
    signed = Targets(version, expires=moment(keys.now + keys.lifetimes.rounds), targets=rounds)
    files = repository.files | {metadata_name("rounds", version): seal(signed, keys.rounds)}
    return msgspec.structs.replace(repository, files=files, rounds=version)


def _with_snapshot(repository: ReleaseRepository, keys: OnlineKeys) -> ReleaseRepository:
    version = repository.snapshot + 1
    meta = {
        f"{role}.json": MetaFile.from_data(newest, repository.newest(role, newest), ["sha256"])
        for role, newest in (("targets", repository.targets), ("rounds", repository.rounds))
    }
    signed = Snapshot(version, expires=moment(keys.now + keys.lifetimes.snapshot), meta=meta)
    files = repository.files | {metadata_name("snapshot", version): seal(signed, keys.snapshot)}
    return msgspec.structs.replace(repository, files=files, snapshot=version)


def _with_timestamp(repository: ReleaseRepository, keys: OnlineKeys, above: int) -> ReleaseRepository:
    before = repository.files.get(TIMESTAMP)
    version = 1 + max(above, unseal(Timestamp, before).signed.version if before else 0)
    meta = MetaFile.from_data(repository.snapshot, repository.newest("snapshot", repository.snapshot), ["sha256"])
    signed = Timestamp(version, expires=moment(keys.now + keys.lifetimes.timestamp), snapshot_meta=meta)
    return msgspec.structs.replace(repository, files=repository.files | {TIMESTAMP: seal(signed, keys.timestamp)})


def _pruned(repository: ReleaseRepository) -> ReleaseRepository:
    """Without the files that nobody can be about to fetch any more."""
    kept = {TIMESTAMP} | {metadata_name("root", version) for version in range(1, repository.root + 1)}
    for role in ("targets", "rounds", "snapshot"):
        newest = getattr(repository, role)
        names = {
            metadata_name(role, version) for version in range(newest - KEPT + 1, newest + 1)
        } & repository.files.keys()
        kept |= names
        if role != "snapshot":
            kept |= {content for name in names for _, content in _contents(repository.files[name])}
    return msgspec.structs.replace(
        repository, files={name: data for name, data in repository.files.items() if name in kept}
    )


def _rounds(repository: ReleaseRepository) -> dict[str, TargetFile]:
    return unseal(Targets, repository.newest("rounds", repository.rounds)).signed.targets


def _contents(metadata: bytes) -> Iterator[tuple[str, str]]:
    """Paths of targets, and the names of their files."""
    for path, target in unseal(Targets, metadata).signed.targets.items():
        yield path, content_name(target.hashes["sha256"])
