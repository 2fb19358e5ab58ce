"""What the examples make of data, and how their own models look at it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from fogline.data import Examples, Meaning, RawData

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Their modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in ("balanced", "steel_energy", "text", "tiles"):
        sys.modules.pop(name, None)


def test_a_tiles_cells_go_where_its_pixels_go() -> None:
    import tiles  # type: ignore[import-not-found]

    x, y = np.zeros((2, 1, 96, 96), np.float32), np.full((2, 145), 4)
    x[1, 0, 16:24, 72:80], y[1, 0], y[1, 1 + 2 * 12 + 9] = 1, 2, 2
    made = tiles.copies(Examples(x, y), np.random.default_rng(3))
    assert made.y[:, 0].tolist() == [4] + 9 * [2]
    bright = made.array[1:].reshape(9, 12, 8, 12, 8).mean((2, 4)).reshape(9, 144)
    np.testing.assert_array_equal(bright == 1, made.y[1:, 1:] == 2)
    assert (bright.sum(1) == 1).all()
    assert len(set(bright.argmax(1).tolist())) > 4, "not at one place"


def test_a_mirrored_tile_is_judged_alike_and_its_cells_are_mirrored() -> None:
    import tiles  # type: ignore[import-not-found]

    torch.manual_seed(0)
    model, x = tiles.Inspector().eval(), torch.randn(2, 1, 96, 96)
    plain, mirrored = model(x), model(x.flip(3))
    torch.testing.assert_close(plain[:, :, 0], mirrored[:, :, 0])
    cells = mirrored[:, :, 1:].unflatten(2, (12, 12)).flip(3).flatten(2)
    torch.testing.assert_close(plain[:, :, 1:], cells)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(model.train()(x)[:, :, 0], model(x.flip(3))[:, :, 0])


def test_balanced_accuracy_counts_each_picture_once() -> None:
    import balanced  # type: ignore[import-not-found]

    from fogline.data import from_arrays

    def model() -> object:
        return torch.nn.Unflatten(1, (2, 3))

    y = np.array([[0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0]])
    x = np.zeros((4, 6), np.float32)
    x[2:, 3] = 1  # Says 1 of the last two pictures, and of no other target.
    task = balanced.BalancedTask(model, from_arrays("some", x, y, [range(4)], classes=2), class_axis=1, headline="loss")
    metrics = task.metrics(task.evaluate(task.initial(0), Examples(x, y)))
    assert metrics["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["accuracy"] == pytest.approx(3 / 4)


def test_a_load_forecast_sees_nothing_of_the_last_hour() -> None:
    import steel_energy  # type: ignore[import-not-found]

    y = np.random.default_rng(0).normal(size=2500).astype(np.float32)
    raw = RawData("steel_energy", np.zeros((2500, 16), np.float32), y, Meaning())
    changed = y.copy()
    changed[1500 : 1500 + steel_energy.HOUR] = 9
    before, after = (steel_energy.history(part) for part in (raw, RawData(raw.name, raw.x, changed, raw.meaning)))
    differs = np.flatnonzero((before != after).any(axis=1))
    assert differs[0] == 1500 + steel_energy.HOUR
    assert {1500 + steel_energy.DAY, 1500 + steel_energy.WEEK} <= set(differs.tolist())


def test_a_reader_sees_sixteen_characters_and_none_to_come() -> None:
    import text  # type: ignore[import-not-found]

    torch.manual_seed(0)
    model, tokens = text.Reader(), torch.randint(65, (1, 40))
    other = tokens.clone()
    other[0, 20] = (tokens[0, 20] + 1) % 65
    differs = (model(tokens) - model(other)).abs().amax(2)[0] > 1e-6
    assert differs.nonzero().ravel().tolist() == list(range(20, 36))


def test_a_guess_tells_texts_apart_by_their_last_characters_only() -> None:
    import text  # type: ignore[import-not-found]

    numbers = text.contexts(np.array([[5, 6, 7, 8, 9], [1, 6, 7, 8, 9], [1, 5, 7, 8, 9]]), 4)
    assert numbers[0] == numbers[1] != numbers[2]
    assert len(set(text.contexts(np.array([[5, 6, 7, 8, 9], [1, 5, 7, 8, 9]]), 3).tolist())) == 1
