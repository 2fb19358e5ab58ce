"""Profiles: what a job may write, and what it means."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from fogline.simulation.profiles import (
    DEVICE_PRESETS,
    DeviceProfile,
    Distribution,
    ProfileError,
    device_profile,
    fleet_of,
    link_of,
)


def draws(table: object, count: int = 20_000) -> np.ndarray:
    return Distribution.model_validate(table).draw(count, np.random.default_rng(1))


def test_distributions_have_the_shape_asked_for() -> None:
    assert set(draws(3)) == {3.0}
    uniform = draws({"uniform": [2, 4]})
    assert uniform.min() >= 2
    assert uniform.max() <= 4
    assert uniform.mean() == pytest.approx(3, abs=0.02)
    lognormal = draws({"lognormal": {"median": 10, "sigma": 0.5}})
    assert np.median(lognormal) == pytest.approx(10, rel=0.02)
    assert np.log(lognormal).std() == pytest.approx(0.5, rel=0.02)
    values, counts = np.unique(draws({"choice": [1, 2, 7]}), return_counts=True)
    assert values.tolist() == [1, 2, 7]
    assert counts.min() > 6400


def test_bandwidths_and_durations_take_units() -> None:
    profile = device_profile({"up": "10Mbit", "down": {"uniform": ["1MB", "2 MB/s"]}, "rtt": {"choice": ["40ms", 1]}})
    assert profile.up.constant == 1.25e6
    assert profile.down.uniform == (1e6, 2e6)
    assert profile.rtt.choice == (0.04, 1.0)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"sped": 1}, "There is no key 'devices.sped'; did you mean 'speed'?"),
        ({"speed": 0}, "devices.speed: must be above 0"),
        ({"speed": "fast"}, "devices.speed: write a number"),
        ({"speed": {"uniform": [2, 1]}}, "devices.speed: uniform must be"),
        ({"speed": {"constant": 1, "choice": [2]}}, "exactly one of"),
        ({"speed": {"lognormal": {"median": 1, "sgma": 1}}}, "did you mean 'sigma'?"),
        ({"up": "10Mbut"}, "'10Mbut' is no bandwidth"),
        ({"up": float("inf")}, "devices.up"),
        ({"rtt": "3 parsec"}, "no duration"),
        ({"loss": 1}, "devices.loss: must be a share below 1"),
        ({"loss": {"lognormal": {"median": 0.1, "sigma": 1}}}, "devices.loss: must be a share below 1"),
        ({"dropout": 1.5}, "devices.dropout"),
        ({"availability": "sometimes"}, "devices.availability: write 'always'"),
        ({"availability": {"hourly": [1] * 23}}, "give 24 shares, one per hour, not 23"),
        ({"tables": [{"speed": [1, 2], "up": [1]}]}, "of one length"),
        ({"tables": [{"sped": [1]}]}, "'sped' is no quantity"),
        ({"tables": [{"up": [0]}]}, "'up' has a value out of range"),
        ({"tables": [{"up": [float("nan")]}]}, "'up' has a value out of range"),
        ({"tables": [{"up": [1]}, {"up": [2]}]}, "two tables give 'up'"),
        ({"traces": "x.zip", "up": 1}, "leave 'up' or 'traces' out"),
        ({"traces": "/nowhere.zip"}, "traces at '/nowhere.zip' cannot be read"),
        ({"preset": "phone"}, "there is no preset 'phone'; did you mean 'phones'?"),
        ({"fedscale": "capacity.pkl"}, "neither .json nor .csv"),
        ({"fedscale": "/nowhere.json"}, "'/nowhere.json' cannot be read"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_key(table: dict[str, object], said: str) -> None:
    with pytest.raises(ProfileError) as fault:
        fleet_of(table, 2, 0)
    text = str(fault.value)
    assert said in text
    assert "\n" not in text
    assert text.endswith((".", "?"))
    assert not text.endswith(("..", "?."))


def test_every_preset_that_needs_no_file_draws_a_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGLINE_DATA", "/nowhere")
    assert list(DEVICE_PRESETS) == ["equal", "industrial", "phones", "traces"]
    for name in ("equal", "phones", "industrial"):
        fleet = fleet_of(name, 10, 0)
        assert fleet.profile.source
        assert fleet.train_seconds(0, 100) > 0
    with pytest.raises(ProfileError, match="5G traces are not at '/nowhere"):
        fleet_of("traces", 10, 0)


def test_a_preset_is_a_start_that_a_job_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGLINE_DATA", "/nowhere")
    plain, changed = device_profile("phones"), device_profile({"preset": "phones", "dropout": 0.5, "speed": 7})
    assert changed.dropout == 0.5
    assert changed.availability == plain.availability
    assert fleet_of({"preset": "phones", "speed": 7, "jitter": 0}, 3, 0).speed_hint(2) == 7
    assert device_profile({}) == DeviceProfile()


def test_a_resolved_profile_can_be_written_and_read_again() -> None:
    profile = device_profile({"preset": "industrial", "availability": {"diurnal": {"share": 0.5}}})
    assert DeviceProfile.model_validate_json(profile.model_dump_json()) == profile


def test_inner_links() -> None:
    assert link_of({}).seconds(12.5e6, upward=True) == pytest.approx(1.01)
    link = link_of({"up": "8Mbit", "down": "80Mbit", "rtt": "100ms"})
    assert link.seconds(1e6, upward=True) == pytest.approx(1.05)
    assert link.seconds(1e6, upward=False) == pytest.approx(0.15)
    with pytest.raises(ProfileError, match=r"There is no key 'links\.downn'; did you mean 'down'\?"):
        link_of({"downn": 1})


def test_loss_slows_a_long_link_as_mathis_says_and_a_short_one_by_what_is_sent_again() -> None:
    far = link_of({"up": "1Gbit", "rtt": "100ms", "loss": 0.01})
    assert 1 / far.up == pytest.approx(1460 / 0.1 * math.sqrt(1.5 / 0.01))
    near = link_of({"up": "1Mbit", "rtt": 0, "loss": 0.01})
    assert 1 / near.up == pytest.approx(125e3 * 0.99)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_fedscales_table_is_read_from_json_and_csv(tmp_path, kind: str) -> None:
    path = tmp_path / f"client_device_capacity.{kind}"
    if kind == "json":
        path.write_text('{"1": {"computation": 60, "communication": 8000}}')
    else:
        path.write_text("computation,communication\n60,8000\n")
    fleet = fleet_of({"fedscale": str(path), "dropout": 1}, 3, 0)
    assert fleet.down_seconds(0, 1e6, 0) == pytest.approx(1.0)
    # FedScale: 3 * examples * ms; our cost counts forward and backward of its 600 MFLOP model.
    assert fleet.train_seconds(2, 100, 3 * 600) == pytest.approx(3 * 100 * 0.060)
    assert fleet.drops_out(0, 0)


@pytest.mark.parametrize("text", ["[1, 2]", '{"1": {"computation": 0, "communication": 1}}', "{}", "nonsense"])
def test_another_file_is_refused_in_a_sentence(tmp_path, text: str) -> None:
    path = tmp_path / "capacity.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match=r"capacity\.json"):
        fleet_of({"fedscale": str(path)}, 1, 0)


def test_a_pickle_is_not_opened(tmp_path) -> None:
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").write_text, ("x",))

    path = tmp_path / "client_device_capacity"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ProfileError, match="neither"):
        fleet_of({"fedscale": str(path)}, 1, 0)
    assert not tmp_path.joinpath("sprung").exists()
