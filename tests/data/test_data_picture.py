"""Pictures of partitions."""

from __future__ import annotations

import io

import numpy as np
import pytest

from fogline.data import FederatedData, Meaning, dirichlet, from_arrays, iid, label_counts, plot_partition

Y = np.arange(600) % 6


def classified(clients: int) -> FederatedData:
    return from_arrays("toy", np.zeros((600, 1)), Y, dirichlet(Y, clients, alpha=0.3), classes=6)


def test_labels_are_counted_per_client() -> None:
    data = classified(20).with_held_out(["client-03"])
    counts = label_counts(data)
    assert counts.shape == (19, 6)
    np.testing.assert_array_equal(counts.sum(axis=1), data.sizes())
    np.testing.assert_array_equal(counts[3], np.bincount(data["client-04"].y, minlength=6))


def test_characters_of_a_text_are_counted() -> None:
    text = from_arrays("text", np.zeros((2, 3), np.int64), np.array([[0, 1, 1], [2, 2, 2]]), [[0], [1]], classes=4)
    assert label_counts(text).tolist() == [[1, 2, 0, 0], [0, 0, 3, 0]]


def test_regression_has_no_labels() -> None:
    with pytest.raises(ValueError, match="'r' is for regression"):
        label_counts(from_arrays("r", np.zeros((4, 1)), np.zeros(4), iid(4, 2)))


@pytest.mark.parametrize(("clients", "pieces"), [(20, "collections"), (60, "patches")])
def test_few_clients_are_bubbles_and_many_are_bars(clients: int, pieces: str) -> None:
    (axes,) = plot_partition(classified(clients)).axes
    drawn = getattr(axes, pieces)
    assert len(drawn) == (1 if pieces == "collections" else clients * 6)


def test_bars_stand_as_high_as_the_counts() -> None:
    data = classified(60)
    (axes,) = plot_partition(data).axes
    heights = np.array([patch.get_height() for patch in axes.patches]).reshape(6, 60).T  # type: ignore[attr-defined]
    np.testing.assert_array_equal(heights, label_counts(data))


def test_of_very_many_clients_some_are_drawn() -> None:
    figure = plot_partition(classified(300), most=50)
    assert len(figure.axes[0].patches) == 50 * 6
    assert figure.get_suptitle() == "toy: 50 of 300 clients, 600 examples"


def test_targets_are_drawn_in_their_unit() -> None:
    y = np.linspace(-1, 1, 100)
    meaning = Meaning(None, target_scale=10.0, target_offset=100.0, target_unit="kWh")
    figure = plot_partition(from_arrays("r", np.zeros((100, 1)), y, iid(100, 4), meaning=meaning))
    _, spread = figure.axes
    assert spread.get_ylabel() == "target (kWh)"
    low, high = spread.get_ylim()
    assert 80 < low < 95
    assert 105 < high < 120
    figure.savefig(io.BytesIO())
