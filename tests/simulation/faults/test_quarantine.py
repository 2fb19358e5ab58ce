"""Quarantine under losses, partitions and crashes: the journal decides, and nobody who is cut off is asked."""

from __future__ import annotations

import msgspec
import pytest

from fogline.jobs.tree import Quarantine
from fogline.nodes import records
from fogline.simulation.faults.machines import lies
from fogline.simulation.faults.plan import draw_plan, with_quarantine
from fogline.simulation.faults.world import World

SEEDS = range(300)
TERMS = Quarantine(memory=0.5, below=0.6, rounds=3)


def barred_by(journal: list[records.Record]) -> tuple[int, int]:
    """How often a journal cuts a child off, and how often it asks one that is; reckoned anew from its records."""
    reputations: dict[str, float] = {}
    until: dict[str, int] = {}
    over = cut = asked = 0
    for record in journal:
        match record:
            case records.Rated(scores=scores):
                for child, score in scores:
                    reputations[child] = 0.5 * reputations.get(child, 1.0) + 0.5 * score
                for child, _ in sorted(scores, key=lambda one: (reputations[one[0]], one[0])):
                    fits = 2 * (len(until) + 1) < len(reputations)
                    if reputations[child] < 0.6 and child not in until and fits:
                        until[child], cut = over + 4, cut + 1
            case records.Closed():
                over += 1
                for child in [child for child, end in until.items() if end == over]:
                    del until[child]
                    reputations[child] = 0.6
            case records.Asked(children=children):
                asked += sum(child in until for child in children)
            case _:
                pass
    return cut, asked


@pytest.mark.parametrize("first", [0, 150])
def test_nobody_in_quarantine_is_asked_and_nothing_is_lost(first: int) -> None:
    cut = crashes = 0
    for seed in range(first, first + 150):
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
    assert crashes > 150
