"""Vectors that wait on disk: the same numbers, in a file without a name, and a sentence where there is no room."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fogline.aggregation import spill
from fogline.aggregation.spill import Spill, SpillError


def test_vectors_come_back_as_they_were_over_several_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "LEAST", 1 << 12)
    monkeypatch.setattr(spill, "MOST", 1 << 16)
    rng, keep = np.random.default_rng(0), Spill()
    sizes = [0, 1, 3, 5000, 7, 30_000, 2, 900] * 3
    vectors = [rng.normal(size=size).astype(np.float32 if i % 2 else np.float64) for i, size in enumerate(sizes)]
    kept = [keep(vector) for vector in vectors]
    del keep
    for vector, other in zip(vectors, kept, strict=True):
        assert other.dtype == vector.dtype
        np.testing.assert_array_equal(other, vector)
    with pytest.raises(ValueError, match="read-only"):
        kept[3][0] = 1.0


def test_what_is_kept_is_not_what_it_was_made_of() -> None:
    vector = np.ones(10, np.float32)
    kept = Spill()(vector[::2])
    vector[:] = 5.0
    np.testing.assert_array_equal(kept, np.ones(5))


def test_the_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = Spill()(np.ones(100_000))
    assert list(tmp_path.iterdir()) == []
    assert kept.sum() == 100_000


def test_a_full_disk_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SpillError, match=r"cannot take another 80 bytes \(No space left on device\); point TMPDIR"):
        Spill()(np.ones(10))
