"""A fog that lies, keys that were stolen, signatures that ran out: nodes keep to the last good version."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest

from fogline.governance.identity.authority import Authority
from fogline.inference.card import Card
from fogline.lab.proxy.proxy import FaultProxy
from fogline.network.cloud.folder import RELEASE_KEYS
from fogline.network.transport.messages import ParentAddress, ReleaseNotice
from fogline.registry.release import Release
from fogline.registry.trust import operator
from fogline.registry.trust.binding import BINDING, bind_root
from fogline.registry.trust.names import LARGEST_METADATA
from fogline.registry.trust.releases import SignedReleases
from fogline.registry.trust.repository import Lifetimes
from fogline.retries import Backoff
from fogline.serving.settings import Settings
from fogline.storage import open_database
from tests.serving import evil
from tests.serving.asker import Asker
from tests.serving.crafted import X, crafted, moved, plain_graph
from tests.serving.evil import EvilFog
from tests.serving.fleet import LOCAL, Fleet, fleet

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hasty")]
DEVICE = "client-0"
LIFETIME = 20.0
"""Seconds that a timestamp's signature holds, where it has to run out: a busy machine renews it in half of them."""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again sooner, and nobody is waited for for long."""
    monkeypatch.setattr("fogline.serving.update.turn.UPDATE_AGAIN", Backoff(0.5, 1.0))
    monkeypatch.setattr("fogline.network.transport.chunks.PATIENCE", 0.7)
    monkeypatch.setattr("fogline.serving.update.watcher.PATIENCE", 2.0)


@pytest.fixture
def fog(monkeypatch: pytest.MonkeyPatch) -> EvilFog:
    return EvilFog(monkeypatch)


def one_device(folder: Path, **more: object) -> AbstractAsyncContextManager[Fleet]:
    return fleet(folder, devices=(DEVICE,), serving=(DEVICE,), **more)  # type: ignore[arg-type]


async def first_version(made: Fleet) -> Card:
    version = crafted(made.folder / "v1")
    await made.publish(version)
    await made.until(lambda: made.serves(DEVICE, 1) and DEVICE in made.http, "version 1")
    return version.card


async def next_version(made: Fleet, number: int) -> None:
    """A good version, which the device takes."""
    assert await made.publish(crafted(made.folder / f"v{number}", moved(number))) == number
    await served(made, number)


async def served(made: Fleet, number: int) -> None:
    await made.until(lambda: made.serves(DEVICE, number), f"version {number}")


def alarms(made: Fleet, what: str = "") -> int:
    """How many the device wrote down."""
    return sum(record.what == "alarm" and what in record.why for record in made.records(DEVICE))


async def alarmed(made: Fleet, before: int, what: str) -> None:
    """One more alarm with these words, on the device and at the cloud."""
    await made.until(lambda: alarms(made, what) == before + 1, f"an alarm: {what}")
    await made.until(lambda: made.told(what), f"an alarm at the cloud: {what}")


# Files.

Damage = tuple[Callable[[Card], str], evil.Change]
DAMAGES: dict[str, Damage] = {
    "weights": (lambda card: card.weights.digest, evil.flipped),  # type: ignore[union-attr]
    "golden samples": (lambda card: card.golden.digest, evil.halved),  # type: ignore[union-attr]
    "graph": (lambda card: card.graph.digest, evil.flipped),  # type: ignore[union-attr]
    "card": (lambda card: card.digest, evil.flipped),
    "card without an end": (lambda card: card.digest, lambda data: data * 2),
}


def test_no_file_of_a_lying_fog_is_served(tmp_path: Path, fog: EvilFog) -> None:
    async def refused(made: Fleet, number: int, what: str, damage: Damage) -> None:
        whole = {"graph": plain_graph()} if what == "graph" else {"weights": moved(number)}
        version = crafted(tmp_path / f"v{number}", **whole)  # type: ignore[arg-type]
        part, change = damage
        fog.blobs[part(msgspec.structs.replace(version.card, version=number))] = change
        before = alarms(made, "damaged")
        assert await made.publish(version) == number
        await alarmed(made, before, "What fog sent is damaged")
        assert made.serves(DEVICE, number - 1), what
        fog.honest()
        await served(made, number)

    async def scene() -> None:
        async with one_device(tmp_path) as made:
            await first_version(made)
            with Asker(made.http[DEVICE], X) as asker:
                for number, (what, damage) in enumerate(DAMAGES.items(), 2):
                    await refused(made, number, what, damage)
            asker.clean()
            assert asker.versions == ["1", "2", "3", "4", "5", "6"]

    asyncio.run(scene())


def test_a_damaged_difference_is_no_loss_and_a_damaged_file_of_the_fogs_own_heals(tmp_path: Path, fog: EvilFog) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            first = await first_version(made)
            assert first.weights is not None
            base = made.publisher.blobs.path(first.weights.digest)
            with Asker(made.http[DEVICE], X) as asker:
                # The difference does not come as it should: the whole file is fetched.
                second = crafted(tmp_path / "v2", moved(2), base=base)
                (delta,) = second.card.deltas
                assert second.card.weights is not None
                fog.blobs[delta.asset.digest] = evil.flipped
                await made.publish(second)
                await served(made, 2)
                assert {delta.asset.digest, second.card.weights.digest} <= set(fog.asked)

                # It comes, and is enough.
                third = crafted(tmp_path / "v3", moved(3), base=base)
                assert third.card.weights is not None
                await made.publish(third)
                await served(made, 3)
                assert third.card.deltas[0].asset.digest in fog.asked
                assert third.card.weights.digest not in fog.asked
            asker.clean()

            # The fog means well, but its disk has spoilt what it keeps.
            await made.stop(DEVICE)
            fourth = crafted(tmp_path / "v4", moved(4))
            parts = [asset.digest for asset in fourth.card.assets().values()]
            await made.publish(fourth)
            for digest, change in zip(parts, (evil.flipped, evil.halved), strict=True):
                path, _ = await made.ups["fog"].node.obtain(digest)
                path.write_bytes(change(path.read_bytes()))
            await made.start(DEVICE, [made.home_of("fog")], None, Settings(grpc="", pulse=0.1))
            await served(made, 4)
            assert not alarms(made)

    asyncio.run(scene())


@pytest.mark.parametrize("frames", [evil.nothing, evil.noise, evil.endless, evil.swollen, evil.mute])
def test_a_fog_that_sends_nothing_noise_or_no_end_is_outlived(
    tmp_path: Path, fog: EvilFog, frames: Callable[[int], object]
) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            await first_version(made)
            with Asker(made.http[DEVICE], X) as asker:
                fog.frames, fog.asked = frames, []  # type: ignore[assignment]
                await made.publish(crafted(tmp_path / "v2", moved(2)))
                await made.until(lambda: len(fog.asked) >= 3, "it tries again")
                assert made.serves(DEVICE, 1)
                fog.honest()
                await served(made, 2)
                # The connection ends in the middle of a transfer, and of a question.
                fog.frames, fog.asked = evil.mute, []
                await made.publish(crafted(tmp_path / "v3", moved(3)))
                await made.until(lambda: bool(fog.asked), "it asks")
                fog.honest()
                made.ups["fog"].node.downlink.sessions[DEVICE].end("a test")  # type: ignore[union-attr]
                await served(made, 3)
            asker.clean()

    asyncio.run(scene())


# Metadata.


def push(made: Fleet, timestamp: bytes) -> None:
    """The fog says that there is news."""
    made.ups["fog"].node.say_to_all(ReleaseNotice(timestamp))


def own_releases(folder: Path, card: Card) -> SignedReleases:
    """A repository of somebody else's."""
    operator.create(folder / "online", folder / "offline")
    signed = SignedReleases(open_database(folder / "evil.db"), folder / "online")
    signed.publish(Release(model="digits", number=99, version=99, card=_asset(card)))
    return signed


def _asset(card: Card):  # type: ignore[no-untyped-def]
    from fogline.inference.card import Asset

    return Asset(card.digest, len(card.encoded()))


def test_older_tampered_and_foreign_metadata_is_refused_and_leaves_no_trace(tmp_path: Path, fog: EvilFog) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            first = await first_version(made)
            old = made.cloud.node.releases.timestamp  # type: ignore[union-attr]
            with Asker(made.http[DEVICE], X) as asker:
                await next_version(made, 2)

                fog.documents = lambda name, data: old if name == "timestamp.json" else data
                push(made, old)
                await alarmed(made, 0, "older than what was seen")
                fog.honest()
                await next_version(made, 3)

                number = 4
                for spoilt in ("snapshot.json", "rounds.json", "2.root.json", "5.json"):
                    number = await tampered(made, number, spoilt)

                theirs = own_releases(tmp_path / "evil", first)
                fog.documents = lambda name, data: theirs.file(name) or data
                push(made, theirs.file("timestamp.json") or b"")
                await alarmed(made, 0, "not signed by those who may")
                fog.honest()
                await next_version(made, number)
            asker.clean()
            assert asker.versions == [str(n) for n in range(1, number + 1)]

    async def tampered(made: Fleet, number: int, spoilt: str) -> int:
        """A file is another one on its way; what was kept of it is forgotten when the fog is honest again."""

        def document(name: str, data: bytes | None) -> bytes | None:
            hit = name.endswith(spoilt) if spoilt != "5.json" else len(name) == 69
            return (data or b"{}").replace(b'"', b"'", 1) if hit else data

        fog.documents = document
        before = alarms(made)
        assert await made.publish(crafted(tmp_path / f"v{number}", moved(number))) == number
        await made.until(lambda: alarms(made) == before + 1, f"an alarm about {spoilt}")
        assert made.serves(DEVICE, number - 1)
        fog.honest()
        await served(made, number)
        return number + 1

    asyncio.run(scene())


@pytest.mark.parametrize("answer", [b"\xff", b"", msgspec.msgpack.encode({"data": bytes(2 * LARGEST_METADATA)})])
def test_what_is_no_answer_about_releases_is_outlived(tmp_path: Path, fog: EvilFog, answer: bytes) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            await first_version(made)
            with Asker(made.http[DEVICE], X) as asker:
                fog.answer, fog.reads = answer, 0
                await made.publish(crafted(tmp_path / "v2", moved(2)))
                await made.until(lambda: fog.reads >= 3, "it asks again")
                assert made.serves(DEVICE, 1)
                fog.honest()
                await served(made, 2)
            asker.clean()

    asyncio.run(scene())


def test_a_new_node_believes_only_the_authority_that_it_joined(
    tmp_path: Path, fog: EvilFog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fogline.serving")

    async def scene() -> None:
        async with fleet(tmp_path, devices=(), serving=()) as made:
            version = crafted(tmp_path / "v1")
            await made.publish(version)
            theirs = own_releases(tmp_path / "evil", version.card)
            binding = bind_root(Authority.create(tmp_path / "evil" / "authority"), theirs.root)
            fog.documents = lambda name, data: binding if name == BINDING else theirs.file(name) or data
            await made.join(DEVICE, "device")
            await made.start(DEVICE, [made.home_of("fog")], None, Settings(grpc="", pulse=0.1))
            await made.until(lambda: "authority" in caplog.text, "a warning")
            assert not made.serving_of(DEVICE).updater.states()
            fog.honest()
            await served(made, 1)

    asyncio.run(scene())


# Time and keys.


def test_expired_metadata_alarms_once_and_goes_on_serving(tmp_path: Path) -> None:
    async def scene() -> None:
        async with one_device(tmp_path) as made:
            made.publisher.signed._lifetimes = Lifetimes(timestamp=LIFETIME, snapshot=600.0, rounds=600.0)
            await made.stop(DEVICE)
            await made.stop("fog")
            host, _, port = made.home.address.rpartition(":")
            async with FaultProxy(host, int(port)) as link:
                await made.start("fog", [ParentAddress("cloud", f"127.0.0.1:{link.port}")], LOCAL)
                await made.start(DEVICE, [made.home_of("fog")], None, Settings(grpc="", pulse=0.1))
                await first_version(made)
                with Asker(made.http[DEVICE], X) as asker:
                    await asyncio.sleep(LIFETIME + 1.0)
                    assert not alarms(made)
                    await link.refuse()
                    link.cut()
                    await made.until(lambda: alarms(made) == 1, "an alarm")
                    await asyncio.sleep(3.0)  # Several tries.
                    assert alarms(made) == 1
                    assert not made.told("alarm")
                    await link.refuse(False)
                    await next_version(made, 2)
                asker.clean()
                assert alarms(made) == 1
                await made.until(lambda: made.told("alarm"), "the alarm at the cloud")
                standing = await made.standing()
                assert sum("alarm" in note.text for note in standing.notes) == 1
                await made.until(lambda: committed(made) == 2, "the commitment at the cloud")
                await made.stop(DEVICE)
                await made.stop("fog")

    def committed(made: Fleet) -> int:
        outcomes = made.publisher.model_reports("digits")[0].outcomes
        return max((outcome.version for outcome in outcomes if outcome.what == "committed"), default=0)

    asyncio.run(scene())


def test_the_stable_channel_serves_only_what_people_approved_also_when_the_clouds_keys_are_stolen(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        async with one_device(tmp_path, policy='\n[serve]\nchannel = "stable"\n') as made:
            await made.publish(crafted(tmp_path / "v1"))
            await made.until(lambda: seen(made) == 1, "the release")
            assert made.serving_of(DEVICE).updater.states()["digits"].attempt is None
            await approve(made, 1)
            await served(made, 1)
            with Asker(made.http[DEVICE], X) as asker:
                # Whoever has the cloud's keys can sign this, and no more.
                await made.publish(crafted(tmp_path / "v2", moved(2)))
                await made.until(lambda: seen(made) == 2, "the thief's release")
                thieves = made.publisher.signed
                release = thieves.releases()["digits"]
                forged = msgspec.structs.replace(release, number=release.number + 50, before=release.card, share=0.0)
                thieves.publish(forged)
                made.publisher._changed()
                await made.until(lambda: number(made) == forged.number, "a forged release")
                await asyncio.sleep(0.5)
                state = made.serving_of(DEVICE).updater.states()["digits"]
                assert (state.attempt, state.watch, made.serves(DEVICE, 1)) == (None, None, True)
                assert release.card.digest not in made.serving_of(DEVICE).updater.needed()
                await approve(made, 2)
                await served(made, 2)
            asker.clean()
            assert asker.versions == ["1", "2"]

    async def approve(made: Fleet, version: int) -> None:
        keys = tmp_path / "cloud" / "operator" / RELEASE_KEYS
        theirs = made.publisher.signed.offline_metadata()
        card = made.publisher.catalogue.asset("digits", version).digest
        offline_metadata = operator.approve(keys, theirs, "digits", card, "operator")
        await made.client.adopt(offline_metadata.encoded())

    def seen(made: Fleet) -> int:
        state = made.serving_of(DEVICE).updater.states().get("digits")
        return 0 if state is None or state.release is None else state.release.version

    def number(made: Fleet) -> int:
        release = made.serving_of(DEVICE).updater.states()["digits"].release
        return 0 if release is None else release.number

    asyncio.run(scene())
