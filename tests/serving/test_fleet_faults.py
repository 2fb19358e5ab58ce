"""Bad versions, dead processes, full disks and broken lines: a node ends on a good version, with a record."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from fogline.lab.proxy.proxy import FaultProxy
from fogline.network.node.mirror import ReleaseMirror
from fogline.network.node.process import NodeFolder
from fogline.network.transport.messages import ParentAddress
from fogline.registry.model_report import Steer
from fogline.registry.release import Outcome
from fogline.retries import Backoff
from fogline.serving.process import PROGRAM as SERVER
from fogline.serving.settings import Settings
from fogline.serving.update.installing.installer import PROGRAM as INSTALLER
from fogline.serving.update.installing.installer import ProcessInstaller
from fogline.serving.update.ports import UnfitModelError
from fogline.storage import Blobs, Database, StorageFullError
from tests.serving.asker import Asker, Refusal
from tests.serving.crafted import (
    WEIGHTS,
    X,
    answers,
    crafted,
    endless_graph,
    failing_graph,
    greedy_graph,
    moved,
    slow_graph,
)
from tests.serving.fleet import LOCAL, Fleet, ask, fleet
from tests.serving.node import Node, children

pytestmark = pytest.mark.slow
DEVICE = "client-0"
DEVICES = (DEVICE, "client-1", "client-2")
WATCHED = {"seconds": 0.5, "requests": 40, "longest": 20, "labels": 30}


@asynccontextmanager
async def one_device(folder: Path, **more: Any) -> AsyncGenerator[Fleet]:
    """With version 1 on it."""
    async with fleet(folder, devices=(DEVICE,), serving=(DEVICE,), **more) as made:
        await made.publish(crafted(folder / "v1"))
        await made.until(lambda: made.serves(DEVICE, 1) and DEVICE in made.http, "version 1")
        yield made


async def next_version(made: Fleet, number: int, *nodes: str) -> None:
    """A good version, which nodes take."""
    assert await made.publish(crafted(made.folder / f"v{number}", moved(number))) == number
    for node in nodes or (DEVICE,):
        await made.until(lambda node=node: made.serves(node, number), f"version {number} on {node}")  # type: ignore[misc]


def recorded(made: Fleet, version: int, what: str, name: str = DEVICE) -> Outcome | None:
    """What a node wrote down about a version."""
    return next((r for r in made.records(name) if (r.version, r.what) == (version, what)), None)


async def ends(made: Fleet, version: int, what: str, why: str) -> None:
    """The version goes, the device and the cloud say why, and the rollout is aborted."""
    await made.until(lambda: recorded(made, version, what) is not None, f"version {version} {what}")
    record = recorded(made, version, what)
    assert record is not None
    assert why in record.why, record
    await made.until(lambda: made.told(f"{DEVICE} {what} digits version {version}: {record.why}"), "the cloud hears it")
    await made.until(lambda: made.told(f"The rollout of digits version {version} is aborted"), "the abort")


# Bad versions.


def not_finite() -> dict[str, np.ndarray]:
    w1 = WEIGHTS["w1"].copy()
    w1[0, 0] = np.nan
    return WEIGHTS | {"w1": w1}


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "other answers than it should give": ({"golden": lambda x: answers(moved(3.0), x)}, "differs"),
    "no numbers": ({"weights": not_finite()}, "differs"),
    "no weights": ({"raw": b"garbage" * 1000}, ""),
    "no graph": ({"graph": b"garbage" * 1000}, "cannot load"),
    "half a graph": ({"graph": slow_graph(2)[:2000]}, "cannot load"),
    "too much memory": ({"graph": greedy_graph()}, ""),
}


def test_versions_that_fail_their_trial_are_never_served(tmp_path: Path) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            with Asker(made.http[DEVICE], X) as asker:
                for number, (how, why) in enumerate(UNFIT.values(), 2):
                    await made.publish(crafted(tmp_path / f"v{number}", **how))
                    await ends(made, number, "failed", why)
                    assert made.serves(DEVICE, 1)
                last = len(UNFIT) + 2
                await next_version(made, last)
            asker.clean()
            assert asker.versions == ["1", str(last)]

    asyncio.run(scene())


def test_a_version_that_never_answers_is_given_up(tmp_path: Path) -> None:
    async def scene() -> None:
        version = crafted(tmp_path / "v", graph=endless_graph())
        installer = ProcessInstaller(tmp_path / "installer", b"", seconds=4.0)
        with pytest.raises(UnfitModelError, match="longer than 4 s"):
            await installer.trial(version.card.encoded(), version.files)
        assert not children(INSTALLER)

    asyncio.run(scene())


WORSE: dict[str, tuple[dict[str, Any], str]] = {
    "slower": ({"graph": slow_graph()}, "95 % of its answers came within"),
    "less sure": ({"weights": moved(0.0, scale=0.01)}, "its mean confidence is"),
    "less right": ({"weights": moved(0.0, turn=1)}, "of its labelled answers are right"),
}


def test_versions_that_do_worse_in_probation_go_back_and_no_request_fails(tmp_path: Path) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            with Asker(made.http[DEVICE], X) as asker:
                asker.labels = np.argmax(answers(WEIGHTS, X), axis=1)
                await made.until(lambda: asker.count > 150, "answers of the good version")
                for number, (how, why) in enumerate(WORSE.values(), 2):
                    await made.publish(crafted(tmp_path / f"v{number}", **how), probation=WATCHED)
                    await ends(made, number, "reverted", why)
                    await made.until(lambda: asker.versions[-1] == "1", "the last good version")
                last = len(WORSE) + 2
                await next_version(made, last)
            asker.clean()
            # Each was served for a while, and each time version 1 came back.
            assert asker.versions == ["1", *(v for n in range(2, last) for v in (str(n), "1")), str(last)]

    asyncio.run(scene())


def test_a_version_whose_requests_fail_goes_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            x = X.copy()
            x[::2, 0] = 1000.0  # Every other question is one that only the good version answers.
            with Asker(made.http[DEVICE], x) as asker:
                await made.publish(crafted(tmp_path / "v2", graph=failing_graph()), probation=WATCHED)
                await ends(made, 2, "reverted", "requests failed")
                await made.until(lambda: asker.versions[-1] == "1", "the last good version")
                before = len(asker.failures)
                await next_version(made, 3)
            assert before == len(asker.failures) > 0
            assert all(Refusal.__name__ in failure for failure in asker.failures)

    asyncio.run(scene())


def test_what_clients_ask_wrongly_takes_no_version_down(tmp_path: Path) -> None:
    """No version has the row that every fifth question asks for."""

    async def scene() -> None:
        async with fleet(tmp_path, devices=(DEVICE,), serving=(DEVICE,)) as made:
            await made.publish(crafted(tmp_path / "v1", graph=failing_graph()))
            await made.until(lambda: made.serves(DEVICE, 1) and DEVICE in made.http, "version 1")
            x = X.copy()
            x[::5, 0] = 1000.0
            with Asker(made.http[DEVICE], x) as asker:
                await made.publish(crafted(tmp_path / "v2", graph=failing_graph()), probation=WATCHED)
                await made.until(lambda: made.serves(DEVICE, 2), "version 2")
            assert asker.versions == ["1", "2"]
            assert len(asker.failures) > 5
            assert {failure.split()[1] for failure in asker.failures} == {"400"}

    asyncio.run(scene())


# A fleet.


def test_a_bad_version_does_not_leave_its_first_ring_and_operators_steer_the_rest(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path, devices=DEVICES, serving=DEVICES) as made:
            await made.publish(crafted(tmp_path / "v1"))
            await everywhere(made, 1)
            await made.until(lambda: made.told("digits version 1 is released to all nodes"), "the end of its rollout")
            with ExitStack() as stack:
                askers = [stack.enter_context(Asker(made.http[name], X, pause=0.02)) for name in DEVICES]
                await steered(made)
            for asker in askers:
                asker.clean()
                assert "2" not in asker.versions

    async def steered(made: Fleet) -> None:
        unfit = crafted(tmp_path / "v2", golden=lambda x: -answers(WEIGHTS, x))
        await made.publish(unfit, rings=(0.34, 1.0))
        await made.until(lambda: made.told("The rollout of digits version 2 is aborted"), "the abort")
        await next_version(made, 3, *DEVICES)
        tried = [name for name in DEVICES if any(record.version == 2 for record in made.records(name))]
        assert tried == [name for name in DEVICES if recorded(made, 2, "failed", name)]
        assert 0 < len(tried) < len(DEVICES)

        # Back, by hand: not to the version that was aborted.
        await made.client.steer(Steer("digits", "rollback"))
        await everywhere(made, 1)

        # A rollout that is paused in its first ring stays there until it goes on.
        await made.publish(crafted(tmp_path / "v4", moved(4)), rings=(0.34, 1.0), probation={"seconds": 2.0})
        await made.client.steer(Steer("digits", "pause"))
        await asyncio.sleep(3.0)
        assert not all(made.serves(name, 4) for name in DEVICES)
        await made.client.steer(Steer("digits", "resume"))
        await everywhere(made, 4)

    async def everywhere(made: Fleet, version: int) -> None:
        for name in DEVICES:
            await made.until(lambda n=name: made.serves(n, version) and n in made.http, f"{version} on {name}")  # type: ignore[misc]

    asyncio.run(scene())


# Processes that die.


def test_a_server_that_is_killed_comes_back_and_a_version_that_is_killed_twice_goes(tmp_path: Path) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            await killed(made, 1)
            assert made.serves(DEVICE, 1)

            long = {"seconds": 60.0, "longest": 60.0}
            await made.publish(crafted(tmp_path / "v2", moved(2)), probation=long)
            await made.until(lambda: recorded(made, 2, "probation") is not None, "the probation")
            await killed(made, 2)
            assert recorded(made, 2, "reverted") is None
            await killed(made, 1)
            await ends(made, 2, "reverted", "ended twice")
            await next_version(made, 3)

    async def killed(made: Fleet, then: int) -> None:
        """The server dies under load; afterwards a version answers."""
        with Asker(made.http[DEVICE], X) as asker:
            await made.until(lambda: asker.count > 20, "load")
            (pid,) = children(SERVER)
            address = made.http.pop(DEVICE)
            os.kill(pid, signal.SIGKILL)
            await made.until(lambda: DEVICE in made.http, "another server")
            assert made.http[DEVICE] != address
        status, answer = await made.ask(DEVICE, X[:1])
        assert (status, answer["model_version"]) == (200, str(then))

    asyncio.run(scene())


def test_a_good_version_that_ends_its_server_again_and_again_is_tried_anew_with_whole_files(tmp_path: Path) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            await next_version(made, 2)
            weights = (await made.standing()).cards[0].weights
            assert weights is not None
            store = cast("ReleaseMirror", made.ups[DEVICE].node.releases).store
            os.chmod(store.path(weights.digest), 0o600)
            with store.path(weights.digest).open("r+b") as file:  # The disk rots.
                file.seek(-8, os.SEEK_END)
                file.write(bytes(8))
            for _ in range(3):
                await made.until(lambda: DEVICE in made.http, "a server")
                (pid,) = children(SERVER)
                made.http.clear()
                os.kill(pid, signal.SIGKILL)
            await made.until(lambda: made.told(f"{DEVICE} reverted digits version 2"), "that it gave way")
            record = recorded(made, 2, "reverted")
            assert record is not None
            assert "3 times in a row" in record.why
            await made.until(lambda: made.serves(DEVICE, 2), "version 2 once more")
            assert hashlib.sha256(store.path(weights.digest).read_bytes()).hexdigest() == weights.digest
            status, answer = await made.ask(DEVICE, X[:1])
            assert (status, answer["model_version"]) == (200, "2")

    asyncio.run(scene())


def test_installers_that_are_killed_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fogline.serving.update.turn.UPDATE_AGAIN", Backoff(0.5, 300.0))

    async def scene() -> None:
        async with one_device(tmp_path) as made:
            with Asker(made.http[DEVICE], X) as asker:
                # The first looks at the metadata: another one does it anew.
                await made.publish(crafted(tmp_path / "v2", moved(2)))
                await kill_installer(made)
                await made.until(lambda: made.serves(DEVICE, 2), "version 2")

                # The second tries the version, and whatever kills it may be the version's fault.
                await made.publish(crafted(tmp_path / "v3", moved(3)))
                await made.until(lambda: attempted(made), "the trial")
                await kill_installer(made)
                await ends(made, 3, "failed", "SIGKILL")
                assert made.serves(DEVICE, 2)
                await next_version(made, 4)
            asker.clean()
            assert asker.versions == ["1", "2", "4"]

    def attempted(made: Fleet) -> bool:
        attempt = made.serving_of(DEVICE).updater.states()["digits"].attempt
        return attempt is not None and attempt.step == "trial"

    async def kill_installer(made: Fleet) -> None:
        await made.until(lambda: bool(children(INSTALLER)), "an installer")
        for pid in children(INSTALLER):
            os.kill(pid, signal.SIGKILL)

    asyncio.run(scene())


@pytest.mark.parametrize("seed", [1, 2])
def test_a_node_that_is_killed_again_and_again_ends_on_a_good_version_with_whole_files(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)

    async def scene() -> None:
        async with fleet(tmp_path, devices=(), serving=()) as made:
            place = await made.join(DEVICE, "device")
            node = Node(place.folder, made.home_of("fog"))
            node.start()
            try:
                await made.publish(crafted(tmp_path / "v1"))
                await made.until(lambda: node.last("serves") == "1 committed", "version 1")
                for number in (2, 3, 4, 5):
                    await made.publish(crafted(tmp_path / f"v{number}", moved(number)))
                    await asyncio.sleep(chance.uniform(0.0, 2.0))
                    node.end()
                    node.start()
                    await made.until(lambda: bool(node.last("listens")), "the server")
                    status, answer = await asyncio.to_thread(ask, node.last("listens"), "digits", X[:1])
                    assert status == 200
                    assert int(answer["model_version"]) <= number
                await made.publish(crafted(tmp_path / "v6", moved(6)))
                await made.until(lambda: node.last("serves") == "6 committed", "version 6")
                (server,) = children(SERVER, node.pid)
                node.end()
                await made.until(lambda: not Path(f"/proc/{server}").exists(), "the end of its server")
            finally:
                node.end()
            blobs = place.open_models()
            for digest in blobs.all():
                blobs.verify(digest)

    asyncio.run(scene())


# Disks and lines.


def test_a_full_disk_stops_an_update_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fogline.serving.update.turn.UPDATE_AGAIN", Backoff(0.5, 300.0))
    monkeypatch.setattr("fogline.serving.update.driver.JOURNAL_AGAIN", 0.5)
    full: list[type] = []
    blobs = str(NodeFolder(tmp_path / DEVICE).open_models().where)

    def refuse(owner: type, method: str, ours: Callable[[Any], bool]) -> None:
        original = getattr(owner, method)

        def wrapped(self: Any, *args: Any, **more: Any) -> Any:
            if owner in full and ours(self):
                raise StorageFullError("Cannot write: the disk is full; free some space and try again")
            return original(self, *args, **more)

        monkeypatch.setattr(owner, method, wrapped)

    device: list[Database] = []
    for method in ("writer", "adopt", "put"):
        refuse(Blobs, method, lambda self: self.where == blobs)
    for method in ("put", "note", "swap", "delete"):
        refuse(Database, method, lambda self: self in device)

    async def scene() -> None:
        async with one_device(tmp_path) as made:
            device.append(made.ups[DEVICE].node.database)
            with Asker(made.http[DEVICE], X) as asker:
                full.append(Blobs)
                await made.publish(crafted(tmp_path / "v2", moved(2)))
                await made.until(lambda: made.told("the disk is full"), "an alarm at the cloud")
                assert recorded(made, 2, "alarm")
                assert made.serves(DEVICE, 1)
                full.clear()
                await made.until(lambda: made.serves(DEVICE, 2), "version 2")

                # Also the journal cannot be written.
                full.extend((Blobs, Database))
                await made.publish(crafted(tmp_path / "v3", moved(3)))
                await asyncio.sleep(3.0)
                assert made.serves(DEVICE, 2)
                full.clear()
                await made.until(lambda: made.serves(DEVICE, 3), "version 3")
            asker.clean()
            assert asker.versions == ["1", "2", "3"]

    asyncio.run(scene())


@pytest.mark.parametrize("where", ["above the device", "above the fog"])
def test_lines_that_break_in_the_middle_of_an_update_only_delay_it(tmp_path: Path, where: str) -> None:
    chance = random.Random(5)

    async def scene() -> None:
        async with fleet(tmp_path, devices=(), serving=()) as made:
            await made.join(DEVICE, "device")
            high = where == "above the fog"
            if high:
                await made.stop("fog")
            host, _, port = (made.home if high else made.home_of("fog")).address.rpartition(":")
            async with FaultProxy(host, int(port)) as line:
                home = ParentAddress("cloud" if high else "fog", f"127.0.0.1:{line.port}")
                if high:
                    await made.start("fog", [home], LOCAL)
                await made.start(DEVICE, [made.home_of("fog") if high else home], None, Settings(grpc="", pulse=0.1))
                await made.publish(crafted(tmp_path / "v1"))
                await made.until(lambda: made.serves(DEVICE, 1) and DEVICE in made.http, "version 1")
                with Asker(made.http[DEVICE], X) as asker:
                    for number in (2, 3):
                        line.set(rate="300kbit")
                        await made.publish(crafted(tmp_path / f"v{number}", moved(number)))
                        for _ in range(8):
                            await asyncio.sleep(chance.uniform(0.05, 0.8))
                            line.cut()
                        line.partition()
                        await asyncio.sleep(1.0)
                        line.cut()
                        line.partition(False)
                        line.set(rate="none")
                        await made.until(lambda n=number: made.serves(DEVICE, n), f"version {number}")  # type: ignore[misc]
                asker.clean()
                assert asker.versions == ["1", "2", "3"]
                for name in list(made.ups):
                    await made.stop(name)

    asyncio.run(scene())
