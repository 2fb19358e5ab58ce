"""Energy over time: a steel works, seventeen households, two transformers."""

from __future__ import annotations

import csv
import io

import numpy as np

from fogline.data.examples import Array, Examples
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import (
    at_least,
    choose,
    cyclic,
    flatten,
    one_hot,
    standardised,
    windows,
)
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

LOADS = ("Light_Load", "Medium_Load", "Maximum_Load")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LAST_TRAINING_DAY = 24
DAY = 24 * 60 * 60


@dataset(
    "steel_energy",
    "35040 quarter hours of a steel works: usage in kWh or type of load; clients are 12 months",
    source="UCI Steel Industry Energy Consumption (UCI id 851)",
)
def steel_energy(folder: DatasetFolder, *, target: str = "usage", by: str = "month") -> RawData:
    """Rows of 16 features (powers, factors, time of day, weekday, type of load) and the energy used.

    ``target="load_type"`` asks for the type of load instead (3 classes; 14 features, the usage among them).
    ``by`` makes clients of each ``"month"``, ``"load_type"`` or ``"day"`` (then months are the groups). The
    days after the 24th of each month are the test set. CO2 is left out: it is nearly the usage.
    Source: Sathishkumar et al., Building Research & Information 49(1), 2021.
    """
    choose("target", target, ("usage", "load_type"))
    choose("by", by, ("month", "load_type", "day"))
    with folder.text("Steel_industry_data.csv.gz") as file:
        table = list(csv.reader(file))[1:]
    train = np.array([int(row[0][:2]) <= LAST_TRAINING_DAY for row in table])
    load = np.array([LOADS.index(row[10]) for row in table])
    usage = np.array([row[1] for row in table], np.float64)
    numbers = np.array([[row[2], row[3], row[5], row[6]] for row in table], np.float64)
    seconds = np.array([row[7] for row in table], np.float64)
    days = one_hot(np.array([DAYS.index(row[9]) for row in table]), 7)
    numbers = standardised(numbers, train)
    if target == "usage":
        mean, std = float(usage[train].mean()), float(usage[train].std())
        parts, y = [numbers, cyclic(seconds, DAY), days, one_hot(load, 3)], (usage - mean) / std
        meaning = Meaning(None, target_scale=std, target_offset=mean, target_unit="kWh")
    else:
        parts, y = [standardised(usage[:, None], train), numbers, cyclic(seconds, DAY), days], load
        meaning = Meaning(3, LOADS)
    x = np.concatenate(parts, axis=1).astype(np.float32)
    y = y.astype(np.int64 if meaning.classes else np.float32)
    owner = _steel_clients(table, by)
    return RawData(
        "steel_energy",
        x,
        y,
        meaning,
        test=Examples(x[~train], y[~train]),
        rows=np.flatnonzero(train),
        owner=owner,
        groups={day: f"month-{day[9:11]}" for day in np.unique(owner[train]).tolist()} if by == "day" else None,
    )


def _steel_clients(table: list[list[str]], by: str) -> Array:
    if by == "load_type":
        return np.array([row[10] for row in table])
    if by == "month":
        return np.array([f"month-{row[0][3:5]}" for row in table])
    return np.array([f"day-{row[0][6:10]}-{row[0][3:5]}-{row[0][:2]}" for row in table])


@dataset(
    "citylearn2022",
    "hourly load of 17 houses over a year, forecast from the day before; clients are houses",
    source="CityLearn challenge 2022, phase all (intelligent-environments-lab/CityLearn)",
)
def citylearn2022(folder: DatasetFolder, *, window: int = 24) -> RawData:
    """Rows (n, window + 12) and the load of the hour: the loads of the hours before, then hour and month as
    sine and cosine, then the type of day as one of eight.

    Loads are scaled by the mean and deviation of the training hours of all houses. The last fifth of the year
    is the test set. Source: Vázquez-Canteli et al., BuildSys 2019.
    """
    at_least("window", window)
    houses = {
        f"building-{int(name[9:-4]):02d}": np.genfromtxt(io.BytesIO(text), delimiter=",", skip_header=1)
        for name, text in folder.members("citylearn_2022.tar.xz", ".csv")
        if name.startswith("Building_")
    }
    hours = min(map(len, houses.values()))
    if window >= hours * 4 // 5:
        raise ValueError(f"window must be below {hours * 4 // 5} hours, not {window}.")
    loads = {house: table[:hours, 7] for house, table in houses.items()}
    training = np.concatenate([load[: hours * 4 // 5] for load in loads.values()])
    mean, std = float(training.mean()), float(training.std())
    x: list[Array] = []
    y: list[Array] = []
    for house, table in sorted(houses.items()):
        load = (loads[house] - mean) / std
        before = windows(load[:-1, None], window)[:, 0]
        time = table[window:hours]
        calendar = [cyclic(time[:, 1], 24), cyclic(time[:, 0], 12), one_hot(time[:, 2].astype(int) - 1, 8)]
        x.append(np.concatenate([before, *calendar], axis=1).astype(np.float32))
        y.append(load[window:].astype(np.float32))
    all_x, all_y = np.concatenate(x), np.concatenate(y)
    in_test = np.tile(np.arange(window, hours) >= hours * 4 // 5, len(houses))
    return RawData(
        "citylearn2022",
        all_x,
        all_y,
        Meaning(None, target_scale=std, target_offset=mean, target_unit="kWh"),
        test=Examples(all_x[in_test], all_y[in_test]),
        rows=np.flatnonzero(~in_test),
        owner=np.repeat(sorted(houses), hours - window),
    )


MONTH = 30 * 24
STATIONS = ("ETTh1", "ETTh2")


@dataset(
    "ett",
    "hourly oil temperature of 2 transformers, forecast from 7 variables; clients are stations",
    source="ETDataset (zhouhaoyi/ETDataset), ETTh1 and ETTh2",
)
def ett(
    folder: DatasetFolder, *, window: int = 96, horizon: int = 24, by: str = "station", flat: bool = False
) -> RawData:
    """Windows (n, 7, window) of the hours before, and the oil temperature of the next hours (n, horizon).

    Each station is scaled by its own first 12 months of 30 days, which are the training part; months 17 to 20
    are the test set, and the 4 between are not used, as in the source. ``by="month"`` makes each month of a
    station a client, and stations the groups. Targets are in standard deviations of the station.
    Source: Zhou et al., Informer, AAAI 2021 (arXiv:2012.07436).
    """
    at_least("window", window)
    at_least("horizon", horizon)
    choose("by", by, ("station", "month"))
    if window + horizon > 4 * MONTH:
        raise ValueError(f"window and horizon must be at most {4 * MONTH} hours together.")
    series = [_station(folder, station) for station in STATIONS]
    whole = np.concatenate(series)
    count = len(whole) - window - horizon + 1
    x = windows(whole, window)[:count]
    y = windows(whole[:, -1:], horizon)[window : window + count, 0]
    begin = np.cumsum([0, *(len(part) for part in series[:-1])]).tolist()
    training = [start + np.arange(12 * MONTH - window - horizon + 1) for start in begin]
    late = np.concatenate(
        [start + np.arange(16 * MONTH - window, 20 * MONTH - window - horizon + 1) for start in begin]
    )
    rows = np.concatenate(training)
    owner = np.full(count, "", dtype="<U9")
    for station, start, part in zip(STATIONS, begin, training, strict=True):
        month = (part - start + window) // MONTH + 1
        owner[part] = station if by == "station" else [f"{station}-m{m:02d}" for m in month.tolist()]
    shaped = flatten(x) if flat else x
    return RawData(
        "ett",
        shaped,
        y,
        Meaning(None, target_unit="standard deviations"),
        test=Examples(shaped[late], y[late]),
        rows=rows,
        owner=owner,
        groups={client: client[:5] for client in np.unique(owner[rows]).tolist()} if by == "month" else None,
    )


def _station(folder: DatasetFolder, station: str) -> Array:
    with folder.text(f"{station}.csv.gz") as file:
        table = np.loadtxt(file, delimiter=",", skiprows=1, usecols=range(1, 8))
    return standardised(table, slice(12 * MONTH))
