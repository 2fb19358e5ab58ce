"""The choice of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fogline.training import ClientJob, Engine, LocalMethod, LocalResult, LocalTraining, autotune
from fogline.training.torch import TorchTask
from tests.training.cohorts import jobs_of, task_of

LOCAL = LocalTraining(batch_size=4)


class Faked(Engine):
    """Fails, refuses or takes its time as told."""

    seconds, waits, fails, reason = 0.0, 0.0, False, None

    def __init__(self, *_: Any) -> None:
        self.calls: list[list[ClientJob]] = []

    @classmethod
    def refuses(cls, task: Any, method: Any, local: Any) -> str | None:
        return cls.reason

    def train(self, jobs: Any) -> list[LocalResult]:
        clock.now += (self.seconds + self.waits) * sum(job.steps for job in jobs)
        clock.waited += self.waits * sum(job.steps for job in jobs)
        failure = "no" if self.fails else None
        return [LocalResult(j.client, j.start, j.counters, 1, j.steps, 0.0, 0.0, failure) for j in jobs]


class Clock:
    now = 0.0
    waited = 0.0

    def perf_counter(self) -> float:
        self.now += 1e-9
        return self.now

    def process_time(self) -> float:
        return self.perf_counter() - self.waited


clock = Clock()


def engine(name: str, **settings: Any) -> type[Engine]:
    return type(name, (Faked,), {"name": name, "summary": "", **settings})


def task_with(monkeypatch: pytest.MonkeyPatch, *engines: type[Engine]) -> TorchTask:
    monkeypatch.setattr("fogline.training.choosing.autotune.time", clock)
    task = task_of()
    found: Mapping[str, Any] = {vars(e)["name"]: e for e in engines}
    monkeypatch.setattr(task, "engines", lambda: found)
    monkeypatch.setattr(task, "build", lambda name, *_: found[name]())
    return task


def test_the_fastest_wins_and_the_reference_stays_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = engine("loop"), engine("slow", seconds=0.01), engine("fast", seconds=0.002)
    task = task_with(monkeypatch, *kinds)
    choice = autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL))
    assert choice.engine == "fast"
    assert set(choice.seconds) == {"slow/2", "fast/2"}
    assert choice.seconds["fast/2"] == pytest.approx(0.002, rel=0.01)


def test_waiting_for_a_busy_processor_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = engine("loop"), engine("slow", seconds=0.002), engine("fast", seconds=0.001, waits=0.01)
    task = task_with(monkeypatch, *kinds)
    assert autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL)).engine == "fast"
    monkeypatch.setattr(task, "on_processor", False)
    assert autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL)).engine == "slow"


def test_an_engine_under_which_devices_fail_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = engine("loop"), engine("slow", seconds=0.01), engine("fast", seconds=0.002, fails=True)
    task = task_with(monkeypatch, *kinds)
    assert autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL)).engine == "slow"


def test_the_reference_is_taken_when_all_others_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_with(monkeypatch, engine("loop", seconds=0.1), engine("fast", reason="it is too hot."))
    choice = autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL))
    assert (choice.engine, choice.refused) == ("loop", {"fast": "it is too hot."})
    task = task_with(monkeypatch, engine("loop", reason="no."), engine("fast", reason="it is too hot."))
    with pytest.raises(ValueError, match=r"No engine can run this job: loop: no\. fast: it is too hot\."):
        autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL))


def test_slow_engines_keep_to_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = engine("loop"), engine("slow", seconds=0.05, together=True), engine("slower", seconds=0.1)
    task = task_with(monkeypatch, *kinds)
    before = clock.now
    autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL), budget=1.0)
    assert clock.now - before < 3.0


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of()
    choice = autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL), engine="flat", chunk=3)
    assert (choice.engine, choice.chunk, choice.seconds) == ("flat", 3, {})
    choice = autotune(task, LocalMethod(), LOCAL, jobs_of(task, LOCAL), engine="stacked", processes=2)
    assert choice.engine == "stacked"
    assert choice.chunk in (3, 5)  # A worker's share; or all, if that is sooner than to tell workers.
    with pytest.raises(ValueError, match="no engine 'warp'"):
        autotune(task, LocalMethod(), LOCAL, [], engine="warp", chunk=3)


def test_jobs_are_left_alone() -> None:
    task = task_of()
    jobs = jobs_of(task, LOCAL)
    before = [(job.steps, job.start.copy()) for job in jobs]
    autotune(task, LocalMethod(), LOCAL, jobs, budget=0.05)
    for job, (steps, start) in zip(jobs, before, strict=True):
        assert job.steps == steps
        np.testing.assert_array_equal(job.start, start)
