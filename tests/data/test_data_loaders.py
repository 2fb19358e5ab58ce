"""Loaders: the published counts on the real sets, and what is said when a set is not there."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fogline.data import Meaning, MissingDatasetError, RawData, datasets, load, load_raw
from fogline.data.loaders.cache import cached
from fogline.data.loaders.folder import DatasetFolder, find_root
from fogline.data.loaders.tiles import same_tiles

ROOT = find_root().absolute()


def have(name: str) -> None:
    if not (ROOT / name).is_dir():
        pytest.skip(f"the public data set '{name}' is not under {ROOT} (set FOGLINE_DATA)")


SHAPES: dict[str, tuple[dict[str, Any], int, int, int, int, tuple[int, ...], int | None]] = {
    # name: options, clients, held out, training examples, test examples, shape of one x, classes
    "digits": ({}, 100, 0, 1438, 359, (1, 8, 8), 10),
    "mnist": ({}, 100, 0, 60000, 10000, (1, 28, 28), 10),
    "fashion_mnist": ({}, 100, 0, 59160, 9680, (1, 28, 28), 10),
    "uci_har": ({}, 21, 9, 7352, 2947, (9, 128), 6),
    "cmapss": ({}, 200, 0, 17731 + 21820, 200, (14, 30), None),
    "fate_examples": ({}, 2, 0, 227 + 228, 114, (30,), 2),
    "adult": ({}, 15, 0, 32561, 16281, (91,), 2),
    "ai4i2020": ({}, 3, 0, 8000, 2000, (8,), 2),
    "magnetic_tile": ({}, 6, 0, 1090, 251, (1, 96, 96), 6),
    "neu_det": ({"clients": 20}, 20, 0, 1440, 360, (1, 64, 64), 6),
    "steel_energy": ({}, 12, 0, 12 * 24 * 96, (365 - 12 * 24) * 96, (16,), None),
    "citylearn2022": ({}, 17, 0, 17 * (7008 - 24), 17 * 1752, (36,), None),
    "ett": ({}, 2, 0, 2 * (8640 - 119), 2 * (2880 - 23), (7, 96), None),
    "shakespeare": ({}, 98, 0, 8927, 2198, (80,), 65),
    "cwru": ({}, 4, 0, 6899, 1679, (1, 1024), 10),
    "tep": ({}, 6, 0, 500 + 21 * 480, 960 + 21 * 800, (52,), 22),
}


@pytest.mark.parametrize("name", SHAPES)
def test_counts_and_shapes(name: str) -> None:
    if name != "digits":
        have(name)
    options, clients, held_out, train, test, shape, classes = SHAPES[name]
    data = load(name, root=ROOT, **options)
    assert data.name == name
    assert (len(data.clients), len(data.held_out), data.classes) == (clients, held_out, classes)
    assert int(data.sizes().sum()) == train
    assert data.test is not None
    assert data.test.count == test
    client = data.at(len(data) - 1)
    assert client.array.shape[1:] == data.test.array.shape[1:] == shape
    assert client.array.dtype == data.test.array.dtype == (np.int64 if name == "shakespeare" else np.float32)
    assert client.y.dtype == (np.float32 if classes is None else np.int64)


def whole(name: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """All training inputs and targets, client after client."""
    have(name)
    data = load(name, root=ROOT, **options)
    parts = [data.at(i) for i in range(len(data))]
    return np.concatenate([part.array for part in parts]), np.concatenate([part.y for part in parts])


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "uci_har", "magnetic_tile", "neu_det", "cwru", "tep"])
def test_inputs_are_normalised(name: str) -> None:
    x, _ = whole(name, partition="iid", clients=3)
    assert abs(float(x.mean(dtype=np.float64))) < 0.02
    assert float(x.std(dtype=np.float64)) == pytest.approx(1, abs=0.02)


def test_mnist_has_the_published_class_counts() -> None:
    _, y = whole("mnist", partition="iid", clients=2)
    assert np.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_flat_images_are_the_same_numbers() -> None:
    have("mnist")
    images, flat = (load("mnist", root=ROOT, partition="shards", flat=flag).at(7) for flag in (False, True))
    np.testing.assert_array_equal(images.array.reshape(images.count, -1), flat.x)


def test_the_test_set_does_not_depend_on_the_seed() -> None:
    first, second = (load("digits", seed=seed, clients=10) for seed in (1, 2))
    assert first.test is not None
    assert second.test is not None
    np.testing.assert_array_equal(first.test.y, second.test.y)
    assert first.sizes().tolist() != second.sizes().tolist()


def test_har_keeps_the_official_people_apart() -> None:
    have("uci_har")
    data = load("uci_har", root=ROOT)
    assert data.held_out == tuple(f"subject-{i:02d}" for i in (2, 4, 9, 10, 12, 13, 18, 20, 24))
    assert data["subject-01"].count == 347
    assert sum(data[client].count for client in data.held_out) == 2947
    again = load("uci_har", root=ROOT, partition="iid", clients=40)
    assert again.held_out == ()
    assert int(again.sizes().sum()) == 7352


def test_remaining_life_counts_down_to_zero() -> None:
    have("cmapss")
    data = load("cmapss", root=ROOT)
    assert data.groups is not None
    assert data.groups["FD003-007"] == "FD003"
    life = data["FD001-001"].y * data.meaning.target_scale
    assert len(life) == 192 - 29
    np.testing.assert_allclose(life[-5:], [4, 3, 2, 1, 0], atol=1e-4)
    np.testing.assert_allclose(life[:10], 125)
    x = data["FD001-001"].array
    np.testing.assert_array_equal(x[1, :, :-1], x[0, :, 1:])
    assert data.test is not None
    np.testing.assert_allclose(data.test.y[:3] * 125, [112, 98, 69], atol=1e-3)
    tight = load("cmapss", root=ROOT, window=60)
    assert tight.test is not None
    assert tight.test.array.shape == (200, 14, 60)


def test_quantities_made_of_a_machines_readings_stand_behind_them() -> None:
    have("ai4i2020")
    plain, derived = (load_raw("ai4i2020", root=ROOT, derived=more) for more in (False, True))
    np.testing.assert_array_equal(derived.x[:, [0, 1, 2, 3, 4, 8, 9, 10]], plain.x)
    heat, power, strain = derived.x[:, 5:8].T
    works = derived.y == 0
    assert heat[~works].mean() < heat[works].mean()
    assert power[~works].std() > power[works].std()
    assert strain[~works].mean() > strain[works].mean()


def test_cards_lie_at_three_parties() -> None:
    have("fate_examples")
    data = load("fate_examples", root=ROOT, table="default_credit")
    assert data.clients == ["guest", "host_1", "host_2"]
    assert data.sizes().tolist() == [8000, 8000, 8000]
    assert data.test is not None
    assert data.test.array.shape == (6000, 23)
    assert sum(int(data.at(i).y.sum()) for i in range(3)) + int(data.test.y.sum()) == 6636, "defaults, as published"


def test_people_lie_at_their_occupations() -> None:
    have("adult")
    data = load("adult", root=ROOT)
    assert data.clients[:2] == ["Adm-clerical", "Armed-Forces"]
    assert sum(int(data.at(i).y.sum()) for i in range(15)) == 7841, "incomes above, as published"
    assert data.test is not None
    assert int(data.test.y.sum()) == 3846
    assert data["Armed-Forces"].count == 9
    kinds = np.concatenate([data.test.array[:, 5:], data["Sales"].array[:, 5:]])
    assert set(np.unique(kinds)) == {0.0, 1.0}
    assert (kinds.sum(axis=1) == 7).all(), "one of each of seven kinds"
    assert "unknown" in load("adult", root=ROOT, by="workclass").clients


def test_no_tile_is_both_in_training_and_in_the_test_set() -> None:
    have("magnetic_tile")
    raw = load_raw("magnetic_tile", root=ROOT)
    with np.load(ROOT / "magnetic_tile" / "magnetic_tile_96.npz") as arrays:
        tile, exposure = arrays["tile"], arrays["exposure"]
    assert raw.rows is not None
    test = np.setdiff1d(np.flatnonzero(exposure > 0), raw.rows)
    assert not set(tile[raw.rows].tolist()) & set(tile[test].tolist())
    broken = np.isin(tile, range(209, 220, 2))
    assert sorted(exposure[broken].tolist()) == [1, 2, 3, 4, 5, 6], "one tile, to which the file gives six numbers"
    assert broken[raw.rows].sum() in (0, 6)
    assert {len(set(raw.y[rows].tolist())) for rows in (raw.rows, test)} == {6}, "every kind trains and is judged"


def test_pictures_that_look_alike_are_one_tile() -> None:
    rng = np.random.default_rng(0)
    grain = 40 * rng.random((1, 1, 96))  # As all tiles are ground.
    marks = [60 * (rng.random((24, 24)) < 0.1).repeat(4, 0).repeat(4, 1) for _ in range(3)]
    shown = np.array([0, 1, 0, 2, 1, 0])
    light = np.array([1.0, 1.0, 0.4, 1.0, 0.6, 1.6])[:, None, None]
    pictures = (light * (30 + grain + np.array(marks)[shown] + 4 * rng.random((6, 96, 96)))).astype(np.uint8)
    assert same_tiles(pictures, np.array([5, 6, 7, 8, 9, 10])).tolist() == [5, 6, 5, 8, 6, 5]
    assert same_tiles(pictures, np.array([5, 6, 7, 6, 9, 10])).tolist() == [5, 6, 5, 6, 6, 5], "joined by the file"


def test_a_forecast_sees_only_the_past() -> None:
    have("citylearn2022")
    house = load("citylearn2022", root=ROOT)["building-03"]
    np.testing.assert_array_equal(house.array[1:, 23], house.y[:-1])
    np.testing.assert_array_equal(house.array[24:, 0], house.y[:-24])
    have("ett")
    station = load("ett", root=ROOT)["ETTh2"]
    np.testing.assert_array_equal(station.array[24:, -1, -1], station.y[:-24, 23])
    np.testing.assert_array_equal(station.array[1:, -1, -1], station.y[:-1, 0])


def test_stations_are_scaled_by_their_training_year() -> None:
    have("ett")
    station = load("ett", root=ROOT, window=1, horizon=1)["ETTh1"]
    np.testing.assert_allclose(station.array[:, :, 0].std(axis=0), 1, atol=1e-3)


def test_finer_clients_have_groups() -> None:
    have("ett")
    stations = load("ett", root=ROOT, by="month")
    assert len(stations) == 24
    assert stations.groups is not None
    assert set(stations.groups.values()) == {"ETTh1", "ETTh2"}
    have("steel_energy")
    days = load("steel_energy", root=ROOT, by="day")
    assert len(days) == 12 * 24
    assert days.groups is not None
    assert days.groups["day-2018-02-05"] == "month-02"
    assert set(days.sizes().tolist()) == {96}


def test_steel_can_ask_for_the_type_of_load() -> None:
    have("steel_energy")
    data = load("steel_energy", root=ROOT, target="load_type")
    assert data.classes == 3
    assert data.at(0).array.shape[1] == 14


def test_the_next_character_is_the_next_character() -> None:
    have("shakespeare")
    data = load("shakespeare", root=ROOT)
    x, y = data["ROMEO"].array, data["ROMEO"].y
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    np.testing.assert_array_equal(x[1:, 0], y[:-1, -1])
    vocabulary = data.meaning.class_names
    assert vocabulary is not None
    text = "".join(vocabulary[c] for c in data["First Citizen"].x[0].tolist())
    assert text.startswith("Before we proceed any further, hear me speak.\nYou are all resolved")
    last = load("shakespeare", root=ROOT, target="last")["ROMEO"]
    np.testing.assert_array_equal(last.y, y[:, -1])


def test_only_an_unloaded_motor_was_recorded_sound() -> None:
    have("cwru")
    data = load("cwru", root=ROOT)
    assert set(data["load-0hp"].y.tolist()) == set(range(10))
    assert set(data["load-2hp"].y.tolist()) == set(range(1, 10))


def test_process_clients_share_the_normal_rows() -> None:
    have("tep")
    data = load("tep", root=ROOT)
    counts = {client: np.bincount(data[client].y, minlength=22) for client in data}
    assert np.flatnonzero(counts["sticking-valve"]).tolist() == [0, 14, 15]
    assert sum(int(count[0]) for count in counts.values()) == 500
    assert all(count[0] >= 83 for count in counts.values())
    assert load("tep", root=ROOT, window=10).at(0).array.shape[1:] == (52, 10)


def test_regression_can_be_skewed_by_its_targets() -> None:
    have("cmapss")
    spread = []
    for alpha in (100.0, 0.05):
        data = load("cmapss", root=ROOT, partition="dirichlet", clients=20, alpha=alpha)
        assert data.groups is None
        spread.append(np.std([data.targets(i).mean() for i in range(20)]))
    assert spread[1] > 3 * spread[0]


def test_cifar_has_the_published_counts_and_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its pictures every tenth is decoded: all of them would take longer than the other sets together."""
    have("cifar10_jpeg")
    monkeypatch.setenv("FOGLINE_CACHE", str(tmp_path))
    counts, members = Counter[str](), DatasetFolder.members

    def tenth(folder: DatasetFolder, *what: str) -> Iterator[tuple[str, bytes]]:
        for i, (name, content) in enumerate(members(folder, *what)):
            counts[name.removeprefix("./").split("/")[0]] += 1
            if i % 10 == 0:
                yield name, content

    monkeypatch.setattr(DatasetFolder, "members", tenth)
    data = load("cifar10_jpeg", root=ROOT, partition="iid", clients=50)
    assert counts == {"train": 50000, "test": 10000}
    assert int(data.sizes().sum()) == 5000
    assert data.at(3).array.shape == (100, 3, 32, 32)
    assert data.test is not None
    assert np.bincount(data.test.y).tolist() == [100] * 10
    mean = data.test.array.mean(axis=(0, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(mean, 0, atol=0.1)
    load("cifar10_jpeg", root=ROOT, partition="iid", clients=50)
    assert counts.total() == 60000, "it was read again"
    assert len(list((tmp_path / "data").glob("cifar10_jpeg-*"))) == 1


def small_cifar(root: Path, reds: dict[str, int]) -> Path:
    """An archive like CIFAR's with one picture of a plain colour per class and part."""
    path = root / "cifar10_jpeg" / "cifar10_jpg.tar.xz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as archive:
        for part in ("test", "train"):
            for thing, red in reds.items():
                content = io.BytesIO()
                Image.new("RGB", (32, 32), (red, 0, 0)).save(content, "JPEG")
                member = tarfile.TarInfo(f"{part}/{thing}/0000.jpg")
                member.size = content.tell()
                content.seek(0)
                archive.addfile(member, content)
    return path


def test_a_changed_archive_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGLINE_CACHE", str(tmp_path / "cache"))
    small_cifar(tmp_path, {"airplane": 255, "truck": 10})
    first = load_raw("cifar10_jpeg", root=tmp_path)
    assert first.y.tolist() == [0, 9]
    assert first.x[0, 0].min() > 250
    assert first.x[0, 1].max() < 5
    small_cifar(tmp_path, {"cat": 255, "dog": 10, "ship": 99})
    assert load_raw("cifar10_jpeg", root=tmp_path).y.tolist() == [3, 5, 8]


def test_the_cache_is_used_repaired_and_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGLINE_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "source"
    source.write_text("x")
    built: list[int] = []

    def build() -> dict[str, np.ndarray]:
        built.append(1)
        return {"a": np.arange(5)}

    for _ in range(2):
        assert cached("set", source, build)["a"].tolist() == [0, 1, 2, 3, 4]
    assert len(built) == 1
    (file,) = (tmp_path / "cache").rglob("a.npy")
    file.write_bytes(b"broken")
    assert cached("set", source, build)["a"].tolist() == [0, 1, 2, 3, 4]
    assert len(built) == 2
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache folder should be")
    monkeypatch.setenv("FOGLINE_CACHE", str(blocked))
    assert cached("set", source, build)["a"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", sorted(set(datasets()) - {"digits"}))
def test_an_absent_set_is_one_helpful_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDatasetError) as caught:
        load(name, root=tmp_path)
    sentence = str(caught.value)
    assert f"'{name}'" in sentence
    assert str(tmp_path / name) in sentence
    assert "FOGLINE_DATA" in sentence
    assert "can be made from" in sentence
    assert "\n" not in sentence


def test_the_root_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOGLINE_DATA", str(tmp_path))
    assert find_root() == tmp_path
    assert find_root("/elsewhere") == Path("/elsewhere")
    monkeypatch.delenv("FOGLINE_DATA")
    assert find_root() == Path("../shared/data")


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("nist", {}, "There is no data set 'nist'; did you mean 'mnist'?"),
        ("x", {}, "There is no data set 'x'; there are adult, "),
        ("digits", {"partition": "magic"}, "There is no partition 'magic'; there are "),
        ("digits", {"alfa": 1.0}, "'alfa' is not an option of data set 'digits'; did you mean 'alpha'?"),
        ("digits", {"partition": "iid", "alpha": 1.0}, "'alpha' is not an option of partition 'iid'; it has none"),
        ("digits", {"partition": "natural"}, "has no natural clients"),
        ("digits", {"clients": 5000}, "1438 examples do not suffice for 5000 clients"),
    ],
)
def test_a_wrong_request_is_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load(name, **options)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("uci_har", {"alpha": 0.1}, "keeps its natural clients, so 'alpha' means nothing"),
        ("uci_har", {"clients": 5}, "so 'clients' means nothing"),
        ("steel_energy", {"by": "week"}, "by must be one of month, load_type, day, not 'week'."),
        ("ett", {"window": 0}, "window must be at least 1, not 0."),
        ("cmapss", {"window": 500}, "window must be at most 128"),
    ],
)
def test_options_are_checked(name: str, options: dict[str, Any], sentence: str) -> None:
    have(name)
    with pytest.raises(ValueError, match=sentence):
        load(name, root=ROOT, **options)


def test_every_partition_divides_digits() -> None:
    raw = load_raw("digits")
    assert isinstance(raw, RawData)
    for partition in ("iid", "dirichlet", "shards", "classes_per_client", "quantity_skew", "feature_noise"):
        data = raw.split(partition, clients=12, seed=5)
        assert (len(data), int(data.sizes().sum())) == (12, 1438)
        assert data.at(11).array.dtype == np.float32


def test_natural_clients_are_judged_on_their_own_rows_that_do_not_train() -> None:
    x, owner = np.arange(12, dtype=np.float32)[:, None], np.array(list("aabbccaabbdd"))
    rows, meaning = np.array([0, 1, 2, 3, 4, 5]), Meaning(None, target_unit="m")
    raw = RawData("some", x, x[:, 0], meaning, rows=rows, owner=owner, transform=lambda x, client: x + 100 * client)
    data = raw.split_with_own_tests()
    assert data.test is None
    assert [data[client].y.tolist() for client in data.clients] == [[0, 1], [2, 3], [4, 5]]
    assert {client: own.y.tolist() for client, own in data.tests.items()} == {"a": [6, 7], "b": [8, 9]}
    assert data.tests["b"].array.ravel().tolist() == [108, 109], "as its training inputs are"
    with pytest.raises(ValueError, match="no natural clients"):
        replace(raw, owner=None).split_with_own_tests()


def test_noise_leaves_the_test_set_alone() -> None:
    noisy = load("digits", partition="feature_noise", clients=5, sigma=2.0)
    plain = load("digits", partition="iid", clients=5)
    assert noisy.test is not None
    assert plain.test is not None
    np.testing.assert_array_equal(noisy.test.x, plain.test.x)
    difference = noisy.at(4).x - plain.at(4).x
    assert difference.std() == pytest.approx(2.0, rel=0.05)
