"""What ``fogline up --serve`` shows in the end, on devices that are plain HTTP servers here."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from fogline.cli.commands.up.serving import Sample, show
from fogline.cli.commands.up.serving_status import ServingStatus
from fogline.inference.card import Card, Tensor

ONE = (Tensor("x", "FP32", (-1, 1)),)
SAMPLE = Sample(Card(model="m", version=1, created=0.0, inputs=ONE, outputs=ONE), {"x": np.ones((1, 1), np.float32)})


class _Device(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = {"model_version": "1", "parameters": {}, "outputs": [{"name": "x", "shape": [1, 1], "data": [0.5]}]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test is quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Device)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("devices", "words"), [(1, "to 1 device while it answered"), (2, "to 2 devices while they answered")]
)
def test_each_step_is_said_once_and_in_right_numbers(address: str, devices: int, words: str) -> None:
    names = [f"device-{number}" for number in range(devices)]
    status, said = ServingStatus(dict.fromkeys(names, address), dict.fromkeys(names, 1)), list[str]()
    noted: list[str] = []

    async def next_round() -> int:
        assert noted == [f"device-0 answers at http://{address} until the next version is rolled out"]
        for name in names:
            status.serves(name, 2)
        return 2

    asyncio.run(show(status, names, SAMPLE, next_round, 1.0, said.append, noted.append))
    assert [line.split(":")[0] for line in said] == [
        "device-0 answered",
        f"Version 2 was rolled out {words}",
        "device-0 then answered",
    ]
