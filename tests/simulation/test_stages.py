"""Stages in a simulation: the numbers go through them, what they cost is charged, and what they remember is kept."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import fogline
from benchmarks.network.synthetic import task as numbers
from fogline import CodeError, JobError, Tier, Tree
from fogline.algorithms import Algorithm, make
from fogline.jobs.files.reading import parse_job
from fogline.monitoring.folder import RunFolder
from fogline.params import State, Vector
from fogline.stages import Extent, LinkContext, Named, Stage
from fogline.stages.clip import Clip
from fogline.stages.int8 import Int8
from fogline.stages.placed_code import PlacedCode
from tests.toy import ToyTask, toy_data

SIZE = 100_000
BLOCKS = -(-SIZE // 256)
FEEDBACK = "int8(feedback=true)"


def simulate(task: Any = None, rounds: int = 4, **settings: Any) -> fogline.Result:
    return fogline.simulate(task or ToyTask(), rounds=rounds, processes=0, progress=False, **settings)


def star(*uplink: str | Stage, downlink: tuple[str | Stage, ...] = ()) -> Tree:
    return Tree(cloud=Tier(uplink=uplink, downlink=downlink))


def staged(name: str) -> dict[str, np.ndarray]:
    """What int8 makes of the vector of that name."""
    return {
        f"staged/codes/{name}": np.zeros(SIZE, np.uint8),
        f"staged/scales/{name}": np.zeros(BLOCKS, np.float32),
        f"staged/shape/{name}": np.zeros(2, np.int64),
    }


NO_COUNTERS = {"counters": np.zeros(0, np.int64)}
UPDATE = len(
    safetensors.numpy.save(
        staged("delta") | NO_COUNTERS | {"weight/delta": np.zeros(1), "count": np.zeros(1, np.int64)}
    )
)
MODEL = len(safetensors.numpy.save(staged("model") | NO_COUNTERS | {"buffers": np.zeros(0, np.float32)}))
LINK = 1_000_000
"""Bytes per second of a device's link, each way."""


def test_bytes_clock_and_energy_are_those_of_the_messages() -> None:
    devices = {"up": LINK, "down": LINK, "rtt": 0.0, "loss": 0.0, "radio_joules_per_mb": 1.0, "compute_watts": 0.0}
    result = simulate(numbers(SIZE, 3), tree=star("int8", downlink=("int8",)), devices=devices)
    row = result.history[-1]
    assert 0.25 * 4 * SIZE < UPDATE < 0.26 * 4 * SIZE
    assert row["up/cloud"] == 4 * 3 * UPDATE
    assert row["down/cloud"] == 4 * 3 * (MODEL + 128)  # And a receipt.
    assert row["joules"] == pytest.approx(4 * 3 * (UPDATE + MODEL + 128) / 1e6, rel=1e-6)
    plain = simulate(numbers(SIZE, 3), devices=devices).history[-1]
    spared = 4 * (2 * 4 * SIZE - UPDATE - MODEL) / LINK
    assert plain["seconds"] - row["seconds"] == pytest.approx(spared, rel=1e-3)


def test_a_first_device_that_fails_changes_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = star("int8", downlink=("int8",))
    whole = simulate(tree=tree, rounds=1).history[-1]
    with monkeypatch.context() as patched:
        patched.setattr("fogline.simulation.sizing.run_cohort", lambda *_: [SimpleNamespace(update=None)])
        failed = simulate(tree=tree, rounds=1).history[-1]
    assert (failed["up/cloud"], failed["down/cloud"]) == (whole["up/cloud"], whole["down/cloud"])


def test_a_fog_that_merges_sends_its_sums_in_eight_bits_and_hands_models_on_as_they_came() -> None:
    tree = Tree(cloud=Tier(uplink=["int8"], downlink=["int8"]), fog=Tier(count=2))
    row = simulate(numbers(SIZE, 4), tree=tree).history[-1]
    assert row["up/cloud"] == pytest.approx(4 * 2 * UPDATE, rel=2e-3)
    assert row["up/fog"] == pytest.approx(4 * 4 * 4 * SIZE, rel=2e-3)
    assert row["down/cloud"] == 4 * 2 * (MODEL + 128)
    assert row["down/fog"] == 4 * 4 * (MODEL + 128)


@pytest.mark.parametrize("code", ["random_k(share=0.1, feedback=false)", "subspace(share=0.1, feedback=false)"])
def test_over_a_fog_that_merges_a_linear_code_loses_no_more_than_without(code: str) -> None:
    """All devices of a round, and the fogs, have its places in common: the sum of codes is the code of the sum."""
    over = Tree(cloud=Tier(uplink=[code]), fog=Tier(count=2, uplink=[code]))
    one, other = simulate(tree=star(code)), simulate(tree=over)
    np.testing.assert_allclose(one.params.vector, other.params.vector, atol=1e-6)
    assert not np.allclose(one.params.vector, simulate().params.vector, atol=1e-3)


def test_under_secure_aggregation_linear_codes_stand_and_others_do_not() -> None:
    code = "random_k(share=0.3)"
    masked = Tree(cloud=Tier(uplink=[code], exchange="secagg"))
    one, other = simulate(tree=star(code)), simulate(tree=masked)
    np.testing.assert_allclose(one.params.vector, other.params.vector, atol=1e-3)
    with pytest.raises(JobError, match="'stc' cannot stand here: it makes codes"):
        simulate(tree=Tree(cloud=Tier(uplink=["stc"], exchange="secagg")))


def test_masks_cover_the_short_vector_and_every_aggregator_decodes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    code, decoded, decode = "random_k(share=0.1, feedback=false)", list[int](), PlacedCode.decode

    def counted(self: PlacedCode, parts: Named, extent: Extent) -> Vector:
        decoded.append(extent.count)
        return decode(self, parts, extent)

    monkeypatch.setattr(PlacedCode, "decode", counted)
    task = numbers(20_000, 8)
    plain, masked = (
        simulate(task, rounds=2, tree=Tree(cloud=Tier(uplink=up, exchange="secagg(weight=100.0)")))
        for up in ([], [code])
    )
    assert len(decoded) == 2 * 2  # The last step is worked twice: before a round counts, and for its result.
    off, of = (run.history[-1]["up/cloud"] - 2 * 8 * 4 * size for run, size in ((masked, 2_000), (plain, 20_000)))
    assert 0 < off < of + 2 * 8 * 500  # Beside four bytes a number: keys, shares and, once more, what the code is.
    decoded.clear()
    simulate(task, rounds=2, tree=Tree(cloud=Tier(uplink=[code]), fog=Tier(count=3, uplink=[code])))
    assert len(decoded) == 2


@pytest.mark.parametrize("mode", ["semi-async", "async"])
def test_masked_codes_need_no_synchronous_rounds(mode: str) -> None:
    secure: dict[str, Any] = {"mode": mode, "exchange": "secagg(bits=64, clip=8.0)", "uplink": ["random_k(share=0.5)"]}
    more = {"cohort": 9, "buffer": 3} if mode == "async" else {"speed_classes": 2}
    found = simulate(ToyTask(toy_data(9)), rounds=6, tree=Tree(cloud=Tier(**more, **secure)))
    assert found.counts.get("abandoned", 0) == found.counts.get("failed", 0) == 0


def test_the_numbers_really_go_through() -> None:
    plain, clipped = simulate(rounds=1), simulate(rounds=1, tree=star("clip(norm=0.01)"))
    trained = ToyTask().spec.trainable
    before = fogline.simulate(ToyTask(), rounds=1, processes=0, progress=False, local={"learning_rate": 1e-12})
    moved = (clipped.params.vector - before.params.vector)[:trained]
    assert np.linalg.norm(moved) <= 0.0101 < np.linalg.norm((plain.params.vector - before.params.vector)[:trained])
    assert np.array_equal(clipped.params.vector[trained:], plain.params.vector[trained:])  # Buffers go as they are.


EVERYBODY = make("fedbuff", buffer=10)
"""A move has the updates of as many as a round of the others."""


@pytest.mark.parametrize(
    ("algorithm", "up", "down"),
    [
        ("fedavg", "sign", "int8"),
        ("fedavg", "drive", "fp16"),
        ("scaffold", "eden", "bf16"),
        (EVERYBODY, "int4", "int8"),
        ("fedavg", "top_k(share=0.1)", "int8"),
        ("scaffold", "stc(share=0.2)", "int8"),
        (EVERYBODY, "random_k(share=0.3)", "int8"),
        ("fedavg", "subspace(share=0.3)", "int8"),
        ("scaffold", "powersgd", "int8"),
    ],
)
def test_few_bits_learn_nearly_what_all_bits_do(algorithm: str | Algorithm, up: str, down: str) -> None:
    plain = simulate(rounds=15, algorithm=algorithm)
    coded = simulate(rounds=15, algorithm=algorithm, tree=star(up, downlink=(down,)))
    assert not np.array_equal(coded.params.vector, plain.params.vector)
    assert coded.metrics["loss"] < plain.metrics["loss"] * 1.05


def test_against_the_last_aggregate_a_biased_code_needs_no_memory() -> None:
    """The code is of what is new, so what it loses does not stay lost."""
    tree = star("top_k(share=0.1, feedback=false)")
    plain = simulate(rounds=15)
    alone, against = (simulate(rounds=15, algorithm=name, tree=tree) for name in ("fedavg", "cafe"))
    assert against.metrics["loss"] < plain.metrics["loss"] * 1.05 < alone.metrics["loss"]


def test_objects_and_texts_are_the_same_and_the_run_repeats_from_its_folder(tmp_path: Path) -> None:
    by_object = simulate(tree=star(Clip(norm=0.5), Int8(feedback=True)), folder=tmp_path / "run")
    by_text = simulate(tree=star("clip(norm=0.5)", FEEDBACK))
    assert np.array_equal(by_object.params.vector, by_text.params.vector)
    job = parse_job((tmp_path / "run" / "job.toml").read_text())
    assert job.tree.tiers["cloud"].uplink == ("clip(norm=0.5)", FEEDBACK)


@pytest.mark.parametrize(
    "tree",
    [
        star(FEEDBACK),
        Tree(cloud=Tier(uplink=[FEEDBACK], downlink=["int8"]), fog=Tier(count=2, uplink=[FEEDBACK])),
        Tree(cloud=Tier(uplink=[FEEDBACK]), fog=Tier(count=2, rounds=2, uplink=[FEEDBACK], downlink=["int8"])),
    ],
    ids=["star", "fogs that merge", "fogs that move"],
)
def test_a_run_that_goes_on_remembers_what_was_lost(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = simulate(rounds=14, tree=tree)
    append = RunFolder.append

    def appended(self: RunFolder, row: dict[str, float]) -> None:
        append(self, row)
        if row["round"] == 12:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "append", appended)
        with pytest.raises(KeyboardInterrupt):
            simulate(rounds=14, tree=tree, folder=tmp_path / "run")
    again = simulate(rounds=14, tree=tree, folder=tmp_path / "run", resume=True)
    assert np.array_equal(again.params.vector, whole.params.vector)
    forgetful = simulate(rounds=14, tree=tree.model_copy(update={"tiers": _without(tree)}))
    assert not np.array_equal(forgetful.params.vector, whole.params.vector)


def _without(tree: Tree) -> dict[str, Tier]:
    """The tiers, with senders that remember nothing."""
    return {
        name: tier.model_copy(update={"uplink": ("int8",) if tier.uplink else ()}) for name, tier in tree.tiers.items()
    }


def test_workers_change_nothing() -> None:
    tree = star("clip(norm=0.5)", FEEDBACK, downlink=("int8",))
    one = simulate(tree=tree, engine="loop", chunk=2)
    two = fogline.simulate(ToyTask(), rounds=4, tree=tree, engine="loop", chunk=2, processes=2, progress=False)
    assert np.array_equal(one.params.vector, two.params.vector)


class Half(Stage):
    """Every number halved on the way, and doubled again."""

    lossy = False
    factor: float = 2.0

    def send(self, update: Named, state: State, link: LinkContext) -> tuple[Named, State]:
        return {name: vector / vector.dtype.type(self.factor) for name, vector in update.items()}, state

    def receive(self, encoded: Named) -> Named:
        return {name: vector * vector.dtype.type(self.factor) for name, vector in encoded.items()}

    def layout(self, layout: Any) -> Any:
        return layout


PROGRAM = """
from fogline.stages import Stage

class Lost(Stage):
    def send(self, update, state, link):
        return {name: vector * 0 for name, vector in update.items()}, state

    def receive(self, encoded):
        return encoded

    def layout(self, layout):
        return layout
"""


def test_a_stage_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, halved = simulate(), simulate(tree=star(Half(factor=4.0), downlink=(Half(),)))
    assert np.array_equal(halved.params.vector, plain.params.vector)  # Powers of two lose nothing.
    (tmp_path / "lossy_links.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    lost = simulate(tree=star("lossy_links:Lost"))
    trained = ToyTask().spec.trainable
    assert np.array_equal(lost.params.vector[:trained], ToyTask().initial(0).vector[:trained])
    del sys.modules["lossy_links"]


class Deaf(Half):
    def receive(self, encoded: Named) -> Named:
        raise NameError("nonsense")


def test_a_stage_that_cannot_receive_is_named_with_its_line() -> None:
    for tree in (star(Deaf()), star(downlink=(Deaf(),))):
        with pytest.raises(CodeError, match=r"Deaf.receive raised NameError: nonsense \(.*test_stages.py, line \d+\)"):
            simulate(tree=tree)


@pytest.mark.parametrize(
    ("tree", "settings", "sentence"),
    [
        (Tree(cloud=Tier(uplink=["clip"]), fog=Tier(count=2)), {}, "fog sends sums of updates, and no single ones"),
        (Tree(cloud=Tier(), fog=Tier(count=2, downlink=["int8"])), {}, "fog has no model of its own"),
        (star(downlink=(FEEDBACK,)), {}, "what goes down is a model"),
        (star(downlink=("clip",)), {}, "what goes down is a model"),
        (star(downlink=("sign(feedback=false)",)), {}, "more than half of it may be lost for good; take a finer code"),
        (Tree(cloud=Tier(uplink=["int8"]), fog=Tier(count=2)), {"exact": True}, "which it would spoil"),
        (star("nowhere:Stage"), {}, "cannot be imported: No module named 'nowhere'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_run(tree: Tree, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(JobError, match=sentence):
        simulate(tree=tree, **settings)


def test_a_job_file_names_stages() -> None:
    text = '[tree.cloud]\nuplink = ["clip(norm=2.0)", "int8"]\n'
    assert parse_job(text).tree.tiers["cloud"].uplink == ("clip(norm=2.0)", "int8")
    for wrong, sentence in (
        ('["int8", "clip"]', "'clip' stands after 'int8'"),
        ('["int9"]', "There is no stage 'int9'; did you mean 'int8'"),
        ('"int8"', "must be a list of stages"),
    ):
        with pytest.raises(JobError, match=sentence) as told:
            parse_job(f"[tree.cloud]\nuplink = {wrong}\n")
        assert "cloud.uplink" in str(told.value)
