"""Rounds that wait for their rows, heard of once however often they are told."""

from __future__ import annotations

from typing import cast

from fogline.network.cloud.running.pending_rounds import PendingRounds
from fogline.network.node.participation.replay import ModelMoved
from fogline.network.node.values import ValueStore
from fogline.storage import BlobRef


class Held:
    """A value store that counts who holds what."""

    def __init__(self) -> None:
        self.refs: list[BlobRef] = []

    def keep(self, value: BlobRef) -> None:
        self.refs.append(value)

    def release(self, values: list[BlobRef]) -> None:
        for value in values:
            self.refs.remove(value)


def moved(round_: int, final: bool = True, devices: int = 2, hop: int = 0) -> ModelMoved:
    return ModelMoved(f"cloud@{round_}.{hop}", round_, final, updates=2, devices=devices, at=round_ + 0.5)


def group(round_: int) -> BlobRef:
    return BlobRef(f"{round_:064d}", 8, "group")


def test_a_round_that_the_history_has_is_not_taken_again() -> None:
    held = Held()
    pending = PendingRounds(cast("ValueStore", held), [{"round": 1.0}, {"round": 3.0}])
    assert [pending.hear(moved(i), None if i < 4 else group(i)) for i in (0, 2, 3, 4)] == [False, False, True, True]
    assert not pending.hear(moved(4), group(4))  # The node made its state machine anew, and tells all once more.
    first, second = pending.take(), pending.take()
    assert (first.group, second.group, held.refs, bool(pending)) == (None, group(4), [group(4)], False)
    assert second.row({"late": 1.0})["round"] == 5
    assert (second.row({})["seconds"], second.row({"late": 1.0})["late"]) == (4.5, 1.0)


def test_a_ring_s_devices_are_counted_over_its_hops_and_again_after_a_crash() -> None:
    hops = [moved(0, hop == 2, 1, hop) for hop in range(3)] + [moved(1, hop == 1, 1, hop) for hop in range(2)]
    pending = PendingRounds(cast("ValueStore", Held()), [])
    assert not pending.hear(hops[0], None)  # The node made its state machine anew here, and again in the next round.
    assert [pending.hear(hop, None) for hop in hops[:4]] == [False, False, True, False]
    assert [pending.hear(hop, None) for hop in hops] == [False, False, False, False, True]
    assert [pending.take().devices, pending.take().devices] == [3, 2]


def test_what_nobody_wants_is_let_go() -> None:
    held = Held()
    pending = PendingRounds(cast("ValueStore", held), [])
    pending.hear(moved(0), group(0))
    pending.hear(moved(1), None)
    pending.drop()
    assert (held.refs, bool(pending)) == ([], False)
