"""Where a verifier takes the files from: it asks for them by name and never for more bytes than it will read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from fogline.governance.safe_files import read_bounded

Incoming = Callable[[str, int], bytes | None]
"""The bytes of a file, by its name and the most bytes it may have; None: there is no such file."""


class MissingMetadataError(Exception):
    """A file that has to be fetched before the verifier can go on."""

    def __init__(self, name: str, largest: int) -> None:
        super().__init__(f"{name} is not here yet")
        self.name = name
        self.largest = largest
        """Bytes; what is longer is refused."""


class FolderSource:
    """Files that were fetched into a folder.

    Args:
        folder: where they lie, under their names.
        absent: names that are known not to exist where the files come from.
    """

    def __init__(self, folder: Path, absent: Collection[str] = ()) -> None:
        self._folder = folder
        self._absent = frozenset(absent)

    def __call__(self, name: str, largest: int) -> bytes | None:
        """The file's bytes (at most one more than ``largest``); None if it is known not to exist.

        Raises:
            MissingMetadataError: it has not been fetched.
            OSError: it cannot be read.
        """
        if name in self._absent:
            return None
        try:
            return read_bounded(self._folder / name, largest)
        except FileNotFoundError:
            raise MissingMetadataError(name, largest) from None
