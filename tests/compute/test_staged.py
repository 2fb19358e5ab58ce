"""What went through stages, at an aggregator: the same whole and in blocks, and rubbish is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fogline.aggregation import Partial, Update, fold_named, from_arrays
from fogline.algorithms import group as group_models
from fogline.algorithms import make
from fogline.compute.aggregator import GroupsOnFiles
from fogline.compute.effects import SENDER, Sift
from fogline.compute.files import read_group, read_model, read_update
from fogline.compute.groups import Groups
from fogline.compute.links import UNSTAGED, NodeLinks, links_of
from fogline.compute.messages import STAGED, Message, decoded_update
from fogline.jobs import Job, Tier, Tree
from fogline.nodes.effects import Adopt, FoldInput, GroupUpdate, Merge, Move
from fogline.params import map_arrays, write_arrays
from fogline.params.pieces import Extent
from fogline.stages import LinkContext, StageError, pipeline
from tests.compute.asking import ask, path
from tests.compute.test_refusals import good, members
from tests.toy import SPEC, ToyTask

INT8, FEEDBACK = pipeline(("int8",)), pipeline(("int8(feedback=true)",))
LINKS = NodeLinks(sends=FEEDBACK, takes=INT8, gives=INT8, gets=INT8)
Arrays = dict[str, NDArray[np.generic]]


def encoded(update: Update, seed: int = 0) -> Arrays:
    return Message.of_update(update).encoded(INT8, {}, LinkContext(seed))[0]


def in_folder(folder: Path, blocks: bool, method: str = "fedavg") -> GroupsOnFiles:
    """An aggregator with a group, and three updates."""
    folder.mkdir(exist_ok=True)
    runner = GroupsOnFiles(Groups(make(method), SPEC), blocks, LINKS)
    first = group_models.root(ToyTask().initial(0))
    runner.begin(first, path(folder, "fog@0/group"), path(folder, "fog@0"), "fog@0")
    for i in range(3):
        write_arrays(folder / f"u{i}", encoded(good(i), i))
    return runner


def test_in_blocks_as_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fogline.compute.column_blocks.BLOCK", 5)
    for folder, blocks in ((tmp_path / "whole", False), (tmp_path / "blocks", True)):
        runner = in_folder(folder, blocks)
        ask(runner, Adopt("fog@0", None, "fog@1"), folder)
        ask(runner, Move("fog@1", "fog@2", members(3), True, 0, True), folder, 0, 5)
        assert ask(runner, GroupUpdate("fog@2", "cloud#0"), folder).made == ("cloud#0", SENDER)
        assert ask(runner, Merge("cloud#1", members(3)), folder).made == ("cloud#1", SENDER)
    for what in ("fog@0", "fog@1", "fog@2", "fog@2-group", "cloud#0", "cloud#1", SENDER):
        one, other = map_arrays(tmp_path / "whole" / what), map_arrays(tmp_path / "blocks" / what)
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], err_msg=f"{what} {name}")


def test_rounding_is_that_of_node_and_round_whatever_the_number_of_the_request(tmp_path: Path) -> None:
    sent: dict[str, bytes] = {}
    for name, node, key, round_ in (
        ("one", "fog-0", "cloud#4", 2),
        ("same", "fog-0", "cloud#5", 2),
        ("later", "fog-0", "cloud#4", 3),
        ("other", "fog-1", "cloud#4", 2),
    ):
        in_folder(tmp_path / name, blocks=False)
        runner = GroupsOnFiles(Groups(make("fedavg"), SPEC), False, LINKS, node)
        ask(runner, Merge(key, members(3), round_), tmp_path / name)
        sent[name] = (tmp_path / name / key).read_bytes()
    assert sent["one"] == sent["same"]
    assert sent["one"] != sent["later"]
    assert sent["one"] != sent["other"]


def test_an_aggregator_folds_what_was_decoded_and_encodes_what_it_gives(tmp_path: Path) -> None:
    runner = in_folder(tmp_path, blocks=False)
    assert ask(runner, Move("fog@0", "fog@1", members(3), False, 0, True), tmp_path, 0, 5).refused == ()
    fold = fold_named(exact=False)
    for i in range(3):
        arrays = encoded(good(i), i)
        codes, (scale,) = arrays["staged/codes/delta"], arrays["staged/scales/delta"]
        plain = good(i).to_arrays() | {"vector/delta": (codes.astype(np.float32) - 127) * scale}
        fold.add(from_arrays(plain))  # type: ignore[arg-type]
    moved = ToyTask().initial(0).vector[: SPEC.trainable] + fold.finish().mean("delta")
    group = read_group(path(tmp_path, "fog@1/group"))
    np.testing.assert_array_equal(group.vector[: SPEC.trainable], moved)
    given = read_model(path(tmp_path, "fog@1"), stages=INT8)
    assert np.abs(given.vector - group.vector).max() <= np.abs(moved).max() / 127 * 1.001
    np.testing.assert_array_equal(given.vector[SPEC.trainable :], group.vector[SPEC.trainable :])


def without(name: str) -> Arrays:
    arrays = encoded(good(9))
    del arrays[name]
    return arrays


def with_(**arrays: NDArray[np.generic]) -> Arrays:
    return encoded(good(9)) | {name.replace("__", "/"): array for name, array in arrays.items()}


HOSTILE: dict[str, tuple[Arrays | bytes, str]] = {
    "plain": (good(9).to_arrays(), "'delta' did not go through the stages of this link"),
    "both": (with_(vector__delta=np.ones(12, np.float32)), "'delta' did not go through the stages of this link"),
    "no scales": (
        without("staged/scales/delta"),
        "its 'delta' of 12 numbers has nothing as scales, where Int8 has float32 (1,)",
    ),
    "no codes": (
        without("staged/codes/delta"),
        "its 'delta' of 12 numbers has nothing as codes, where Int8 has uint8 (12,)",
    ),
    "too many scales": (
        with_(staged__scales__delta=np.ones(9, np.float32)),
        "its 'delta' of 12 numbers has float32 (9,) as scales, where Int8 has float32 (1,)",
    ),
    "too short": (
        with_(staged__codes__delta=np.ones(3, np.uint8), staged__shape__delta=np.array([3, 4])),
        "Its vector 'delta' has shape (3,)",
    ),
    "one more": (with_(staged__plain__more=np.ones(3, np.int64)), "'weight/more' is missing"),
    "not finite": (with_(staged__scales__delta=np.full(1, np.nan, np.float32)), "Its vector 'delta' is not finite"),
    "no weight": (without("weight/delta"), "are no update"),
    "junk": (b"\x00" * 100, "It cannot be read"),
}


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("what", HOSTILE)
def test_rubbish_is_refused_in_a_sentence_and_the_others_count(
    what: str, blocks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fogline.compute.column_blocks.BLOCK", 5)
    runner = in_folder(tmp_path, blocks)
    rubbish, words = HOSTILE[what]
    if isinstance(rubbish, bytes):
        (tmp_path / "bad").write_bytes(rubbish)
    else:
        write_arrays(tmp_path / "bad", rubbish)
    them = (FoldInput("bad", 0, "eve"), *members(3))
    sifted = runner.sift(Sift(them, {member.update: path(tmp_path, member.update) for member in them}))
    done = ask(runner, Merge("with", them), tmp_path)
    assert [place for place, _ in done.refused] == [0]
    assert sifted.refused == done.refused
    assert words in done.refused[0][1]
    fold = fold_named(exact=False)
    for i in range(3):
        fold.add(read_update(path(tmp_path, f"u{i}"), stages=INT8))  # type: ignore[arg-type]
    wanted, merged = fold.partial(), read_update(path(tmp_path, "with"), stages=FEEDBACK)
    assert isinstance(merged, Partial)
    assert (merged.weights, merged.count) == (wanted.weights, 3)
    assert np.abs(merged.sums["delta"] - wanted.sums["delta"]).max() <= np.abs(wanted.sums["delta"]).max() / 127 * 1.001


@pytest.mark.parametrize("text", ["top_k(share=1e-9)", "random_k(share=1e-9)"])
def test_a_few_bytes_that_claim_to_be_many_numbers_are_refused_before_they_are_decoded(text: str) -> None:
    """Decoded they would be 4 TB."""
    job = Job(tree=Tree(cloud=Tier(uplink=[text], count=1), fog=Tier(uplink=[text], count=2)))
    (stage,) = (stages := pipeline((text,))).stages
    arrays, _ = Message.of_update(good(0)).encoded(stages, {}, UNSTAGED.from_device(0, 0))
    parts = stage.parts(Extent(np.dtype(np.float32), 10**12))  # type: ignore[attr-defined]
    arrays |= {f"{STAGED}{part}/more": np.zeros(one.count, one.dtype) for part, one in parts.items()}
    arrays |= {f"{STAGED}shape/more": np.array([10**12, 4], np.int64), "weight/more": np.ones(1)}
    for depth, most in ((1, "16,777,216"), (0, "16,777,216,000")):
        takes = links_of(job, make("fedavg"), depth, SPEC).takes
        with pytest.raises(StageError, match=f"the code of 1,000,000,000,0[0-9]+ numbers, and may be of {most}"):
            decoded_update(arrays, takes)
