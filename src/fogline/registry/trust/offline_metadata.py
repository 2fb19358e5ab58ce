"""All that the operator's offline keys have signed, as it goes between the operator and the cloud."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from tuf.api.exceptions import RepositoryError

from fogline.decoding import UNREADABLE
from fogline.governance.safe_files import make_private_folder
from fogline.inference.card import ModelName
from fogline.registry.trust.names import APPROVALS, LARGEST_FILE
from fogline.registry.trust.results import CardApproval
from fogline.registry.trust.signing import MetadataError, unseal
from fogline.registry.trust.terms import Root, TargetFile, Targets
from fogline.storage.atomic import PUBLIC, write_file

FILE = "offline_metadata.json"
FORMAT = 1
"""It changes when the file means something else; what is signed in it bears TUF's own version."""

_APPROVALS = msgspec.json.Decoder(tuple[CardApproval, ...])


class OfflineMetadata(msgspec.Struct, frozen=True):
    """Which keys count, and which cards are approved. It holds no secret."""

    roots: tuple[bytes, ...]
    """All versions of the root metadata, from the first on."""
    targets: bytes
    """The newest metadata of the role ``targets``."""
    approvals: dict[ModelName, bytes] = {}
    """The lists that it names (JSON), by model."""
    format: int = FORMAT

    def encoded(self) -> bytes:
        """The offline metadata as bytes of JSON."""
        return msgspec.json.encode(self)


class VerifiedOfflineMetadata(msgspec.Struct, frozen=True):
    """Offline metadata whose signatures are good."""

    root: Root
    targets: Targets

    @property
    def age(self) -> tuple[int, int]:
        """What is newer has a higher one."""
        return self.root.version, self.targets.version


def read_offline_metadata(data: bytes) -> OfflineMetadata:
    """The offline metadata of these bytes; nothing is verified yet.

    Raises:
        MetadataError: they are none, or of another format.
    """
    try:
        found = msgspec.json.decode(data, type=OfflineMetadata)
    except UNREADABLE:
        raise MetadataError("The offline metadata of the releases cannot be read.") from None
    if found.format != FORMAT:
        raise MetadataError(
            f"The offline metadata of the releases has format {found.format}; this version of Fogline reads {FORMAT}."
        )
    return found


def read_approvals(data: bytes) -> tuple[CardApproval, ...]:
    """The approvals of a list's bytes, oldest first.

    Raises:
        MetadataError: they are none.
    """
    try:
        return _APPROVALS.decode(data)
    except UNREADABLE:
        raise MetadataError("A list of approved model cards cannot be read.") from None


def open_offline_metadata(offline_metadata: OfflineMetadata, first: bytes) -> VerifiedOfflineMetadata:
    """The metadata of offline metadata, if each root is signed by the one before and the last signs for the rest.

    Whether it has expired is not asked: it is what the operator signs anew.

    Args:
        offline_metadata: from the cloud or from the operator.
        first: the first root, which is trusted.

    Raises:
        MetadataError: it must not be believed.
    """
    if offline_metadata.roots[:1] != (first,):
        raise MetadataError(
            "The offline metadata of the releases begins with another root; it belongs to another fleet."
        )
    try:
        root = _last_root(offline_metadata.roots)
        metadata = unseal(Targets, offline_metadata.targets)
        root.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
        for path, target in metadata.signed.targets.items():
            _check_list(offline_metadata, path, target)
    except RepositoryError:
        raise MetadataError(
            "The offline metadata of the releases is not signed by the operator, or it was changed."
        ) from None
    return VerifiedOfflineMetadata(root, metadata.signed)


def load_offline_metadata(folder: Path) -> OfflineMetadata | None:
    """The offline metadata of a folder; None if there is none.

    Raises:
        MetadataError: it cannot be read.
    """
    try:
        return read_offline_metadata((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MetadataError(f"The offline metadata in {folder} cannot be read: {error.strerror}.") from error


def save_offline_metadata(folder: Path, offline_metadata: OfflineMetadata) -> None:
    """Put offline metadata into a folder, so that it survives a power cut.

    Raises:
        MetadataError: the disk does not allow it.
    """
    try:
        make_private_folder(folder)
        write_file(folder / FILE, offline_metadata.encoded(), PUBLIC)
    except OSError as error:
        raise MetadataError(f"The offline metadata cannot be written to {folder}: {error.strerror}.") from error


def list_digest(data: bytes) -> str:
    """The sha256 of a list, by which it is named."""
    return hashlib.sha256(data).hexdigest()


def _last_root(roots: tuple[bytes, ...]) -> Root:
    first = unseal(Root, roots[0])
    first.signed.verify_delegate(Root.type, first.signed_bytes, first.signatures)
    root = first.signed
    for data in roots[1:]:
        following = unseal(Root, data)
        for signer in (root, following.signed):
            signer.verify_delegate(Root.type, following.signed_bytes, following.signatures)
        if following.signed.version != root.version + 1:
            raise MetadataError("The offline metadata of the releases leaves out a version of its root.")
        root = following.signed
    return root


def _check_list(offline_metadata: OfflineMetadata, path: str, target: TargetFile) -> None:
    data = offline_metadata.approvals.get(path.removeprefix(APPROVALS))
    if data is None or len(data) > LARGEST_FILE:
        raise MetadataError(f"The offline metadata of the releases lacks its file {path[:80]}.")
    target.verify_length_and_hashes(data)
    read_approvals(data)
