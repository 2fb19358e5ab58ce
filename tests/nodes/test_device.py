"""The device's state machine."""

from __future__ import annotations

import pytest

from fogline.nodes import Device
from fogline.nodes.effects import Count, Forget, Send, SetTimer, Train, Write
from fogline.nodes.events import Received, Started, StepComputed, TimerFired, Trained
from fogline.nodes.messages import Kind, Receipt, Report, Step, Stop, Work, step_key
from fogline.retries import Backoff


def ask(device: Device, task: int) -> list[object]:
    return list(device.handle(Received("fog", Work(task, "fog@0", 0)), 0.0))


def sends(effects: list[object]) -> list[object]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


def done(device: Device, task: int, now: float = 1.0) -> list[object]:
    return list(device.handle(Trained(task, f"fog#{task}", 10), now))


def told(task: int, training: float = 1.0) -> Report:
    return Report(task, f"fog#{task}", 10, training=training)


def test_it_trains_reports_and_forgets_with_the_receipt() -> None:
    device = Device("d", "fog")
    assert Train(0, "fog@0", "fog#0", 0) in ask(device, 0)
    assert sends(done(device, 0)) == [told(0)]
    assert not device.idle
    assert Forget(("fog#0",)) in device.handle(Received("fog", Receipt(0, accepted=True)), 2.0)
    assert device.idle


def test_it_sends_again_ever_more_slowly_until_the_receipt() -> None:
    device = Device("d", "fog", retry=Backoff(1.0, 60.0))
    ask(device, 0)
    at = [effect.at for effect in done(device, 0, now=0.0) if isinstance(effect, SetTimer)]
    for _ in range(8):
        at += [e.at for e in device.handle(TimerFired("retry"), 0.0) if isinstance(e, SetTimer)]
    assert at == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    device.handle(Received("fog", Receipt(0, accepted=True)), 0.0)
    assert not device.handle(TimerFired("retry"), 0.0)


def test_only_its_parent_may_ask() -> None:
    assert not Device("d", "fog").handle(Received("stranger", Work(0, "fog@0", 0)), 0.0)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("kind", ["train", "query"])
def test_each_machine_takes_what_is_for_it_alone(beside: bool, kind: Kind) -> None:
    """Beside the training nothing is masked or counted: a parent that asks there for an update gets none."""
    device = Device("d", "fog", beside=beside)
    effects = list(device.handle(Received("fog", Work(0, "fog@0", 0, kind, "label_counts")), 0.0))
    if beside == (kind == "query"):
        assert not sends(effects)
        assert not device.idle
    else:
        (report,) = sends(effects)
        assert isinstance(report, Report)
        assert (report.update, device.idle) == (None, True)
        assert f"it was asked to {kind} where" in (report.failure or "")


def test_copies_and_older_requests_change_nothing() -> None:
    device = Device("d", "fog")
    ask(device, 3)
    assert not ask(device, 3)
    assert not ask(device, 2)


def test_newer_work_supersedes_training_and_is_counted() -> None:
    device = Device("d", "fog")
    ask(device, 0)
    effects = ask(device, 1)
    assert Count("superseded", "d") in effects
    assert done(device, 0) == [Forget(("fog#0",))]
    assert sends(done(device, 1)) == [told(1)]


def test_newer_work_does_not_push_out_a_report_without_a_receipt() -> None:
    device = Device("d", "fog", retry=Backoff(1.0, 60.0))
    ask(device, 0)
    done(device, 0)
    ask(device, 1)
    assert sends(list(device.handle(TimerFired("retry"), 2.0))) == [told(0)]
    assert sends(done(device, 1)) == [told(0), told(1)]


def test_asked_again_it_sends_its_report_again() -> None:
    device = Device("d", "fog")
    ask(device, 0)
    done(device, 0)
    assert sends(ask(device, 0)) == [told(0)]


def test_asked_again_it_sends_its_step_of_an_exchange_again() -> None:
    """A parent that is back from a crash asks again, and must not wait for the next time that the step is due."""
    device = Device("d", "fog")
    work = Received("fog", Work(0, "fog@0", 0, steps=3))
    device.handle(work, 0.0)
    done(device, 0)
    assert not sends(list(device.handle(work, 1.0)))  # Nothing is there yet.
    step = Step(0, 0, step_key("fog", 0, 0))
    assert sends(list(device.handle(StepComputed(0, 0), 1.0))) == [step]
    assert sends(list(device.handle(work, 2.0))) == [step]


def test_a_failure_is_reported_without_an_update() -> None:
    device = Device("d", "fog")
    ask(device, 0)
    effects = list(device.handle(Trained(0, "fog#0", 10, failure="out of memory"), 1.0))
    assert sends(effects) == [Report(0, None, 10, failure="out of memory")]


def test_after_a_crash_it_goes_on() -> None:
    device = Device("d", "fog")
    journal = [e.record for e in [*ask(device, 0), *done(device, 0), *ask(device, 1)] if isinstance(e, Write)]
    again = Device("d", "fog")
    for record in journal:
        again.apply(record)
    assert again.keys() == {"fog#0", "fog@0"}
    effects = list(again.handle(Started(), 9.0))
    assert sends(effects) == [told(0)]
    assert Train(1, "fog@0", "fog#1", 0) in effects


def test_after_the_end_it_does_not_train() -> None:
    device = Device("d", "fog")
    ask(device, 0)
    device.handle(Received("fog", Stop()), 1.0)
    assert device.idle
    assert sends(ask(device, 1)) == [Report(1, None, failure="it was halted")]
    assert device.idle
