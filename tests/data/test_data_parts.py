"""The part of each client's examples that never trains."""

from __future__ import annotations

import numpy as np
import pytest

from fogline.data import Examples, FederatedData, from_arrays, from_clients


def table(**more: object) -> FederatedData:
    x = np.arange(40, dtype=np.float32).reshape(-1, 1)
    parts = {"a": range(20), "b": range(20, 37), "c": range(37, 39), "d": [39]}
    return from_arrays("rows", x, np.zeros(40, np.int64), parts, classes=2, **more)  # type: ignore[arg-type]


def one_by_one() -> FederatedData:
    rows = table()
    return from_clients("lazy", {client: rows[client] for client in rows}, classes=2)


@pytest.mark.parametrize("make", [table, one_by_one])
def test_every_example_either_trains_or_judges(make: type) -> None:
    data, whole = make().with_parts_held_out(0.2, seed=3), make()
    assert data.sizes().tolist() == [16, 14, 1, 1]
    for place, client in enumerate("abc"):
        trains, judges = data.at(place).array.ravel(), data.judged(client).array.ravel()
        assert len(trains) == data.sizes()[place] == len(data.targets(place))
        assert sorted([*trains, *judges]) == sorted(whole.at(place).array.ravel())
    with pytest.raises(ValueError, match="Client 'd' has no examples that do not train"):
        data.judged("d")
    with pytest.raises(KeyError):
        data.judged("nobody")


def test_a_part_is_the_seeds_and_the_clients_own() -> None:
    rows = [table().with_parts_held_out(0.2, seed).judged("a").array.ravel().tolist() for seed in (3, 3, 4)]
    assert rows[0] == rows[1] != rows[2]
    lazy = one_by_one().with_parts_held_out(0.2, 3).judged("a").array.ravel().tolist()
    assert lazy == rows[0]
    held = table(held_out=["b"]).with_parts_held_out(0.2, 3).judged("a").array.ravel().tolist()
    assert held == rows[0]


def test_a_table_stays_one() -> None:
    data = table().with_parts_held_out(0.5, 0)
    assert data.table is not None
    assert data.table.array[data.rows(0)].ravel().tolist() == data.at(0).array.ravel().tolist()


def test_who_never_trains_is_judged_on_all_it_has() -> None:
    data = table(held_out=["b"]).with_parts_held_out(0.2, 3)
    assert data.judged("b").count == 17


def test_a_client_with_a_test_set_of_its_own_trains_on_all_it_has() -> None:
    own = Examples(np.full((3, 1), 7, np.float32), np.ones(3, np.int64))
    data = table(test={"a": own}).with_parts_held_out(0.2, 3)
    assert data.test is None
    assert data.sizes().tolist() == [20, 14, 1, 1]
    assert data.judged("a").y.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="name a client 'z' that is not among its clients"):
        table(test={"z": own})


def test_public_examples_are_known_to_all_and_stay_with_the_data() -> None:
    shared = Examples(np.full((5, 1), 9, np.float32), np.arange(5) % 2)
    for data in (table(public=shared), from_clients("lazy", {"a": shared}, classes=2, public=shared)):
        again = data.with_held_out(0.5) if len(data) > 1 else data
        for twin in (data, again.with_parts_held_out(0.4, 0), data.sample({0: 2})):
            assert twin.public is not None
            assert twin.public.array.ravel().tolist() == [9] * 5
    assert table().public is None
    with pytest.raises(ValueError, match=r"The public part of 'rows', row 0: label 7 lies outside 0\.\.1"):
        table(public=Examples(shared.x, np.full(5, 7)))


def test_public_examples_may_come_from_the_test_set_and_judge_no_more() -> None:
    tests = Examples(np.arange(6, dtype=np.float32)[:, None], np.zeros(6, np.int64))
    data = table(test=tests).with_public(4, seed=1)
    assert data.public is not None
    assert data.test is not None
    assert (data.public.count, data.test.count) == (4, 2)
    assert sorted([*data.public.array.ravel(), *data.test.array.ravel()]) == [0, 1, 2, 3, 4, 5]
    for count, given in ((6, {"test": tests}), (0, {"test": tests}), (1, {})):
        with pytest.raises(ValueError, match="cannot give"):
            table(**given).with_public(count)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        table().with_parts_held_out(share, 0)
