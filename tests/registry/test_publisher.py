"""What the cloud's registry makes of reports and of what operators want."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from fogline.inference.card import Cascade
from fogline.inference.packaging.evaluation import HeldOutAnswers, write_evaluation
from fogline.inference.runtimes.base import Array
from fogline.jobs.job import Publish
from fogline.network.cloud.release_source import ReleaseSource
from fogline.registry.catalogue import Catalogue
from fogline.registry.linking import chosen
from fogline.registry.model_report import Steer
from fogline.registry.publisher import Publisher
from fogline.registry.release import Outcome, Release, ReleaseError, Tally, Vitals
from fogline.registry.rollout_events import plan_of
from fogline.registry.trust import operator
from fogline.registry.trust.releases import SignedReleases
from fogline.storage import StorageFullError, open_blobs, open_database
from tests.patience import PATIENCE
from tests.registry.versions import asset, card, written

NODE = "device-1"
PLAN = Publish(rings=(1.0,), ring_time=1e-6)


class Cloud:
    """A registry with one node that serves, or more."""

    def __init__(self, folder: Path, *others: str) -> None:
        operator.create(folder / "online", folder / "offline")
        self._folder = folder
        self.plan = PLAN
        database = open_database(folder / "cloud.db")
        catalogue = Catalogue(database, open_blobs(folder / "blobs", reserve=0))
        signed = SignedReleases(database, folder / "online")
        nodes = dict.fromkeys([NODE, *others], "device")
        self.cautious: set[str] = set()
        self.publisher = Publisher(
            database, catalogue, signed, lambda: nodes, lambda: None, lambda _: None, lambda: self.cautious
        )  # type: ignore[arg-type, return-value]

    def release(self, what: str) -> None:
        """The next version, and what becomes of it."""
        weights = f"weights of version {len(list(self._folder.iterdir()))}".encode()
        files = written(self._folder / weights.decode(), weights)
        version = self.publisher.publish(card(weights), files, self.plan).version
        self.hears(what, version, version)

    def hears(self, what: str, version: int, at: float, model: str = "digits", node: str = NODE) -> None:
        (model_report,) = self.publisher.model_reports(model)
        assert model_report.release is not None
        number = model_report.release.number
        self.publisher.outcome(Outcome(node, model, number, version, what, "a test", float(at)))  # type: ignore[arg-type]
        self.publisher.tick()

    def asks(self, model: str) -> Cascade | None:
        """What the version that is served asks."""
        (model_report,) = self.publisher.model_reports(model)
        assert model_report.release is not None
        return next(card.cascade for card in model_report.cards if card.version == model_report.release.version)

    def judged(self, model: str, sure: Array, correct: Array, labels: str = "aa") -> None:
        """The next version of a model, with what was seen of it on a test set; all nodes serve it."""
        name = f"{model} {len(list(self._folder.iterdir()))}"
        write_evaluation(self._folder / name, HeldOutAnswers(sure.astype(np.float32), correct, labels * 32))
        weights, evaluation = name.encode(), (self._folder / name).read_bytes()
        files = written(self._folder / f"files of {name}", weights, evaluation)
        self.publisher.publish(card(weights, model, evaluation=asset(evaluation)), files, PLAN)
        self.serve(model)

    def serve(self, model: str) -> None:
        """The version that is rolled out is served by all."""
        (model_report,) = self.publisher.model_reports(model)
        assert model_report.release is not None
        self.hears("committed", model_report.release.version, model_report.release.number, model)

    @property
    def served(self) -> int:
        (model_report,) = self.publisher.model_reports("digits")
        assert model_report.release is not None
        assert model_report.release.state in ("done", "aborted"), model_report
        return model_report.release.version


def test_an_alarm_that_overtakes_a_success_does_not_hide_it(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    cloud.release("committed")
    cloud.release("probation")
    cloud.hears("alarm", 2, 9)
    cloud.hears("alarm", 2, 9)
    cloud.hears("committed", 2, 5)
    assert cloud.served == 2
    (model_report,) = cloud.publisher.model_reports("digits")
    assert {outcome.what for outcome in model_report.outcomes} == {"alarm", "committed"}
    assert sum("alarm" in note.text for note in model_report.notes) == 1


def test_a_release_that_could_not_be_signed_is_signed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud(tmp_path)
    cloud.release("committed")
    publisher = cloud.publisher
    told: list[str] = []
    monkeypatch.setattr(publisher, "soon", lambda: told.append("soon"))
    with monkeypatch.context() as patch:
        patch.setattr(publisher.signed, "publish", full)
        with pytest.raises(StorageFullError):
            cloud.release("committed")
        with pytest.raises(StorageFullError):
            publisher.tick()
    assert told
    assert publisher.signed.releases()["digits"].version == 1
    publisher.tick()
    assert publisher.signed.releases()["digits"].version == 2


def test_a_node_that_is_through_makes_the_next_look_come_sooner(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    cloud.plan = Publish(rings=(1.0,), ring_time=60.0)
    cloud.release("probation")
    told: list[float] = []
    cloud.publisher.soon = lambda: told.append(cloud.publisher.tick())
    cloud.hears("committed", 1, 2)
    assert told
    assert told[-1] < time.time() + 61


def full(release: Release) -> None:
    raise StorageFullError(f"no room for release {release.number}")


def test_what_happens_while_the_cloud_looks_is_looked_at_next(tmp_path: Path) -> None:
    asyncio.run(looks_again(tmp_path))


async def looks_again(folder: Path) -> None:
    loop, looks = asyncio.get_running_loop(), asyncio.Queue[int]()

    class Busy:
        blobs = open_blobs(folder, reserve=0)
        count = 0

        def timestamp(self) -> bytes:
            return b""

        def tick(self) -> float:
            self.count += 1
            loop.call_soon_threadsafe(looks.put_nowait, self.count)
            if self.count == 1:
                asyncio.run_coroutine_threadsafe(news(), loop).result(PATIENCE)
            return time.time() + 3600

    async def news() -> None:
        source.changed()

    source = ReleaseSource(Busy(), b"", "cloud")  # type: ignore[arg-type]
    source.start()
    async with asyncio.timeout(PATIENCE):
        assert [await looks.get(), await looks.get()] == [1, 2]
    source.close()


def test_what_is_kept_of_reports_does_not_grow_with_the_versions(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    cloud.release("committed")
    for version in range(2, 300):
        cloud.publisher.vitals(Vitals("digits", version, Tally(answers=1)))
        cloud.publisher.vitals(Vitals("digits", 1, Tally(answers=1)))
    (model_report,) = cloud.publisher.model_reports("digits")
    assert len(model_report.tallies) == 100
    assert {1, 299} < model_report.tallies.keys()
    assert model_report.tallies[1].answers == 298


def test_a_rollback_leads_to_what_was_on_all_nodes_and_not_to_what_was_given_up(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    for what in ("committed", "committed", "reverted", "committed"):
        cloud.release(what)
    assert cloud.served == 4
    for version in (2, 1):
        cloud.publisher.steer(Steer("digits", "rollback"), "ana")
        assert cloud.served == version
    with pytest.raises(ValueError, match="No version of digits was on all nodes before"):
        cloud.publisher.steer(Steer("digits", "rollback"), "ana")

    # What was taken back once is not where the next rollback leads.
    cloud.release("committed")
    assert cloud.served == 5
    cloud.publisher.steer(Steer("digits", "rollback"), "ana")
    assert cloud.served == 1


def test_a_model_is_compared_with_the_first_version_while_that_is_still_on_its_way(tmp_path: Path) -> None:
    def served() -> int | None:
        card = cloud.publisher.served("digits")
        return None if card is None else card.version

    cloud = Cloud(tmp_path)
    assert served() is None
    cloud.release("probation")
    assert served() == 1
    cloud.hears("committed", 1, 2.0)
    cloud.release("probation")
    assert served() == 1, "nodes go back to it"


def test_a_node_that_waits_for_an_approval_holds_no_rollout_up(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path, "device-2")
    cloud.cautious = {"device-2"}
    cloud.release("committed")
    assert cloud.served == 1, "who follows every release has it"

    cloud.release("probation")
    (model_report,) = cloud.publisher.model_reports("digits")
    digest = model_report.digests[2]
    offline_metadata = operator.approve(
        tmp_path / "offline", cloud.publisher.signed.offline_metadata(), "digits", digest, "ana"
    )
    cloud.publisher.adopt(offline_metadata.encoded(), "ana")
    cloud.hears("committed", 2, 9)
    (model_report,) = cloud.publisher.model_reports("digits")
    assert model_report.release is not None
    assert model_report.release.state == "rolling", "now the other takes part"
    cloud.hears("committed", 2, 9, node="device-2")
    assert cloud.served == 2


def test_a_job_whose_rules_are_none_is_refused() -> None:
    with pytest.raises(ReleaseError, match=r"publish.probation has no rule 'secs'; there are seconds, requests"):
        plan_of(Publish(probation={"secs": 1.0}))
    with pytest.raises(ReleaseError, match=r"publish.probation.seconds: Expected `float` >= 0"):
        plan_of(Publish(probation={"seconds": -2.0}))
    with pytest.raises(ReleaseError, match=r"publish.thresholds.success: Expected `float` <= 1"):
        plan_of(Publish(thresholds={"success": 2.0}))
    assert plan_of(Publish(thresholds={"success": 0.5})).thresholds.success == 0.5


def test_a_version_that_need_not_ask_leaves_the_budget_to_the_next(tmp_path: Path) -> None:
    cloud, rng = Cloud(tmp_path), np.random.default_rng(0)

    def version(model: str, right: float) -> None:
        correct = rng.random(1000) < right
        cloud.judged(model, np.where(correct, rng.uniform(0.4, 1, 1000), rng.uniform(0, 0.7, 1000)), correct)

    version("large", 0.95)
    version("small", 0.7)
    cloud.publisher.link("small", "large", None, 0.3, "ana")
    cloud.publisher.steer(Steer("small", "promote", 2), "ana")
    cloud.serve("small")
    for right, offloaded in ((1.0, 0.0), (0.7, 0.3)):
        version("small", right)
        cascade = cloud.asks("small")
        assert cascade is not None
        assert chosen(cascade).offloaded == pytest.approx(offloaded, abs=0.01)


def test_training_begins_with_a_version_that_there_is(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    cloud.release("committed")
    assert cloud.publisher.weights("digits").is_file()
    for text in ("digits@0", "digits@new", "digits@-1"):
        with pytest.raises(ValueError, match="is no version of a model"):
            cloud.publisher.weights(text)


def test_a_new_version_asks_whom_the_served_one_asked_as_often(tmp_path: Path) -> None:
    cloud, rng = Cloud(tmp_path), np.random.default_rng(0)

    def version(model: str, right: float, labels: str = "aa") -> None:
        """Right about this share of a thousand examples, and surer of those."""
        correct = rng.random(1000) < right
        cloud.judged(model, np.where(correct, rng.uniform(0.4, 1, 1000), rng.uniform(0, 0.7, 1000)), correct, labels)

    version("large", 0.95)
    version("small", 0.7)
    assert cloud.asks("small") is None
    cloud.publisher.link("small", "large", None, 0.3, "ana")
    cloud.publisher.steer(Steer("small", "promote", 2), "ana")
    cloud.serve("small")
    first = cloud.asks("small")
    version("small", 0.8)
    second = cloud.asks("small")
    assert first is not None
    assert second is not None
    assert second.to == "large"
    assert second.threshold != first.threshold, "it is fitted anew"
    assert chosen(second).offloaded == pytest.approx(0.3, abs=0.01)
    version("small", 0.8, labels="bb")
    assert cloud.asks("small") is None
    (model_report,) = cloud.publisher.model_reports("small")
    assert any("asks nobody: small and large were judged on other examples" in note.text for note in model_report.notes)


def test_a_job_that_publishes_often_does_not_fill_the_disk(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    often = Publish(rings=(1.0,), ring_time=1e-6, keep=2, roll_out=False)

    def round_of(job: str, rounds: int) -> None:
        weights = f"weights of {job} after {rounds}".encode() * 100
        files = written(tmp_path / f"{job}-{rounds}", weights)
        cloud.publisher.publish(card(weights, job=job, rounds=rounds), files, often)

    def left() -> list[int]:
        return [one.version for one in cloud.publisher.catalogue.versions("digits")]

    round_of("yesterday", 9)
    round_of("today", 1)
    cloud.publisher.steer(Steer("digits", "promote", 2, rings=(1.0,), ring_seconds=0), "ana")
    cloud.serve("digits")
    for rounds in range(2, 7):
        round_of("today", rounds)
    assert left() == [1, 2, 6, 7], "another job's, what is served, and the newest two"
    cloud.publisher.catalogue.collect(older_than_s=0)
    kept = {one.weights.digest for one in cloud.publisher.catalogue.versions("digits") if one.weights is not None}
    assert {
        path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.stat().st_size > 1000
    } == kept
    cloud.publisher.steer(Steer("digits", "promote", 7), "ana")
    cloud.serve("digits")
    for rounds in range(7, 12):
        round_of("today", rounds)
    assert left() == [1, 2, 7, 11, 12], "what could be gone back to"
    cloud.publisher.steer(Steer("digits", "rollback"), "ana")
