"""Decoded arrays kept on disk, so that slow archives are decoded once."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fogline.data.examples import Array

Arrays = dict[str, Array]


def cache_root() -> Path:
    """``$FOGLINE_CACHE``, or ``fogline`` under ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    own = os.environ.get("FOGLINE_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "fogline"


def cached(name: str, source: Path, build: Callable[[], Arrays]) -> Arrays:
    """What ``build`` gives, from the disk if it was built before from this state of ``source``.

    Arrays from the disk are mapped read-only, so processes share them. The key is ``name`` with the size and
    the time of change of ``source``. Where the cache cannot be written, the arrays stay in memory.
    """
    stat = source.stat()
    key = hashlib.sha256(f"{source.name} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = cache_root() / "data" / f"{name}-{key}"
    found = _read(folder)
    if found is not None:
        return found
    arrays = build()
    try:
        _write(folder, arrays)
    except OSError:
        return arrays
    return _read(folder) or arrays


def _read(folder: Path) -> Arrays | None:
    """None if the cache is absent or damaged."""
    paths = sorted(folder.glob("*.npy"))
    try:
        return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in paths} or None
    except (OSError, ValueError, EOFError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _write(folder: Path, arrays: Arrays) -> None:
    """Write beside the place and rename: a reader never sees half a cache."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        for name, array in arrays.items():
            np.save(draft / f"{name}.npy", array, allow_pickle=False)
        if not folder.exists():
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
