"""A board of runs' folders, also while they run."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from watchfiles import Change, awatch

from fogline.dashboard.board import About, Answer
from fogline.dashboard.hub import Hub
from fogline.dashboard.run_reader import FILES, RunReader
from fogline.jobs.errors import JobError

GATHER = 20
"""Milliseconds of silence after which what has changed is read,"""
LONGEST = 200
"""and after which it is read although more is being changed."""
SETTLED = 1000
"""Milliseconds without a change after which folders that are new are read once more: what is written into one before
the system watches it too is not told."""


class RunsBoard:
    """Runs side by side. There is nothing to act on: a run is stopped where it was started.

    Args:
        folders: of runs; or, where ``root`` is given, those that are there now.
        root: a folder in which new runs may appear.

    Raises:
        JobError: a folder holds no run.
    """

    def __init__(self, folders: Sequence[Path], root: Path | None = None) -> None:
        self.hub = Hub()
        self._root = None if root is None else root.resolve()
        self._readers: dict[Path, RunReader] = {}
        self._new: set[Path] = set()
        for folder in folders:
            self._add(folder)
        title = str(root) if root is not None else ", ".join(folder.name for folder in self._readers)
        self.about = About(title, ("tree", "runs"))

    def answers(self) -> Mapping[str, Answer]:
        """There is nothing to ask."""
        return {}

    async def follow(self) -> None:
        """Read what changes, as the system tells of it.

        Raises:
            JobError: a file is damaged.
        """
        watched = self._readers if self._root is None else (self._root,)
        deep = self._root is not None
        changes = awatch(
            *watched,
            watch_filter=self._is_read,
            step=GATHER,
            debounce=LONGEST,
            recursive=deep,
            rust_timeout=SETTLED,
            yield_on_timeout=deep,
        )
        first = asyncio.create_task(anext(changes))
        await asyncio.sleep(0)  # The system tells of changes from here on, so none is missed.
        for folder, reader in self._readers.items():
            self._read(folder, reader, frozenset(FILES))
        self._take(await first)
        async for found in changes:
            self._take(found)

    def _take(self, found: Collection[tuple[Change, str]]) -> None:
        """Read files that were changed; where nothing was for a while, those of folders that are new."""
        names: defaultdict[Path, set[str]] = defaultdict(set)
        for _, text in found:
            path = Path(text)
            names[path if self._is_run_s(path) else path.parent].add(path.name)
        if found:
            self._new |= {folder for folder in names if self._is_run_s(folder)} - self._readers.keys()
        else:
            names |= {folder: {*FILES} for folder in self._new if folder.is_dir()}
            self._new.clear()
        for folder, changed in names.items():
            if folder not in self._readers and folder.parent == self._root and (folder / "run.json").exists():
                try:
                    self._add(folder)
                except JobError as error:  # The others are shown all the same.
                    self.hub.tell(f"trouble/{folder.name}", str(error))
                    continue
                changed = set(FILES)
            if folder in self._readers:
                self._read(folder, self._readers[folder], frozenset(changed))

    def _is_read(self, _: Change, path: str) -> bool:
        return Path(path).name in FILES or self._is_run_s(Path(path))

    def _is_run_s(self, path: Path) -> bool:
        """Whether a path is that of a folder in which a run may be."""
        return path.parent == self._root

    def _add(self, folder: Path) -> None:
        taken = {reader.name for reader in self._readers.values()}
        whole = folder.resolve()
        name = next(one for one in _names(whole.name) if one not in taken)
        self._readers[whole] = RunReader(folder, name, self.hub)

    def _read(self, folder: Path, reader: RunReader, changed: frozenset[str]) -> None:
        try:
            reader.read(changed)
        except JobError as error:
            self.hub.tell(f"trouble/{reader.name}", str(error))
        except FileNotFoundError:  # Somebody has deleted the run.
            if folder.is_dir():
                raise
            self.hub.forget_all(f"run/{reader.name}")


def _names(name: str) -> Iterator[str]:
    """A run's name; of several of one name, with a number."""
    yield name
    for number in count(2):
        yield f"{name} ({number})"
