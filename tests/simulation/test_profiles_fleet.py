"""Fleets: the devices that come of a profile."""

from __future__ import annotations

import math
import os
import tracemalloc
from pathlib import Path
from statistics import correlation, median

import pytest

from fogline.simulation.profiles import DAY, Fleet, device_profile, fleet_of, link_of
from fogline.simulation.profiles.traces import Series, read_traces

EVERYTHING = {
    "preset": "phones",
    "loss": 0.01,
    "availability": {"hourly": [0.5] * 24},
}


def fingerprint(fleet: Fleet, devices: int) -> list[tuple[object, ...]]:
    return [
        (
            fleet.speed_hint(i),
            fleet.memory_mb(i),
            fleet.down_seconds(i, 1000, 5.0),
            fleet.up_seconds(i, 1000, 5.0),
            fleet.next_available(i, 5.0),
            fleet.joules(i, 1.0, 10),
            fleet.drops_out(i, 3),
        )
        for i in range(devices)
    ]


def test_the_seed_decides_everything_and_a_larger_fleet_begins_alike() -> None:
    small = fingerprint(fleet_of(EVERYTHING, 50, 7), 50)
    assert small == fingerprint(fleet_of(EVERYTHING, 50, 7), 50)
    assert small == fingerprint(fleet_of(EVERYTHING, 5000, 7), 50)
    other = fingerprint(fleet_of(EVERYTHING, 50, 8), 50)
    assert all(sum(a[i] == b[i] for a, b in zip(small, other, strict=True)) < 50 for i in range(7))


def test_changing_one_quantity_leaves_the_others() -> None:
    plain, changed = fleet_of(EVERYTHING, 50, 7), fleet_of({**EVERYTHING, "rtt": 1}, 50, 7)
    assert [plain.speed_hint(i) for i in range(50)] == [changed.speed_hint(i) for i in range(50)]
    assert [plain.available(i, 0) for i in range(50)] == [changed.available(i, 0) for i in range(50)]


def test_medians_are_as_asked() -> None:
    fleet = fleet_of(
        {
            "speed": {"lognormal": {"median": 200, "sigma": 1}},
            "up": {"lognormal": {"median": "8Mbit", "sigma": 0.5}},
            "jitter": 0.3,
        },
        20_001,
        1,
    )
    everyone = range(fleet.count)
    assert median(fleet.speed_hint(i) for i in everyone) == pytest.approx(200, rel=0.05)
    assert median(fleet.up_seconds(i, 1e6, 0) for i in everyone) == pytest.approx(1.0, rel=0.05)


def test_units_of_time_and_energy() -> None:
    fleet = fleet_of(
        {"speed": 100, "down": "8Mbit", "up": "4Mbit", "rtt": "200ms", "compute_watts": 5, "radio_joules_per_mb": 2},
        1,
        0,
    )
    assert fleet.train_seconds(0, 500) == pytest.approx(5)
    assert fleet.train_seconds(0, 500, 2.5) == pytest.approx(12.5)
    assert fleet.down_seconds(0, 1e6, 0) == pytest.approx(1.1)
    assert fleet.up_seconds(0, 1e6, 0) == pytest.approx(2.1)
    assert fleet.joules(0, 10, 3e6) == pytest.approx(56)


def test_equal_devices_are_equal_and_always_there() -> None:
    fleet = fleet_of("equal", 10, 3)
    assert len(set(fingerprint(fleet, 10))) == 1
    assert fleet.always_available
    assert fleet.next_available(9, 1e9) == 1e9
    assert not fleet.drops_out(0, 0)


def test_a_lossy_link_is_as_slow_for_a_device_as_between_aggregators() -> None:
    for link in ({"up": "1Gbit", "rtt": "100ms", "loss": 0.01}, {"up": "1Mbit", "rtt": "1ms", "loss": 0.01}):
        assert fleet_of(link, 1, 0).up_seconds(0, 1e6, 0) == pytest.approx(link_of(link).seconds(1e6, upward=True))


def test_jitter_makes_bandwidths_differ_together_and_apart_from_speed() -> None:
    fleet = fleet_of({"jitter": 0.5}, 2000, 1)
    speed = [math.log(fleet.speed_hint(i)) for i in range(2000)]
    up, down = ([-math.log(f(i, 1e6, 0)) for i in range(2000)] for f in (fleet.up_seconds, fleet.down_seconds))
    assert correlation(up, down) == pytest.approx(1)
    assert abs(correlation(up, speed)) < 0.1


def test_rows_of_a_table_stay_together() -> None:
    fleet = fleet_of({"tables": [{"speed": [1, 2], "memory_mb": [10, 20]}]}, 200, 0)
    assert {(fleet.speed_hint(i), fleet.memory_mb(i)) for i in range(200)} == {(1, 10), (2, 20)}


@pytest.mark.parametrize(
    "availability",
    [
        {"diurnal": {"share": {"uniform": [0.0, 1.0]}, "spread": 6}},
        {"diurnal": {"share": 0.3, "spread": 0, "peak": 0}},
        {"hourly": [0.1 + 0.03 * hour for hour in range(24)]},
    ],
)
@pytest.mark.parametrize("day", [0, 400])
def test_next_available_is_the_first_time_at_which_available_says_yes(availability: object, day: int) -> None:
    fleet = fleet_of({"availability": availability}, 60, 5)
    assert not fleet.always_available
    answers = set()
    for device in range(fleet.count):
        for now in (day * DAY + x for x in (0.0, 3599.5, 3600.0, 40_000.25, DAY - 1)):
            then = fleet.next_available(device, now)
            answers.add(fleet.available(device, now))
            assert (then == now) == fleet.available(device, now)
            if math.isfinite(then):
                assert now <= then <= now + DAY
                assert fleet.available(device, then)
                before = [now + (then - now) * i / 40 for i in range(40)] + [then - 0.01]
                assert then == now or not any(fleet.available(device, at) for at in before)
            else:
                assert not any(fleet.available(device, 300.0 * i) for i in range(288))
    assert answers == {True, False}


def test_every_day_is_the_same() -> None:
    fleet = fleet_of({"availability": {"diurnal": {}}}, 50, 5)
    for device in range(50):
        for now in (0.0, 30_000.0, 70_000.5):
            assert fleet.available(device, now) == fleet.available(device, now + 365 * DAY)


def test_shares_of_the_day() -> None:
    shares = [hour / 24 for hour in range(24)]
    fleet = fleet_of({"availability": {"hourly": shares}}, 4000, 2)
    for hour in (0, 6, 12, 23):
        there = sum(fleet.available(i, hour * 3600 + 1800) for i in range(4000)) / 4000
        assert there == pytest.approx(shares[hour], abs=0.03)
    fleet = fleet_of({"availability": {"diurnal": {"share": 0.25, "spread": 1, "peak": 3}}}, 1000, 2)
    assert sum(fleet.available(i, 3 * 3600) for i in range(1000)) > 950
    assert sum(fleet.available(i, 15 * 3600) for i in range(1000)) == 0
    quarter = sum(fleet.available(0, 60.0 * minute) for minute in range(1440))
    assert quarter == pytest.approx(360, abs=1)


def test_dropout_has_its_rate_over_devices_and_over_attempts() -> None:
    fleet = fleet_of({"dropout": 0.1}, 20_000, 4)
    assert sum(fleet.drops_out(i, 0) for i in range(20_000)) == pytest.approx(2000, abs=130)
    assert sum(fleet.drops_out(11, i) for i in range(20_000)) == pytest.approx(2000, abs=130)
    both = sum(fleet.drops_out(i, 0) and fleet.drops_out(i, 1) for i in range(20_000))
    assert both == pytest.approx(200, abs=45)
    assert all(fleet_of({"dropout": 1}, 5, 0).drops_out(i, i) for i in range(5))


def test_a_million_devices_stay_below_a_hundred_megabytes() -> None:
    profile = device_profile(EVERYTHING)
    tracemalloc.start()
    fleet = Fleet.draw(profile, 1_000_000, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
    assert fleet.speed_hint(999_999) > 0


def test_a_series_carries_what_its_seconds_allow() -> None:
    series = Series([10.0, 0.0, 0.0, 20.0])
    assert series.seconds(5, 0) == pytest.approx(0.5)
    assert series.seconds(10, 0) == pytest.approx(1.0)
    assert series.seconds(11, 0) == pytest.approx(3.05)
    assert series.seconds(1, 1.5) == pytest.approx(1.55)
    assert series.seconds(30, 0) == pytest.approx(4.0)
    assert series.seconds(305, 0) == pytest.approx(40.5)
    assert series.seconds(10, 4e6) == pytest.approx(1.0)
    assert series.seconds(0, 2) == 0


def traced_csv(folder: Path, name: str, rows: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(["DL_bitrate,UL_bitrate,PINGAVG", *rows]) + "\n")


def test_traces_are_replayed_from_a_folder_and_streams_left_out(tmp_path: Path) -> None:
    traced_csv(tmp_path / "Download", "a.csv", ["8000,80,100", "8000,80,-"])
    traced_csv(tmp_path / "Netflix", "b.csv", ["1,1,-"])
    fleet = fleet_of({"traces": str(tmp_path)}, 5, 0)
    assert fleet.down_seconds(3, 2e6, 17.0) == pytest.approx(2.05)
    assert fleet.up_seconds(3, 2e6, 17.0) == pytest.approx(10.05)
    for none in (None, "none"):
        measured = fleet_of({"traces": str(tmp_path), "trace_uplink": none}, 5, 0)
        assert measured.up_seconds(3, 1e4, 17.0) == pytest.approx(1.05)
    assert device_profile({"traces": "none", "up": "1Mbit"}).traces is None


def data() -> Path:
    """Where the real data sets lie, if they are here."""
    return Path(os.environ.get("FOGLINE_DATA") or Path(__file__).parents[3] / "shared" / "data")


needs_data = pytest.mark.skipif(
    not (data() / "network_device_traces").is_dir(), reason="set FOGLINE_DATA to a folder with network_device_traces"
)


@needs_data
def test_the_real_traces_and_phones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGLINE_DATA", str(data()))
    profile = device_profile("traces")
    assert profile.traces is not None
    traces = read_traces(profile.traces)
    assert len(traces) == 21
    assert all(0.05 < trace.rtt < 0.15 for trace in traces)
    fleet = Fleet.draw(profile, 500, 1)
    megabyte = sorted(fleet.down_seconds(i, 1e6, 0.0) for i in range(500))
    assert 0.2 < megabyte[250] < 3
    assert megabyte[-1] > 10 * megabyte[0]
    assert fleet.down_seconds(0, 1e6, 0.0) != fleet.down_seconds(0, 1e6, 100.0)
    assert "333 phone models" in fleet.profile.source
    assert len({fleet.speed_hint(i) for i in range(500)}) > 400


@needs_data
def test_the_built_in_phones_are_like_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds: list[float] = []
    for folder in (str(data()), "/nowhere"):
        monkeypatch.setenv("FOGLINE_DATA", folder)
        fleet = fleet_of("phones", 20_000, 1)
        speeds.append(median(fleet.speed_hint(i) for i in range(20_000)))
    assert speeds[0] == pytest.approx(speeds[1], rel=0.05)
    assert speeds[0] == pytest.approx(5000, rel=0.1)
