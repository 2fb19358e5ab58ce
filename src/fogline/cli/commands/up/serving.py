"""The end of ``fogline up --serve``: devices answer predictions, and go on while the next round is rolled out."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fogline.cli.commands.up.serving_status import ServingStatus
from fogline.cli.failures import JobFailedError
from fogline.inference.card import Card
from fogline.inference.confidence import classes, confidence
from fogline.params import load_arrays

PAUSE = 0.04
"""Seconds between two requests to a device: the nodes train on the same processors."""


@dataclass(frozen=True)
class Sample:
    """A golden sample of a version."""

    card: Card
    inputs: Mapping[str, Any]
    """By name, for a batch of one."""

    @classmethod
    def of(cls, card: Card, golden: Path, row: int = 0) -> Sample:
        """One of the samples in a file."""
        arrays = load_arrays(golden)
        names = [tensor.name for tensor in card.inputs]
        return cls(card, {name: arrays[f"input/{name}"][row : row + 1] for name in names})

    def body(self) -> bytes:
        """The request, by the Open Inference Protocol."""
        types = {tensor.name: tensor.datatype for tensor in self.card.inputs}
        inputs = [
            {"name": name, "datatype": types[name], "shape": list(array.shape), "data": array.ravel().tolist()}
            for name, array in self.inputs.items()
        ]
        return json.dumps({"inputs": inputs}).encode()

    def read(self, answer: Mapping[str, Any]) -> str:
        """What a model said, for people."""
        outputs = {
            output["name"]: np.asarray(output["data"], np.float32).reshape(output["shape"])
            for output in answer["outputs"]
        }
        scores = self.card.scores
        if scores is None:
            return ", ".join(f"{name} {array.ravel()[0]:.4g}" for name, array in outputs.items())
        found = int(classes(scores, outputs)[0])
        label = scores.labels[found] if found < len(scores.labels) else str(found)
        return f"class {label}, confidence {100 * confidence(scores, outputs)[0]:.1f} %"


def ask(connection: http.client.HTTPConnection, model: str, body: bytes) -> tuple[int, Any]:
    """One request: the status and the answer."""
    connection.request("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    data = response.read()
    return response.status, json.loads(data)


def predict(address: str, sample: Sample) -> tuple[str, str, float]:
    """A prediction: what the model said, its version, and the seconds that it took on a warm connection.

    Raises:
        JobFailedError: the device refused.
    """
    connection = http.client.HTTPConnection(address, timeout=10)
    body = sample.body()
    ask(connection, sample.card.model, body)
    began = time.perf_counter()
    status, answer = ask(connection, sample.card.model, body)
    seconds = time.perf_counter() - began
    connection.close()
    if status != 200:
        raise JobFailedError(f"The device at {address} answered {status}: {answer}")
    return sample.read(answer), version_in_words(answer), seconds


def version_in_words(answer: dict[str, Any]) -> str:
    """Which version has answered, and what of it was the device's own."""
    personal = answer["parameters"].get("personal")
    return f"{answer['model_version']}{'' if personal is None else f', personal of {personal}'}"


class RequestLoad:
    """Requests to all devices, one after the other to each, until it is stopped."""

    def __init__(self, addresses: Sequence[str], sample: Sample) -> None:
        self.versions: Counter[str] = Counter()
        """Answers by version."""
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._sample = sample
        self._threads = [threading.Thread(target=self._work, args=(address,), daemon=True) for address in addresses]

    def __enter__(self) -> RequestLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, address: str) -> None:
        connection = http.client.HTTPConnection(address, timeout=10)
        body, model = self._sample.body(), self._sample.card.model
        while not self._stop.wait(PAUSE):
            try:
                status, answer = ask(connection, model, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append(f"{address}: {error or type(error).__name__}")
                connection.close()
                continue
            if status == 200:
                self.versions[str(answer["model_version"])] += 1
            else:
                self.failures.append(f"{address}: {status} {answer}")
        connection.close()


async def show(
    status: ServingStatus,
    devices: Sequence[str],
    sample: Sample,
    next_round: Callable[[], Awaitable[int]],
    rollout: float,
    say: Callable[[str], None],
    note: Callable[[str], None],
) -> None:
    """A prediction, and a rollout under load.

    Args:
        status: who serves what.
        devices: who should.
        sample: of the version that is there.
        next_round: trains on, and gives the next version's number.
        rollout: seconds that a version may take to go through all rings.
        say: takes lines for people, who read them when everything has ended.
        note: takes a line for people who may ask the device themselves meanwhile.

    Raises:
        JobFailedError: a request failed, or a device does not serve.
    """
    await status.all_serve(devices, sample.card.version, rollout)
    first = devices[0]
    address = status.addresses[first]
    said, version, seconds = await asyncio.to_thread(predict, address, sample)
    note(f"{first} answers at http://{address} until the next version is rolled out")
    say(f"{first} answered: {said} ({sample.card.model} version {version}, {1e3 * seconds:.2f} ms)")
    load = RequestLoad([status.addresses[device] for device in devices], sample)
    await asyncio.to_thread(load.__enter__)
    try:
        following = await next_round()
        await status.all_serve(devices, following, rollout)
    finally:
        await asyncio.to_thread(load.__exit__)
    counts = ", ".join(f"{n} by version {version}" for version, n in sorted(load.versions.items()))
    whom = f"{len(devices)} devices while they" if len(devices) != 1 else "1 device while it"
    say(f"Version {following} was rolled out to {whom} answered: {counts}; "
        f"{len(load.failures)} failed.")  # fmt: skip
    if load.failures:
        raise JobFailedError(f"{len(load.failures)} requests failed during the rollout; the first: {load.failures[0]}")
    said, version, seconds = await asyncio.to_thread(predict, address, sample)
    say(f"{first} then answered: {said} (version {version}, {1e3 * seconds:.2f} ms)")
