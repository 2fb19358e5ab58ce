"""A device serves the common version with the part of it that is its own, and says so: real servers, on a fleet."""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path
from typing import Any

import numpy as np

from fogline.inference.personal import JOB, ROUNDS
from fogline.inference.personal_parts import PersonalParts
from fogline.network.node.process import NodeFolder
from fogline.params import load, load_arrays, save_arrays
from fogline.serving.settings import Settings
from tests.patience import PATIENCE
from tests.serving.crafted import WEIGHTS, Weights, X, answers, crafted, moved
from tests.serving.fleet import Fleet, fleet

DEVICE = "client-0"
OWN: Weights = {"w2": np.roll(WEIGHTS["w2"], 1, axis=0), "b2": np.full(4, 0.5, np.float32)}


def lay_down(made: Fleet, rounds: int, part: Weights) -> None:
    """The device has kept a part of its own, and nobody has heard of it."""
    draft = made.folder / f"part-{rounds}"
    save_arrays(draft, part, {JOB: "toy-1", ROUNDS: str(rounds)})
    PersonalParts(made.folder / DEVICE / "personal").keep("digits", draft)


def keep(made: Fleet, rounds: int, part: Weights) -> None:
    """The device has been judged with a part of its own."""
    lay_down(made, rounds, part)
    made.serving_of(DEVICE).personal("digits")


async def restart(made: Fleet) -> None:
    await made.start(DEVICE, [made.home], None, Settings(grpc="", pulse=0.1))
    await made.until(lambda: DEVICE in made.http, "the server")


async def answers_as(made: Fleet, version: int, personal: str | None, weights: Weights) -> bool:
    """Whether the device says that it answers with these, and does."""
    status, said = await made.ask(DEVICE, X[:2])
    assert status == 200, said
    if (said["parameters"]["version"], said["parameters"].get("personal")) != (version, personal):
        return False
    np.testing.assert_allclose(
        np.reshape(said["outputs"][0]["data"], (2, -1)), answers(weights, X[:2]), rtol=1e-4, atol=1e-4
    )
    return True


async def until_it_answers(made: Fleet, version: int, personal: str | None, weights: Weights) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await answers_as(made, version, personal, weights):
            await asyncio.sleep(0.02)


async def get(made: Fleet, path: str) -> str:
    def asked() -> str:
        connection = http.client.HTTPConnection(made.http[DEVICE], timeout=PATIENCE)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    return await asyncio.to_thread(asked)


def why(made: Fleet, what: str) -> list[str]:
    return [record.why for record in made.records(DEVICE) if record.what == what]


def test_what_is_a_device_s_own_is_laid_into_every_version(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path, fogs=(), devices=(DEVICE,)) as made:
            await made.publish(crafted(tmp_path / "1"), tiers=("device",))
            await made.until(lambda: made.serves(DEVICE, 1), "version 1")
            assert await answers_as(made, 1, None, WEIGHTS)

            keep(made, 3, OWN)
            await until_it_answers(made, 1, "round 3 of job toy-1", WEIGHTS | OWN)
            assert '"personal":"round 3 of job toy-1"' in await get(made, "/v2/models/digits")
            assert 'fogline_personal_round{model="digits",version="1"} 3' in await get(made, "/metrics")
            assert "with the personal part of round 3 of job toy-1" in why(made, "committed")

            newer = moved(0.25) | {"w1": -WEIGHTS["w1"]}
            await made.publish(crafted(tmp_path / "2", newer), tiers=("device",))
            await made.until(lambda: made.serves(DEVICE, 2), "version 2")
            assert await answers_as(made, 2, "round 3 of job toy-1", newer | OWN)

            # A part that does not fit changes nothing, now, for the next version, and after a restart.
            keep(made, 4, {"b2": np.zeros(5, np.float32)})
            await made.until(lambda: bool(why(made, "alarm")), "an alarm")
            (alarm,) = why(made, "alarm")
            assert "version 2 answers with the personal part of round 3 of job toy-1" in alarm
            assert "round 4 of job toy-1 has tensor 'b2' of shape [5]; the version's has [4]" in alarm
            await made.publish(crafted(tmp_path / "3", moved(1.0)), tiers=("device",))
            await made.until(lambda: bool(why(made, "failed")), "a failure")
            assert await answers_as(made, 2, "round 3 of job toy-1", newer | OWN)
            await made.stop(DEVICE)
            await restart(made)
            assert await answers_as(made, 2, "round 3 of job toy-1", newer | OWN)

            # One that was kept just before the node went down is taken up.
            await made.stop(DEVICE)
            lay_down(made, 5, OWN | {"b2": np.ones(4, np.float32)})
            await restart(made)
            await until_it_answers(made, 2, "round 5 of job toy-1", newer | OWN | {"b2": np.ones(4, np.float32)})

    asyncio.run(scene())


def test_a_version_that_is_none_without_it_waits_for_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path, fogs=(), devices=(DEVICE,)) as made:
            await made.publish(crafted(tmp_path / "1", personal=("w2", "b2")), tiers=("device",))
            await made.until(lambda: bool(why(made, "alarm")), "an alarm")
            assert "has w2, b2 of version 1 of its own, and this one has not been judged" in why(made, "alarm")[0]
            keep(made, 1, OWN)
            await made.until(lambda: made.serves(DEVICE, 1), "version 1")
            assert await answers_as(made, 1, "round 1 of job toy-1", WEIGHTS | OWN)

    asyncio.run(scene())


def own_part(made: Fleet, model: str) -> dict[str, Any]:
    path = NodeFolder(made.folder / DEVICE).folder / "personal" / f"{model}.safetensors"
    assert path.stat().st_mode & 0o077 == 0
    return load_arrays(path)


def test_what_a_job_leaves_on_a_device_is_served_there(tmp_path: Path) -> None:
    """A head of its own; and, of the next job, weights that were fine-tuned."""

    async def scene() -> None:
        async with fleet(tmp_path, fogs=()) as made:
            head = '[algorithm]\nname = "fedavg"\nprivate = ["intercept*"]\n'
            record = await made.train(2, more=head, publish='tiers = ["device"]')
            assert record.state == "finished"
            await made.until(lambda: made.serves(DEVICE, 1), "version 1")
            assert list(own_part(made, "digits")) == ["intercept"]
            (card,) = (await made.standing()).cards
            assert (card.personal, card.headline) == (("intercept",), "accuracy")
            assert 0.5 < card.metrics["accuracy"] <= 1
            status, said = await made.ask(DEVICE, np.zeros((1, 1, 8, 8), np.float32))
            assert (status, said["parameters"]["personal"]) == (200, f"round 2 of job {record.job}"), said
            given = np.ravel(said["outputs"][0]["data"])
            np.testing.assert_allclose(given, own_part(made, "digits")["intercept"], rtol=1e-4, atol=1e-5)

            tuned = '[evaluation]\nwhere = "both"\nfine_tune = { epochs = 1 }\n'
            record = await made.train(1, more=tuned, name="tuned")
            await made.until(lambda: made.serves(DEVICE, 1, "tuned"), "version 1 of tuned")
            status, said = await made.ask(DEVICE, np.zeros((1, 1, 8, 8), np.float32), "tuned")
            assert (status, said["parameters"]["personal"]) == (200, f"round 1 of job {record.job}"), said
            common = load(made.publisher.blobs.path(made.publisher.recent("tuned", 1)[0].weights.digest))
            assert not np.allclose(own_part(made, "tuned")["intercept"], common.view("intercept"))
            given = np.ravel(said["outputs"][0]["data"])
            np.testing.assert_allclose(given, own_part(made, "tuned")["intercept"], rtol=1e-4, atol=1e-5)

    asyncio.run(scene())


def damaged(kept: bytes) -> dict[str, bytes]:
    """What a bad disk makes of a part."""
    size = int.from_bytes(kept[:8], "little")
    return {
        "nothing": b"",
        "noise": bytes(range(256)) * 4,
        "half of it": kept[: 8 + size // 2],
        "no numbers": kept[: 8 + size],
        "some numbers": kept[:-20],
        "no origin": kept.replace(ROUNDS.encode(), b"personal.sdnuor"),
        "no round": kept.replace(b'"4"', b'"x"'),
        "no end": (2**62).to_bytes(8, "little") + kept[8:],
        "numbers that are none": kept[: 8 + size] + b"\xff" * (len(kept) - 8 - size),
    }


def test_a_damaged_part_takes_nothing_away_and_the_next_good_one_is_taken(tmp_path: Path) -> None:
    async def scene() -> None:
        async with fleet(tmp_path, fogs=(), devices=(DEVICE,)) as made:
            await made.publish(crafted(tmp_path / "1"), tiers=("device",))
            await made.until(lambda: made.serves(DEVICE, 1), "version 1")
            keep(made, 3, OWN)
            await until_it_answers(made, 1, "round 3 of job toy-1", WEIGHTS | OWN)
            lay_down(made, 4, OWN | {"b2": np.ones(4, np.float32)})
            path = made.folder / DEVICE / "personal" / "digits.safetensors"
            for number, (what, data) in enumerate(damaged(path.read_bytes()).items(), 1):
                path.write_bytes(data)
                made.serving_of(DEVICE).personal("digits")
                await made.until(lambda number=number: len(why(made, "alarm")) == number, what)
                assert await answers_as(made, 1, "round 3 of job toy-1", WEIGHTS | OWN), what
            assert sum("does not say of which job and round" in alarm for alarm in why(made, "alarm")) == 2
            await made.stop(DEVICE)
            await restart(made)
            assert await answers_as(made, 1, "round 3 of job toy-1", WEIGHTS | OWN)
            keep(made, 5, OWN | {"b2": np.ones(4, np.float32)})
            await until_it_answers(made, 1, "round 5 of job toy-1", WEIGHTS | OWN | {"b2": np.ones(4, np.float32)})
            # So it is with what was made of both: it is made anew.
            await made.stop(DEVICE)
            (whole,) = (made.folder / DEVICE).glob("**/serving/**/personal/*")
            whole.write_bytes(whole.read_bytes()[:-20])
            await restart(made)
            await made.until(lambda: made.answers(DEVICE, 1), "version 1 anew")
            await until_it_answers(made, 1, "round 5 of job toy-1", WEIGHTS | OWN | {"b2": np.ones(4, np.float32)})
            # Without a part the next version is the common one.
            path.unlink()
            await made.publish(crafted(tmp_path / "2", moved(0.25)), tiers=("device",))
            await until_it_answers(made, 2, None, moved(0.25))

    asyncio.run(scene())
