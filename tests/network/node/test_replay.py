"""Journals that are none: what a node goes on from is what it wrote, or a sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fogline.network.node.participation.replay import ENCODE, Under, replay
from fogline.nodes.records import Assigned, Record
from fogline.storage import StorageError

BEGUN = ENCODE(Under("cloud", "a"))
ASSIGNED = ENCODE(Assigned(1, 0, "model"))


class Taken(list[Record]):
    """A machine that takes everything."""

    def apply(self, record: Record) -> None:
        self.append(record)

    def apply_elsewhere(self, record: Record) -> None:
        """What was done for another parent."""


def replayed(*entries: bytes, parent: str = "cloud") -> tuple[list[Record], Any]:
    machine = Taken()
    return machine, replay("toy-1", entries, parent, machine, lambda _: None)


def test_a_journal_that_was_begun_is_taken_over() -> None:
    machine, found = replayed(BEGUN, ASSIGNED)
    assert (len(machine), found.under, found.begun, found.fresh) == (1, "cloud", "a", False)
    machine, found = replayed(BEGUN, ASSIGNED, ENCODE(Under("fog", "b")), parent="fog")
    assert (machine, found.under, found.fresh) == ([], "fog", True)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ((BEGUN, ASSIGNED[:-3]), "cannot be read"),
        ((BEGUN, b""), "cannot be read"),
        ((BEGUN, b"\xc1"), "cannot be read"),
        ((BEGUN.replace(b"cloud", b"\xff" * 5),), "cannot be read"),
        ((BEGUN, msgspec.msgpack.encode({"type": "Nothing"})), "cannot be read"),
        ((BEGUN, b"\x91" * 5000 + b"\x90"), "cannot be read"),
        ((ASSIGNED,), "lacks its beginning"),
        ((ENCODE(Under("cloud", "a", 99)),), "has format 99"),
    ],
)
def test_what_is_no_journal_is_told_in_a_sentence(entries: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(StorageError, match=f"the journal of job toy-1 .*{why}"):
        replayed(*entries)
