"""An updater among parents that lie, disks that are full, and versions that are bad."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fogline.retries import Backoff
from fogline.serving.update import driver, turn, watcher
from fogline.storage import StorageFullError
from tests.serving.update.updating import MODEL, WORSE, Edge, Parent, looped, named, weights


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "UPDATE_AGAIN", Backoff(0.02, 0.05))
    monkeypatch.setattr(driver, "JOURNAL_AGAIN", 0.02)
    monkeypatch.setattr(watcher, "PATIENCE", 0.3)


@pytest.fixture
def parent() -> Parent:
    return Parent()


@looped
async def test_versions_come_as_the_smallest_difference_and_older_ones_go(tmp_path: Path, parent: Parent) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        await edge.serve(2, 2, base=1)
        await edge.serve(3, 3, base=2)
        assert edge.server.loaded == {3: "live"}
        assert edge.installer.applied == 2
        assert named(weights(3)) not in parent.fetched
        edge.check_disk()
        assert edge.state.previous is not None
        assert edge.state.previous.version == 2
        assert {(o.what, o.version) for o in parent.outcomes} == set(edge.said())
        assert edge.said() == [(what, v) for v in (1, 2, 3) for what in ("probation", "committed")]


@looped
async def test_a_newer_release_of_the_same_version_is_told_above_and_not_logged_again(
    tmp_path: Path, parent: Parent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fogline.serving")
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        await edge.serve(2, 1)
        await edge.until(lambda _: ("committed", 2) in [(o.what, o.number) for o in parent.outcomes])
    assert sum("version 1: committed" in text for text in caplog.messages) == 1


@pytest.mark.parametrize("trouble", ["no base", "other weights", "no delta"])
@looped
async def test_without_a_usable_difference_the_whole_file_comes(tmp_path: Path, parent: Parent, trouble: str) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        edge.installer.misapplies = trouble == "other weights"
        parent.wrong = {named(b"+2").digest: None} if trouble == "no delta" else {}
        await edge.serve(2, 2, base=7 if trouble == "no base" else 1)
        assert named(weights(2)) in parent.fetched
        edge.check_disk()


@pytest.mark.parametrize("what", ["card", "weights", "graph"])
@pytest.mark.parametrize("how", ["other bytes", "cut off", "absent"])
@looped
async def test_what_a_parent_gives_wrong_is_not_served_and_comes_when_it_is_right(
    tmp_path: Path, parent: Parent, what: str, how: str
) -> None:
    async with Edge(tmp_path, parent) as edge:
        if what != "graph":
            await edge.serve(1, 1)
        release = parent.release(2, 2)
        digest = {
            "card": release.card.digest,
            "weights": named(weights(2)).digest,
            "graph": named(b"the graph of all versions").digest,
        }[what]
        right = parent.files[digest]
        parent.wrong[digest] = {
            "other bytes": right[:-1] + bytes([right[-1] ^ 1]),
            "cut off": right[:-3],
            "absent": None,
        }[how]
        edge.fresh()
        await edge.until(lambda edge: edge.state.attempt is not None and edge.state.attempt.tries > 2)
        assert edge.server.live == (None if what == "graph" else 1)
        alarms = [record for record in edge.records if record.what == "alarm"]
        assert len(alarms) == (how in ("other bytes", "absent"))
        parent.wrong.clear()
        await edge.until(lambda edge: edge.committed == 2 and edge.idle)
        edge.check_disk()


@pytest.mark.parametrize("trouble", ["expired", "older", "tampered", "unreadable"])
@looped
async def test_metadata_that_is_not_believed_alarms_once_and_what_is_here_goes_on_serving(
    tmp_path: Path, parent: Parent, trouble: str
) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        parent.release(2, 2)
        parent.trouble = trouble  # type: ignore[assignment]
        for _ in range(5):
            edge.fresh()
            await asyncio.sleep(0.05)
        assert edge.server.live == 1
        assert [outcome.what for outcome in parent.outcomes].count("alarm") == 1
        assert trouble in edge.records[-1].why
    async with Edge(tmp_path, parent) as edge:
        edge.fresh()
        await asyncio.sleep(0.1)
        assert [record.what for record in edge.records].count("alarm") == 1
        parent.trouble = ""
        edge.fresh()
        await edge.until(lambda edge: edge.committed == 2)
        parent.trouble = trouble  # type: ignore[assignment]
        edge.fresh()
        await edge.until(lambda edge: [record.what for record in edge.records].count("alarm") == 2)
        assert edge.server.live == 2


@looped
async def test_releases_that_run_out_without_news_alarm_also_offline(tmp_path: Path, parent: Parent) -> None:
    parent.expires = 1000.2
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        parent.away = True
        edge.clock = 1001.0
        await edge.until(lambda edge: ("alarm", 1) in edge.said())
        await asyncio.sleep(0.2)
        assert edge.said().count(("alarm", 1)) == 1
        assert edge.server.live == 1


@looped
async def test_the_same_timestamp_again_is_not_verified_again(tmp_path: Path, parent: Parent) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        parent.away = True
        for _ in range(3):
            edge.fresh()
            await asyncio.sleep(0.02)
        assert edge.updater._watcher._tries == 0


@looped
async def test_a_stable_node_takes_what_people_approved(tmp_path: Path, parent: Parent) -> None:
    async with Edge(tmp_path, parent, channel="stable") as edge:
        release = parent.release(1, 1)
        edge.fresh()
        await edge.until(lambda edge: edge.state.release is not None)
        await asyncio.sleep(0.05)
        assert edge.server.live is None
        parent.approved[MODEL] = frozenset({release.card.digest})
        parent.serial += 1
        edge.fresh()
        await edge.until(lambda edge: edge.committed == 1)


@pytest.mark.parametrize("fault", WORSE)
@looped
async def test_a_version_that_is_worse_in_probation_is_sent_back(tmp_path: Path, parent: Parent, fault: str) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        edge.vitals[2] = WORSE[fault]
        parent.release(2, 2, base=1)
        edge.fresh()
        await edge.until(lambda edge: edge.state.refuses(2) and edge.idle)
        assert edge.server.loaded == {1: "live"}
        assert edge.records[-1].what == parent.outcomes[-1].what == "reverted"
        assert edge.records[-1].why
        edge.check_disk()
    async with Edge(tmp_path, parent) as edge:
        edge.fresh()
        await asyncio.sleep(0.1)
        assert edge.server.loaded == {1: "live"}
        assert not edge.installer.tried
        await edge.serve(3, 3)


@pytest.mark.parametrize("fault", ["fails its trial", "cannot be loaded", "ends the server", "crashes later"])
@looped
async def test_a_version_that_is_broken_ends_on_the_last_good_one(tmp_path: Path, parent: Parent, fault: str) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        if fault == "fails its trial":
            edge.installer.bad[2] = "Output 'y' differs from what the model must answer."
        elif fault == "cannot be loaded":
            edge.server.broken.add(2)
        elif fault == "ends the server":
            edge.server.fatal.add(2)
        parent.release(2, 2)
        edge.fresh()
        if fault == "crashes later":
            for _ in range(2):
                await edge.until(lambda edge: edge.server.live == 2)
                edge.pulsing.cancel()  # type: ignore[union-attr]
                edge.server.crash("SIGSEGV")
        await edge.until(lambda edge: edge.state.refuses(2) and edge.idle)
        assert edge.server.loaded == {1: "live"}
        last = edge.records[-1]
        assert (last.what, last.version) == ("reverted" if fault == "crashes later" else "failed", 2)
        assert last.why
        edge.check_disk()


@looped
async def test_an_operator_goes_back_offline(tmp_path: Path, parent: Parent) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        with pytest.raises(LookupError, match="no earlier version"):
            edge.updater.revert(MODEL, "why not")
        await edge.serve(2, 2)
    parent.away = True
    async with Edge(tmp_path, parent) as edge:
        assert edge.server.live == 2
        edge.updater.revert(MODEL, "it counts sheep as goats")
        await edge.until(lambda edge: edge.server.live == 1 and edge.idle)
        edge.check_disk()
    async with Edge(tmp_path, parent) as edge:
        assert edge.server.loaded == {1: "live"}
        assert edge.records[-1].why == "it counts sheep as goats"


@looped
async def test_outcomes_are_told_again_when_the_parent_is_back(tmp_path: Path, parent: Parent) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
    parent.outcomes.clear()
    async with Edge(tmp_path, parent) as edge:
        edge.updater.fresh(b"")
        assert [(o.what, o.version, o.at) for o in parent.outcomes] == [("committed", 1, 1000.0)]


@looped
async def test_outcomes_stay_in_order_when_the_clock_is_set_back(tmp_path: Path, parent: Parent) -> None:
    async with Edge(tmp_path, parent) as edge:
        edge.clock = 5000.0
        await edge.serve(1, 1)
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(2, 2)
        times = [outcome.at for outcome in parent.outcomes]
        assert edge.clock < times[0]
        assert times == sorted(times)


@looped
async def test_the_beginnings_of_versions_that_were_given_up_go(tmp_path: Path, parent: Parent) -> None:
    async with Edge(tmp_path, parent) as edge:
        for version in (1, 2, 3):
            parent.release(version, version)
            parent.wrong[named(weights(version)).digest] = weights(version)[:-3]
            edge.fresh()
            await edge.until(lambda edge: edge.state.attempt is not None and edge.state.attempt.tries > 1)
            assert list((tmp_path / "blobs" / "partial").iterdir())
        parent.wrong.clear()
        await edge.serve(4, 4)
        assert not list((tmp_path / "blobs" / "partial").iterdir())


@looped
async def test_a_file_that_was_damaged_on_disk_is_fetched_again(tmp_path: Path, parent: Parent) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        release = parent.release(2, 2)
        parent.wrong[named(weights(2)).digest] = None
        edge.fresh()
        await edge.until(lambda edge: edge.state.attempt is not None and edge.state.attempt.tries > 0)
        parent.wrong.clear()
        digest = edge.blobs.put(weights(2))
        path = edge.blobs.path(digest)
        path.chmod(0o600)
        path.write_bytes(b"rotten")
        await edge.until(lambda edge: edge.committed == 2 and edge.idle)
        assert release.card.digest in edge.state.needed
        edge.check_disk()


@pytest.mark.parametrize("left", [b"", b"\0" * 500])
@looped
async def test_a_card_that_a_power_cut_has_damaged_is_fetched_again(
    tmp_path: Path, parent: Parent, left: bytes
) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        await edge.serve(2, 2)
        assert edge.state.current is not None
        assert edge.state.current.digests <= edge.installer.settled
        current = edge.blobs.path(edge.state.current.card.digest)
        third = parent.release(3, 3)
        parent.wrong[named(weights(3)).digest] = weights(3)[:-3]
        edge.fresh()
        await edge.until(lambda edge: edge.state.attempt is not None and edge.state.attempt.tries > 0)
        coming = edge.blobs.path(third.card.digest)
    current.write_bytes(left)
    coming.write_bytes(left)
    parent.wrong.clear()
    async with Edge(tmp_path, parent) as edge:
        assert {one.version for one in edge.updater.serving()} == {1}
        await edge.until(lambda edge: edge.committed == 3 and edge.idle)
        edge.check_disk()
        assert not edge.state.refused


@looped
async def test_a_served_file_that_is_gone_after_a_restart_is_no_disaster(tmp_path: Path, parent: Parent) -> None:
    async with Edge(tmp_path, parent) as edge:
        await edge.serve(1, 1)
        await edge.serve(2, 2)
        edge.blobs.delete(named(weights(2)).digest)
    async with Edge(tmp_path, parent) as edge:
        assert edge.server.live == 1
        await edge.until(lambda edge: edge.committed == 2 and edge.idle)
        edge.check_disk()


class Full:
    """The disk is full from the n-th write on, for a few writes."""

    def __init__(self, at: int, times: int) -> None:
        self.at = at
        self.times = times
        self.count = 0
        self.where: list[str] = []

    def __call__(self, where: str) -> None:
        if not where.startswith(("before the journal", "before a record", "in a fetch", "before a fi", "before a del")):
            return
        self.count += 1
        if self.at <= self.count < self.at + self.times:
            self.where.append(where)
            raise StorageFullError("the disk is full")


@pytest.mark.parametrize("worse", [False, True])
@looped
async def test_a_full_disk_at_any_step_only_delays(tmp_path: Path, worse: bool) -> None:
    at, seen = 0, set[str]()
    while True:
        at += 1
        parent, full = Parent(), Full(10**6, 4)
        (folder := tmp_path / str(at)).mkdir()
        async with Edge(folder, parent, full) as edge:
            await edge.serve(1, 1)
            full.count, full.at = 0, at
            if worse:
                edge.vitals[2] = WORSE["failing"]
            parent.release(2, 2, base=1)
            edge.fresh()
            await edge.until(lambda edge: (edge.state.refuses(2) if worse else edge.committed == 2) and edge.idle)
            assert edge.server.loaded == {1 if worse else 2: "live"}
            edge.check_disk()
            assert edge.said()[-1] == (("reverted", 2) if worse else ("committed", 2))
        if not full.where:
            break
        seen.update(full.where)
    assert {"before the journal", "before a record", "in a fetch", "before a file is moved in"} <= seen
