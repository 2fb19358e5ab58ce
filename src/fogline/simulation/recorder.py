"""Follows a run: judges the model, keeps the history, writes checkpoints, decides when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from fogline.aggregation.tally import SurveySums
from fogline.algorithms import group as groups
from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import Down, GroupModel
from fogline.algorithms.private import where_kept
from fogline.algorithms.sub_models import measured_names
from fogline.compute.statistics import with_statistics
from fogline.compute.surveys.queries import figures
from fogline.compute.surveys.survey import DeviceJudgement, Question, judgement_of, model_to_judge, row_of
from fogline.jobs.protection.budget import Account, account_of
from fogline.monitoring.history import Attendance, TargetMetric, reached, should_stop
from fogline.monitoring.result import Reached, Result, Row
from fogline.nodes.effects import Move, RoundDevices
from fogline.nodes.messages import Kind
from fogline.params import Params
from fogline.simulation.callbacks import OnRound, ends_after
from fogline.simulation.executors import Executor
from fogline.simulation.setup import Setting
from fogline.simulation.simulator import Simulator
from fogline.simulation.surveys.survey import Surveys
from fogline.simulation.tree_watch import TreeWatch
from fogline.simulation.values import LazyValue, Training
from fogline.training.figures import metrics_of, sums_of
from fogline.training.metrics import class_metrics
from fogline.training.task import Sums
from fogline.user_code.bugs import sure


class RoundListener(Protocol):
    """Told of every round as it ends: a progress display, a run folder."""

    def round(self, row: Row) -> None:
        """Take note of a round of the root that has ended."""
        ...


@dataclass
class Recorder:
    """One run's history.

    ``on_round`` are told of every row, ``on_note`` of what people should know; ``checkpoint`` writes one after a round.
    ``callback`` is the developer's: it may end the run.
    """

    setting: Setting
    executor: Executor
    on_round: list[Callable[[Row], None]]
    on_note: Callable[[str], None]
    callback: OnRound | None = None
    checkpoint: Callable[[int], None] | None = None
    history: list[Row] = field(default_factory=list)
    resume_at: int = -1
    """Last round of the past that a resumed run repeats."""
    on_resumed: Callable[[], None] | None = None
    simulator: Simulator = field(init=False)
    watch: TreeWatch | None = None
    """Shows how the nodes stand, where the run has a folder."""
    surveys: Surveys | None = None
    """Asks devices, where they judge."""
    queries: dict[str, dict[str, float]] = field(default_factory=dict)
    """What devices answered."""
    judgement: DeviceJudgement | None = None
    """What devices found last."""
    group: LazyValue | None = None
    _began: float = field(default_factory=time.perf_counter)
    _losses: list[tuple[float, int]] = field(default_factory=list)
    _steps: int = 0
    attendance: Attendance = field(default_factory=Attendance)
    _round_devices: RoundDevices = field(default_factory=RoundDevices)
    _wall_before: float = 0.0
    _last_round: int = -1
    _judged_in: int = -1
    _measured_in: int = -1
    _statistics: Mapping[str, float] | None = None
    """What devices measured last of the model's running statistics."""

    @cached_property
    def _account(self) -> Account | None:
        """What the run gives away; None where that is not counted."""
        return account_of(self.setting.job, self.setting.algorithm, self.setting.task.data)

    def trained(self, training: Training, done: LocalRound) -> None:
        """A device's local round was computed."""
        if self.watch is not None:
            self.watch.trained(training)
        if done.failure is None:
            self._losses.append((done.loss, done.samples))
            self._steps += training.plan.steps

    def moved(self, move: Move, group: LazyValue) -> None:
        """Take note that the root's model has moved: judge it, and write the round's row."""
        self.group = group
        devices = self._round_devices.saw(move)
        if not move.final:
            return
        self.simulator.force(group)
        self._last_round = move.round
        if move.round <= self.resume_at:
            self._repeat_survey(move.round)
            if move.round == self.resume_at:
                self._wall_before = self.history[-1]["wall"] if self.history else 0.0
                if self.on_resumed is not None:
                    self.on_resumed()
            return
        row = self._row(move.round, devices)
        self.history.append(row)
        for tell in self.on_round:
            tell(row)
        if self.watch is not None:
            self.watch.moved(move.round)
        if warning := self.attendance.saw(row):
            self.on_note(warning)
        ends = should_stop(self.history, self.setting.job.evaluation, self._goal)
        if self.callback is not None:
            ends = ends_after(self.callback, row, self.params, group.result.state) or ends
        every, done = self.setting.job.checkpoint_every, move.round + 1
        # Also after the last round, so that the run can be given more.
        if self.checkpoint is not None and every is not None and (ends or not done % every or self._is_last(done)):
            self.checkpoint(move.round)
        if ends:
            self.simulator.halt()

    def _repeat_survey(self, round_index: int) -> None:
        """A resumed run repeats its past: what devices were asked cost bytes and energy."""
        done, evaluation = round_index + 1, self.setting.job.evaluation
        if done % evaluation.every:
            return
        if self.measured:
            self._survey(round_index, "measure", replaying=True)
        if evaluation.on_devices:
            self._survey(round_index, replaying=True)

    @property
    def params(self) -> Params:
        """The global model as it is judged at the cloud and handed out: without what each device has of its own."""
        setting = self.setting
        if self.group is None:
            return setting.handed_out(setting.shared)
        group = self._with_statistics(self.group)
        return setting.handed_out(groups.evaluation_model(setting.algorithm, setting.task.shared, group))

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """The running statistics that devices measure of a model before it is judged or handed out."""
        return measured_names(self.setting.algorithm, self.setting.task)

    def _with_statistics(self, value: LazyValue) -> GroupModel:
        """The root's group, with the running statistics that devices have measured."""
        self.simulator.store.force([value])
        group: GroupModel = value.result
        if self._statistics is None:
            return group
        return with_statistics(self.setting.task.shared, self.measured, group, self._statistics)

    def _measure(self, round_index: int) -> None:
        """Have devices measure the model's running statistics, where the method has them from there."""
        if not self.measured:
            return
        tally = self._survey(round_index, "measure")
        self._measured_in = round_index
        if tally is None:
            self.on_note(f"Round {round_index + 1}: too few devices measured the model's running statistics.")
        else:
            self._statistics = tally.sums

    def _row(self, round_index: int, devices: int) -> Row:
        traffic, job = self.simulator.traffic, self.setting.job
        row: Row = {
            "round": round_index + 1,
            "seconds": self.simulator.now,
            "wall": self._wall_before + time.perf_counter() - self._began,
            "joules": traffic.joules,
            "updates": len(self._losses),
            "steps": self._steps,
            "devices": devices,
        }
        if self._account is not None and (known := self._account.epsilon(round_index + 1)) is not None:
            row["epsilon"] = known
        for tier in job.tree.names:
            row[f"down/{tier}"] = traffic.down[tier]
            row[f"up/{tier}"] = traffic.up[tier]
        told = [(loss, n) for loss, n in self._losses if not math.isnan(loss)]
        weight = sum(samples for _, samples in told)
        # Losses are of single devices, and no noise is on them.
        hidden = self.setting.job.privacy is not None or not weight
        row["train_loss"] = math.nan if hidden else sum(loss * n for loss, n in told) / weight
        self._losses, self._steps = [], 0
        row |= traffic.mishaps.counts
        if self.group is not None:
            row |= self.group.result.metrics
        evaluation = self.setting.job.evaluation
        done = round_index + 1
        if not self.queries:
            self._ask_queries(round_index)
        if done % evaluation.every == 0 or self._is_last(done):
            self._measure(round_index)
        if done % evaluation.every == 0 or self._is_last(done):
            row |= self._judge_at_cloud()
            if evaluation.on_devices:
                row |= self._judge_on_devices(round_index)
        return row

    def _is_last(self, rounds: int) -> bool:
        return rounds == self.setting.job.rounds

    def _judge_at_cloud(self) -> dict[str, float]:
        """Metrics of the global model on the common test set, if that is to judge."""
        task = self.setting.task
        if task.data.test is None or not self.setting.job.evaluation.at_cloud:
            return {}
        return metrics_of(task, self.executor.evaluate(self.params, [None])[0].sums) | self._attack_success()

    def _attack_success(self) -> dict[str, float]:
        """How often the model does what a backdoor wants, where there is one."""
        task, triggered = self.setting.task, self.setting.triggered
        if triggered is None or not triggered.count:
            return {}
        params = self.params
        sums = sure("judging the attack", lambda: sums_of(task, params, triggered))
        return {"attack_success": class_metrics(sums).get("accuracy", math.nan)}

    def _judge_on_devices(self, round_index: int) -> dict[str, float]:
        """What devices find of the global model."""
        tally = self._survey(round_index)
        self._judged_in = round_index
        self.judgement = None if tally is None else judgement_of(self.setting.task, tally)
        return {} if self.judgement is None else row_of(self.judgement, self.setting.job.evaluation)

    def _ask_queries(self, round_index: int) -> None:
        """What the job wants to know of devices' examples: asked once."""
        nothing = Down(np.zeros(0, np.float32), np.zeros(0, np.int64))
        for query in self.setting.job.queries:
            assert self.surveys is not None
            tally = self.surveys.ask(Question("query", round_index, query), nothing, self.simulator.now)
            self.queries[query] = {} if tally is None else figures(query, tally.sums)

    def _survey(self, round_index: int, kind: Kind = "evaluate", replaying: bool = False) -> SurveySums | None:
        assert self.surveys is not None
        setting, simulator, group = self.setting, self.simulator, self.group
        assert group is not None
        if replaying:
            down = Down(setting.shared.vector, setting.shared.counters)
        else:
            down = model_to_judge(setting.algorithm, setting.task.shared, self._with_statistics(group))
            staging = simulator.store.staging
            down = down if staging is None else staging.judged(round_index, down)
        return self.surveys.ask(Question(kind, round_index), down, simulator.now, replaying)

    def reached(self) -> Reached | None:
        """What it took to reach the target; None if there is none or it was not reached."""
        return reached(self.history, self.setting.job.evaluation, self._goal)

    @property
    def _goal(self) -> TargetMetric:
        return TargetMetric(self.setting.task.headline, self.setting.task.higher_is_better)

    def result(self) -> Result:
        """The run as it ended."""
        task, job = self.setting.task, self.setting.job
        if self._measured_in != self._last_round:
            self._measure(self._last_round)
        metrics = self._judge_at_cloud()
        if job.evaluation.on_devices and self._judged_in != self._last_round:
            self._judge_on_devices(self._last_round)  # The last rounds did not count, or were not to be judged.
        found = self.judgement
        if found is not None and not job.evaluation.at_cloud:
            metrics = found.metrics
        traffic = self.simulator.traffic
        return Result(
            job=job,
            headline=task.headline,
            params=self.params,
            history=self.history,
            metrics=metrics,
            fogs=None if found is None else found.fogs,
            devices=None if found is None else found.devices,
            common=None if found is None else found.common,
            held_out=self._held_out() if found is None else found.new,
            reached=self.reached(),
            counts=dict(traffic.mishaps.counts),
            reasons=dict(traffic.mishaps.reasons),
            wall=self._wall_before + time.perf_counter() - self._began,
            units=dict(task.units),
            queries=self.queries,
            higher_is_better=task.higher_is_better,
            malicious=() if self.setting.adversary is None else self.setting.adversary.nodes,
            cut_off=dict(traffic.mishaps.cut_off),
            lost_rounds=self.simulator.rounds_lost,
        )

    def _held_out(self) -> dict[str, float]:
        task = self.setting.task
        if not task.data.held_out or where_kept(self.setting.algorithm) is not None:
            return {}
        total: dict[str, float] = {}
        for sums in self._judged(list(task.data.held_out)).values():
            for name, value in sums.items():
                total[name] = total.get(name, 0.0) + value
        return metrics_of(task, total) if total else {}

    def _judged(self, clients: list[str]) -> dict[str, Sums]:
        """Sums of the clients on whose data the model can be judged; the others are counted, with the reason."""
        judged = dict(zip(clients, self.executor.evaluate(self.params, clients), strict=True))
        for one in judged.values():
            if one.why:
                self.simulator.traffic.mishaps.count("not judged", why=one.why)
        return {client: one.sums for client, one in judged.items() if not one.why}
