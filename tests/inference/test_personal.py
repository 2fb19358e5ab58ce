"""What a device has of its own, laid into a version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fogline.inference.card import PersonalOrigin
from fogline.inference.personal import JOB, ROUNDS, combine, origin_of, write_part
from fogline.inference.personal_parts import PersonalParts
from fogline.inference.runtimes.base import ModelError
from fogline.params import Entry, Params, Spec, load, load_arrays, save, save_arrays

SPEC = Spec.of(
    [
        Entry("body", (2, 3), "float32"),
        Entry("head", (3,), "float32"),
        Entry("half", (2,), "float16", "buffer"),
        Entry("steps", (), "int64", "buffer"),
    ]
)
ORIGIN = PersonalOrigin("toy-1", 7)


def model(**changes: float) -> Params:
    made = Params(SPEC, np.arange(SPEC.floats, dtype=np.float32), np.array([3]))
    for name, by in changes.items():
        made.view(name)[...] += by
    return made


def test_a_part_is_what_differs_and_comes_back_in_any_version(tmp_path: Path) -> None:
    own, version = model(head=0.5, half=1, steps=2), model(body=10, head=20)
    assert write_part(tmp_path / "draft", own, model(), ORIGIN)
    assert set(load_arrays(tmp_path / "draft")) == {"head", "half", "steps"}
    parts = PersonalParts(tmp_path / "parts")
    assert parts.newest("m") is None
    parts.keep("m", tmp_path / "draft")
    part = parts.newest("m")
    assert part is not None
    save(tmp_path / "version", version)
    combine(tmp_path / "version", part, tmp_path / "out")
    assert origin_of(tmp_path / "out") == ORIGIN
    whole = load(tmp_path / "out")
    np.testing.assert_array_equal(whole.view("body"), version.view("body"))
    for name in ("head", "half", "steps"):
        np.testing.assert_array_equal(whole.view(name), own.view(name))


def test_a_device_without_anything_of_its_own_keeps_nothing(tmp_path: Path) -> None:
    assert not write_part(tmp_path / "draft", model(), model(), ORIGIN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"tail": np.zeros(3, np.float32)}, "of round 7 of job toy-1 has tensor 'tail', which the version has not"),
        ({"head": np.zeros(4, np.float32)}, r"has tensor 'head' of shape \[4\]; the version's has \[3\]"),
        ({"head": np.array([0, np.nan, 0], np.float32)}, "Tensor 'head' of the personal part .* is not finite"),
    ],
)
def test_what_does_not_fit_is_refused(part: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    save(tmp_path / "version", model())
    save_arrays(tmp_path / "part", part, {JOB: "toy-1", ROUNDS: "7"})
    with pytest.raises(ModelError, match=words):
        combine(tmp_path / "version", tmp_path / "part", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_without_an_origin_is_no_part(tmp_path: Path) -> None:
    save_arrays(tmp_path / "part", {"head": np.zeros(3, np.float32)})
    save(tmp_path / "version", model())
    with pytest.raises(ModelError, match="part is no personal part of a model"):
        combine(tmp_path / "version", tmp_path / "part", tmp_path / "out")
