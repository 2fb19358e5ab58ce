"""What devices are asked beside the training: to judge a model, or a query; and what comes of their sums.

Simulation and network ask a device through :class:`Examiner`, and read the sums of all of them with
:func:`judgement_of`. Nothing here changes a model, or what a device keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fogline.aggregation.spread import COUNT, spread_of, spread_sums
from fogline.aggregation.tally import SurveySums
from fogline.algorithms import Algorithm, hooks
from fogline.algorithms import group as groups
from fogline.algorithms.device import LocalRound, opened, prepare
from fogline.algorithms.group import Down, GroupModel
from fogline.algorithms.phases import train_in_phases
from fogline.algorithms.private import where_kept, with_weights
from fogline.algorithms.sub_models import measured_names
from fogline.compute.statistics import measured_sums
from fogline.compute.surveys.queries import answer
from fogline.data import Examples, FederatedData
from fogline.jobs import Evaluation, Job
from fogline.jobs.planning import local_training, mix
from fogline.monitoring.record import Spread
from fogline.nodes.messages import Kind
from fogline.params import Params, Spec, State
from fogline.training.context import DeviceContext
from fogline.training.figures import metrics_of, sums_of, sums_of_outputs
from fogline.training.local import ClientJob
from fogline.training.task import Engine, Sums, Task
from fogline.user_code.bugs import PROGRAMMING, CodeError, attempt, blame, is_numeric

Keep = Callable[[Params, Params], None]
"""Told of the whole model that a device is judged with, and of the common one that it received."""

METRIC, NEW, COMMON, SAID = "metric/", "new/", "common/", "said/"
"""How the sums begin of all devices that judge, of those that never train, of the model received where devices are
judged with another, and, where an exchange adds up, of how many devices have a sum of that name."""
BETTER = "common/better"
"""Devices whose own model is at least as good on their examples as the one received."""
FORWARD = 1 / 3
"""Work of judging an example, as a share of that of training on it."""
DONE: Mapping[str, str] = {"evaluate": "judging the model", "measure": "measuring running statistics"}
"""What devices do, by kind of question."""
SURVEYED = 0x5EED
"""Sets what is drawn when a device fine-tunes apart from what is drawn when it trains."""


@dataclass(frozen=True, slots=True)
class Question:
    """What devices are asked."""

    kind: Kind
    round: int
    query: str = ""


@dataclass(frozen=True, slots=True)
class DeviceJudgement:
    """What devices found of a model."""

    metrics: dict[str, float]
    """The task's metrics over the examples of all devices together: every example weighs the same."""
    devices: Spread | None
    """The headline metric over devices: every device weighs the same."""
    fogs: Spread | None
    """The headline metric by aggregator above devices."""
    new: dict[str, float]
    """The task's metrics over devices that never train; empty if there are none."""
    common: Spread | None = None
    """The headline metric of the model received, over devices that are judged with another."""
    better: float = 0.0
    """Of these devices, how many do at least as well with the other."""
    received: Mapping[str, float] = field(default_factory=dict[str, float])
    """The task's metrics of the model received, over the examples of devices that are judged with another."""
    judged: int = 0
    """Devices that judged."""


LARGEST_SUM = 1e290
"""Of one device: a million million of them add up without an overflow."""


def judged_key(round_: int) -> str:
    """What stages know a model by that is to be judged after that round."""
    return f"judged@{round_}"


def judges_common(algorithm: Algorithm, evaluation: Evaluation) -> bool:
    """Whether a device judges the model received beside the one that it is judged with: where there are two."""
    another = type(algorithm).judge is not Algorithm.judge or changes_outputs(algorithm)
    return (another or evaluation.fine_tune is not None) and where_kept(algorithm) is None


def changes_outputs(algorithm: Algorithm) -> bool:
    """Whether devices are judged by other outputs than those of a model."""
    return type(algorithm).judged_outputs is not Algorithm.judged_outputs


class UnansweredError(ValueError):
    """A device cannot answer; a sentence."""


def task_to_judge(task: Task, job: Job) -> Task:
    """The task as it trains in a job: where devices judge, without what they judge on."""
    if not job.evaluation.on_devices:
        return task
    return task.on(task.data.with_parts_held_out(job.evaluation.share, job.seed))


def model_to_judge(algorithm: Algorithm, spec: Spec, group: GroupModel) -> Down:
    """What devices get that are to judge a group's model: the model as it is handed out, and what comes beside it."""
    params = groups.evaluation_model(algorithm, spec, group)
    return Down(params.vector, params.counters, groups.send_down(algorithm, group).received)


class Examiner:
    """Answers for devices.

    Args:
        task: model and data, as it trains.
        algorithm: the method.
        job: what is asked.
        engine: gives what trains, for who fine-tunes; asked with the job of a device as it came.
        node: the one device's name that it answers for; empty: devices are called what the data calls them.
    """

    def __init__(
        self, task: Task, algorithm: Algorithm, job: Job, engine: Callable[[ClientJob], Engine], node: str = ""
    ) -> None:
        self._task = task
        self._algorithm = algorithm
        self._job = job
        self._engine = engine
        self._node = node

    def answer(
        self, question: Question, client: str, down: Down, local: State, keep: Keep = lambda own, common: None
    ) -> Sums:
        """A device's sums.

        Args:
            question: what it is asked.
            client: whose examples it has.
            down: the model, and what came beside it.
            local: the vectors that the method keeps on the device.
            keep: where it has judged a model: told of it.

        Raises:
            UnansweredError: it has no answer, or one that is not finite.
            CodeError: the code of the task, the method or the query is wrong.
        """
        what = f"query '{question.query}'" if question.kind == "query" else DONE[question.kind]
        sums = attempt(lambda: self._answer(question, client, down, local, keep))
        if isinstance(sums, UnansweredError):
            raise sums
        if isinstance(sums, CodeError):
            if isinstance(sums.__cause__, Exception) and is_numeric(sums.__cause__):
                raise UnansweredError(f"{what} on client '{client}': {sums.plain}") from sums
            raise sums.at(f"Client '{client}'")
        if isinstance(sums, PROGRAMMING):
            raise blame(f"{what} on client '{client}'", sums)
        if isinstance(sums, Exception):
            raise UnansweredError(str(blame(f"{what} on client '{client}'", sums))) from sums
        bad = next((name for name, value in sums.items() if not abs(value) <= LARGEST_SUM), None)
        if bad is not None:
            raise UnansweredError(
                f"{what} on client '{client}' gives '{bad}' as {sums[bad]:g}; sums go up to {LARGEST_SUM:g}"
            )
        return sums

    def _answer(self, question: Question, client: str, down: Down, local: State, keep: Keep) -> Sums:
        if question.kind == "query":
            if client in self._task.data.held_out:
                raise UnansweredError(f"client '{client}' never trains, and queries are of the examples that train")
            return answer(question.query, self._task.data[client])
        if question.kind == "measure":
            return self._measured(question, client, down)
        try:
            examples = self._task.data.judged(client)
        except ValueError as error:
            raise UnansweredError(str(error)) from error
        judged = self._model_of(question, client, down, local)
        if changes_outputs(self._algorithm) and client in self._task.data.clients:
            sums = self._judged_by_outputs(client, examples, judged)
        else:
            sums = self._judged(client, examples, judged.start, judged.counters)
        received = opened(self._task, ClientJob(0, down.vector, down.counters, 0, 0.0, 0))
        found = {f"{METRIC}{name}": value for name, value in sums.items()} | self._shares(client, sums)
        if judges_common(self._algorithm, self._job.evaluation) and client in self._task.data.clients:
            common = self._judged(client, examples, received.start, received.counters)
            found |= self._beside(client, sums, common)
        spec = self._task.spec
        keep(Params(spec, judged.start, judged.counters), Params(spec, received.start, received.counters))
        return found

    def _measured(self, question: Question, client: str, down: Down) -> Sums:
        """The running statistics of the model received, over what the device trains on."""
        task, clients = self._task, list(self._task.data.clients)
        if client not in clients:
            raise UnansweredError(f"client '{client}' never trains, and running statistics are of examples that train")
        place, names = clients.index(client), measured_names(self._algorithm, task)
        whole = opened(task, ClientJob(place, down.vector, down.counters, 0, 0.0, 0))
        params, examples = Params(task.spec, whole.start, whole.counters), task.data.at(place)
        seed = mix(self._job.seed, place, question.round, SURVEYED)
        return measured_sums(task, names, params, examples, self._job.local.batch_size, seed)

    def _beside(self, client: str, own: Sums, common: Sums) -> Sums:
        """What one device adds to the common model's figures, and to their spread."""
        figures = [self._figure(client, sums) for sums in (own, common)]
        better = figures[0] >= figures[1] if self._task.higher_is_better else figures[0] <= figures[1]
        received = {f"{METRIC}{name}": value for name, value in common.items()} | spread_sums(figures[1])
        return {f"{COMMON}{name}": value for name, value in received.items()} | {BETTER: float(better)}

    def _judged(self, client: str, examples: Examples, vector: np.ndarray, counters: np.ndarray) -> Sums:
        return self._checked(client, sums_of(self._task, Params(self._task.spec, vector, counters), examples))

    def _judged_by_outputs(self, client: str, examples: Examples, judged: ClientJob) -> Sums:
        device = DeviceContext(self._task, judged)
        outputs = device.outputs_at(device.model, examples)
        changed = hooks.judged_outputs(self._algorithm, outputs, examples, device)
        return self._checked(client, sums_of_outputs(self._task, changed, examples))

    def _checked(self, client: str, sums: Sums) -> Sums:
        if not sums.get("count", 1.0):
            raise UnansweredError(f"none of the targets of client '{client}' has a truth")
        bad = next((name for name, value in sums.items() if not math.isfinite(value)), None)
        if bad is not None:
            raise UnansweredError(f"judging the model on client '{client}' gives a {bad} that is not finite")
        return sums

    def _shares(self, client: str, sums: Sums) -> Sums:
        """What one device adds to the spread over devices, and to the figures of those that never train."""
        figure = self._figure(client, sums)
        new = {} if client in self._task.data.clients else {f"{NEW}{name}": value for name, value in sums.items()}
        return new | spread_sums(figure)

    def _figure(self, client: str, sums: Sums) -> float:
        figure = metrics_of(self._task, sums).get(self._task.headline, math.nan)
        if not math.isfinite(figure):
            raise UnansweredError(f"the {self._task.headline} of client '{client}' is not finite")
        return figure

    def _model_of(self, question: Question, client: str, down: Down, local: State) -> ClientJob:
        """A device's job whose start is what it is judged with: the model received, what its method says, or that after
        some training.

        A device that never trains has nothing that a method could go by.
        """
        task, clients = self._task, list(self._task.data.clients)
        trains = client in clients
        if not trains and not self._algorithm.global_model:
            raise UnansweredError(f"client '{client}' never trains, and so has no model of its own")
        place = clients.index(client) if trains else 0
        seed = mix(self._job.seed, place, question.round, SURVEYED)
        asked = ClientJob(
            place, down.vector, down.counters, 0, 0.0, seed, local, down.received, question.round, node=self._node
        )
        if trains and self._job.evaluation.fine_tune is not None:
            return self._fine_tuned(question, asked)
        whole = opened(task, asked)
        if not trains or type(self._algorithm).judge is Algorithm.judge:
            return whole
        judged = hooks.judge(self._algorithm, DeviceContext(task, whole))
        return replace(whole, start=with_weights(task, whole.start, judged))

    def _fine_tuned(self, question: Question, asked: ClientJob) -> ClientJob:
        """The device's model after some training from the one received, as its method trains."""
        fine_tune, task, job = self._job.evaluation.fine_tune, self._task, self._job
        assert fine_tune is not None
        training = local_training(job).model_copy(update={"epochs": fine_tune.epochs, "steps": None})
        steps = training.step_count(task.data.at(asked.client).count)
        rate = fine_tune.learning_rate or training.rate(question.round, job.rounds)
        asked = replace(asked, steps=steps, learning_rate=rate, round=0)
        ready = prepare(self._algorithm, task, asked)
        if isinstance(ready, LocalRound):
            raise UnansweredError(ready.failure or "")
        done, _ = train_in_phases(self._engine(asked), self._algorithm, task, [ready], [None], "fine_tune")[0]
        if done.failure is not None:
            raise UnansweredError(done.failure)
        return replace(ready, start=done.end, counters=done.counters, model=None)


def answers_of(
    examiner: Examiner, question: Question, down: Down, clients: Sequence[str], locals_: Mapping[str, State]
) -> list[tuple[Sums, str]]:
    """Devices' answers in order: sums, or why there are none.

    Raises:
        CodeError: the code of the task, the method or the query cannot, whatever the data.
    """
    answers: list[tuple[Sums, str]] = []
    for client in clients:
        try:
            answers.append((examiner.answer(question, client, down, locals_.get(client, {})), ""))
        except UnansweredError as error:
            answers.append(({}, str(error)))
    return answers


def judgement_of(task: Task, tally: SurveySums) -> DeviceJudgement:
    """What the sums of all devices say of a model."""
    sums = _said(tally.sums)
    metrics, new, common = metrics_of(task, _under(METRIC, sums)), _under(NEW, sums), _under(COMMON, sums)
    received = metrics_of(task, told) if (told := _under(METRIC, common)) else {}
    held_out, better = metrics_of(task, new) if new else {}, sums.get(BETTER, 0.0)
    spreads, judged = (_devices(task, sums), _fogs(task, tally)), round(sums.get(COUNT, 0.0))
    return DeviceJudgement(metrics, *spreads, held_out, _devices(task, common), better, received, judged)


def _said(sums: Sums) -> Sums:
    """Without those that no device has: where an exchange adds up, every name is there, with 0."""
    return {name: value for name, value in sums.items() if sums.get(f"{SAID}{name}", 1.0) > 0.5}


def _devices(task: Task, sums: Sums) -> Spread | None:
    spread = spread_of(sums, task.higher_is_better)
    return None if spread is None else Spread(spread.mean, spread.worst_decile, spread.std, bins=spread.bins)


def _fogs(task: Task, tally: SurveySums) -> Spread | None:
    told = {name: _under(METRIC, _said(part)) for name, part in sorted(tally.parts.items())}
    parts = {name: metrics_of(task, part)[task.headline] for name, part in told.items()}
    if not parts:
        return None
    ordered = sorted(parts.values(), reverse=not task.higher_is_better)
    worst, mean = ordered[: max(1, len(ordered) // 10)], sum(ordered) / len(ordered)
    std = math.sqrt(sum((value - mean) ** 2 for value in ordered) / len(ordered))
    return Spread(mean, sum(worst) / len(worst), std, parts)


def row_of(judgement: DeviceJudgement, evaluation: Evaluation) -> dict[str, float]:
    """What devices found, as a round's row has it: ``devices/…`` and, by aggregator, ``at/NAME``. Where they alone
    judge, their metrics are the model's."""
    row = {} if evaluation.at_cloud else dict(judgement.metrics)
    row |= {f"devices/{name}": value for name, value in judgement.metrics.items()}
    spread = judgement.devices
    if spread is not None:
        row |= {"devices/mean": spread.mean, "devices/worst_decile": spread.worst_decile, "devices/std": spread.std}
    row |= {"devices/judged": float(judgement.judged)} if judgement.judged else {}
    row |= {f"common/{name}": value for name, value in judgement.received.items()}
    common = judgement.common
    if common is not None:
        row |= {"common/mean": common.mean, "common/worst_decile": common.worst_decile, "common/std": common.std}
        row["common/better"] = judgement.better
    row |= {f"new/{name}": value for name, value in judgement.new.items()}
    fogs = {} if judgement.fogs is None or judgement.fogs.count == 1 else judgement.fogs.values
    return row | {f"at/{name}": value for name, value in fogs.items()}


def homes_of_held_out(data: FederatedData, leaves: list[str]) -> dict[str, str]:
    """The aggregator above each device that never trains: in turn."""
    return {client: leaves[i % len(leaves)] for i, client in enumerate(data.held_out)}


def _under(prefix: str, sums: Mapping[str, float]) -> Sums:
    return {name.removeprefix(prefix): value for name, value in sums.items() if name.startswith(prefix)}
