"""Which differences are kept, and which of them a child lacks."""

from __future__ import annotations

import pytest

from fogline.nodes import Device
from fogline.nodes.events import Received, Trained
from fogline.nodes.messages import Work
from fogline.nodes.records import Assigned
from fogline.nodes.versions import DIFFERENCE, LONGEST, before, chain, lacked, useful, version_of


def differences(*versions: int) -> set[str]:
    return {f"cloud@{version}{DIFFERENCE}" for version in versions}


def keys(*versions: int) -> list[str]:
    return [f"cloud@{version}" for version in versions]


def test_a_chain_ends_at_a_gap_and_is_no_longer_than_a_request_may_name() -> None:
    assert (version_of("a@b@12"), before("a@b@12")) == (12, "a@b@11")
    assert chain("cloud@7", differences(3, 5, 6, 7)) == keys(5, 6, 7)
    assert chain("cloud@7", differences(5, 6)) == []
    assert chain("cloud@99", differences(*range(100))) == keys(*range(100 - LONGEST, 100))


@pytest.mark.parametrize(("whole", "left"), [(100, (3, 4, 5)), (61, (3, 4, 5)), (60, (4, 5)), (31, (5,)), (30, ())])
def test_differences_that_together_are_as_large_as_the_model_are_of_no_use(whole: int, left: tuple[int, ...]) -> None:
    sizes = dict(zip(keys(3, 4, 5), (20, 10, 30), strict=True))
    assert useful(keys(3, 4, 5), sizes, whole) == keys(*left)


@pytest.mark.parametrize(
    ("held", "wanted"), [((4,), (5,)), ((2, 3), (4, 5)), ((2,), (3, 4, 5)), ((1,), None), ((), None)]
)
def test_a_child_takes_what_leads_from_the_newest_version_that_it_has(
    held: tuple[int, ...], wanted: tuple[int, ...] | None
) -> None:
    assert lacked(keys(3, 4, 5), keys(*held)) == (None if wanted is None else keys(*wanted))


def test_a_device_keeps_its_last_model_where_the_next_may_be_a_difference() -> None:
    for keeps, kept in ((True, {"cloud@3"}), (False, set[str]())):
        device = Device("d", "cloud", keeps=keeps)
        device.apply(Assigned(0, 0, "cloud@2"))
        device.handle(Received("cloud", Work(1, "cloud@3", 0)), 0.0)
        device.handle(Trained(1, "cloud#1", 0, failure="it had to"), 1.0)
        assert device.keys() == kept
