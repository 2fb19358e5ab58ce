"""A node's credentials without the library that can check them.

Checking is done once for a certificate, by :class:`fogline.governance.identity.identity.Identity`; what it said is kept
beside it with the certificate's hash. TLS checks again at every handshake. A device, which has little memory, gets by
with this module until it has to join, to renew, or to verify a bundle.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance.identity.credentials import (
    CERTIFICATE,
    KEY,
    LARGEST,
    NEXT_CERTIFICATE,
    ROOT,
    CertificateFacts,
    Credentials,
)
from fogline.governance.safe_files import read_bounded
from fogline.storage.atomic import PUBLIC, write_file

CHECKED = "checked.json"


class _Checked(msgspec.Struct, frozen=True):
    sha256: str
    """Of key, certificate and root, one after the other."""
    facts: CertificateFacts


def credentials(folder: Path, now: float | None = None) -> Credentials:
    """The identity of a folder, as :meth:`Identity.load` gives it, and with its errors; quicker and smaller where it
    was checked before."""
    try:
        files = [read_bounded(folder / name, LARGEST) for name in (KEY, CERTIFICATE, ROOT)]
        checked = msgspec.json.decode((folder / CHECKED).read_bytes(), type=_Checked)
    except (OSError, *UNREADABLE):
        return _check(folder, now)
    if checked.sha256 != _hash(files) or (folder / NEXT_CERTIFICATE).exists():
        return _check(folder, now)
    if not checked.facts.starts <= (time.time() if now is None else now) < checked.facts.expires:
        return _check(folder, now)  # It says so in its words.
    return Credentials(folder, checked.facts, *files)


def _check(folder: Path, now: float | None) -> Credentials:
    from fogline.governance.identity.identity import Identity

    identity = Identity.load(folder, now)
    with suppress(OSError):  # On a full disk it is checked again the next time.
        files = [(folder / name).read_bytes() for name in (KEY, CERTIFICATE, ROOT)]
        write_file(folder / CHECKED, msgspec.json.encode(_Checked(_hash(files), identity.facts)), PUBLIC)
    return identity


def _hash(files: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files)).hexdigest()
