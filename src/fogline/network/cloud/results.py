"""A job's result on its way to another machine: the files of its run's folder."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import msgspec

from fogline.inference.card import Digest
from fogline.network.transport.chunks import PLAIN, unpacked
from fogline.network.transport.messages import PIECE
from fogline.processes.messages import Decoder, decoder, encode
from fogline.storage.atomic import replacing
from fogline.storage.errors import explained
from fogline.storage.files import hash_file

MARK = "run.json"
"""It says how the run ended, so it is written last."""
MOST = 10_000
"""Files of a result."""


class RunFile(msgspec.Struct, frozen=True):
    """A file of a run's folder."""

    path: str
    """Below the folder, with slashes."""
    size: int
    digest: Digest


class Contents(msgspec.Struct, frozen=True):
    """What is coming: the first message; the files' bytes follow, one after the other."""

    job: str
    state: str
    files: tuple[RunFile, ...]


CONTENTS: Decoder[Contents] = decoder(Contents)


class ResultError(RuntimeError):
    """A result that did not come as it was announced; the text is a sentence."""


def contents(job: str, state: str, folder: Path) -> Contents:
    """What a run's folder holds now; files that are being written are left out."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    files: list[RunFile] = []
    for path in found[:MOST]:
        digest, size = hash_file(path)
        files.append(RunFile(path.relative_to(folder).as_posix(), size, digest))
    return Contents(job, state, tuple(sorted(files, key=lambda file: file.path == MARK)))


async def messages(what: Contents, folder: Path) -> AsyncIterator[bytes]:
    """Contents and bytes, in messages. A file that has grown meanwhile is sent as it was."""
    yield encode(what)
    for file in what.files:
        with (folder / file.path).open("rb") as source:
            for piece in _pieces(source, file.size):
                yield PLAIN + piece


def _pieces(source: BinaryIO, left: int) -> Iterator[bytes]:
    while left and (piece := source.read(min(PIECE, left))):
        left -= len(piece)
        yield piece


async def write(stream: AsyncIterator[bytes], to: Path) -> Contents:
    """Write a result into a folder as it comes; each file is whole or not there.

    Args:
        stream: what :func:`messages` gave.
        to: the folder; made if need be. Files of the same names are replaced.

    Raises:
        ResultError: something else came than was announced.
        StorageError: it cannot be written.
    """
    what = CONTENTS.decode(await anext(stream))
    for file in what.files:
        await _write(stream, file, to)
    return what


async def _write(stream: AsyncIterator[bytes], file: RunFile, to: Path) -> None:
    path = to / _checked(file.path)
    digest, left = hashlib.sha256(), file.size
    with explained("write the result", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as out:
            while left > 0:
                piece = unpacked(await anext(stream, b""))
                digest.update(piece)
                left -= len(piece)
                out.write(piece)
            if left or digest.hexdigest() != file.digest:
                raise ResultError(f"{file.path} changed while it was on its way; fetch the result once more.")


def _checked(path: str) -> PurePosixPath:
    """A path that stays below the folder."""
    parsed = PurePosixPath(path)
    if parsed.is_absolute() or not parsed.parts or ".." in parsed.parts:
        raise ResultError(f"The result names a file {path[:80]!r}, which would not lie in its folder.")
    return parsed
