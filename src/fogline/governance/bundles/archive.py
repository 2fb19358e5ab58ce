"""Zips that travel (bundles of code, versions of models): written always the same, and read as if they came from an
enemy.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, NamedTuple

import msgspec

from fogline.governance.errors import BundleError

EPOCH = (1980, 1, 1, 0, 0, 0)
ATTRIBUTES = (stat.S_IFREG | 0o644) << 16
UNIX = 3
CHUNK = 64 * 1024
END = struct.Struct("<4s4H2LH")
END_MARK = b"PK\x05\x06"
LARGE_MARK = b"PK\x06\x07"
LARGE_BYTES = 20
"""Where a zip says that another end, for large archives, counts instead of its own."""
ENTRY_BYTES = 46
LONGEST_NAME = 200
PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.+-]*[A-Za-z0-9_+-])?", re.ASCII)
PART_RULE = "letters, digits, '_', '+', '-' and '.', and begin with none of the last three nor end with '.'"
READING = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, ValueError)
"""What the standard library raises for a broken zip."""


class Form(NamedTuple):
    """What a kind of zip is called, how it is compressed, and which error refuses one."""

    name: str
    """What people call it."""
    compression: int
    """Of all files in it; one of ``zipfile``'s."""
    error: type[ValueError]
    """Raised for one that must not be opened."""


BUNDLE = Form("bundle", zipfile.ZIP_DEFLATED, BundleError)


class ArchiveLimits(msgspec.Struct, frozen=True):
    """How large a zip may be."""

    zip_bytes: int = 16 * 1024 * 1024
    unpacked_bytes: int = 64 * 1024 * 1024
    files: int = 2000
    ratio: int = 100
    """Unpacked bytes for one packed byte; up to 1 MiB in all is always fine."""


def check_names(names: Iterable[str]) -> None:
    """Refuse names that could leave the folder or fall upon each other on some machine.

    Raises:
        BundleError: it names the first one that is wrong.
    """
    files: set[str] = set()
    folders: set[str] = set()
    for name in names:
        parts = name.lower().split("/")
        if len(name) > LONGEST_NAME or not all(PART.fullmatch(part) for part in parts):
            raise BundleError(
                f"The file name {name[:80]!r} cannot be in a bundle; its parts, between '/', must be of {PART_RULE}."
            )
        if name.lower() in files:
            raise BundleError(f"The file {name} is in the bundle twice (upper and lower case count as one).")
        files.add(name.lower())
        folders.update("/".join(parts[:i]) for i in range(1, len(parts)))
    for name in files & folders:
        raise BundleError(f"In the bundle, {name} is a file and a folder.")


def write_archive(files: Mapping[str, bytes]) -> bytes:
    """A bundle's zip of files, the same bytes for the same files in the same order."""
    out = io.BytesIO()
    write_to(out, {name: [data] for name, data in files.items()}, BUNDLE)
    return out.getvalue()


def write_to(out: BinaryIO, files: Mapping[str, Iterable[bytes]], form: Form) -> None:
    """Write a zip of files, each given in pieces: the same bytes for the same files in the same order.

    ``out`` must allow to go back in it; files and zip may have up to 2 GiB.
    """
    with zipfile.ZipFile(out, "w", form.compression, allowZip64=False, compresslevel=9) as archive:
        for name, pieces in files.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = UNIX
            info.external_attr = ATTRIBUTES
            info.compress_type = form.compression
            with archive.open(info, "w") as file:
                for piece in pieces:
                    file.write(piece)


class Archive:
    """A zip that :func:`write_to` could have written; anything else is refused with the form's error.

    Raises:
        ValueError: it is none, or larger than the limits.
    """

    def __init__(self, file: BinaryIO, limits: ArchiveLimits, form: Form = BUNDLE) -> None:
        self._form = form
        size = file.seek(0, io.SEEK_END)
        if size > limits.zip_bytes:
            raise self._error(f"has {size} bytes; at most {limits.zip_bytes} are accepted")
        self._check_end(file, size, limits)
        # Unpacked bytes that are still allowed, over all files.
        self._left = min(limits.unpacked_bytes, max(1024 * 1024, limits.ratio * size))
        try:
            self._zip = zipfile.ZipFile(file)
        except READING:
            raise self._error("is damaged: its list of files cannot be read") from None
        self._entries = {info.filename: info for info in self._zip.infolist()}
        if len(self._entries) != len(self._zip.infolist()):
            raise self._error("holds two files with one name")
        for info in self._entries.values():
            self._check_entry(info)

    @property
    def names(self) -> list[str]:
        """Names of the files, in the zip's order."""
        return list(self._entries)

    def read(self, name: str, most: int) -> Iterator[bytes]:
        """A file, piece by piece, and never more than it may have.

        Raises:
            ValueError: it is not there, damaged, or longer than ``most`` or than the limits.
        """
        if name not in self._entries:
            raise self._error(f"lacks the file {name}")
        try:
            with self._zip.open(self._entries[name]) as file:
                while piece := file.read(CHUNK):
                    most -= len(piece)
                    self._left -= len(piece)
                    if most < 0 or self._left < 0:
                        raise self._error(f"holds a file {name} that unpacks to more than is accepted")
                    yield piece
        except self._form.error:
            raise
        except READING:
            raise self._error(f"is damaged: its file {name} cannot be read") from None

    def _error(self, what: str) -> ValueError:
        return self._form.error(f"The {self._form.name} {what}.")

    def _check_end(self, file: BinaryIO, size: int, limits: ArchiveLimits) -> None:
        """Bound the list of files before the standard library reads it all into memory."""
        file.seek(max(0, size - END.size - LARGE_BYTES))
        before, tail = file.read(LARGE_BYTES), file.read(END.size)
        if len(tail) < END.size or not tail.startswith(END_MARK) or before.startswith(LARGE_MARK):
            raise self._error(f"is damaged or cut off: it does not end as a {self._form.name} does")
        _, disk, first_disk, here, count, length, offset, comment = END.unpack(tail)
        if disk or first_disk or comment or here != count or offset + length + END.size != size:
            raise self._error("is damaged: its end does not agree with its size")
        most = limits.files + 1
        if count > most or length > most * (ENTRY_BYTES + LONGEST_NAME + 20):
            raise self._error(f"holds more than {limits.files} files")

    def _check_entry(self, info: zipfile.ZipInfo) -> None:
        """Refuse links, folders, encryption, comments and whatever else our own zips do not have."""
        usual = (
            info.filename == info.orig_filename
            and info.date_time == EPOCH
            and info.create_system == UNIX
            and info.external_attr == ATTRIBUTES
            and info.compress_type == self._form.compression
            and not (info.flag_bits or info.extra or info.comment or info.internal_attr or info.volume)
        )
        if not usual:
            raise self._error(f"holds {info.filename[:80]!r}, which is no plain file as Fogline packs them")
