"""A client that asks all the time, and notes who answered."""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from tests.patience import PATIENCE


@dataclass
class Asker:
    """Asks one node over one connection, from a thread, until it is left.

    Args:
        address: where the node answers.
        x: rows that are asked for, one after the other.
        model: its name.
        pause: seconds between two requests.
    """

    address: str
    x: np.ndarray
    model: str = "digits"
    pause: float = 0.005
    versions: list[str] = field(default_factory=list)
    """Who answered, in order, without repetition."""
    count: int = 0
    failures: list[str] = field(default_factory=list)
    labels: Any = None
    """Classes of the rows; where they are set, each answer is told whether it was right."""

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def clean(self) -> None:
        """Every request was answered."""
        assert self.count
        assert not self.failures, (len(self.failures), self.failures[:3])

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        while not self._stop.wait(self.pause):
            row = self.count % len(self.x)
            self.count += 1
            try:
                answer = self._post(connection, "infer", self._question(row))
                if self.labels is not None:
                    self._post(connection, "labels", {"id": answer["id"], "labels": [int(self.labels[row])]})
            except (OSError, http.client.HTTPException, Refusal) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                connection.close()
                continue
            if answer["model_version"] not in self.versions[-1:]:
                self.versions.append(answer["model_version"])
        connection.close()

    def _question(self, row: int) -> dict[str, Any]:
        shape = [1, *self.x.shape[1:]]
        tensor = {"name": "x", "datatype": "FP32", "shape": shape, "data": self.x[row].ravel().tolist()}
        return {"id": f"q{self.count}", "inputs": [tensor]}

    def _post(self, connection: http.client.HTTPConnection, what: str, body: dict[str, Any]) -> Any:
        connection.request("POST", f"/v2/models/{self.model}/{what}", json.dumps(body))
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise Refusal(f"{response.status} {text[:200]!r}")
        return json.loads(text)


class Refusal(Exception):  # noqa: N818 - read aloud
    """An answer that is none."""
