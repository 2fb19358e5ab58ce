"""From a job and a task to a simulator that is ready to run."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from fogline.aggregation.rules import Rule
from fogline.algorithms import Algorithm, make
from fogline.algorithms import group as groups
from fogline.algorithms.checks import check_method
from fogline.algorithms.device import LocalRound
from fogline.algorithms.private import with_home
from fogline.algorithms.sub_models import check_sub_models, part_of_effort, sub_model_of, with_sub_models
from fogline.algorithms.trained import with_trained
from fogline.compute.links import NodeLinks, check_links, links_of
from fogline.compute.policies import check_policies
from fogline.compute.privacy.example_unit import check_examples, sealed
from fogline.compute.statistics import check_measuring
from fogline.compute.surveys.layouts import layout_of
from fogline.compute.surveys.queries import check_query
from fogline.compute.surveys.survey import task_to_judge
from fogline.data import Examples
from fogline.exchanges import Exchange
from fogline.jobs import Job, JobError, Tree
from fogline.jobs.exchanging import check_children, exchanges_of, survey_exchanges_of
from fogline.jobs.judging import with_judges
from fogline.jobs.planning import (
    assign,
    check_rounds,
    check_task,
    examples_of,
    local_training,
    planner,
    with_defaults,
)
from fogline.jobs.protection.budget import account_of, within_budget
from fogline.jobs.protection.checks import check_privacy, check_private_model, check_units
from fogline.jobs.protection.protection import protection_of
from fogline.jobs.rules import check_enough, rules_of
from fogline.jobs.starting import first_model
from fogline.jobs.tree import share_of
from fogline.jobs.unequal import check_shares
from fogline.modes import Mode
from fogline.monitoring.history import check_target
from fogline.nodes import Aggregator
from fogline.nodes.effects import Move
from fogline.nodes.ledger import AcceptedUpdate
from fogline.nodes.messages import Hello, model_key
from fogline.nodes.policies import policy_of
from fogline.nodes.role import role_of
from fogline.nodes.traits import traits_of
from fogline.params import Params
from fogline.simulation.attacks.adversary import Adversary, adversary_of
from fogline.simulation.exchanging import ExchangeValues
from fogline.simulation.fleet.scenario import Scenario, Sizes
from fogline.simulation.numbers import Numbers
from fogline.simulation.profiles import Fleet, Link, fleet_of, link_of
from fogline.simulation.protecting import computes_of, giver_of
from fogline.simulation.simulator import Simulator
from fogline.simulation.staging import staging_of
from fogline.simulation.values import LazyValue, LazyValues, Trainer, Training
from fogline.simulation.witness import RunWitness
from fogline.training.local import LocalTraining
from fogline.training.method import overrides
from fogline.training.sub_models import SubModel
from fogline.training.task import Task
from fogline.user_code.bugs import attempt

One = TypeVar("One")
Other = TypeVar("Other")
PATIENCE = 3.0
"""Times what the slowest device is expected to take that a round waits for devices, where its tier has no deadline."""
TRACED = tuple(300.0 * i for i in range(12))
"""Seconds at which links that replay a trace are looked at."""


@dataclass(slots=True)
class Setting:
    """What a run needs besides the simulator."""

    job: Job
    task: Task
    algorithm: Algorithm
    rules: Mapping[str, Rule]
    """By the name of the tier."""
    local: LocalTraining
    initial: Params
    """The whole model before any training."""
    homes: list[str]
    """The aggregator above each device, by client."""
    fleet: Fleet
    links: Link
    stages: list[NodeLinks]
    """Of the links around the nodes of each depth, the root first, devices last."""
    exchanges: Mapping[str, Exchange]
    """What aggregators and their children do before these report, by the tier of the aggregators."""
    shares: Sequence[float] = ()
    """Of the model, by client; empty: all have the whole."""
    adversary: Adversary | None = None
    """Who attacks the run."""
    triggered: Examples | None = None
    """What shows whether the attack succeeds."""

    @property
    def shared(self) -> Params:
        """Of the first model, what devices and aggregators share."""
        return self.initial if self.task.home is None else self.task.home.part.cut(self.initial)

    def sub_model(self, client: int) -> SubModel | None:
        """A device's smaller model; None: it has the whole."""
        return sub_model_of(self.task, self.algorithm, self.share(client))

    def share(self, client: int) -> float:
        """Of the model, how much a device trains at most."""
        return self.shares[client] if self.shares else 1.0

    def handed_out(self, shared: Params) -> Params:
        """The model that the run gives, of what is shared: with what is frozen, without what is private."""
        return shared if self.task.home is None else self.task.home.part.hand_out(shared, self.initial)


def setting_of(job: Job, task: Task, algorithm: Algorithm | None = None) -> Setting:
    """Check a job against its task's data, and make what both decide.

    Raises:
        JobError: the job asks for what the data cannot give; one sentence.
        ValueError: a method, policy or profile does not know its name or parameters, or the task refuses to be run.
    """
    if algorithm is None:
        algorithm = make(job.algorithm.name, **job.algorithm.parameters)
    check_method(type(algorithm))
    job = with_judges(job, algorithm)
    task = task_to_judge(task, job)
    check_rounds(algorithm, job)
    check_task(algorithm, task)
    task.seed = job.seed
    task.check()
    task = with_trained(task, algorithm)
    job = with_defaults(job, algorithm, task)
    check_target(job.evaluation.target, task.headline)
    check_privacy(job, algorithm)
    check_examples(job, algorithm, task)
    job = within_budget(account_of(job, algorithm, task.data), job)
    check_links(job, algorithm)
    check_shares(job, algorithm)
    rules = rules_of(job, algorithm)
    for query in job.queries:
        check_query(query, _some_examples(task))
    adversary = adversary_of(job, list(task.data.clients), rules, task)
    homes = assign(job.tree, task.data)
    _check_counts(job.tree, homes, algorithm.mode)
    _check_rules(job.tree, rules, homes, list(task.data.clients), algorithm)
    check_policies(job, algorithm, task)
    fleet = fleet_of(job.devices, len(homes), job.seed)
    local, links, exchanges = local_training(job), link_of(job.links), exchanges_of(job, algorithm)
    check_children(exchanges, job.tree, homes, algorithm.mode)
    layout_of(job, algorithm, task, survey_exchanges_of(job, exchanges))
    stages = [links_of(job, algorithm, depth, task.shared) for depth in range(len(job.tree.names) + 1)]
    start = first_model(job, task, job.start)
    task = sealed(with_home(task, algorithm, lambda: start), job)
    check_private_model(job, task.shared)
    check_units(job, population_below(job.tree.parents(), homes))
    triggered = None if adversary is None else adversary.triggered(task)
    task = task if adversary is None else adversary.poisoned(task)
    check_measuring(job, algorithm, task)
    task = with_sub_models(task, algorithm)
    shares = _shares(job, task, algorithm, fleet)
    return Setting(
        job, task, algorithm, rules, local, start, homes, fleet, links, stages, exchanges, shares, adversary, triggered
    )


def _shares(job: Job, task: Task, algorithm: Algorithm, fleet: Fleet) -> Sequence[float]:
    """How much of the model each device trains; empty where all train all of it.

    Raises:
        ValueError: some device's share is that of no smaller model, or nobody tells what only the whole one has.
    """
    if not job.shares.given:
        return ()
    clients = task.data.clients
    for pattern in job.shares.devices:
        if not any(fnmatchcase(name, pattern) for name in clients):
            raise JobError(f"shares.devices names '{pattern}', and no device is called so; the first is '{clients[0]}'")
    hints = ((name, fleet.speed_hint(i), 1e6 * fleet.memory_mb(i)) for i, name in enumerate(clients))
    shares = [job.shares.of(*hint) for hint in hints]
    check_sub_models(task, algorithm, [sub_model_of(task, algorithm, share) for share in sorted(set(shares))])
    return shares


def _some_examples(task: Task) -> Examples | None:
    """Examples like those of devices, if they can be loaded."""
    found = attempt(lambda: task.data.test or task.data.at(0))
    return None if isinstance(found, Exception) else found


def most_at_once(tree: Tree, population: int, mode: Mode) -> int:
    """Devices that a round of the root can have. ``mode``: the method's."""
    slow = any(tier.rounds > 1 for tier in tree.tiers.values()) or {*tree.modes(mode).values()} != {"sync"}
    return population if slow else cohort_size(tree, population)


def cohort_size(tree: Tree, population: int) -> int:
    """Devices that train at once, at most: the cohorts of all tiers, one within the other."""
    nodes = 1
    for above, tier in zip(tree.tiers.values(), list(tree.tiers.values())[1:], strict=False):
        nodes = share_of(above.cohort, tier.count) if above.count == 1 else nodes * share_of(above.cohort, tier.count)
    last = list(tree.tiers.values())[-1]
    return nodes * share_of(last.cohort, max(1, -(-population // last.count)))


def _check_counts(tree: Tree, homes: list[str], mode: Mode) -> None:
    most = min(len(homes), most_at_once(tree, len(homes), mode))
    if tree.minimum > most:
        of = f"of its {len(homes)} clients" if most == len(homes) else f"that its cohorts let in (of {len(homes)})"
        raise JobError(
            f"tree.minimum is {tree.minimum}, but a round has at most the {most} {of}; make it at most {most}."
        )
    children = _fewest_children(tree, homes)
    for name, tier in tree.tiers.items():
        fewest = children[name]
        for key, amount in (("cohort", tier.cohort), ("quorum", tier.quorum)):
            if isinstance(amount, int) and amount > fewest:
                raise JobError(
                    f"tree.{name}.{key} is {amount}, but an aggregator of that tier has only {fewest} children; "
                    f"make it at most {fewest}, or a share such as 0.5."
                )


def _check_rules(
    tree: Tree, rules: Mapping[str, Rule], homes: list[str], clients: Sequence[str], algorithm: Algorithm
) -> None:
    check_enough(tree, rules, _fewest_children(tree, homes), algorithm)
    parents = {**tree.parents(), **dict(zip(clients, homes, strict=True))}
    for name, rule in rules.items():
        node = tree.nodes(name)[0]
        if rule.trusted and parents.get(rule.trusted) != node:
            one = next(child for child, parent in parents.items() if parent == node)
            raise JobError(f"{name}.rule trusts '{rule.trusted}', which is no child of {node}; '{one}' would be one.")


def _fewest_children(tree: Tree, homes: list[str]) -> dict[str, int]:
    """Children of an aggregator of each tier, by its name."""
    parents = tree.parents()
    children = Counter([*homes, *(parent for parent in parents.values() if parent is not None)])
    return {name: min(children[node] for node in tree.nodes(name)) for name in tree.names}


def simulator_of(
    setting: Setting,
    trainer: Trainer,
    sizes: Sizes,
    trained: Callable[[Training, LocalRound], None],
    moved: Callable[[Move, LazyValue], None],
    witness: RunWitness | None = None,
) -> Simulator:
    """Nodes, values and virtual clock of a run. ``trained``, ``moved`` and the witness: told of what happens."""
    job, task, algorithm = setting.job, setting.task, setting.algorithm
    parents = job.tree.parents()
    tier_of = {node: tier for tier in job.tree.names for node in job.tree.nodes(tier)}
    leaves = set(job.tree.leaves())
    clients = list(task.data.clients)
    index = {client: i for i, client in enumerate(clients)}
    fleet = setting.fleet

    def presence(child: str, now: float) -> bool:
        return fleet.available(index[child], now)

    patient = patience(setting, sizes)
    traits = traits_of(algorithm, setting.rules, setting.exchanges, protection_of(job))
    held: list[weakref.ref[Simulator]] = []

    def simulator() -> Simulator:
        # Nodes must not keep what keeps them: the collector does not look at seats, and would never find the circle.
        found = held[0]()
        assert found is not None
        return found

    wants_loss: set[str] = set()
    aggregators: dict[str, Aggregator] = {}
    adversary = setting.adversary
    attacked = {
        home for client, home in zip(clients, setting.homes, strict=True) if adversary and adversary.lies(client)
    }
    for name, parent in parents.items():
        role = role_of(job, traits, name, tier_of[name], parent, patient.get(name, math.inf))
        policy = policy_of(role.tier)
        # What is said in a step rests on the update, and what is forged on all of a round.
        if policy.needs_loss or role.steps or name in attacked:
            wants_loss.add(name)
        asks_presence = name in leaves and not fleet.always_available

        def failed(accepted: Sequence[AcceptedUpdate], name: str = name) -> Mapping[int, str]:
            settled = name in leaves or name in wants_loss
            return simulator().failed(name, accepted) if settled else simulator().unfit(name, accepted)

        aggregators[name] = Aggregator(role, policy, presence if asks_presence else None, failed)

    depths = {name: job.tree.names.index(tier) for name, tier in tier_of.items()}
    staging = staging_of(setting.stages, depths, task.shared.trainable)
    computes = computes_of(job, algorithm, task.shared, setting.rules, setting.stages)
    exchanges = {tier: (exchange, computes[job.tree.nodes(tier)[0]]) for tier, exchange in setting.exchanges.items()}
    steps = ExchangeValues(exchanges, job.seed) if exchanges else None
    numbers = Numbers(
        computes,
        population_below(parents, setting.homes),
        lambda child, why: simulator().refused(child, why),
        staging,
        adversary,
        witness,
    )
    root = job.tree.nodes(job.tree.names[0])[0]
    numbers.set_group(model_key(root, 0), LazyValue(computes[root].begun(groups.root(setting.shared))))
    if witness is not None:
        witness.begins(task, setting.shared)
        trained, moved = _both(lambda training, _: witness.trained(training), trained), _both(moved, witness.moved)
    giver = giver_of(job, algorithm)
    whole = computes[root].whole
    store = LazyValues(trainer, trained, numbers.settled, staging, giver, whole, on_disk=bool(attacked))
    scenario = Scenario(
        root=root,
        aggregators=aggregators,
        tiers=tier_of,
        clients=clients,
        homes=setting.homes,
        fleet=fleet,
        links=setting.links,
        plan=planner(job, task.data, algorithm, setting.share, part_of_effort(task, algorithm)),
        sizes=sizes,
        cost=task.cost,
        prefetch=any(a.role.mode == "async" for a in aggregators.values()),
        eager=wants_loss,
        steps=steps,
    )
    made = Simulator(scenario, numbers, store, moved)
    held.append(weakref.ref(made))
    return made


def _both(first: Callable[[One, Other], None], second: Callable[[One, Other], None]) -> Callable[[One, Other], None]:
    """Tells the one and then the other."""

    def told(one: One, other: Other) -> None:
        first(one, other)
        second(one, other)

    return told


def patience(setting: Setting, sizes: Sizes) -> dict[str, float]:
    """Seconds that aggregators above devices wait for those they asked, if it need not be the default deadline.

    On a real network a node is told when a connection is lost. A device that drops out here is silent, and how long
    the others take at most is known.
    """
    fleet, local, leaves = setting.fleet, setting.local, setting.job.tree.names[-1]
    bounded = setting.job.tree.tiers[leaves].fixed_deadline is not None
    if bounded or not fleet.loses or overrides(setting.algorithm, "work"):  # A method may ask for any amount.
        return {}
    samples: list[int] = setting.task.data.sizes().tolist()
    most = max(setting.job.local.work or (1.0,))
    moments = TRACED if fleet.profile.traces is not None else (0.0,)
    between = sizes.of(leaves, sizes.update)
    slowest: dict[str, float] = {}
    for client, home in enumerate(setting.homes):
        passed = examples_of(local, samples[client], local.step_count(samples[client], most))
        down = max(fleet.down_seconds(client, between.down + sizes.frozen, at) for at in moments)
        up = max(fleet.up_seconds(client, between.up, at) for at in moments)
        seconds = down + fleet.train_seconds(client, passed, setting.task.cost) + up
        slowest[home] = max(seconds, slowest.get(home, 0.0))
    return {home: PATIENCE * seconds for home, seconds in slowest.items()}


def population_below(parents: Mapping[str, str | None], homes: list[str]) -> dict[str, int]:
    """How many devices are below each aggregator, by its name."""
    below = dict.fromkeys(parents, 0)
    for home in homes:
        below[home] += 1
    for name in reversed(list(parents)):
        parent = parents[name]
        if parent is not None:
            below[parent] += below[name]
    return below


def hello_of(setting: Setting, detailed: bool) -> Callable[[int], Hello]:
    """What devices say of themselves; the same thing for all where nobody asks for details."""
    plain = Hello()
    if not detailed:
        return lambda _: plain
    samples: list[int] = setting.task.data.sizes().tolist()
    fleet, local = setting.fleet, setting.local

    def hello(client: int) -> Hello:
        sub_model = setting.sub_model(client)
        cost = setting.task.cost if sub_model is None else sub_model.cost
        size = setting.task.shared.bytes if sub_model is None else sub_model.received
        passed = examples_of(local, samples[client], local.step_count(samples[client]))
        train = fleet.train_seconds(client, passed, cost)
        travel = fleet.down_seconds(client, size, 0.0) + fleet.up_seconds(client, size, 0.0)
        return Hello(1, samples[client], train + travel)

    return hello
