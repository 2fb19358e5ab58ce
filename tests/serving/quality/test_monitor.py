"""Watching a served version: counts, labels, drift that is found and clean data that is left in peace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from fogline.inference.card import Card, Scores, Tensor
from fogline.inference.confidence import confidence
from fogline.inference.sketches import Reference, Sketch, build_reference
from fogline.registry.drift import Drifted, DriftRule, DriftRules
from fogline.registry.merging import together
from fogline.registry.release import BUCKETS, Tally, Vitals
from fogline.serving.quality.monitor import BATCH, DENSE, GROUP, QualityMonitor
from fogline.serving.quality.pagehinkley import PageHinkley
from fogline.serving.quality.sample_store import SampleStore

Array = npt.NDArray[Any]
CARD = Card(
    model="m",
    version=4,
    created=0.0,
    inputs=(Tensor("x", "FP32", (-1, 6)),),
    outputs=(Tensor("y", "FP32", (-1, 3)),),
    scores=Scores("y"),
)
WEIGHT = np.random.default_rng(9).normal(0, 2, (6, 3)).astype(np.float32)


def drawn(rng: np.random.Generator, rows: int, shift: float = 0.0, scale: float = 1.0) -> Array:
    return (scale * rng.normal(size=(rows, 6)) + shift).astype(np.float32)


def outputs(x: Array) -> dict[str, Array]:
    return {"y": x @ WEIGHT}


def reference(seed: int = 0) -> Reference:
    x = drawn(np.random.default_rng(seed), 2000)
    return build_reference({"x": x}, confidence(Scores("y"), outputs(x)))


REFERENCE = reference()


def serve(watch: QualityMonitor, x: Array, batch: int = 1, **words: Any) -> None:
    for start in range(0, len(x), batch):
        rows = x[start : start + batch]
        watch.saw({"x": rows}, outputs(rows), 1e-4, **words)
        watch.look()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_model_without_a_batch_is_counted_by_its_requests(shape: tuple[int, ...]) -> None:
    card = msgspec.structs.replace(CARD, inputs=(Tensor("x", "FP32", shape),), outputs=(Tensor("y", "FP32", shape),))
    watch = QualityMonitor(msgspec.structs.replace(card, scores=None), None)
    for _ in range(500):
        watch.saw({"x": np.ones(shape, np.float32)}, {"y": np.ones(shape, np.float32)}, 1e-4, request="1")
    tally = watch.take().tally
    assert (tally.answers, tally.rows) == (500, 500)


def test_what_happened_is_counted_once() -> None:
    watch = QualityMonitor(CARD, REFERENCE)
    x = drawn(np.random.default_rng(1), 100)
    serve(watch, x)
    watch.saw({"x": x[:3]}, outputs(x[:3]), 1.0, offloaded=2)
    watch.failed()
    watch.compared(7, 9)
    vitals = watch.take()
    tally = vitals.tally
    assert (vitals.model, vitals.version) == ("m", 4)
    assert (tally.answers, tally.rows, tally.errors, tally.offloaded) == (101, 103, 1, 2)
    assert (tally.agreed, tally.compared, tally.confident) == (7, 9, 103)
    assert tally.confidence == pytest.approx(confidence(Scores("y"), outputs(np.vstack([x, x[:3]]))).sum())
    assert tally.seconds == pytest.approx(1.01)
    assert sum(tally.latency) == 101
    sketch = Sketch.decode(vitals.sketch)
    assert sketch.rows == 103
    again = watch.take()
    assert again.tally == Tally(latency=(0,) * (len(BUCKETS) + 1))
    assert again.sketch == b""


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (15e-6, 0), (20e-6, 1), (1e-3, 6), (1e9, 20)])
def test_latencies_fall_into_the_buckets_of_the_contract(seconds: float, bucket: int) -> None:
    watch = QualityMonitor(CARD, None)
    watch.saw({"x": drawn(np.random.default_rng(0), 1)}, {"y": np.zeros((1, 3))}, seconds)
    assert watch.take().tally.latency[bucket] == 1
    assert bucket == len(BUCKETS) or seconds <= BUCKETS[bucket]
    assert bucket == 0 or seconds > BUCKETS[bucket - 1]


def test_a_busy_node_looks_at_a_part_and_counts_all() -> None:
    watch = QualityMonitor(CARD, REFERENCE)
    x = drawn(np.random.default_rng(1), 16 * DENSE)
    serve(watch, x)
    watch.saw({"x": x}, outputs(x), 1e-3)
    tally = watch.take().tally
    assert (tally.answers, tally.rows) == (16 * DENSE + 1, 32 * DENSE)
    assert 2 * DENSE < tally.confident < 4 * DENSE
    watch.saw({"x": x}, outputs(x), 1e-3)
    assert watch.take().tally.confident == BATCH, "after a look all is dense again"


def test_samples_of_several_shapes_come_together() -> None:
    card = msgspec.structs.replace(CARD, scores=None)
    watch = QualityMonitor(card, REFERENCE)
    for width in (6, 4, 6, 2):
        watch.saw({"x": np.zeros((1, width), np.float32)}, {"y": np.zeros((1, width))}, 1e-4)
    counts = Sketch.decode(watch.take().sketch).counts.sum(1)
    names = [f.name for f in REFERENCE.features]
    assert counts[names.index("x[0]")] == 2
    assert counts[names.index("x mean")] == 4


# Labels


def test_labels_that_come_later_become_an_accuracy() -> None:
    watch = QualityMonitor(CARD, REFERENCE)
    x = drawn(np.random.default_rng(2), 4)
    truth = outputs(x)["y"].argmax(1)
    watch.saw({"x": x}, outputs(x), 1e-4, request="a")
    watch.saw({"x": x[:1]}, outputs(x[:1]), 1e-4, request="b")
    assert watch.label("a", [int(truth[0]), int(truth[1]), -1, float(truth[3])]) == 4
    assert watch.label("b", [int(truth[0]), 0]) == 0, "another number of labels than of rows"
    assert watch.label("b", [int(truth[0])]) == 1
    assert watch.label("b", [int(truth[0])]) == 0, "a request is judged once"
    assert watch.label("nobody", [1]) == 0
    tally = watch.take().tally
    assert (tally.labels, tally.correct) == (5, 4)


def test_numbers_are_correct_within_twice_the_error_of_training() -> None:
    card = msgspec.structs.replace(CARD, scores=None, metrics={"rmse": 0.5})
    watch = QualityMonitor(card, None)
    watch.saw({"x": np.zeros((3, 6))}, {"y": np.array([[1.0], [1.0], [1.0]])}, 1e-4, request="a")
    assert watch.label("a", [1.9, 0.1, 2.1]) == 3
    assert watch.take().tally.correct == 2
    without = QualityMonitor(msgspec.structs.replace(card, metrics={}), None)
    without.saw({"x": np.zeros((1, 6))}, {"y": np.zeros((1, 1))}, 1e-4, request="a")
    assert without.label("a", [0]) == 0


def test_the_memory_of_requests_is_bounded_and_forgets_the_oldest() -> None:
    watch = QualityMonitor(CARD, None)
    x = drawn(np.random.default_rng(2), 1000)
    for i in range(20):
        watch.saw({"x": x}, outputs(x), 1e-4, request=str(i))
    assert watch.label("0", [0] * 1000) == 0
    assert watch.label("19", [0] * 1000) == 1000


# Drift


@pytest.mark.parametrize(("shift", "scale"), [(1.0, 1.0), (0.0, 2.0), (0.0, 0.2)], ids=["shifted", "wider", "narrower"])
def test_drift_is_found_and_named(shift: float, scale: float) -> None:
    for seed in range(5):
        watch = QualityMonitor(CARD, REFERENCE)
        serve(watch, drawn(np.random.default_rng(seed), 300, shift, scale))
        drift = watch.drift()
        assert drift.major
        assert drift.worst is not None
        assert drift.worst.psi > 0.25
        assert drift.psi > 0.1
        assert drift.sentence.startswith(f"Inputs differ much from those of training, most in '{drift.worst.feature}'")


def test_drift_of_one_feature_names_it() -> None:
    watch = QualityMonitor(CARD, REFERENCE)
    x = drawn(np.random.default_rng(3), 400)
    x[:, 4] = np.nan
    serve(watch, x)
    worst = watch.drift().worst
    assert worst is not None
    assert worst.feature in ("x[4]", "x mean", "x spread")
    assert "x[4]" in [shift.feature for shift in watch.drift().shifts[:3]]


def test_clean_data_raises_no_alarm() -> None:
    """40 watches of 3,000 samples, looked at 30 times each: not one false alarm, moderate ones neither."""
    for seed in range(40):
        rng = np.random.default_rng(1000 + seed)
        watch = QualityMonitor(CARD, reference(seed))
        for _ in range(30):
            serve(watch, drawn(rng, 100), batch=25)
            drift = watch.drift()
            assert not drift.major
            assert drift.worst is not None
            assert drift.worst.psi < 0.1


def test_the_window_forgets_a_drift_that_is_over() -> None:
    watch, rng = QualityMonitor(CARD, REFERENCE), np.random.default_rng(4)
    serve(watch, drawn(rng, 500, shift=2.0), batch=10)
    assert watch.drift().major
    for _ in range(30):
        watch.take()
        serve(watch, drawn(rng, 500), batch=10)
    drift = watch.drift()
    assert drift.worst is not None
    assert drift.worst.psi < 0.1


def test_without_a_reference_there_is_a_sentence() -> None:
    assert (
        QualityMonitor(CARD, None).drift().sentence
        == "There is no reference or no sample yet, so nothing is known of drift."
    )


# Page-Hinkley


def straightforward(values: list[float], delta: float) -> float:
    total = mean_sum = lowest = 0.0
    for count, value in enumerate(values, 1):
        mean_sum += value
        total += mean_sum / count - value - delta
        lowest = min(lowest, total)
    return total - lowest


@pytest.mark.parametrize("group", [1, 7, 64, 1000])
def test_groups_give_what_one_by_one_gives(group: int) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.beta(8, 1, 400), rng.beta(2, 1, 300)])
    test = PageHinkley(delta=0.01)
    for start in range(0, len(values), group):
        test.update(values[start : start + group])
        assert test.statistic == pytest.approx(straightforward(values[: start + group].tolist(), 0.01))


def test_falls_are_seen_soon_and_steady_confidence_is_not_called_a_fall() -> None:
    late = false = 0
    for seed in range(200):
        rng, test = np.random.default_rng(seed), PageHinkley()
        steady = np.clip(rng.normal(0.8, 0.2, 5000), 0, 1)
        for start in range(0, 5000, 64):
            test.update(steady[start : start + 64])
            false += test.fallen
        test.update(np.clip(rng.normal(0.6, 0.2, 250), 0, 1))
        late += not test.fallen
    assert false == 0, "over a million values"
    assert late == 0


def test_nothing_is_said_of_the_first_values_and_an_empty_group_is_none() -> None:
    test = PageHinkley(threshold=1)
    test.update(np.zeros(0))
    test.update(np.concatenate([np.ones(10), np.zeros(80)]))
    assert test.statistic > 1
    assert not test.fallen
    test.update(np.zeros(30))
    assert test.fallen


# Rules at the cloud


def vitals(rng: np.random.Generator, rows: int, shift: float) -> Vitals:
    x = drawn(rng, rows, shift)
    return Vitals("m", 4, Tally(answers=rows), sketch=REFERENCE.sketch({"x": x}, np.zeros(0)).encode())


def test_one_drift_makes_one_event_and_the_next_comes_after_it_was_over() -> None:
    rules, rng, events = DriftRules(DriftRule(cooldown=1000, window=600)), np.random.default_rng(0), []
    for now in range(0, 20_000, 60):
        drifting = 3000 <= now < 8000 or 13_000 <= now < 16_000
        event = rules.saw(vitals(rng, 100, 1.0 if drifting else 0.0), REFERENCE, now)
        if event is not None:
            events.append((now, event))
    assert len(events) == 2
    (first, event), (second, _) = events
    assert 3000 <= first < 3600
    assert 13_000 <= second < 13_600
    assert isinstance(event, Drifted)
    assert (event.model, event.version) == ("m", 4)
    assert event.feature in event.why
    assert event.psi >= 0.25


def test_a_drift_that_flickers_at_the_threshold_is_one_and_a_cooldown_is_kept() -> None:
    rng = np.random.default_rng(0)
    flickering = DriftRules(DriftRule(cooldown=0, window=120, rows=50))
    steps = [flickering.saw(vitals(rng, 400, 0.45 + 0.15 * (i % 2)), REFERENCE, 60 * i) for i in range(200)]
    assert sum(step is not None for step in steps) == 1
    cooling = DriftRules(DriftRule(cooldown=6000, window=120, rows=50))
    told = [now for now in range(0, 12_000, 60)
            if cooling.saw(vitals(rng, 400, 1.0 if now % 1200 < 600 else 0.0), REFERENCE, now)]  # fmt: skip
    assert len(told) == 2
    assert told[1] - told[0] >= 6000


def test_versions_that_nobody_reports_on_any_more_take_no_memory() -> None:
    rules, rng = DriftRules(DriftRule(window=600)), np.random.default_rng(0)
    reports = [vitals(rng, 100, 0.0) for _ in range(20)]
    for hour in range(50):
        for i, report in enumerate(reports):
            now = 3600 * hour + 60 * i
            assert rules.saw(msgspec.structs.replace(report, version=1 + hour), REFERENCE, now) is None
    assert rules.held <= 24


def test_a_few_samples_are_no_drift_of_a_fleet() -> None:
    rules = DriftRules(DriftRule(rows=500))
    assert rules.saw(vitals(np.random.default_rng(0), 400, 3.0), REFERENCE, 0) is None
    assert rules.saw(vitals(np.random.default_rng(0), 101, 3.0), REFERENCE, 1) is not None


def test_vitals_add_up_and_a_bad_sketch_costs_only_itself() -> None:
    rng = np.random.default_rng(0)
    a, b = vitals(rng, 10, 0), vitals(rng, 20, 0)
    both = together(a, b)
    assert both.tally.answers == 30
    assert Sketch.decode(both.sketch).rows == 30
    bad = together(a, msgspec.structs.replace(b, sketch=b"\xc1junk"))
    assert (bad.tally.answers, bad.sketch) == (30, a.sketch)


# Samples that are kept


def test_hard_rows_are_kept_with_their_request_and_labels_find_them(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 1 << 20, consent=True)
    watch, rng = QualityMonitor(CARD, REFERENCE, samples), np.random.default_rng(5)
    for i in range(640):
        x = drawn(rng, 1)
        watch.saw({"x": x}, outputs(x), 1e-4, request=f"r{i}")
        watch.look()
    candidates = samples.candidates()
    assert 1 <= len(candidates) <= 10, "of each group one at most"
    assert all(c.notes.confidence < samples.hard and c.notes.why == "hard" for c in candidates)
    known = candidates[0].notes
    assert watch.label(known.request, [2]) == 1
    assert known.request not in [c.notes.request for c in samples.candidates()]
    samples.close()


def test_while_inputs_drift_sure_rows_are_kept_too(tmp_path: Path) -> None:
    samples = SampleStore(tmp_path, 1 << 20, consent=True, hard=0.0)
    watch = QualityMonitor(CARD, REFERENCE, samples)
    serve(watch, drawn(np.random.default_rng(6), 1000, shift=3.0))
    samples.close()
    assert {c.notes.why for c in samples.candidates()} == {"drift"}


@pytest.mark.parametrize("rows", [GROUP - 1, GROUP, GROUP + 1, GROUP + 3, 2 * GROUP - 1, 3 * GROUP + 2])
@pytest.mark.parametrize("batch", [1, BATCH])
def test_a_group_that_is_half_looked_at_is_looked_at_whole_when_somebody_asks(rows: int, batch: int) -> None:
    """The pieces of a group come between requests; whoever asks before gets all the same."""
    x = drawn(np.random.default_rng(3), rows * batch)
    watch, other = QualityMonitor(CARD, REFERENCE), QualityMonitor(CARD, REFERENCE)
    serve(watch, x, batch)
    for start in range(0, len(x), batch):
        serve(other, x[start : start + batch], batch)
        other.drift()  # After every request, so that nothing is put off.
    found, wanted = watch.drift(), other.drift()
    assert (found.rows, found.shifts, found.fallen) == (wanted.rows, wanted.shifts, wanted.fallen)
    seen, expected = watch.take(), other.take()
    assert seen.tally.confident == expected.tally.confident > 0
    assert seen.tally.confidence == pytest.approx(expected.tally.confidence)
    assert seen.sketch == expected.sketch
