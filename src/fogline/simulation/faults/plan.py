"""What a seed stands for: a tree with modes and limits, and the faults that happen to it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal, get_args

import msgspec

from fogline.jobs import Tier
from fogline.jobs.tree import Quarantine
from fogline.modes import Mode
from fogline.nodes import AggregatorRole
from fogline.nodes.traits import AlgorithmTraits
from fogline.retries import REPORT_AGAIN

MODES: tuple[Mode, ...] = get_args(Mode)
POLL = 65.0
"""A little more than the longest time for which a node waits before it looks again."""


@dataclass(frozen=True, slots=True)
class Chaos:
    """How bad the weather is, until it clears."""

    until: float
    loss: float
    duplicate: float
    slow: float
    """Share of messages that take up to ten times as long, and so overtake none and are overtaken by many."""
    crash: float
    """Chance that a node crashes in the course of one ``handle`` call."""
    failure: float
    """Chance that a local training fails."""
    imposture: float
    """Chance that another child answers a request as well."""


@dataclass(frozen=True, slots=True)
class LinkCut:
    """A link that carries nothing for a while."""

    child: str
    start: float
    end: float
    noticed: bool
    """Whether the parent learns that the child is gone."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """A scenario, drawn from a seed."""

    seed: int
    roles: dict[str, AggregatorRole]
    """The aggregators, the root first."""
    devices: dict[str, str]
    """Devices and their parents."""
    chaos: Chaos
    cuts: tuple[LinkCut, ...]
    arrivals: dict[str, float]
    """When devices join that are not there from the start."""
    departures: dict[str, float]
    """When devices leave that do not come back."""
    blinks: bool
    """Whether devices are available only now and then."""

    @property
    def root(self) -> AggregatorRole:
        """The role of the root."""
        return next(iter(self.roles.values()))

    def children(self) -> dict[str, list[str]]:
        """The children of every aggregator, by its name."""
        below: dict[str, list[str]] = {name: [] for name in self.roles}
        for child, parent in self.devices.items():
            below[parent].append(child)
        for role in self.roles.values():
            if role.parent is not None:
                below[role.parent].append(role.name)
        return below

    def patience(self, role: AggregatorRole, children: int) -> float:
        """How long all rounds of an aggregator may take in a row, without a crash of its own. A round may wait for
        children first, and a ring for each of them."""
        waits = children + 1 if role.mode == "ring" else 1
        return role.rounds * (waits + 1) * (role.deadline + 1.0) + POLL


def draw_plan(seed: int) -> FaultPlan:
    """The scenario of a seed."""
    rng = random.Random(seed)
    parents = _draw_tree(rng)
    count = rng.randint(6, 12)
    leaves = [name for name in parents if name not in parents.values()]
    devices = {f"d{i}": leaves[i % len(leaves)] for i in range(count)}
    roles: dict[str, AggregatorRole] = {}
    deadlines: dict[int, float] = {}
    templates: dict[int, AggregatorRole] = {}
    for name, parent in parents.items():
        depth = name.count(".")
        if depth not in templates:
            templates[depth] = _draw_role(rng, seed, depth, deadlines.get(depth - 1))
            deadlines[depth] = templates[depth].deadline
        roles[name] = replace(templates[depth], name=name, parent=parent, marks=templates[0].minimum > 1 < len(parents))
    until = rng.uniform(20.0, 250.0)
    names = [name for name, parent in parents.items() if parent is not None] + list(devices)
    starts = [(rng.choice(names), rng.uniform(0.0, until)) for _ in range(rng.randint(0, 5))]
    cuts = tuple(
        LinkCut(child, start, min(until, start + rng.uniform(1.0, 40.0)), rng.random() < 0.5) for child, start in starts
    )
    few = rng.sample(list(devices), count // 3)
    return FaultPlan(
        seed=seed,
        roles=roles,
        devices=devices,
        chaos=_draw_chaos(rng, until),
        cuts=cuts,
        arrivals={name: rng.uniform(0.0, until) for name in few if rng.random() < 0.3},
        departures={name: rng.uniform(0.0, until) for name in few if rng.random() < 0.2},
        blinks=rng.random() < 0.15,
    )


Where = Literal["devices", "aggregators", "everywhere"]
"""Which children are in an exchange with their parents."""


def with_exchange(plan: FaultPlan, steps: int, where: Where = "devices") -> FaultPlan:
    """The same plan, where children and those above them take so many steps before these report."""
    roles = dict(plan.roles)
    above = {role.parent for role in roles.values() if role.parent is not None}
    parents = {"devices": set(plan.devices.values()), "aggregators": above}
    for name in sorted(parents["devices"] | above if where == "everywhere" else parents[where]):
        role = roles[name]
        tier = role.tier.model_copy(update={"late": "drop"})
        traits = role.traits if role.mode != "ring" else msgspec.structs.replace(role.traits, mode="sync")
        roles[name] = replace(role, tier=tier, traits=traits, steps=steps)
    roles = {name: replace(role, demands=_steps_above(role, roles)) for name, role in roles.items()}
    return replace(plan, roles=roles)


def _steps_above(role: AggregatorRole, roles: dict[str, AggregatorRole]) -> int:
    return 0 if role.parent is None else roles[role.parent].steps


def with_quarantine(plan: FaultPlan, terms: Quarantine) -> FaultPlan:
    """The same plan in synchronous rounds, where aggregators that move a model judge their children."""
    roles: dict[str, AggregatorRole] = {}
    for name, role in plan.roles.items():
        tier = role.tier.model_copy(update={"late": "drop", "quarantine": terms})
        traits = msgspec.structs.replace(role.traits, mode="sync", group_models=True)
        roles[name] = replace(role, tier=tier, traits=traits)
    return replace(plan, roles=roles)


def with_pace(plan: FaultPlan) -> FaultPlan:
    """The same plan, where aggregators learn how long children take: deadlines, over-selection, and by the policy
    ``timelyfl`` how much work devices are asked for."""
    parents, roles = set(plan.devices.values()), dict(plan.roles)
    for name, role in plan.roles.items():
        learns = {"deadline": "auto", "over_selection": "auto"}
        if name in parents and not parents & {one.parent for one in roles.values()}:
            learns["policy"] = "timelyfl"
        roles[name] = replace(role, tier=role.tier.model_copy(update=learns))
    return replace(plan, roles=roles)


def with_privacy(plan: FaultPlan) -> FaultPlan:
    """The same plan, where noise protects devices: rounds stand apart, and only the root moves a model."""
    roles = dict(plan.roles)
    for name, role in plan.roles.items():
        traits = msgspec.structs.replace(role.traits, mode="sync", group_models=False, private=True)
        tier, rounds = role.tier.model_copy(update={"late": "drop"}), role.rounds if role.parent is None else 1
        roles[name] = replace(role, tier=tier, traits=traits, rounds=rounds)
    return replace(plan, roles=roles)


def _draw_tree(rng: random.Random) -> dict[str, str | None]:
    """Aggregators and their parents: a star, or two or three tiers. A name has a dot for each tier above it."""
    parents: dict[str, str | None] = {"root": None}
    shape = rng.choice(("star", "two", "two", "two", "three"))
    if shape != "star":
        fogs = [f"f.{i}" for i in range(rng.randint(2, 3))]
        parents |= dict.fromkeys(fogs, "root")
        if shape == "three":
            parents |= {f"e.{fog[2:]}.{i}": fog for fog in fogs for i in range(rng.randint(1, 2))}
    return parents


def _draw_role(rng: random.Random, seed: int, depth: int, above: float | None) -> AggregatorRole:
    rounds = rng.randint(2, 9) if depth == 0 else rng.choice((1, 1, 1, 2, 3))
    deadline = rng.uniform(20.0, 50.0) if above is None else above / rounds * rng.uniform(0.4, 1.1)
    tier = Tier(
        cohort=rng.choice((1.0, 1.0, 0.6, 2)),
        over_selection=rng.choice((1.0, 1.0, 1.5)),
        quorum=rng.choice((0.5, 0.34, 1, 1.0, 2)),
        late=rng.choice(("fold", "drop")),
        staleness_cap=rng.choice((0, 2, 20)),
        stale=("drop", "clip")[seed % 2],
        speed_classes=rng.randint(1, 3),
    )
    mode: Mode = rng.choice(("sync", *MODES))
    return AggregatorRole(
        name="",
        parent=None,
        tier=tier,
        traits=AlgorithmTraits(mode, buffer=rng.randint(1, 4), group_models=rng.random() < 0.3),
        rounds=rounds,
        deadline=deadline,
        seed=seed,
        minimum=rng.choice((1, 1, 2, 4)) if depth == 0 and mode != "ring" else 1,
        retry=REPORT_AGAIN._replace(first=rng.uniform(1.0, 5.0)),
        join_window=rng.choice((0.0, 0.5)),
    )


def _draw_chaos(rng: random.Random, until: float) -> Chaos:
    if rng.random() < 0.1:
        return Chaos(0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 0.0)
    return Chaos(
        until=until,
        loss=rng.choice((0.0, 0.05, 0.2, 0.4)),
        duplicate=rng.choice((0.0, 0.1, 0.3)),
        slow=rng.choice((0.0, 0.2, 0.4)),
        crash=rng.choice((0.0, 0.01, 0.03, 0.08)),
        failure=rng.choice((0.0, 0.1)),
        imposture=rng.choice((0.0, 0.05)),
    )
