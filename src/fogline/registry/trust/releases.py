"""The cloud's part: releases as signed files, for whoever asks and carries them on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from tuf.api.exceptions import RepositoryError

from fogline.governance.signatures.signers import Signer
from fogline.registry.release import Release, ReleaseError, read_release
from fogline.registry.trust.names import TIMESTAMP
from fogline.registry.trust.offline_metadata import (
    OfflineMetadata,
    load_offline_metadata,
    open_offline_metadata,
    read_approvals,
)
from fogline.registry.trust.operator import make_online_keys
from fogline.registry.trust.repository import (
    Lifetimes,
    OnlineKeys,
    ReleaseRepository,
    due_times,
    first_repository,
    leapt,
    renewed,
    with_offline_metadata,
    with_release,
)
from fogline.registry.trust.signing import MetadataError, unseal
from fogline.registry.trust.terms import Timestamp
from fogline.storage.database import Database

LIFETIMES = Lifetimes()
KIND, KEY = "registry", "releases"

_REPOSITORY = msgspec.msgpack.Decoder(ReleaseRepository)


class SignedReleases:
    """A repository of signed releases in the cloud's records. Every call may come from any thread or process.

    All files are one document, which is swapped as a whole: after a crash there is the repository before a change or
    after it. Every method raises ``StorageError`` where the records cannot be reached.

    Args:
        store: the cloud's records.
        online: the folder with its keys and its first metadata (:func:`fogline.registry.trust.operator.create`).
        lifetimes: for how long it signs.
    """

    def __init__(self, store: Database, online: Path, lifetimes: Lifetimes = LIFETIMES) -> None:
        self._store = store
        self._online = online
        self._lifetimes = lifetimes

    # Reading

    def file(self, name: str) -> bytes | None:
        """A file of the repository; None if there is none of that name.

        Only ``timestamp.json`` changes under its name; of the other names that appear, older ones disappear with time.
        """
        repository = self._read()[1]
        return repository.files.get(name) if repository else None

    def releases(self) -> dict[str, Release]:
        """The newest release of each model."""
        repository = self._read()[1]
        return repository.releases() if repository else {}

    def offline_metadata(self) -> OfflineMetadata:
        """What the operator signed last and the cloud adopted.

        Raises:
            MetadataError: the cloud has none yet.
        """
        repository = self._read()[1]
        return repository.offline_metadata() if repository else self._first_offline_metadata()

    def approved(self, model: str) -> dict[str, str]:
        """Who approved a version of a model, by its card's digest.

        Raises:
            MetadataError: the cloud has no offline metadata yet.
        """
        listed = self.offline_metadata().approvals.get(model)
        return {approval.card: approval.by for approval in read_approvals(listed)} if listed else {}

    @property
    def root(self) -> bytes:
        """The newest root metadata, for nodes that begin (:func:`fogline.registry.trust.binding.bind_root`).

        Raises:
            MetadataError: the cloud has none yet.
        """
        return self.offline_metadata().roots[-1]

    # Changing

    def publish(self, release: Release, now: float | None = None) -> None:
        """Sign a release; it takes the place of the model's last one.

        Args:
            release: what nodes should serve from now on.
            now: Unix time; None asks the clock.

        Raises:
            ReleaseError: its number is not above that of the model's last release, or it cannot be read again.
            MetadataError: the operator has not made keys for releases.
            SignatureError: one of the cloud's keys cannot be used.
        """
        read_release(msgspec.json.encode(release))

        def work(repository: ReleaseRepository, moment: float) -> ReleaseRepository:
            last = repository.releases().get(release.model)
            if last is not None and release.number <= last.number:
                raise ReleaseError(
                    f"Release {release.number} of {release.model} is not above the last one, {last.number}; "
                    f"nodes never go back, so give it the number {last.number + 1}."
                )
            return with_release(repository, release, self._keys(repository, moment))

        self._change(work, now)

    def adopt(self, offline_metadata: OfflineMetadata, now: float | None = None) -> None:
        """Take over what the operator signed; the same offline metadata again changes nothing.

        Args:
            offline_metadata: from a function of :mod:`fogline.registry.trust.operator`.
            now: Unix time; None asks the clock.

        Raises:
            MetadataError: it is not the operator's, or not newer than what the cloud has.
            SignatureError: it names keys that the cloud does not have.
        """

        def work(repository: ReleaseRepository, moment: float) -> ReleaseRepository:
            held = repository.offline_metadata()
            if offline_metadata == held:
                return repository
            opened = open_offline_metadata(offline_metadata, held.roots[0])
            if offline_metadata.roots[: len(held.roots)] != held.roots or opened.targets.version <= repository.targets:
                raise MetadataError(
                    "The offline metadata is not newer than the one that the cloud has; somebody else may have signed "
                    "meanwhile. Begin again from the cloud's."
                )
            hand = OnlineKeys.of(self._online, opened, self._lifetimes, moment)
            return with_offline_metadata(repository, offline_metadata, opened, hand)

        self._change(work, now)

    def make_keys(self) -> tuple[Signer, ...]:
        """New keys for this cloud, beside those that it has: their public halves, for
        :func:`fogline.registry.trust.operator.rotate_online`.

        Raises:
            SignatureError: they cannot be written.
        """
        return make_online_keys(self._online)

    def renew(self, now: float | None = None) -> float:
        """Sign anew what has used up half of its time.

        Returns:
            Unix time at which to call it next.

        Raises:
            MetadataError, SignatureError: as :meth:`publish`.
        """

        def work(repository: ReleaseRepository, moment: float) -> ReleaseRepository:
            return renewed(repository, self._keys(repository, moment))

        return min(due_times(self._change(work, now), self._lifetimes).values())

    def leap(self, now: float | None = None) -> None:
        """Sign all anew with versions that are above any that were counted up before: the time on the clock, in
        seconds. For a cloud that went back to a backup.

        Args:
            now: Unix time; None asks the clock.

        Raises:
            MetadataError, SignatureError: as :meth:`publish`.
        """
        self._change(lambda repository, moment: leapt(repository, self._keys(repository, moment)), now)

    def is_later(self, timestamp: bytes) -> bool:
        """Whether a timestamp was signed with the cloud's key and is newer than the newest one here."""
        repository = self._read()[1]
        if repository is None:
            return False
        try:
            shown = unseal(Timestamp, timestamp)
            repository.opened().root.verify_delegate(Timestamp.type, shown.signed_bytes, shown.signatures)
        except (MetadataError, RepositoryError, ValueError):
            return False  # Whoever shows it: nothing follows from it.
        return shown.signed.version > unseal(Timestamp, repository.files[TIMESTAMP]).signed.version

    # Inside

    def _read(self) -> tuple[bytes | None, ReleaseRepository | None]:
        body = self._store.get(KIND, KEY)
        return body, _REPOSITORY.decode(body) if body is not None else None

    def _change(
        self, work: Callable[[ReleaseRepository, float], ReleaseRepository], now: float | None
    ) -> ReleaseRepository:
        moment = time.time() if now is None else now
        while True:
            body, repository = self._read()
            after = work(repository or self._first_repository(moment), moment)
            if after is repository or self._store.swap(KIND, KEY, body, msgspec.msgpack.encode(after)):
                return after
            # Another process was faster: again, on top of what it did.

    def _keys(self, repository: ReleaseRepository, now: float) -> OnlineKeys:
        return OnlineKeys.of(self._online, repository.opened(), self._lifetimes, now)

    def _first_repository(self, now: float) -> ReleaseRepository:
        offline_metadata = self._first_offline_metadata()
        opened = open_offline_metadata(offline_metadata, offline_metadata.roots[0])
        return first_repository(offline_metadata, opened, OnlineKeys.of(self._online, opened, self._lifetimes, now))

    def _first_offline_metadata(self) -> OfflineMetadata:
        offline_metadata = load_offline_metadata(self._online)
        if offline_metadata is None:
            raise MetadataError(
                f"There is no offline metadata for releases in {self._online}; the operator makes it with the keys."
            )
        return offline_metadata
