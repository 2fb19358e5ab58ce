"""Learned deadlines and shares of work under losses, partitions and crashes: the journal teaches them again."""

from __future__ import annotations

import msgspec
import pytest

from fogline.nodes import Aggregator, records
from fogline.nodes.policies import policy_of
from fogline.simulation.faults.plan import draw_plan, with_pace
from fogline.simulation.faults.world import World


def test_nothing_is_lost_and_a_node_that_crashed_knows_what_it_knew() -> None:
    partial = crashes = learned = 0
    for seed in range(20):
        world = World(with_pace(draw_plan(seed)))
        crashes += world.run().crashes
        for name, role in world.plan.roles.items():
            machine = world.machines[name]
            live, again = machine.node, Aggregator(role, policy_of(role.tier))
            for line in machine.journal:
                record = msgspec.msgpack.decode(line, type=records.Record)
                again.apply(record)
                partial += isinstance(record, records.Asked) and any(effort < 1.0 for effort in record.efforts)
            assert isinstance(live, Aggregator)
            assert live.pace is not None
            assert again.pace is not None
            assert again.pace.deadline == pytest.approx(live.pace.deadline)
            assert again.pace.over_selection == live.pace.over_selection
            assert again.policy.efforts(list(world.plan.devices)) == live.policy.efforts(list(world.plan.devices))
            learned += again.pace.deadline < role.deadline
    assert crashes > 20
    assert partial > 20
    assert learned > 5
