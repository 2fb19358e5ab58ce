"""Surveys under losses, partitions and crashes: what is asked beside the training, by the nodes that ask it.

The tree, its limits and its faults are those of the seed's plan; the root is asked one question after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fogline.exchanges import Exchange
from fogline.jobs import Tier
from fogline.nodes import Aggregator, AggregatorRole, Device
from fogline.nodes.effects import Effect, Examine
from fogline.nodes.events import Halt, Trained
from fogline.nodes.messages import HERE, SUMMED, Key, Kind, Message, Receipt, Report, Work
from fogline.nodes.traits import AlgorithmTraits
from fogline.simulation.faults.checks import Contributions, InvariantError, value_of
from fogline.simulation.faults.machines import Happening, Parcel, SeedOutcome, SimulatedMachine
from fogline.simulation.faults.plan import POLL, FaultPlan, Where, draw_plan
from fogline.simulation.faults.world import World

QUESTIONS = 4
AGAIN = 2.0
"""Seconds after which the root is asked again, in case that it has crashed."""


def draw_survey_plan(seed: int, steps: int = 0, where: Where = "devices") -> FaultPlan:
    """The scenario of a seed, as one in which nobody trains.

    Args:
        seed: of the scenario.
        steps: of the exchange in which nodes answer.
        where: who has it with those above: devices, or aggregators too.
    """
    plan = draw_plan(seed)
    inner = {role.parent for role in plan.roles.values()}
    asking = {name: steps for name in plan.roles if name not in inner or where == "everywhere"}
    roles = {name: _asking(role, name not in inner, asking) for name, role in plan.roles.items()}
    return replace(plan, roles=roles)


def _asking(role: AggregatorRole, lowest: bool, steps: Mapping[str, int]) -> AggregatorRole:
    return replace(
        role,
        tier=Tier(cohort=role.tier.cohort, quorum=role.tier.quorum),
        traits=AlgorithmTraits(),
        rounds=1,
        lowest=lowest,
        join_window=0.0,
        steps=steps.get(role.name, 0),
        demands=steps.get(role.parent or HERE, 0),
        exchanged=SUMMED,
    )


class SurveyWorld(World):
    """One run of a plan in which the root is asked :data:`QUESTIONS` questions.

    A contribution is a device with the question that it answered.

    Args:
        plan: the scenario.
        kinds: what is asked, in turn. With an exchange, all of it but ``measure`` is answered in its steps.
        aggregator: the machine of aggregators,
        device: and that of devices.
        exchange: in which devices answer.
        tell: is told what happens.
    """

    beside = True

    def __init__(
        self,
        plan: FaultPlan,
        *,
        kinds: Sequence[Kind] = ("evaluate",),
        aggregator: type[Aggregator] = Aggregator,
        device: type[Device] = Device,
        exchange: Exchange | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(plan, aggregator=aggregator, device=device, exchange=exchange, tell=tell)
        self._bound += QUESTIONS * (plan.root.deadline * 2 + POLL)
        self._kinds = kinds
        self._answers: dict[int, Contributions | None] = {}
        self._asked: dict[tuple[str, Key], int] = {}
        """Which question a device's answer is to."""

    def _role(self, name: str) -> AggregatorRole | None:
        role = super()._role(name)
        return replace(role, parent=HERE) if role is not None and role.parent is None else role

    def _schedule(self) -> None:
        super()._schedule()
        self._push(0.0, self.plan.root.name, "ask")

    def _happen(self, name: str, machine: SimulatedMachine, happening: Happening, serial: int) -> None:
        if happening == "ask":
            self._ask(name, machine)
        else:
            super()._happen(name, machine, happening, serial)

    def _ask(self, name: str, machine: SimulatedMachine) -> None:
        """Ask what has no answer yet, until all have one."""
        question = len(self._answers)
        if question == QUESTIONS:
            if machine.node is not None and machine.node.over:
                return
            if machine.node is not None:
                self._handle(name, Halt())
        elif machine.node is not None:
            kind = self._kinds[question % len(self._kinds)]
            work = Work(question, f"{name}?{question}", question, kind, f"q{question}" if kind == "query" else "")
            super()._happen(name, machine, Parcel(HERE, work, ()), 0)
        self._push(self.now + AGAIN, name, "ask")

    def _made(self, name: str, event: Trained) -> Contributions:
        return ((name, self._asked[name, event.update]),)

    def _hides(self, name: str) -> bool:
        node = self.machines[name].node
        return isinstance(node, Aggregator) and node.ledger.has_steps

    def _carry_out(self, name: str, machine: SimulatedMachine, effect: Effect) -> None:
        if isinstance(effect, Examine):
            self._asked[name, effect.update] = effect.round
        super()._carry_out(name, machine, effect)

    def _send(self, name: str, machine: SimulatedMachine, to: str, message: Message) -> None:
        if to != HERE:
            super()._send(name, machine, to, message)
            return
        assert isinstance(message, Report)
        value = None if message.update is None else value_of(machine.store, name, message.update)
        if value is not None:
            self._check(message, value)
        if self._answers.setdefault(message.task, value) != value:
            raise InvariantError("forged", f"the answer to question {message.task} changed after it was given")
        self._push(self.now + self._random.uniform(0.0, 0.5), name, Parcel(HERE, Receipt(message.task, True), None))

    def _check(self, report: Report, value: Contributions) -> None:
        for (device, question), times in Counter(value).items():
            if question != report.task:
                raise InvariantError("twice", f"the answer to question {report.task} has {device}'s to {question}")
            if times > 1:
                raise InvariantError("twice", f"{device} is {times} times in the answer to question {question}")
        if any(device == "forger" for device, _ in value):
            raise InvariantError("forged", f"the answer to question {report.task} has one that an impostor sent")
        devices, minimum = len(value), self.plan.root.minimum
        if devices < minimum:
            raise InvariantError("few", f"question {report.task} was answered by {devices}; the minimum is {minimum}")
        # Who fell silent after its answer was in the sum has not reported.
        if report.devices > devices or (report.devices < devices and self._exchange is None):
            raise InvariantError("lost", f"the answer to {report.task} is of {devices} and says {report.devices}")

    def _close(self, root: str) -> SeedOutcome:
        if self._done_at is None or len(self._answers) < QUESTIONS:
            raise InvariantError("hang", f"nothing happens any more after {len(self._answers)} answers")
        for name, machine in self.machines.items():
            if isinstance(machine.node, Device) and machine.node.outbox.reports:
                raise InvariantError("hang", f"{name} still waits for a receipt, and nothing happens any more")
        answered = sum(value is not None for value in self._answers.values())
        digest = self._trace.hexdigest()
        return SeedOutcome(self.plan.seed, answered, self._events, self._crashes, self._lost, self._done_at, digest)


def run_survey(
    seed: int,
    *,
    kinds: Sequence[Kind] = ("evaluate",),
    aggregator: type[Aggregator] = Aggregator,
    device: type[Device] = Device,
    exchange: Exchange | None = None,
    where: Where = "devices",
    tell: Callable[[str], None] | None = None,
) -> SeedOutcome:
    """Run the surveys of a seed; ``rounds`` of the outcome are the questions that had an answer.

    Raises:
        InvariantError: something happened that must not.
    """
    plan = draw_survey_plan(seed, 0 if exchange is None else len(exchange.steps), where)
    world = SurveyWorld(plan, kinds=kinds, aggregator=aggregator, device=device, exchange=exchange, tell=tell)
    return world.run()
