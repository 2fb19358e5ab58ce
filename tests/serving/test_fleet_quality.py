"""Labels and drift reach the cloud, drift trains again, and what was labelled is trained on."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fogline.network.node.mirror
from fogline import load
from fogline.registry.release import Tally, Vitals
from fogline.serving.quality.labelled import labelled
from fogline.serving.settings import Settings
from tests.patience import PATIENCE
from tests.serving.fleet import Fleet, fleet

pytestmark = pytest.mark.slow
LABELLED = Path(__file__).parents[2] / "examples" / "labelled.py"
Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@pytest.fixture(autouse=True)
def quick_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fogline.network.node.mirror, "PERIOD", 0.5)


def examples() -> tuple[Images, Labels]:
    test = load("digits", clients=2).test
    assert test is not None
    return test.array.astype(np.float32), test.y.astype(np.int64)


def moved(x: Images) -> Images:
    """The camera has turned a little: what a model of the pixels has learned no longer holds."""
    return np.roll(x, 2, axis=-1)


class Caller:
    """One connection to a node's server.

    Args:
        address: where it answers.
        model: that is asked.
    """

    def __init__(self, address: str, model: str = "digits") -> None:
        self._connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        self._path = f"/v2/models/{model}"
        self._name = self._ask("GET", "")["inputs"][0]["name"]

    def predict(self, x: Images, request: str) -> Labels:
        tensor = {"name": self._name, "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
        body = self._ask("POST", "/infer", {"id": request, "inputs": [tensor]})
        scores = next(output for output in body["outputs"] if len(output["shape"]) == 2)
        return np.reshape(scores["data"], scores["shape"]).argmax(1)

    def label(self, request: str, labels: Sequence[int]) -> int:
        return self._ask("POST", "/labels", {"id": request, "labels": list(labels)})["matched"]

    def accuracy(self, x: Images, y: Labels, first: int = 0) -> float:
        """Over examples that are asked about one by one, and labelled at once."""
        right = 0
        for i in range(len(x)):
            right += int(self.predict(x[i : i + 1], f"r{first + i}")[0] == y[i])
            self.label(f"r{first + i}", [int(y[i])])
        return right / len(x)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        self._connection.request(method, self._path + path, None if body is None else json.dumps(body))
        response = self._connection.getresponse()
        text = response.read()
        assert response.status == 200, text
        return json.loads(text)


def test_labels_and_drift_reach_the_cloud_and_train_once(tmp_path: Path) -> None:
    x, y = examples()

    async def scene() -> None:
        async with fleet(tmp_path, serving=("client-0", "client-1")) as made:
            await made.train()
            callers: list[Caller] = []
            for name in ("client-0", "client-1"):
                await made.until(lambda name=name: made.serves(name, 1), f"version 1 on {name}")
                callers.append(await asyncio.to_thread(Caller, made.http[name]))

            # Labels come later, to either device, and add up at the cloud.
            guesses = [await asyncio.to_thread(caller.predict, x[:20], "one") for caller in callers]
            right = sum(int((guess == y[:20]).sum()) for guess in guesses)
            assert [await asyncio.to_thread(caller.label, "one", y[:20].tolist()) for caller in callers] == [20, 20]
            await made.until(lambda: tally(made).labels == 40, "labels at the cloud")
            assert tally(made).correct == right
            assert (await made.standing()).tallies[1].rows == 40

            # Neither device alone has seen enough for the cloud to speak of drift.
            reports = listening(made)
            assert "its job runs again" in await made.client.retrain("digits", 0.25, 3600.0)
            await ask_all(callers, moved(x))
            await made.until(lambda: tally(made).rows == 40 + 9 * (32 + 31), "all answers at the cloud")
            assert any(r.tally.rows % 32 and r.tally.rows % 31 for r in reports), "the fog has added both devices' up"
            await made.until(lambda: made.serves("client-0", 2) and made.serves("client-1", 2), "a second version")
            await made.until(lambda: 1 in drifts(made), "their drift")
            standing = await made.standing()
            assert standing.psi[1] > 0.25
            assert standing.cards[0].lineage.job != standing.cards[1].lineage.job
            notes = [note.text for note in standing.notes]
            assert sum("have drifted from those of training" in note for note in notes) == 1

            # The new version sees the same; within the cooldown nothing is trained once more.
            await ask_all(callers, moved(x))
            await made.until(lambda: tally(made, 2).rows == 9 * (32 + 31), "all answers of the second version")
            await made.until(lambda: 2 in drifts(made), "their drift, which is looked at after they are counted")
            standing = await made.standing()
            assert standing.psi[2] > 0.25
            assert sum("runs again" in note.text for note in standing.notes) == 1
            assert len(await made.client.jobs()) == 2

    asyncio.run(scene())


def tally(made: Fleet, version: int = 1) -> Any:
    return report(made).tallies.get(version, Tally())


def drifts(made: Fleet) -> Mapping[int, float]:
    return report(made).psi


def report(made: Fleet) -> Any:
    (standing,) = made.cloud.node.releases.publisher.model_reports("digits")  # type: ignore[union-attr]
    return standing


def listening(made: Fleet) -> list[Vitals]:
    """Reports that the cloud gets from now on."""
    source, reports = made.cloud.node.releases, list[Vitals]()
    assert source is not None
    measured = source.measured

    def noting(vitals: Vitals) -> None:
        reports.append(vitals)
        measured(vitals)

    source.measured = noting
    return reports


async def ask_all(callers: Sequence[Caller], x: Images) -> None:
    """Nine requests to each, over several reports: of 32 rows to the first, and of 31 to the second."""
    for i in range(9):
        for rows, caller in zip((32, 31), callers, strict=True):
            await asyncio.to_thread(caller.predict, x[rows * i : rows * (i + 1)], "")
        await asyncio.sleep(0.15)


def test_labelled_samples_join_the_next_training(tmp_path: Path) -> None:
    x, y = examples()
    own = load("digits", partition="dirichlet", clients=2, alpha=10.0).at(0)
    coming, truth = moved(own.x[:450]), own.y[:450]

    async def scene() -> None:
        policy = '\n[serve]\nkeep = "4MB"\n'
        async with fleet(tmp_path, fogs=(), serving=(), policy=policy) as made:
            folder = tmp_path / "client-0" / "samples"
            await made.stop("client-0")
            settings = Settings(grpc="", pulse=0.1)
            await made.start("client-0", [made.home], None, settings, {"samples": str(folder)})
            await made.train(task=LABELLED)
            await made.until(lambda: made.serves("client-0", 1), "version 1")
            caller = await asyncio.to_thread(Caller, made.http["client-0"])
            before = await asyncio.to_thread(caller.accuracy, coming, truth)
            assert before < 0.5
            async with asyncio.timeout(PATIENCE):
                while (kept := labelled(folder)).count <= 40:  # What the disk was too busy for is offered again.
                    await asyncio.to_thread(caller.accuracy, coming, truth)
            images = kept.array
            assert images.shape[1:] == x.shape[1:]
            assert {tuple(image.ravel()) for image in images} <= {tuple(image.ravel()) for image in coming}

            await made.train(rounds=2, start="digits@1", task=LABELLED)
            await made.until(lambda: made.serves("client-0", 2), "version 2")
            after = await asyncio.to_thread(caller.accuracy, moved(x), y, len(coming))
            assert after > before + 0.1

    asyncio.run(scene())
