"""Bundles: how a job's code travels. A zip of the developer's files, with a manifest that the developer signed.

Opening a bundle says that it is whole and who signed it. Whether that developer's code may run here is for the
site's policy to say (:func:`fogline.governance.policy.policy.decide`).
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from fogline.governance.bundles.archive import CHUNK, Archive, ArchiveLimits, check_names, write_archive
from fogline.governance.bundles.manifest import FORMAT, PAYLOAD_TYPE, FileFacts, Manifest, read_manifest, task_of
from fogline.governance.errors import BundleError
from fogline.governance.safe_files import make_private_folder
from fogline.governance.signatures.signing import Signer, SigningKey, sign
from fogline.storage.files import sync_folder

MANIFEST = "manifest.json"
CODE = "code/"
LARGEST_MANIFEST = 1024 * 1024
DEFAULT_LIMITS = ArchiveLimits()


@dataclass(frozen=True)
class Bundle:
    """A bundle that is whole. Get one with :func:`open_bundle`."""

    path: Path
    digest: str
    """SHA-256 of the zip, in hexadecimal."""
    manifest: Manifest
    limits: ArchiveLimits

    @property
    def signer(self) -> Signer:
        """Who signed it, as the bundle says; the signature under it was verified with this key."""
        return self.manifest.signer

    def read(self, name: str) -> bytes:
        """A file of the developer's; empty where there is none of that name.

        Raises:
            BundleError: the bundle was changed since it was opened, or cannot be read.
        """
        facts, kept = self.manifest.files.get(name), io.BytesIO()
        if facts is None:
            return b""
        try:
            with self.path.open("rb") as file:
                _check_file(Archive(file, self.limits), name, facts, kept)
        except OSError as error:
            raise BundleError(f"The bundle {self.path} cannot be read: {error.strerror}.") from error
        return kept.getvalue()

    def unpack(self, folder: Path) -> Path:
        """The folder ``folder/DIGEST`` with the developer's files: all of them, or it is not there.

        Raises:
            BundleError: the bundle changed since it was opened, or the folder cannot be written.
        """
        final = folder / self.digest
        if final.is_dir():
            return final
        aside = folder / f".{self.digest}.{secrets.token_hex(8)}"
        try:
            make_private_folder(aside)
            self._write_files(aside)
            os.rename(aside, final)
            sync_folder(folder)
        except OSError as error:
            # Another process may have unpacked the same bundle meanwhile; that is as good.
            if not final.is_dir():
                raise BundleError(f"The bundle cannot be unpacked to {folder}: {error.strerror}.") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return final

    def _write_files(self, folder: Path) -> None:
        with self.path.open("rb") as file:
            if _digest(file) != self.digest:
                raise BundleError(f"The bundle {self.path} was changed after it had been checked.")
            archive = Archive(file, self.limits)
            for name, facts in self.manifest.files.items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as out:
                    _check_file(archive, name, facts, out)
                    out.flush()
                    os.fsync(out.fileno())


def pack(
    job_toml: str,
    folder: Path | None,
    files: Sequence[Path],
    key: SigningKey,
    created: float,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> bytes:
    """A bundle: the same bytes for the same job, files, key and time.

    Args:
        job_toml: the job; it must name its task.
        folder: where the files lie; their names in the bundle are relative to it. None takes their last part only.
        files: the developer's Python files and small resources.
        key: the developer's.
        created: Unix time.
        limits: how large it may be.

    Raises:
        BundleError: a file cannot be read, lies outside the folder, has a name that cannot travel, or the job or
            the bundle as a whole is not right.
    """
    named = {_name(path, folder): path for path in files}
    if len(named) != len(files):
        raise BundleError("Two files would have one name in the bundle; give the folder that they lie in.")
    check_names(named)
    contents = {name: _content(named[name], limits) for name in sorted(named)}
    manifest = Manifest(
        format=FORMAT,
        job=job_toml,
        task=task_of(job_toml),
        files={name: FileFacts(hashlib.sha256(data).hexdigest(), len(data)) for name, data in contents.items()},
        signer=key.signer,
        created=created,
    )
    signed = sign(PAYLOAD_TYPE, msgspec.json.encode(manifest), key)
    packed = write_archive({MANIFEST: signed} | {CODE + name: data for name, data in contents.items()})
    # What nobody would accept is found out here, by the developer.
    _read(io.BytesIO(packed), limits)
    return packed


def open_bundle(data_path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Bundle:
    """A bundle in a file, with everything about it checked but whether its signer is trusted.

    Raises:
        BundleError: it cannot be read, is larger than the limits, is not what its signer signed, or could do harm
            when it is unpacked.
    """
    try:
        with data_path.open("rb") as file:
            manifest = _read(file, limits)
            return Bundle(data_path, _digest(file), manifest, limits)
    except OSError as error:
        raise BundleError(f"The bundle {data_path} cannot be read: {error.strerror}.") from error


def _read(file: BinaryIO, limits: ArchiveLimits) -> Manifest:
    archive = Archive(file, limits)
    manifest = read_manifest(b"".join(archive.read(MANIFEST, LARGEST_MANIFEST)))
    expected = [MANIFEST, *(CODE + name for name in manifest.files)]
    if archive.names != expected:
        raise BundleError("The bundle does not hold exactly the files that its manifest lists, in their order.")
    check_names(manifest.files)
    for name, facts in manifest.files.items():
        _check_file(archive, name, facts)
    return manifest


def _check_file(archive: Archive, name: str, facts: FileFacts, out: BinaryIO | None = None) -> None:
    """Refuse a file that is not what the manifest says; write it out if that is wanted."""
    size, digest = 0, hashlib.sha256()
    for piece in archive.read(CODE + name, facts.size):
        size += len(piece)
        digest.update(piece)
        if out is not None:
            out.write(piece)
    if size != facts.size or digest.hexdigest() != facts.sha256:
        raise BundleError(f"The file {name} of the bundle is not what its signer signed.")


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(CHUNK):
        digest.update(piece)
    return digest.hexdigest()


def _name(path: Path, folder: Path | None) -> str:
    if folder is None:
        return path.name
    try:
        # A link in the folder must not carry out what lies elsewhere.
        path.resolve().relative_to(folder.resolve())
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        raise BundleError(f"{path} does not lie in {folder}, so it cannot be in the bundle.") from None


def _content(path: Path, limits: ArchiveLimits) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limits.unpacked_bytes + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be packed: {error.strerror}.") from error
    if len(data) > limits.unpacked_bytes:
        raise BundleError(f"{path} is larger than a bundle may be ({limits.unpacked_bytes} bytes).")
    return data
