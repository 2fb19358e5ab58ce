"""Where public data sets lie on this machine."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fogline.data.examples import Array

VARIABLE = "FOGLINE_DATA"


class MissingDatasetError(FileNotFoundError):
    """A data set, or a file of it, is not on this machine."""


class MissingPackageError(ImportError):
    """A data set needs a package that is not installed."""


def find_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder with one folder per data set: ``root``, ``$FOGLINE_DATA``, or ``../shared/data``."""
    return Path(root or os.environ.get(VARIABLE) or Path("..", "shared", "data")).expanduser()


@dataclass(frozen=True)
class DatasetFolder:
    """The folder of one data set. ``source`` says where the public can get it."""

    name: str
    source: str
    root: Path

    def file(self, name: str) -> Path:
        """Path of a file.

        Raises:
            MissingDatasetError: it is not there.
        """
        path = self.root / self.name / name
        if not path.is_file():
            raise MissingDatasetError(
                f"Data set '{self.name}' is not at {path.absolute()}: set the variable {VARIABLE} to the folder that "
                f"holds '{self.name}/{name}', which can be made from {self.source}."
            )
        return path

    def npz(self, name: str) -> dict[str, Array]:
        """All arrays of an npz file."""
        with np.load(self.file(name), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}

    def text(self, name: str) -> io.TextIOWrapper:
        """A gzipped text, open for reading."""
        return gzip.open(self.file(name), "rt", encoding="utf-8-sig", newline="")

    def members(self, name: str, suffix: str) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the files in a tar archive that end so, in the archive's order."""
        with tarfile.open(self.file(name)) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name.endswith(suffix) else None
                if content is not None:
                    yield member.name, content.read()
