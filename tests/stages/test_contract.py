"""What every stage promises, held against every stage there is: sizes, errors, bias, memory, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fogline.params import Entry, Spec, map_arrays, write_arrays
from fogline.params.pieces import file_size
from fogline.stages import STAGES, Extent, LinkContext, Named, Stage, StageError, make, pipeline
from fogline.stages.pipeline import Pipeline
from fogline.stages.vector_code import VectorCode

VARIANTS = (
    "clip(norm=0.1)",
    "qsgd(levels=1, bucket=300)",
    "qsgd(levels=127)",
    "eden(bits=1)",
    "top_k(share=0.2)",
    "stc(share=0.04)",
    "random_k(share=0.3)",
    "ef21('qsgd(levels=127)')",
)
"""Stages with other parameters than they have by default."""
TEXTS = sorted({*STAGES, *VARIANTS})
CODES = [text for text in TEXTS if isinstance(make(text), VectorCode)]
RNG = np.random.default_rng(5)
NUMBERS = st.floats(2.0**-6, 2.0**12, width=32) | st.floats(-(2.0**12), -(2.0**-6), width=32) | st.just(0.0)
VECTORS = arrays.arrays(st.sampled_from([np.float32, np.float64]), st.integers(0, 700), elements=NUMBERS)
SIZES = (1, 5, 300, 3000)
TRIES = 20
MODEL = Spec.of([Entry("weight", (4, 7, 10), "float32"), Entry("bias", (20,), "float32")])
"""Of 300 numbers; for stages that look at its matrices."""


def made(text: str) -> Stage:
    return make(text).fitted(MODEL)


def shapes(size: int) -> dict[str, np.ndarray]:
    """Vectors that are hard for one code or another."""
    one, two = np.zeros(size, np.float32), np.zeros(size, np.float32)
    one[size // 2], two[0], two[-1] = 3.0, 1.0, 0.5
    return {
        "normal": RNG.standard_normal(size).astype(np.float32),
        "heavy": (np.sign(RNG.standard_normal(size)) * RNG.pareto(1.5, size) + 0.01).astype(np.float32),
        "one": one,
        "two": two,
        "alike": np.full(size, -0.3, np.float32),
        "zero": np.zeros(size, np.float32),
    }


def through(stage: Stage, vector: np.ndarray, seed: int = 0, state: Named | None = None) -> np.ndarray:
    return stage.receive(stage.send({"delta": vector}, state or {}, LinkContext(seed, common=seed))[0])["delta"]


@pytest.mark.parametrize("text", TEXTS)
@settings(max_examples=12, deadline=None)
@given(vector=VECTORS, counts=st.integers(0, 3))
def test_sizes_are_exact_and_come_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, vector: np.ndarray, counts: int
) -> None:
    half = vector[: vector.size // 2]
    update: Named = {"delta": vector, "a/b": half, "codes/delta": half, "plain/delta": half, "n": np.arange(counts)}
    sent, path = pipeline((text,)).fitted(MODEL), tmp_path_factory.getbasetemp() / "sent"
    encoded, _ = sent.send(update, {}, LinkContext(3))
    write_arrays(path, encoded)
    layout = {name: Extent(array.dtype, array.size) for name, array in update.items()}
    assert path.stat().st_size == file_size(sent.layout(layout)) == sent.stages[0].size(layout)
    received = sent.receive(map_arrays(path))
    assert {name: (each.dtype, each.size) for name, each in received.items()} == {
        name: (each.dtype, each.size) for name, each in update.items()
    }
    assert np.array_equal(received["n"], update["n"])


@pytest.mark.parametrize("text", TEXTS)
def test_errors_keep_to_their_bound(text: str) -> None:
    stage = made(text)
    assert math.isfinite(stage.error(1))
    for size in SIZES:
        for name, vector in shapes(size).items():
            square = float(vector @ vector.astype(np.float64))
            errors = [
                np.square(through(stage, vector, seed) - vector.astype(np.float64)).sum() for seed in range(TRIES)
            ]
            chance = 2 * np.std(errors) / math.sqrt(TRIES)  # That few tries come out above what is expected.
            assert np.mean(errors) <= 1.1 * stage.error(size) * square + chance + 1e-12, (name, size)


@pytest.mark.parametrize("text", [text for text in TEXTS if text != "fp16"])  # Which says from where to where it goes.
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_size_of_numbers_does_not_matter(text: str, size: float) -> None:
    stage, vector = made(text), (size * shapes(3000)["normal"]).astype(np.float32)
    off = through(stage, vector) / size - vector.astype(np.float64) / size
    assert off @ off <= 1.1 * stage.error(3000) * 3000 * 1.1 + 1e-9


@pytest.mark.parametrize("text", [text for text in TEXTS if made(text).unbiased and not made(text).remembers])
def test_what_is_called_unbiased_is(text: str) -> None:
    """The mean of many tries errs by as little as independent errors do."""
    stage, tries = made(text), 200
    for size, name in ((5, "normal"), (300, "heavy"), (300, "two")):
        vector = shapes(size)[name]
        off = np.stack([through(stage, vector, seed).astype(np.float64) for seed in range(tries)]) - vector
        expected = np.square(off).sum() / tries**2
        assert np.square(off.mean(axis=0)).sum() <= (1 + 15 / math.sqrt(size)) * expected + 1e-9, (name, size)


@pytest.mark.parametrize("text", CODES)
def test_what_is_not_finite_stays_so_and_is_not_remembered(text: str) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        vector = np.ones(300, np.float32)
        vector[7] = bad
        encoded, state = made(text).send({"delta": vector}, {}, LinkContext())
        assert not state
        assert not np.isfinite(made(text).receive(encoded)["delta"]).all()


def with_feedback() -> list[str]:
    """Every code that can have feedback, with it."""
    texts: set[str] = set()
    for text in CODES:
        name, _, values = text.removesuffix(")").partition("(")
        others = [value for value in values.split(", ") if value and not value.startswith("feedback")]
        fed = f"{name}({', '.join([*others, 'feedback=true'])})"
        with suppress(StageError):  # Of one that loses too much for that.
            made(fed)
            texts.add(fed)
    return sorted(texts)


@pytest.mark.parametrize("text", with_feedback())
def test_feedback_makes_up_for_what_was_lost_and_survives_a_file(text: str, tmp_path: Path) -> None:
    """However many messages there are, all that is missing at the receiver is what is remembered, and it is bounded."""
    rng, stage, steps = np.random.default_rng(2), made(text), 40
    assert stage.remembers
    sent = received = np.zeros(300)
    state: Named = {}
    for seed in range(steps):
        update = (1 + rng.standard_normal(300)).astype(np.float32)
        encoded, state = stage.send({"delta": update}, state, LinkContext(seed, common=seed))
        sent, received = sent + update, received + stage.receive(encoded)["delta"]
        write_arrays(tmp_path / "state", state)
        state = map_arrays(tmp_path / "state")
    assert np.abs(sent - received - state["delta"]).max() < 1e-3
    bound = math.sqrt(stage.error(300))
    assert np.linalg.norm(state["delta"]) <= 1.1 * bound / (1 - bound) * math.sqrt(2 * 300) * 1.2


@pytest.mark.parametrize("text", with_feedback())
def test_what_was_lost_of_a_name_waits_until_it_is_sent_again(text: str) -> None:
    stage, vector = made(text), np.linspace(0, 1, 9, dtype=np.float32)
    _, state = stage.send({"delta-0": vector}, {}, LinkContext(1))
    lost = state["delta-0"]
    _, between = stage.send({"delta-1": vector}, state, LinkContext(2))
    assert between["delta-0"] is lost
    later, _ = stage.send({"delta-0": vector}, between, LinkContext(3))
    there, _ = stage.send({"delta-0": vector + lost}, {}, LinkContext(3))
    for name, array in there.items():
        np.testing.assert_array_equal(later[name], array)


def damaged(encoded: Named) -> Iterator[tuple[str, Named]]:
    """What a sender never sends: parts that are missing, of another length, type or form, and lies about lengths."""
    for name, array in encoded.items():
        yield f"{name} missing", {key: one for key, one in encoded.items() if key != name}
        yield f"{name} longer", encoded | {name: np.concatenate([array, array[-1:]])}
        yield f"{name} shorter", encoded | {name: array[:-1]}
        other = np.float64 if array.dtype.kind in "iu" else np.int32
        yield f"{name} of another type", encoded | {name: np.zeros(array.size, other)}
        yield f"{name} in rows", encoded | {name: array.reshape(1, -1)}
    for claim in ([2**62, 4], [-1, 4], [-(2**63), 4], [301 * 8, 4], [0, 4], [300, 3], [300, 0]):
        yield f"shape {claim}", encoded | {"shape/delta": np.array(claim, np.int64)}
    yield "nothing of it", {"delta": np.zeros(300, np.float32)}
    yield "one part more", encoded | {"more/delta": np.zeros(3, np.int8)}
    yield "plain numbers", encoded | {"plain/delta": np.zeros(300, np.float32)}


@pytest.mark.parametrize("text", CODES)
def test_what_cannot_have_been_sent_is_refused_in_a_sentence(text: str) -> None:
    sent = pipeline((text,)).fitted(MODEL)
    encoded, _ = sent.send({"delta": RNG.standard_normal(300).astype(np.float32)}, {}, LinkContext())
    for what, message in damaged(encoded):
        with pytest.raises(StageError, match=r"its '.*delta'") as told:
            sent.receive(message)
        assert "raised" not in str(told.value), what


def outcome(sent: Pipeline, message: Named) -> str:
    try:
        return f"{sent.receive(message)['delta'].size} numbers"
    except StageError as error:
        return str(error) if "raised" in str(error) else "a sentence"


@pytest.mark.parametrize("text", CODES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_bytes_of_the_right_lengths_give_a_vector_or_a_sentence(text: str, data: Any) -> None:
    sent = pipeline((text,)).fitted(MODEL)
    encoded, _ = sent.send({"delta": RNG.standard_normal(300).astype(np.float32)}, {}, LinkContext())
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    which = data.draw(st.sampled_from([name for name in encoded if name != "shape/delta"]))
    noise = np.frombuffer(rng.bytes(encoded[which].nbytes), encoded[which].dtype)
    assert outcome(sent, encoded | {which: noise}) in ("300 numbers", "a sentence")
