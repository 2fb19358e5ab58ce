"""Follows a run: judges the model, keeps the history, writes checkpoints, decides when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fogline.algorithms import group as groups
from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import GroupModel
from fogline.monitoring.history import Attendance, TargetMetric, reached, should_stop
from fogline.monitoring.result import Reached, Result, Row, Spread
from fogline.nodes.effects import Move, RoundDevices
from fogline.params import Params
from fogline.simulation.callbacks import OnRound, ends_after
from fogline.simulation.executors import Executor
from fogline.simulation.setup import Setting
from fogline.simulation.simulator import Simulator
from fogline.simulation.values import LazyValue, Training
from fogline.training.bugs import CodeError
from fogline.training.task import Sums

MOST_DEVICES = 2000
"""Devices that are judged one by one at the end; of more, every k-th."""


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
    group: LazyValue | None = None
    _began: float = field(default_factory=time.perf_counter)
    _losses: list[tuple[float, int]] = field(default_factory=list)
    _steps: int = 0
    attendance: Attendance = field(default_factory=Attendance)
    _round_devices: RoundDevices = field(default_factory=RoundDevices)
    _wall_before: float = 0.0

    def trained(self, training: Training, done: LocalRound) -> None:
        """A device's local round was computed."""
        if done.failure is None:
            self._losses.append((done.loss, done.samples))
            self._steps += training.steps

    def moved(self, move: Move, group: LazyValue) -> None:
        """Take note that the root's model has moved: judge it, and write the round's row."""
        self.group = group
        devices = self._round_devices.saw(move)
        if not move.final:
            return
        self.simulator.force(group)
        if move.round <= self.resume_at:
            if move.round == self.resume_at:
                self._wall_before = self.history[-1]["wall"] if self.history else 0.0
                if self.on_resumed is not None:
                    self.on_resumed()
            return
        row = self._row(move.round, devices)
        self.history.append(row)
        for tell in self.on_round:
            tell(row)
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

    @property
    def params(self) -> Params:
        """The global model as it is judged."""
        if self.group is None:
            return self.setting.initial
        self.simulator.store.force([self.group])
        group: GroupModel = self.group.result
        return groups.evaluation_model(self.setting.algorithm, self.setting.task.spec, group)

    def _row(self, round_index: int, devices: int) -> Row:
        traffic = self.simulator.traffic
        row: Row = {
            "round": round_index + 1,
            "seconds": self.simulator.now,
            "wall": self._wall_before + time.perf_counter() - self._began,
            "joules": traffic.joules,
            "updates": len(self._losses),
            "steps": self._steps,
            "devices": devices,
        }
        for tier in self.setting.job.tree.names:
            row[f"down/{tier}"] = traffic.down[tier]
            row[f"up/{tier}"] = traffic.up[tier]
        weight = sum(samples for _, samples in self._losses)
        row["train_loss"] = sum(loss * n for loss, n in self._losses) / weight if weight else math.nan
        self._losses, self._steps = [], 0
        row |= traffic.mishaps.counts
        evaluation = self.setting.job.evaluation
        done = round_index + 1
        if self.setting.task.data.test is not None and (done % evaluation.every == 0 or self._is_last(done)):
            row |= self.judge()
        return row

    def _is_last(self, rounds: int) -> bool:
        return rounds == self.setting.job.rounds

    def judge(self) -> dict[str, float]:
        """Metrics of the global model on the test set."""
        return self.setting.task.metrics(self.executor.evaluate(self.params, [None])[0].sums)

    def reached(self) -> Reached | None:
        """What it took to reach the target; None if there is none or it was not reached."""
        return reached(self.history, self.setting.job.evaluation, self._goal)

    @property
    def _goal(self) -> TargetMetric:
        return TargetMetric(self.setting.task.headline, self.setting.task.higher_is_better)

    def result(self) -> Result:
        """The run as it ended."""
        task, job = self.setting.task, self.setting.job
        metrics = self.judge() if task.data.test is not None else {}
        fogs, devices = self._by_device() if job.evaluation.devices else (None, None)
        traffic = self.simulator.traffic
        return Result(
            job=job,
            headline=task.headline,
            params=self.params,
            history=self.history,
            metrics=metrics,
            fogs=fogs,
            devices=devices,
            held_out=self._held_out(),
            reached=self.reached(),
            counts=dict(traffic.mishaps.counts),
            reasons=dict(traffic.mishaps.reasons),
            wall=self._wall_before + time.perf_counter() - self._began,
            units=dict(task.units),
            higher_is_better=task.higher_is_better,
        )

    def _by_device(self) -> tuple[Spread | None, Spread | None]:
        task, homes = self.setting.task, self.setting.homes
        names = list(task.data.clients)
        stride = -(-len(names) // MOST_DEVICES)
        judged = self._judged(names[::stride])
        if not judged:  # What fails on all of them is no client's fault.
            raise CodeError(self.simulator.traffic.mishaps.reasons["not judged"])
        by_fog: dict[str, dict[str, float]] = {}
        for i in range(0, len(names), stride):
            one = judged.get(names[i])
            if one is None:
                continue
            fog = by_fog.setdefault(homes[i], {})
            for name, value in one.items():
                fog[name] = fog.get(name, 0.0) + value
        headline = {name: task.metrics(one)[task.headline] for name, one in judged.items()}
        fogs = {fog: task.metrics(total)[task.headline] for fog, total in sorted(by_fog.items())}
        higher = task.higher_is_better
        return Spread.of(fogs, higher), Spread.of(headline, higher)

    def _held_out(self) -> dict[str, float]:
        task = self.setting.task
        if not task.data.held_out:
            return {}
        total: dict[str, float] = {}
        for sums in self._judged(list(task.data.held_out)).values():
            for name, value in sums.items():
                total[name] = total.get(name, 0.0) + value
        return task.metrics(total) if total else {}

    def _judged(self, clients: list[str]) -> dict[str, Sums]:
        """Sums of the clients on whose data the model can be judged; the others are counted, with the reason."""
        judged = dict(zip(clients, self.executor.evaluate(self.params, clients), strict=True))
        for one in judged.values():
            if one.why:
                self.simulator.traffic.mishaps.count("not judged", why=one.why)
        return {client: one.sums for client, one in judged.items() if not one.why}
