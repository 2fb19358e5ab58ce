"""While a model is loaded: who asks is told to come back, and what is waited counts."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from fogline.inference.card import Card
from fogline.serving.server.versions.counts import Counts
from fogline.serving.settings import Settings
from tests.patience import PATIENCE
from tests.serving.server.models import Identity, Slow, card_of, nowhere
from tests.serving.server.running import Running, running

X = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}]}


class Door:
    """Versions are loaded when it is open."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def make(self, card: Card, _: object) -> Identity:
        self.reached.set()
        assert self.open.wait(PATIENCE)
        return Identity(card)


@contextmanager
def loading(server: Running, door: Door, version: int = 1) -> Generator[Future[Any]]:
    """Inside, a version of model m is being loaded; it is there afterwards."""
    work = server.server.repository.load(card_of("m", version=version), nowhere)
    done = asyncio.run_coroutine_threadsafe(work, server.loop)
    assert door.reached.wait(PATIENCE)
    try:
        yield done
    finally:
        door.open.set()
        done.result(PATIENCE)


ASKS = [
    ("POST", "/v2/models/m/infer"),
    ("POST", "/v2/models/m/versions/1/infer"),
    ("GET", "/v2/models/m"),
    ("GET", "/v2/models/m/example"),
    ("GET", "/v2/models/m/ready"),
    ("GET", "/v2/models/m/versions/1/ready"),
    ("GET", "/v2/models/m/stats"),
    ("GET", "/v2/health/ready"),
]


def test_whoever_asks_for_it_is_told_to_come_back() -> None:
    door = Door()
    with running(door.make) as server:
        assert [server.ask(how, where, X if how == "POST" else None)[0] for how, where in ASKS[:-1]] == [404] * 7
        with loading(server, door):
            for how, where in ASKS:
                status, body, headers = server.ask(how, where, X if how == "POST" else None)
                assert (status, headers["retry-after"]) == (503, "1"), (where, body)
            assert "'m' is being loaded; try again soon" in server.ask("POST", ASKS[0][1], X)[1]["error"]
            assert server.ask("POST", "/v2/models/other/infer", X)[0] == 404
            assert server.ask("GET", "/v2/models/m/versions/7/ready")[0] == 404
            assert server.ask("POST", "/v2/repository/index", {})[1] == [
                {"name": "m", "version": "", "state": "LOADING", "reason": "it is being loaded"}
            ]
            assert server.ask("POST", "/v2/repository/index", {"ready": True})[1] == []
            assert server.ask("GET", "/v2/health/live")[0] == 200
        assert [server.ask(how, where, X if how == "POST" else None)[0] for how, where in ASKS] == [200] * 8
        assert server.ask("GET", "/v2/models/m/versions/7/ready")[0] == 503, "as before: the model is there"


def test_by_grpc_it_is_unavailable() -> None:
    door = Door()
    with running(door.make, Settings(control=True, grpc="127.0.0.1:0")) as server:
        client = triton_grpc.InferenceServerClient(server.grpc)
        tensor = triton_grpc.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 4), np.float32))
        with pytest.raises(InferenceServerException) as missing:
            client.infer("m", [tensor])
        assert missing.value.status() == str(grpc.StatusCode.NOT_FOUND)
        with loading(server, door):
            with pytest.raises(InferenceServerException) as error:
                client.infer("m", [tensor])
            assert error.value.status() == str(grpc.StatusCode.UNAVAILABLE)
            assert client.is_model_ready("m") is False
            assert client.is_server_ready() is False
        assert client.is_model_ready("m")
        client.infer("m", [tensor])
        client.close()


def test_a_model_that_is_on_its_way_is_expected() -> None:
    """Its files may still have to be fetched."""
    with running(lambda card, _: Identity(card)) as server:
        repository = server.server.repository
        repository.expect("m")
        assert server.ask("POST", "/v2/models/m/infer", X)[0] == 503
        repository.expect("m", coming=False)
        assert server.ask("POST", "/v2/models/m/infer", X)[0] == 404
        repository.expect("m")
        server.load(card_of("m"), "beside")
        assert server.ask("POST", "/v2/models/m/infer", X)[0] == 503
        server.swap("m", "1")
        assert server.ask("POST", "/v2/models/m/infer", X)[0] == 200
        assert server.ask("POST", "/v2/repository/models/m/unload", {})[0] == 200
        assert server.ask("POST", "/v2/models/m/infer", X)[0] == 404, "its clients let it go"


def test_one_that_cannot_be_loaded_is_not_there() -> None:
    def make(card: Card, _: object) -> Identity:
        raise OSError("the disk is gone")

    with running(make) as server:
        with pytest.raises(OSError, match="the disk is gone"):
            server.load(card_of("m"))
        assert server.ask("POST", "/v2/models/m/infer", X)[0] == 404


def test_a_version_that_answers_goes_on_while_the_next_is_loaded() -> None:
    door = Door()
    door.open.set()
    with running(door.make) as server:
        server.load(card_of("m", version=1))
        door.open.clear()
        door.reached.clear()
        with loading(server, door, version=2):
            assert server.ask("POST", "/v2/models/m/infer", X)[0] == 200
            assert server.ask("POST", "/v2/models/m/versions/2/infer", X)[0] == 503
            assert server.ask("GET", "/v2/health/ready")[0] == 200


def test_waiting_for_the_model_counts() -> None:
    """One request runs, others wait in the queue before the model: all that time is in the histogram."""
    made: list[Slow] = []

    def make(card: Card, _: object) -> Slow:
        made.append(Slow(card))
        return made[0]

    with running(make) as server:
        server.load(card_of("m"))
        count, total = seconds(server)
        threads = [threading.Thread(target=server.ask, args=("POST", ASKS[0][1], X)) for _ in range(8)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = time.perf_counter() - began
        counted, summed = seconds(server)
        assert counted - count == 8
        runs = server.ask("GET", "/v2/models/m/stats")[1]["model_stats"][0]["inference_stats"]["compute_infer"]
        assert runs["ns"] / 1e9 < summed - total < 8 * spent


def seconds(server: Running) -> tuple[float, float]:
    """Count and sum of fogline_request_seconds."""
    lines = server.ask("GET", "/metrics")[1].decode().splitlines()
    found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
    return found["fogline_request_seconds_count"], found["fogline_request_seconds_sum"]


def test_waiting_for_those_before_it_on_a_connection_counts() -> None:
    """Ten requests come at once on one connection: the last has waited for the nine before it."""
    with running(lambda card, _: Slow(card, 0.0)) as server:
        server.load(card_of("m"))
        served = server.server.repository.find("m")
        ran: list[int] = []
        original = served.counts.answered

        class Noting(Counts):
            def answered(self, rows: int, ns: int, offloaded: int = 0) -> None:
                ran.append(ns)
                original(rows, ns, offloaded)

        served.counts = Noting()
        body = json.dumps(X).encode()
        one = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        connection = server.connection()
        connection.connect()
        connection.sock.sendall(one * 10)
        got = b""
        while got.count(b"HTTP/1.1 200") < 10:
            got += connection.sock.recv(1 << 16)
        connection.close()
        assert len(ran) == 10
        assert ran == sorted(ran)


def test_a_request_that_fails_has_waited_too() -> None:
    counts = Counts()
    counts.answered(1, 1000)
    counts.missed(30_000_000_000)
    assert sum(counts.latency) == 2
    assert counts.latency[0] == 1
