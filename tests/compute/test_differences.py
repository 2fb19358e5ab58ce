"""Models as differences: whatever a child has missed, it has to the bit what its parent knows it to have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.algorithms import group as group_models
from fogline.algorithms import make
from fogline.algorithms.group import Down
from fogline.compute.aggregator import GroupsOnFiles
from fogline.compute.differences import model_from, next_model, restore
from fogline.compute.effects import CarryOut, makes
from fogline.compute.groups import Groups
from fogline.compute.links import NodeLinks
from fogline.nodes.effects import Adopt, Move
from fogline.nodes.messages import Key
from fogline.nodes.versions import DIFFERENCE, chain, lacked
from fogline.params import write_arrays
from fogline.stages import LinkContext, Pipeline, pipeline
from tests.compute.asking import path
from tests.compute.test_refusals import good, members
from tests.toy import SPEC, ToyTask

TRAINED, BUFFERS = 600, 5
CODES = ("int8", "int4", "eden(bits=1)", "drive(feedback=false)", "stc(share=0.05, feedback=false)", "bf16")
Version = tuple[Down, dict[str, np.ndarray] | None]


def stages(code: str, every: int = 100) -> Pipeline:
    return pipeline((f"delta(every={every})", code))


def models(count: int, seed: int) -> list[Down]:
    """A model that walks about, with buffers, counters and a vector of the method's that grows once."""
    rng, vector = np.random.default_rng(seed), np.zeros(TRAINED + BUFFERS, np.float32)
    found: list[Down] = []
    for version in range(count):
        vector = vector + rng.standard_normal(vector.size, np.float32) * np.float32(10.0 ** rng.integers(-6, 3))
        received = {"c": rng.standard_normal(40 if version < 3 else 50).astype(np.float32)}
        found.append(Down(vector, np.array([version]), received, clip=float(version)))
    return found


def sent(walk: list[Down], link: Pipeline) -> list[Version]:
    """What children have of each version, and the difference that leads there."""
    made: list[Version] = []
    for version, down in enumerate(walk):
        held = made[-1][0] if made else None
        key = f"cloud@{version}"
        made.append(next_model(down, held, key, TRAINED, link, LinkContext(version, "", common=version)))
    return made


def same(one: Down, other: Down) -> bool:
    arrays, others = one.to_arrays(), other.to_arrays()
    return arrays.keys() == others.keys() and all(arrays[name].tobytes() == others[name].tobytes() for name in arrays)


@pytest.mark.parametrize("code", CODES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99), came=st.lists(st.booleans(), min_size=12, max_size=12), lost=st.integers(0, 11))
def test_after_any_drops_a_child_has_its_parents_idea_to_the_bit(
    code: str, seed: int, came: list[bool], lost: int
) -> None:
    link = stages(code, every=8)
    versions = sent(models(12, seed), link)
    held: dict[Key, Down] = {}
    for version, (idea, difference) in enumerate(versions):
        if version == lost:
            held.clear()  # Its disk.
        if not came[version]:
            continue
        key = f"cloud@{version}"
        assert (difference is None) == (version % 8 == 0)
        there = {f"cloud@{other}{DIFFERENCE}" for other in range(version + 1) if versions[other][1] is not None}
        way = lacked(chain(key, there), held)
        child = idea
        if way is not None:
            ((base, child),) = held.items()
            assert int(base.partition("@")[2]) == version - len(way)
            for step in range(version - len(way) + 1, version + 1):
                part = versions[step][1]
                assert part is not None
                child = model_from(child, part, TRAINED, link)
        assert same(child, idea)
        held = {key: child}


@pytest.mark.parametrize("code", CODES)
def test_what_a_code_loses_is_in_the_next_difference(code: str) -> None:
    """Of a model that stays where it is children come to have all, as long as they get nothing anew."""
    link, target = stages(code, every=10**6), models(4, 1)[3]
    held = Down(np.zeros_like(target.vector), target.counters, target.received)
    errors: list[float] = []
    for version in range(1, 121):
        held, _ = next_model(target, held, f"cloud@{version}", TRAINED, link, LinkContext(version, "", common=version))
        errors.append(float(np.linalg.norm(held.vector - target.vector)))
        assert np.array_equal(held.vector[TRAINED:], target.vector[TRAINED:])  # Buffers go as they are.
    assert errors[-1] < 0.02 * errors[0] or errors[-1] < 1e-5 * float(np.linalg.norm(target.vector))


def test_what_would_be_infinite_for_good_goes_whole() -> None:
    large = Down(np.full(TRAINED, 1e6, np.float32), np.zeros(0, np.int64))
    small = Down(np.zeros(TRAINED, np.float32), np.zeros(0, np.int64))
    made, difference = next_model(large, small, "cloud@1", TRAINED, stages("fp16"), LinkContext())
    assert difference is None
    assert same(made, large)


def test_files_of_a_child_and_of_its_parent_have_the_same_bytes(tmp_path: Path) -> None:
    """So that a digest tells whether a child had the version that its parent meant."""
    link = pipeline(("delta", "int4"))
    runner = GroupsOnFiles(Groups(make("fedavg"), SPEC), True, NodeLinks(gives=link), "fog")
    runner.begin(
        group_models.root(ToyTask().initial(0)), path(tmp_path, "fog@0/group"), path(tmp_path, "fog@0"), "fog@0"
    )
    for i in range(3):
        write_arrays(tmp_path / f"u{i}", good(i).to_arrays())
    for effect in (
        Move("fog@0", "fog@1", members(3), True, 0, True),
        Adopt("fog@0", "fog@1", "fog@2"),
        Move("fog@2", "fog@3", members(3), True, 1, True),
    ):
        keys = (effect.base or "", f"{effect.base}/group", "fog@0", "u0", "u1", "u2")
        reads, writes = ({key: path(tmp_path, key) for key in some} for some in (keys, makes(effect)))
        asked = CarryOut(effect, reads, writes)
        assert runner.carry_out(asked).made[-1] == effect.model + DIFFERENCE
    parts = [path(tmp_path, f"fog@{version}{DIFFERENCE}") for version in (1, 2, 3)]
    restore(path(tmp_path, "fog@0"), parts, str(tmp_path / "child"), SPEC.trainable, link)
    assert (tmp_path / "child").read_bytes() == (tmp_path / "fog@3").read_bytes()
    (tmp_path / "damaged").write_bytes(b"rubbish")
    for wrong in ("damaged", "u1"):
        with pytest.raises(ValueError, match=r"cannot be read|is no safetensors file"):
            restore(path(tmp_path, "fog@0"), [path(tmp_path, wrong)], str(tmp_path / "x"), SPEC.trainable, link)
