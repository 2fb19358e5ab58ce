"""Quarantine under losses, partitions and crashes: the journal decides, and nobody who is cut off is asked."""

from __future__ import annotations

import msgspec

from fogline.jobs.tree import Quarantine
from fogline.nodes import records
from fogline.nodes.children.reputation import Reputation
from fogline.simulation.faults.machines import lies
from fogline.simulation.faults.plan import draw_plan, with_quarantine
from fogline.simulation.faults.world import World

TERMS = Quarantine(memory=0.5, below=0.6, rounds=3, most=0.4)


def barred_by(journal: list[records.Record]) -> tuple[int, int]:
    """How often a journal cuts a child off, and how often it asks one that is; by the reputations in its records."""
    reputation = Reputation(TERMS)
    cut = asked = 0
    for record in journal:
        match record:
            case records.Rated(scores=scores):
                before = len(reputation.barred)
                reputation.judge(scores)
                cut += len(reputation.barred) - before
            case records.Closed():
                reputation.close_round()
            case records.Asked(children=children):
                asked += sum(child in reputation.barred for child in children)
            case _:
                pass
    return cut, asked


def test_nobody_in_quarantine_is_asked_and_nothing_is_lost() -> None:
    cut = crashes = 0
    for seed in range(120):
        world = World(with_quarantine(draw_plan(seed), TERMS))
        crashes += world.run().crashes
        for name in world.plan.roles:
            journal = [msgspec.msgpack.decode(line, type=records.Record) for line in world.machines[name].journal]
            found, asked = barred_by(journal)
            assert not asked, f"{name} of seed {seed} asked somebody in quarantine"
            cut += found
            liars = {
                child for record in journal if isinstance(record, records.Rated) for child, s in record.scores if s < 1
            }
            assert all(map(lies, liars))
    assert cut > 20
    assert crashes > 120
