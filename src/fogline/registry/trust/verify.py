"""A node's part: which releases to believe, from files that anybody may have carried.

The order and the checks are TUF's client workflow, by its reference library; what is kept here is one file.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace
from tuf.api.exceptions import (
    BadVersionNumberError,
    EqualVersionNumberError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.serialization import DeserializationError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from fogline.registry.release import Release, ReleaseError, read_release
from fogline.registry.trust.names import (
    APPROVALS,
    LARGEST_FILE,
    LARGEST_METADATA,
    LARGEST_TIMESTAMP,
    RELEASES,
    TIMESTAMP,
    content_name,
    is_file_name,
    metadata_name,
)
from fogline.registry.trust.offline_metadata import read_approvals
from fogline.registry.trust.results import (
    Kind,
    Trusted,
    UntrustedReleaseError,
    Verified,
    last_verified,
    read_trusted,
    write_trusted,
)
from fogline.registry.trust.signing import MetadataError, moment
from fogline.registry.trust.source import Incoming
from fogline.registry.trust.terms import Targets

MOST_ROOTS = 64
"""Versions of the root that are gone through at once."""


class Verifier:
    """Keeps what a node believes about releases, and takes over what is newer. One process at a time may use it.

    Args:
        folder: where it keeps that; made if need be.
        root: the first root metadata (:func:`fogline.registry.trust.binding.bound_root`). It counts only while the
            folder is empty: from then on the chain of roots does.
    """

    def __init__(self, folder: Path, root: bytes) -> None:
        self._folder = folder
        self._root = root

    def verify(self, incoming: Incoming, now: float | None = None, models: Collection[str] | None = None) -> Verified:
        """Believe what is newer, if it is signed as it must be.

        Args:
            incoming: gives files by name; it may raise
                :class:`~fogline.registry.trust.source.MissingMetadataError` for one that must be fetched first, and
                then this is called again.
            now: Unix time; None asks the clock.
            models: those whose releases are wanted; None: all.

        Raises:
            UntrustedReleaseError: what was offered must not be believed. What was believed before stays.
            StorageError: it cannot be kept.
        """
        before = read_trusted(self._folder) or Trusted(self._root)
        with _in_words():
            walk = _Walk(before, incoming, time.time() if now is None else now)
            try:
                walk.roots()
                walk.timestamp()
                walk.snapshot()
                return walk.contents(walk.targets(), walk.rounds(), models)
            finally:
                # Also what is believed of a way that ended early: newer keys, and what is older than them.
                if walk.kept != before:
                    write_trusted(self._folder, walk.kept)

    def last(self) -> Verified | None:
        """The last complete picture that was believed; None if there is none."""
        return last_verified(self._folder)


class _Walk:
    """One way through the metadata, in TUF's order. ``kept`` is what has been believed so far."""

    def __init__(self, kept: Trusted, incoming: Incoming, now: float) -> None:
        self.kept = kept
        self._incoming = incoming
        self._set = TrustedMetadataSet(kept.root, EnvelopeType.METADATA)
        self._set.reference_time = moment(now)

    def roots(self) -> None:
        """Go up the chain of roots: each is signed by the one before."""
        for _ in range(MOST_ROOTS):
            data = self._bounded(metadata_name("root", self._set.root.version + 1), LARGEST_METADATA)
            if data is None:
                return
            self._set.update_root(data)
            self.kept = replace(self.kept, root=data)

    def timestamp(self) -> None:
        """Learn which snapshot is the newest."""
        # What is kept may have run out: then it still says what is older than it.
        with suppress(RepositoryError):
            self._set.update_timestamp(self.kept.timestamp)
        data = self._fetched(TIMESTAMP, LARGEST_TIMESTAMP)
        try:
            self._set.update_timestamp(data)
        except EqualVersionNumberError:
            if self._set.timestamp.is_expired(self._set.reference_time):
                raise ExpiredMetadataError("nothing newer than what is kept, which has expired") from None
        else:
            self.kept = replace(self.kept, timestamp=data)

    def snapshot(self) -> None:
        """Learn which versions of the other metadata belong together."""
        with suppress(RepositoryError):
            self._set.update_snapshot(self.kept.snapshot, trusted=True)
            return
        wanted = self._set.timestamp.snapshot_meta
        data = self._fetched(metadata_name("snapshot", wanted.version), _limit(wanted.length))
        self._set.update_snapshot(data)
        self.kept = replace(self.kept, snapshot=data)

    def targets(self) -> Targets:
        """What people approved."""
        with suppress(RepositoryError):
            return self._set.update_targets(self.kept.targets)
        data = self._listed("targets")
        targets = self._set.update_targets(data)
        self.kept = replace(self.kept, targets=data)
        return targets

    def rounds(self) -> Targets:
        """What the cloud released."""
        with suppress(RepositoryError):
            return self._set.update_delegated_targets(self.kept.rounds, "rounds", "targets")
        data = self._listed("rounds")
        rounds = self._set.update_delegated_targets(data, "rounds", "targets")
        self.kept = replace(self.kept, rounds=data)
        return rounds

    def contents(self, targets: Targets, rounds: Targets, models: Collection[str] | None) -> Verified:
        """Read the releases and approvals themselves. A role's word counts only for its own targets."""
        files: dict[str, bytes] = {}
        approved = {
            model: frozenset(approval.card for approval in read_approvals(data))
            for model, data in self._files(targets, APPROVALS, models, files)
        }
        releases = tuple(_release(model, data) for model, data in self._files(rounds, RELEASES, models, files))
        verified = Verified(
            releases,
            approved,
            min(signed.expires.timestamp() for signed in (self._set.timestamp, self._set.snapshot, rounds)),
            min(signed.expires.timestamp() for signed in (self._set.root, targets)),
            self._set.root.version,
        )
        _check_numbers(verified, self.kept.last)
        self.kept = replace(self.kept, files=files, last=verified)
        return verified

    def _files(
        self, role: Targets, prefix: str, models: Collection[str] | None, files: dict[str, bytes]
    ) -> Iterator[tuple[str, bytes]]:
        for path, target in role.targets.items():
            model = path.removeprefix(prefix)
            if not path.startswith(prefix) or (models is not None and model not in models):
                continue
            name = content_name(target.hashes.get("sha256", ""))
            data = self.kept.files.get(name) or self._fetched(name, min(target.length, LARGEST_FILE))
            target.verify_length_and_hashes(data)
            files[name] = data
            yield model, data

    def _listed(self, role: str) -> bytes:
        """The version of a role's metadata that the snapshot lists."""
        wanted = self._set.snapshot.meta.get(f"{role}.json")
        if wanted is None:
            raise RepositoryError(f"the snapshot does not list {role}")
        return self._fetched(metadata_name(role, wanted.version), _limit(wanted.length))

    def _fetched(self, name: str, largest: int) -> bytes:
        data = self._bounded(name, largest)
        if data is None:
            raise UntrustedReleaseError(
                "unreadable", f"There is no {name} where the releases come from; ask elsewhere or later."
            )
        return data

    def _bounded(self, name: str, largest: int) -> bytes | None:
        if not is_file_name(name):
            raise UntrustedReleaseError("unreadable", f"The releases name a file {name[:80]!r}, which cannot be.")
        data = self._incoming(name, largest)
        if data is not None and len(data) > largest:
            raise UntrustedReleaseError(
                "tampered", f"{name} of the releases is longer than the {largest} bytes that it may have."
            )
        return data


class _Finding(NamedTuple):
    cause: type[RepositoryError]
    kind: Kind
    sentence: str


_FINDINGS = (
    _Finding(
        ExpiredMetadataError,
        "expired",
        "The releases' signatures have run out; the cloud or its operator must renew them",
    ),
    _Finding(BadVersionNumberError, "older", "The releases offered are older than what was seen here before"),
    _Finding(UnsignedMetadataError, "tampered", "The releases offered are not signed by those who may"),
    _Finding(LengthOrHashMismatchError, "tampered", "A file of the releases is not the one that was signed"),
    _Finding(DeserializationError, "unreadable", "A file of the releases is no metadata"),
    _Finding(RepositoryError, "tampered", "The releases offered contradict themselves"),
)
"""What the library finds, in words; the first that fits counts."""


@contextmanager
def _in_words() -> Generator[None]:
    try:
        yield
    except (MetadataError, ReleaseError) as error:
        raise UntrustedReleaseError("unreadable", str(error)) from error
    except RepositoryError as error:
        finding = next(finding for finding in _FINDINGS if isinstance(error, finding.cause))
        raise UntrustedReleaseError(
            finding.kind, f"{finding.sentence} ({error}); what was verified before stays."
        ) from error


def _limit(length: int | None) -> int:
    return min(length or LARGEST_METADATA, LARGEST_METADATA)


def _release(model: str, data: bytes) -> Release:
    release = read_release(data)
    if release.model != model:
        raise UntrustedReleaseError("tampered", f"The release of {model[:80]} is one of {release.model}.")
    return release


def _check_numbers(now: Verified, before: Verified | None) -> None:
    """A release never goes back. New keys begin anew: a thief may have counted to any number with those before.

    Raises:
        UntrustedReleaseError: one does.
    """
    if before is None or before.root != now.root:
        return
    last = {release.model: release.number for release in before.releases}
    for release in now.releases:
        if release.number < last.get(release.model, release.number):
            raise UntrustedReleaseError(
                "older",
                f"Release {release.number} of {release.model} is older than {last[release.model]}, seen before.",
            )
