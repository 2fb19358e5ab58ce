"""A device's numbers do not depend on which others train beside it, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from fogline.data import from_clients
from fogline.training import ClientJob, LocalMethod, LocalResult, LocalTraining
from fogline.training.torch import TorchTask, models
from fogline.training.torch.engines import Stacked
from tests.training.cohorts import Calibrated, Controlled, Everything, Normed, Sharp, jobs_of, task_of

SIZES = (13, 40, 3, 27, 10, 10, 31, 1, 20)


def smooth() -> nn.Module:
    """Functions whose vectorised and scalar forms round differently, in odd widths."""
    return nn.Sequential(nn.Linear(8, 13), nn.Tanh(), nn.Linear(13, 7), nn.GELU(), nn.Linear(7, 5), nn.Sigmoid())


def convolved() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(27, 5)
    )


def traced() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 7), nn.Softplus(), nn.Linear(7, 5))


def embedded() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5))


class Bent(Calibrated, Sharp, Normed):
    """All hooks but adjust_loss, whose other forward pass draws dropout for the chunk as a whole."""


CASES = {
    "mlp": (lambda: models.mlp(8, (33, 17), 5), {}),
    "smooth": (smooth, {}),
    "convolved": (convolved, {"shape": (1, 8, 8)}),
    "traced": (traced, {}),
    "lstm": (lambda: models.char_lstm(5, 4, 9, 2), {"shape": (7,), "tokens": True}),
    "transformer": (lambda: models.small_transformer(5, 18, 3, 2, 9), {"shape": (7,), "tokens": True}),
    "embedded": (embedded, {"shape": (7,), "tokens": True}),
}


def bits(done: list[LocalResult]) -> dict[int, tuple[bytes, float, float]]:
    return {t.client: (t.end.tobytes(), t.loss, t.loss_rms) for t in done}


@pytest.mark.parametrize("name", [name for name in CASES if name != "traced"])
@pytest.mark.parametrize("batch_size", [6, None])
@pytest.mark.parametrize("method", [LocalMethod, Controlled, Bent])
def test_company_does_not_matter(name: str, batch_size: int | None, method: type[LocalMethod]) -> None:
    model, options = CASES[name]
    task = task_of(model, sizes=SIZES, **options)
    local = LocalTraining(batch_size=batch_size, epochs=2)
    engine = task.build("stacked", method(), local)
    jobs = jobs_of(task, local)
    together = bits(engine.train(jobs))
    shuffled = [jobs[i] for i in np.random.default_rng(1).permutation(len(jobs))]
    assert bits(engine.train(shuffled)) == together
    in_pairs = {k: v for i in range(0, len(jobs), 2) for k, v in bits(engine.train(jobs[i : i + 2])).items()}
    assert in_pairs == together
    alone = {k: v for job in jobs for k, v in bits(engine.train([job])).items()}
    assert alone == together


def test_company_matters_only_to_rounding_without_kernels() -> None:
    model, options = CASES["traced"]
    task, local = task_of(model, sizes=SIZES, **options), LocalTraining(batch_size=6)
    engine = task.build("stacked", LocalMethod(), local)
    assert engine.graph is None  # type: ignore[attr-defined]
    jobs = jobs_of(task, local)
    for job, trained in zip(jobs, engine.train(jobs), strict=True):
        np.testing.assert_allclose(engine.train([job])[0].end, trained.end, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [models.char_lstm, models.small_transformer])
def test_sequences_as_long_as_in_use(model: Callable[[], nn.Module]) -> None:
    task, local = task_of(model, (40,), (30, 10, 25, 11), tokens=True, classes=80), LocalTraining(batch_size=10)
    engine, jobs = task.build("stacked", LocalMethod(), local), jobs_of(task, local)
    together = bits(engine.train(jobs))
    assert {k: v for job in jobs for k, v in bits(engine.train([job])).items()} == together


def test_wide_layers() -> None:
    """Products large enough for the library to block."""
    task = task_of(lambda: models.mlp(300, (200, 200), 5), (300,), (20, 33, 7, 20, 40, 11, 20, 20))
    local = LocalTraining(batch_size=10)
    engine = task.build("stacked", LocalMethod(), local)
    jobs = jobs_of(task, local)
    together = bits(engine.train(jobs))
    assert {k: v for job in jobs for k, v in bits(engine.train([job])).items()} == together


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_results_repeat_and_depend_on_the_seed(engine: str) -> None:
    task, local = task_of(convolved, (1, 8, 8)), LocalTraining(batch_size=4)
    built, jobs = task.build(engine, LocalMethod(), local), jobs_of(task, local)
    first = bits(built.train(jobs))
    assert bits(task.build(engine, LocalMethod(), local).train(jobs)) == first
    other = bits(built.train([replace(job, seed=job.seed + 1) for job in jobs]))
    assert all(other[k] != first[k] for k in first if task.data.sizes()[k] > 1)


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_inputs_are_left_alone_and_results_are_their_own(engine: str) -> None:
    task, local = task_of(), LocalTraining(batch_size=4)
    jobs = jobs_of(task, local)
    before = [(j.start.copy(), {n: v.copy() for n, v in j.local.items()}) for j in jobs]
    built = task.build(engine, Everything(), local)
    first = built.train(jobs)
    kept = [t.end.copy() for t in first]
    built.train([replace(job, seed=job.seed + 1) for job in jobs])
    for trained, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(trained.end, copy)
    for job, (start, local_state) in zip(jobs, before, strict=True):
        np.testing.assert_array_equal(job.start, start)
        np.testing.assert_equal(job.local, local_state)


@pytest.mark.parametrize("engine", ["flat", "stacked"])
def test_devices_of_one_cohort_may_differ_in_everything(engine: str) -> None:
    """Asynchronous tiers mix models, rates and amounts of work."""
    task, local = task_of(), LocalTraining(batch_size=4)
    rng = np.random.default_rng(5)

    def vary(job: ClientJob) -> ClientJob:
        start = job.start + 0.01 * rng.normal(size=job.start.size).astype(np.float32)
        received = {"c": job.received["c"] * (job.client + 1)}
        if job.client % 2:  # Of a model that came with more.
            received["more"] = np.ones(job.client, np.float32)
        rate = 0.05 * (1 + job.client % 2)
        return replace(job, start=start, received=received, learning_rate=rate, steps=1 + 2 * job.client)

    jobs = [vary(job) for job in jobs_of(task, local)]
    reference = task.build("loop", Controlled(), local).train(jobs)
    done = task.build(engine, Controlled(), local).train(jobs)
    for one, other in zip(reference, done, strict=True):
        np.testing.assert_allclose(one.end, other.end, rtol=1e-4, atol=1e-6)
        assert one.steps == other.steps


def test_memory_is_kept_for_few_cohort_sizes() -> None:
    task, local = task_of(), LocalTraining(batch_size=4)
    engine = Stacked(task, LocalMethod(), local)
    jobs = jobs_of(task, local)
    for count in (1, 2, 3, 4, 5, 4, 3):
        engine.train(jobs[:count])
    assert len(engine._kept) <= 3
    assert isinstance(engine.task, TorchTask)


@pytest.mark.parametrize("engine", ["flat", "stacked"])
@pytest.mark.parametrize("mixes", [False, True], ids=["filled up", "by size"])
def test_rows_of_a_table_train_as_examples_that_are_loaded(engine: str, mixes: bool) -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 6), *([nn.BatchNorm1d(6)] if mixes else []), nn.ReLU(), nn.Linear(6, 5))

    table = task_of(model, sizes=(13, 40, 7, 7, 10))
    loaded = TorchTask(model, from_clients("loaded", {str(i): table.data.at(i) for i in range(5)}, classes=5))
    assert table.data.table is not None
    assert loaded.data.table is None
    local = LocalTraining(learning_rate=0.05, batch_size=6, epochs=2)
    ways = [bits(task.build(engine, LocalMethod(), local).train(jobs_of(task, local))) for task in (table, loaded)]
    assert ways[0] == ways[1]
    changed = table.data.with_transform(lambda x, _: x + 1)
    assert changed.table is None
    with pytest.raises(ValueError, match="one by one"):
        changed.rows(0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_how_far_a_device_moved_is_where_it_came_to_less_its_start(name: str, engine: str) -> None:
    model, options = CASES[name]
    task = task_of(model, sizes=SIZES, **options)
    local = LocalTraining(learning_rate=0.1, batch_size=6)
    built, jobs = task.build(engine, LocalMethod(), local), jobs_of(task, local)
    jobs[3].start = np.float32(1.5) * jobs[3].start
    ends = {t.client: t.end.copy() for t in built.train(jobs)}
    for job, trained in zip(jobs, built.moved(jobs), strict=True):
        assert trained.end.tobytes() == (ends[job.client] - job.start).tobytes()
        assert trained.bound is None or trained.bound >= np.abs(trained.end).max()


@pytest.mark.parametrize("engine", ["loop", "flat", "stacked"])
def test_a_device_that_leaves_the_numbers_did_not_move(engine: str) -> None:
    task = task_of(lambda: models.mlp(8, (6,), 5))
    built = task.build(engine, LocalMethod(), local := LocalTraining(learning_rate=0.1, batch_size=6))
    jobs = jobs_of(task, local)
    wild = np.full_like(jobs[1].start, np.nan)
    jobs[1].start = wild
    failed = [trained.client for trained in built.moved(jobs) if trained.failure]
    assert failed == [jobs[1].client]
