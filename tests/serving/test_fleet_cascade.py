"""A small model on devices, a larger one on fogs and the largest at the cloud answer together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from fogline import load
from fogline.network.node.services.predictions import PredictionService
from fogline.registry.model_report import Steer
from fogline.registry.release import NodeKind
from fogline.serving.cascade.wire import OffloadAnswer, packed, read_ask, values
from fogline.serving.settings import Settings
from tests.serving.fleet import Fleet, fleet

pytestmark = pytest.mark.slow
MODELS = {
    "small": (1, "learning_rate = 0.0001"),
    "middle": (1, "learning_rate = 0.01"),
    "large": (4, "learning_rate = 0.05"),
}
OFFLOAD = "\n[serve]\noffload = true\n"
SERVING = ("cloud", "fog", "client-0")
Ask = Callable[[bytes, float], Awaitable[bytes]]
PATIENT = Settings(grpc="", pulse=0.1, patience=20.0)
"""On a busy machine an answer from above may take long."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three models of the same data, each in a file."""
    folder = tmp_path_factory.mktemp("trained")

    async def scene() -> None:
        async with fleet(folder / "tree", fogs=(), serving=()) as made:
            for name, (rounds, local) in MODELS.items():
                record = await made.train(rounds, name=name, more=f"[local]\n{local}")
                assert record.state == "finished", record.why
                await made.client.export(name, 1, folder / name)

    asyncio.run(scene())
    return {name: folder / name for name in MODELS}


def examples() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The test set, by which models were judged too."""
    test = load("digits", clients=2).test
    assert test is not None
    return test.array.astype(np.float32), test.y.astype(np.int64)


async def serve(made: Fleet, trained: dict[str, Path], *models: tuple[str, NodeKind], to: str = "middle") -> str:
    """Models on tiers; the small one asks ``to``. What linking them said."""
    for path in trained.values():
        await made.client.take_in(path)
    said = await made.client.link("small", to, None, 0.3)
    for name, tier in (("small", "device"), *models):
        await made.client.steer(Steer(name, "promote", tiers=(tier,)))
    await made.until(lambda: made.answers("client-0", 2, "small"), "the small model on the device")
    for name, tier in models:
        node = {"fog": "fog", "cloud": "cloud"}[tier]
        await made.until(lambda name=name, node=node: made.answers(node, 1, name), f"{name} on {node}")
    return said


@contextmanager
def counted(made: Fleet, name: str) -> Iterator[list[int]]:
    """Rows that a node is asked about by those below it, question by question."""
    service, rows = made.ups[name].node.service(PredictionService), list[int]()
    infer = service.infer

    async def counting(ask: bytes, seconds: float) -> bytes:
        rows.append(len(next(iter(read_ask(ask)[1].values()))))
        return await infer(ask, seconds)

    service.infer = counting
    try:
        yield rows
    finally:
        service.infer = infer


async def answers(made: Fleet, x: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    """Classes that the device names, and what it says of who answered."""
    status, body = await made.ask("client-0", x, "small")
    assert status == 200, body
    scores = next(output for output in body["outputs"] if len(output["shape"]) == 2)
    return np.reshape(scores["data"], scores["shape"]).argmax(1), body["parameters"]


def test_the_device_asks_where_it_is_unsure_and_is_right_more_often(tmp_path: Path, trained: dict[str, Path]) -> None:
    x, y = examples()

    async def scene() -> None:
        async with fleet(tmp_path, devices=("client-0",), serving=SERVING, policy=OFFLOAD, settings=PATIENT) as made:
            said = await serve(made, trained, ("middle", "fog"))
            with counted(made, "fog") as rows:
                together, notes = await answers(made, x)
            assert notes == {"tier": "fog", "version": 1, "offloaded": sum(rows), "model": "middle"}
            assert 0.1 < sum(rows) / len(x) <= 0.3
            assert f"{100 * sum(rows) / len(x):.1f} %" in said
            assert f"{100 * np.mean(together == y):.2f} %" in said, "what was promised is what comes out"

            with counted(made, "fog") as rows:
                single = [await answers(made, x[i : i + 1]) for i in range(40)]
            assert [int(labels[0]) for labels, _ in single] == together[:40].tolist()
            sure = [notes for _, notes in single if notes == {"tier": "device", "version": 2}]
            assert len(sure) + len(rows) == 40
            assert sure
            assert rows

            await made.stop("fog")
            alone, notes = await answers(made, x)
            assert notes["tier"] == "device"
            assert notes["version"] == 2
            assert notes["offloaded"] == 0
            assert "there is no connection" in notes["why"]
            assert np.mean(together == y) > np.mean(alone == y) + 0.02

    asyncio.run(scene())


def test_without_consent_no_sample_leaves(tmp_path: Path, trained: dict[str, Path]) -> None:
    x, _ = examples()

    async def scene() -> None:
        async with fleet(tmp_path, devices=("client-0",), serving=SERVING, settings=PATIENT) as made:
            await serve(made, trained, ("middle", "fog"))
            with counted(made, "fog") as rows:
                _, notes = await answers(made, x)
            assert notes == {
                "tier": "device",
                "version": 2,
                "offloaded": 0,
                "why": "Samples may not leave this machine.",
            }
            assert rows == []

    asyncio.run(scene())


def test_a_fog_asks_the_cloud_in_turn(tmp_path: Path, trained: dict[str, Path]) -> None:
    x, y = examples()

    async def scene() -> None:
        async with fleet(
            tmp_path,
            devices=("client-0",),
            serving=SERVING,
            policy=OFFLOAD,
            settings=msgspec.structs.replace(PATIENT, patience=5.0),
        ) as made:
            for path in trained.values():
                await made.client.take_in(path)
            await made.client.link("middle", "large", None, 0.5)
            await made.client.link("small", "middle", None, 0.3)
            for name, tier in (("large", "cloud"), ("middle", "fog"), ("small", "device")):
                await made.client.steer(Steer(name, "promote", tiers=(tier,)))
            for node, version, name in (("cloud", 1, "large"), ("fog", 2, "middle"), ("client-0", 2, "small")):
                await made.until(lambda n=node, v=version, m=name: made.answers(n, v, m), f"{name} on {node}")
            together, notes = await answers(made, x)
            assert (notes["tier"], notes["model"], notes["version"]) == ("cloud", "large", 1)
            assert np.mean(together == y) > 0.9

            # The cloud falls silent: the fog's answer comes in time.
            made.cloud.node.service(PredictionService).infer = hanging
            _, notes = await answers(made, x)
            assert (notes["tier"], notes["model"], notes["version"]) == ("fog", "middle", 2)

    asyncio.run(scene())


def test_a_question_passes_a_fog_that_has_no_such_model(tmp_path: Path, trained: dict[str, Path]) -> None:
    x, _ = examples()

    async def scene(serving: tuple[str, ...], folder: Path) -> None:
        async with fleet(folder, devices=("client-0",), serving=serving, policy=OFFLOAD, settings=PATIENT) as made:
            await serve(made, trained, ("large", "cloud"), to="large")
            _, notes = await answers(made, x)
            assert (notes["tier"], notes["model"], notes["version"]) == ("cloud", "large", 1), notes

    asyncio.run(scene(("cloud", "client-0"), tmp_path / "without"))
    asyncio.run(scene(SERVING, tmp_path / "with"))


async def hanging(ask: bytes, seconds: float) -> bytes:
    await asyncio.sleep(3600)
    return b""


async def garbage(ask: bytes, seconds: float) -> bytes:
    return b"\xc1 garbage"


async def endless(ask: bytes, seconds: float) -> bytes:
    rows = len(next(iter(read_ask(ask)[1].values())))
    return packed(OffloadAnswer(values({"y": np.full((rows, 10), np.inf, np.float32)}), "fog", "middle", 1))


async def narrow(ask: bytes, seconds: float) -> bytes:
    return packed(OffloadAnswer(values({"y": np.ones((1, 3), np.float32)}), "fog", "middle", 1))


async def refusing(ask: bytes, seconds: float) -> bytes:
    raise LookupError("no")


def test_a_fog_that_hangs_or_lies_changes_nothing(tmp_path: Path, trained: dict[str, Path]) -> None:
    x, _ = examples()

    async def scene() -> None:
        async with fleet(tmp_path, devices=("client-0",), serving=("client-0",), policy=OFFLOAD) as made:
            await serve(made, trained)
            service = made.ups["fog"].node.service(PredictionService)
            service.infer = refusing
            own, _ = await answers(made, x)
            for answer in (hanging, garbage, endless, narrow):
                service.infer = answer
                found, notes = await answers(made, x)
                assert found.tolist() == own.tolist()
                assert (notes["tier"], notes["offloaded"]) == ("device", 0)
                assert notes["why"]
            # Nobody waits for it any more.
            _, notes = await answers(made, x)
            assert "left alone" in notes["why"]

    asyncio.run(scene())
