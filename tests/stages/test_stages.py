"""Clip and int8: what comes out; how stages are named, and what a wrong one is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fogline.algorithms.group import Down
from fogline.compute.messages import model_through
from fogline.stages import STAGES, LinkContext, Named, Stage, StageError, make, pipeline, text_of
from fogline.stages.base import Layout
from fogline.stages.clip import Clip
from fogline.stages.int8 import Int8
from fogline.stages.pipeline import Pipeline
from fogline.user_code.bugs import CodeError

FINITE = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)
VECTORS = arrays.arrays(np.float32, st.integers(0, 700), elements=FINITE)


def through(stage: Stage, vector: np.ndarray, seed: int = 0) -> np.ndarray:
    encoded, _ = stage.send({"delta": vector}, {}, LinkContext(seed))
    return stage.receive(encoded)["delta"]


def scales_of(vector: np.ndarray) -> np.ndarray:
    """The scale of every number, computed one block after the other."""
    blocks = [vector[i : i + 256] for i in range(0, vector.size, 256)]
    each = [np.full(block.size, np.abs(block).max() / np.float32(127), np.float32) for block in blocks]
    return np.concatenate([*each, np.zeros(0, np.float32)])


@given(VECTORS, st.integers(0, 2**62))
def test_int8_errs_by_a_scale_at_most(vector: np.ndarray, seed: int) -> None:
    back = through(Int8(), vector, seed)
    assert back.dtype == np.float32
    assert np.all(np.abs(back.astype(np.float64) - vector) <= 1.0001 * scales_of(vector) + 1e-44)


def test_the_same_seed_rounds_alike_and_others_do_not() -> None:
    vector = np.random.default_rng(1).standard_normal(600).astype(np.float32)
    assert np.array_equal(through(Int8(), vector, 5), through(Int8(), vector, 5))
    assert not np.array_equal(through(Int8(), vector, 5), through(Int8(), vector, 6))
    one, _ = pipeline(("int8",)).send({"a": vector, "b": vector}, {}, LinkContext(5))
    other, _ = pipeline(("int8",)).send({"b": vector, "a": vector}, {}, LinkContext(5))
    assert all(np.array_equal(one[name], other[name]) for name in one)


@given(VECTORS, st.floats(1e-3, 1e3))
def test_clip_bounds_the_movement_and_keeps_its_direction(vector: np.ndarray, norm: float) -> None:
    encoded, _ = Clip(norm=norm).send({"delta": vector, "other": vector}, {}, LinkContext())
    size = float(np.linalg.norm(vector.astype(np.float64)))
    assert np.linalg.norm(encoded["delta"].astype(np.float64)) <= norm * 1.00001
    assert np.allclose(encoded["delta"], vector * min(1.0, norm / size) if size else vector, rtol=1e-5, atol=1e-30)
    assert encoded["other"] is vector


def test_clip_bounds_together_what_a_pattern_names() -> None:
    update: Named = {"delta-0": np.full(3, 4.0, np.float32), "delta-1": np.zeros(2, np.float32), "scores": np.ones(5)}
    clipped, _ = Clip(norm=1.0).send(update, {}, LinkContext(movement="delta-*"))
    np.testing.assert_allclose(clipped["delta-0"], np.full(3, 3**-0.5), rtol=1e-6)
    assert clipped["scores"] is update["scores"]


@pytest.mark.parametrize("stage", [Clip(), Clip(norm=0.1), Int8(), Int8(feedback=True)])
def test_a_stage_is_its_text(stage: Stage) -> None:
    assert make(text_of(stage, "unused")) == stage


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("int9", "There is no stage 'int9'; did you mean 'int8'?"),
        ("clip(nrm=1.0)", "Stage 'clip' has no parameter 'nrm'; did you mean 'norm'?"),
        ("clip(norm=-1.0)", "Parameter 'norm' of stage 'clip' is -1.0; it must be above 0."),
        ("int8(feedback=1)", "Parameter 'feedback' of stage 'int8' is 1; it wants a bool."),
        ("clip(norm", "'clip(norm' cannot be read; write a name, or name(0.1), or name(key=0.1)"),
        ("int8(1)", "Stage 'int8' has no first parameter; its parameters are feedback"),
        ("clip(norm=inf)", "Parameter 'norm' of stage 'clip' is inf; it must be a finite number above 0."),
        ("clip(norm=1.0}\ny={)", "'clip(norm=1.0}\ny={)' cannot be read; write a name, or name(0.1), or name(key=0.1)"),
        ("nowhere:Stage", "The stage 'nowhere:Stage' cannot be imported: No module named 'nowhere'."),
        ("json:loads", "'json:loads' is no subclass of fogline.stages.Stage."),
    ],
)
def test_what_is_no_stage_is_told_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(StageError) as told:
        make(text)
    assert str(told.value) == sentence


def test_nothing_comes_after_codes() -> None:
    with pytest.raises(StageError, match="'clip' stands after 'int8'"):
        pipeline(("int8", "clip"))


class Forgetful(Stage):
    """Returns a state, and does not say that it remembers."""

    def send(self, update, state, link):
        return update, update

    def receive(self, encoded):
        return encoded["missing"]

    def layout(self, layout):
        return layout


def test_a_stage_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(Forgetful(), "user:Forgetful")
    assert text == "user:Forgetful"
    with pytest.raises(CodeError, match="does not remember"):
        pipeline((text,)).send({"delta": np.zeros(3, np.float32)}, {}, LinkContext())
    with pytest.raises(StageError, match=r"Forgetful\.receive raised KeyError: 'missing'"):
        pipeline((text,)).receive({})


class Shapeless(Stage):  # It does not say what it makes.
    send, receive = Forgetful.send, Forgetful.receive


def test_a_stage_without_a_layout_is_refused_before_the_run() -> None:
    with pytest.raises(StageError, match=r"The stage Shapeless does not define layout: def layout\(self, layout\)"):
        pipeline((text_of(Shapeless(), "user:Shapeless"),))


def test_every_stage_of_the_package_is_found() -> None:
    assert {"clip", "int8"} <= set(STAGES)
    assert all(STAGES.summary(name) for name in STAGES)


class Halved(Stage):
    """Right by itself; what is wrong with those below is one of its functions."""

    def send(self, update: Named, state: Named, link: LinkContext) -> tuple[Named, Named]:
        return {name: vector / 2 for name, vector in update.items()}, state

    def receive(self, encoded: Named) -> Named:
        return {name: vector * 2 for name, vector in encoded.items()}

    def layout(self, layout: Layout) -> Layout:
        return layout


class Writing(Halved):
    def send(self, update: Named, state: Named, link: LinkContext) -> tuple[Named, Named]:
        for vector in update.values():
            vector *= 0.5
        return update, state


class Stateless(Halved):
    def send(self, update: Named, state: Named, link: LinkContext) -> tuple[Named, Named]:
        return {name: vector / 2 for name, vector in update.items()}  # pyright: ignore[reportReturnType]


class Longer(Halved):
    def send(self, update: Named, state: Named, link: LinkContext) -> tuple[Named, Named]:
        return {name: np.concatenate([vector, vector]) for name, vector in update.items()}, state


class Texts(Halved):
    def receive(self, encoded: Named) -> Named:
        return {name: vector.astype(object) for name, vector in encoded.items()}


class Unlaid(Stage):
    send, receive = Halved.send, Halved.receive


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (Writing(), "Writing.send writes into what it was given, which can only be read"),
        (Stateless(), "Stateless.send gives a dict; it must give the arrays and the state"),
        (Longer(), "Longer.send gives 'delta' as 6 numbers of float32, but Longer.layout says 3 numbers of float32"),
        (Unlaid(), "Unlaid.layout raised NotImplementedError"),
    ],
)
def test_a_stage_that_is_wrong_is_named(stage: Stage, said: str) -> None:
    vector = np.ones(3, np.float32)
    with pytest.raises(CodeError) as error:
        Pipeline([stage]).send({"delta": vector}, {}, LinkContext())
    assert said in str(error.value)
    assert np.array_equal(vector, np.ones(3))


def test_what_a_stage_receives_must_be_flat_arrays() -> None:
    with pytest.raises(StageError, match=r"Texts.receive gives a dictionary with object of shape \(3,\) as 'delta'"):
        Pipeline([Texts()]).receive({"delta": np.ones(3, np.float32)})


class Doubling(Halved):
    """What it sends is as its layout says, and too long where it is received."""

    def receive(self, encoded: Named) -> Named:
        return {name: np.concatenate([vector, vector]) for name, vector in encoded.items()}


def test_stages_must_give_back_as_many_numbers_as_were_sent() -> None:
    down = Down(np.ones(5, np.float32), np.zeros(0, np.int64), {})
    assert np.array_equal(model_through(down, 3, Pipeline([Halved()]), LinkContext()).vector, down.vector)
    with pytest.raises(CodeError, match="give back 'model' as 6 numbers where 3 numbers were sent"):
        model_through(down, 3, Pipeline([Doubling()]), LinkContext())
