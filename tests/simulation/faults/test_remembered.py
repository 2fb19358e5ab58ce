"""What a rule made last, under losses, partitions and crashes: each round finds the one before, on every tier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fogline.nodes import Aggregator
from fogline.nodes.effects import Adopt, Effect, Move
from fogline.nodes.messages import Key, model_key
from fogline.simulation.faults.machines import SimulatedMachine
from fogline.simulation.faults.plan import FaultPlan, draw_plan
from fogline.simulation.faults.world import World


class RememberingWorld(World):
    """A world in which an aggregator's numbers say how many rounds its rule has made, as its group does."""

    def __init__(self, plan: FaultPlan) -> None:
        super().__init__(plan)
        self.moved: dict[Key, bool] = {}
        """By model: whether a round made it, as it was carried out last."""
        root = plan.root.name
        self.machines[root].arrays[model_key(root, 0)] = {"rounds": np.array([0])}

    def _carry_out(self, name: str, machine: SimulatedMachine, effect: Effect) -> None:
        super()._carry_out(name, machine, effect)
        if isinstance(effect, Adopt | Move):
            moves = isinstance(effect, Move)
            before = np.array([0]) if effect.base is None else machine.arrays[effect.base]["rounds"]
            machine.arrays[effect.model] = {"rounds": before + int(moves)}
            self.moved[effect.model] = moves


def test_every_round_sets_out_from_what_the_one_before_came_to() -> None:
    crashes = inner = 0
    for seed in range(60):
        plan = draw_plan(seed)
        roles = {name: replace(role, rounds=max(2, role.rounds)) for name, role in plan.roles.items()}
        world = RememberingWorld(replace(plan, roles=roles))
        crashes += world.run().crashes
        for name, role in world.plan.roles.items():
            node, arrays = world.machines[name].node, world.machines[name].arrays
            if not isinstance(node, Aggregator) or node.ledger.version < 0:
                continue
            made = [world.moved.get(model_key(name, version), False) for version in range(node.ledger.version + 1)]
            assert int(arrays[node.ledger.model]["rounds"][0]) == sum(made)
            inner += sum(made) if role.parent is not None else 0
    assert crashes > 60
    assert inner > 60
