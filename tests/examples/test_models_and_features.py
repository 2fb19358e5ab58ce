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
    for name in ("balanced", "steel_energy", "text"):
        sys.modules.pop(name, None)


def test_balanced_accuracy_is_the_mean_over_classes() -> None:
    import balanced  # type: ignore[import-not-found]

    from fogline.data import from_arrays

    x, y = np.array([[2, 1], [3, 0], [0, 1], [0, 9]], np.float32), np.array([0, 0, 0, 1])
    task = balanced.BalancedTask(
        torch.nn.Identity, from_arrays("some", x, y, [range(4)], classes=2), headline="balanced_accuracy"
    )
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
