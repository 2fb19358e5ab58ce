"""Where a node looks for parents that have moved."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fogline.network.node.services.parents import (
    MOVED,
    ParentService,
    announce_move,
    known_parents,
    moves_of,
    whereabouts,
)
from fogline.network.transport.messages import Moved, ParentAddress
from fogline.processes.messages import encode
from fogline.storage import Database, open_database


def at(place: str, name: str = "fog") -> ParentAddress:
    return ParentAddress(name, f"{place}:1")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path / "records.sqlite")


def test_moves_are_followed_one_after_the_other() -> None:
    moves = {"a:1": at("b"), "b:1": at("c")}
    assert whereabouts(moves, at("a")) == at("c")
    assert whereabouts(moves, at("d")) == at("d")
    assert whereabouts(moves, at("a", "other")) == at("a", "other")  # Another node is where that one was.


def test_a_parent_that_moved_is_dialled_where_it_is_and_then_where_it_was(database: Database) -> None:
    database.put(MOVED, "press-0", encode({"a:1": at("b")}))
    assert moves_of(database, "press-1") == {}
    assert known_parents(database, "press-0", [at("a"), at("x", "fog-2")]) == [at("b"), at("a"), at("x", "fog-2")]
    assert known_parents(database, "press-0", [at("z")]) == [at("z")]


@pytest.mark.parametrize("address", ["", "fog", "fog:", ":7453", "fog:70000", "fog:x"])
def test_only_to_an_address_can_one_move(address: str, database: Database) -> None:
    with pytest.raises(ValueError, match="is no address; write HOST:PORT"):
        announce_move(database, "fog", address)


def test_a_child_that_comes_and_cannot_be_told_of_a_move_is_named(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    announce_move(database, "fog", "b:1")
    sent: list[object] = []
    service = ParentService(cast("Any", SimpleNamespace(database=database, name="fog", sessions=list)))
    with caplog.at_level(logging.WARNING):
        for name, protocol in (("press-0", 5), ("press-1", 4)):
            present = SimpleNamespace(protocol=protocol, address="")
            service.arrived(cast("Any", SimpleNamespace(name=name, present=present, send=sent.append)))
    assert sent == [Moved("b:1")]
    (said,) = caplog.messages
    assert said.startswith("press-1 speaks an older version of the protocol and does not hear that fog will be at b:1")
