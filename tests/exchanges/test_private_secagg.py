"""Noise in shares under masks: the sum has it, none of the updates is seen without, and too few are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fogline.aggregation import Update
from fogline.exchanges import ExchangeError
from fogline.exchanges.secagg import PrivateSecAgg, SecAgg
from fogline.privacy.distributed import SharedNoise
from tests.exchanges.rounds import play

NAMES = [f"d{i}" for i in range(10)]
SHARED = SharedNoise("skellam", clip=1.0, noise=0.5, left=0.8)
EXCHANGE = SecAgg(threshold=0.5).with_noise(SHARED)


def updates(size: int = 2000, length: float = 0.9, weight: float = 1.0) -> dict[str, Update]:
    rng = np.random.default_rng(3)
    made = rng.standard_normal((len(NAMES), size))
    made *= length / np.linalg.norm(made, axis=1, keepdims=True)
    return {
        name: Update({"delta": row.astype(np.float32)}, {"delta": weight})
        for name, row in zip(NAMES, made, strict=True)
    }


def noise_in(found: Update, given: dict[str, Update], inside: list[str]) -> float:
    """Standard deviation of the noise of the sum."""
    summed = np.sum([given[name].vectors["delta"].astype(np.float64) for name in inside], axis=0)
    return float(np.std(found.vectors["delta"] * len(inside) - summed))


@pytest.mark.parametrize("shared", [SHARED, replace(SHARED, kind="discrete_gaussian")])
@pytest.mark.parametrize("gone", [0, 2])
def test_the_sum_has_the_noise_of_all_who_are_in_it(shared: SharedNoise, gone: int) -> None:
    given, inside = updates(), NAMES[gone:]
    played = play(SecAgg(threshold=0.5).with_noise(shared), given, gone={"masked": set(NAMES[:gone])})
    assert played.update.count == len(inside)
    assert played.update.weights == {"delta": len(inside)}
    assert played.update.vectors["delta"].dtype == np.float32
    wanted = 0.5 * (len(inside) / 8) ** 0.5  # Eight of ten are enough for what the job says.
    assert noise_in(played.update, given, inside) == pytest.approx(wanted, rel=0.1)


def test_an_update_that_is_too_long_is_cut_down_and_not_refused() -> None:
    given = updates(length=300.0)
    played = play(EXCHANGE, given)
    assert played.failed == {}
    assert np.linalg.norm(played.update.vectors["delta"]) < 5


@pytest.mark.parametrize("step", ["masked", "survivors"])
def test_without_the_noise_of_enough_there_is_no_sum(step: str) -> None:
    gone: dict[str, set[str]] = {step: {"d1", "d2", "d4"}}
    if step == "masked":
        with pytest.raises(ExchangeError, match="it takes the noise of 8"):
            play(EXCHANGE, updates(), gone=gone)
    else:  # Their masked updates came, and with them their noise.
        assert play(EXCHANGE, updates(), gone=gone).update.count == 10


def test_a_device_sees_to_it_too() -> None:
    """An aggregator that wants less noise says that fewer are left: nobody unmasks that."""
    state = {"roster/place": np.array([0, 10]), "peers": np.arange(1, 10), "known": np.ones(9, np.uint8)}
    listed = np.packbits(np.arange(10) < 7)
    with pytest.raises(ExchangeError, match="7 of 10 devices are left in the sum, and it takes the noise of 8"):
        EXCHANGE.child("survivors", state, {"survivors": listed})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": {"delta": 2.0}}, "has a weight of its own"),
        ({"counters": np.array([3], np.int64)}, "counters, which no noise covers"),
    ],
)
def test_what_no_noise_covers_is_refused(change: dict[str, object], said: str) -> None:
    given = updates()
    given["d3"] = replace(given["d3"], **change)  # type: ignore[arg-type]
    played = play(EXCHANGE, given)
    assert set(played.failed) == {"d3"}
    assert said in played.failed["d3"]


def test_devices_with_other_noise_are_not_in_the_same_round() -> None:
    assert EXCHANGE._settings.text != SecAgg(threshold=0.5).with_noise(replace(SHARED, noise=0.4))._settings.text
    assert isinstance(EXCHANGE, PrivateSecAgg)


def test_masks_hide_shares_and_shares_hide_what_masks_do_not() -> None:
    """What a device sends differs from what it has by a mask, and the plain sum from the true one by the noise."""
    given = updates()
    played = play(EXCHANGE, given)
    again = play(EXCHANGE, given, turn=2)
    assert noise_in(played.update, given, NAMES) > 0.4
    assert not np.array_equal(played.update.vectors["delta"], again.update.vectors["delta"])


def test_a_grid_without_room_fails_the_round_in_a_sentence() -> None:
    shared = replace(SHARED, noise=300.0)
    with pytest.raises(ExchangeError, match="too coarse"):
        play(SecAgg(threshold=0.5, bits=16).with_noise(shared), updates())
