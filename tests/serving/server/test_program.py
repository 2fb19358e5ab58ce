"""The server as a child process, as an agent runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from onnx import TensorProto, helper, save_model

from fogline.inference.card import Card, Cascade, Scores
from fogline.inference.runtimes.onnx import card_of_onnx
from fogline.processes.pipe import PipeError, RequestService
from fogline.processes.process import HelperProcess, module
from fogline.serving.cascade.wire import OffloadAnswer as Above
from fogline.serving.cascade.wire import OffloadedRows as Below
from fogline.serving.cascade.wire import packed, read_answer, read_ask, values
from fogline.serving.process import PROGRAM
from fogline.serving.requests import (
    ANSWERS,
    LARGEST,
    REQUESTS,
    Answer,
    AnswerRows,
    CallDone,
    DropVersion,
    LoadVersion,
    Offload,
    Request,
    ServerReady,
    SwapVersion,
    VersionPulse,
)
from fogline.serving.settings import Settings
from tests.patience import PATIENCE


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Two class scores: the sum of x, and its negative."""
    weights = [1.0, -1.0] * 3
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 3), ("y", 2))
    ]
    made = helper.make_graph(
        nodes, "g", shapes[:1], shapes[1:], [helper.make_tensor("w", TensorProto.FLOAT, (3, 2), weights)]
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "m.onnx"
    save_model(model, str(path))
    return path


def card(path: Path, version: int = 1, cascade: Cascade | None = None) -> Card:
    return msgspec.structs.replace(card_of_onnx(path), version=version, scores=Scores("y"), cascade=cascade)


def load(of: Card, path: Path, slot: str = "live") -> LoadVersion:
    assert of.graph is not None
    return LoadVersion(of.encoded(), {of.graph.digest: str(path)}, slot)  # type: ignore[arg-type]


class Child:
    def __init__(self, process: HelperProcess[Answer]) -> None:
        self.process, self.pipe = process, process.pipe
        self.ready = ServerReady("", "")

    def infer(self, model: str = "m", value: float = 1.0) -> dict[str, object]:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [value] * 3}]}
        request = urllib.request.Request(
            f"http://{self.ready.http}/v2/models/{model}/infer", json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read())


@asynccontextmanager
async def child(
    folder: Path, carry: Callable[[Request], Answer] | None = None, **settings: object
) -> AsyncGenerator[Child]:
    async def answer(request: Request) -> Answer:
        return carry(request) if carry is not None else CallDone()

    log = folder / "server.log"
    process = await HelperProcess.start(
        module(PROGRAM), log, ANSWERS, largest=LARGEST, service=RequestService(REQUESTS, answer), fresh_log=True
    )
    made = Child(process)
    try:
        ready = await made.pipe.ask(Settings(**settings))  # type: ignore[arg-type]
        assert isinstance(ready, ServerReady)
        made.ready = ready
        yield made
    finally:
        status = await process.end(grace=PATIENCE)
    assert status == 0, log.read_text()


def test_versions_come_and_go(tmp_path: Path, graph: Path) -> None:
    async def run() -> None:
        async with child(tmp_path) as made:
            await made.pipe.ask(load(card(graph, 1), graph))
            assert (await asyncio.to_thread(made.infer))["model_version"] == "1"
            await made.pipe.ask(load(card(graph, 2), graph, "beside"))
            assert (await asyncio.to_thread(made.infer))["model_version"] == "1"
            await made.pipe.ask(SwapVersion("m", 2))
            assert (await asyncio.to_thread(made.infer))["model_version"] == "2"
            await made.pipe.ask(DropVersion("m", 1))
            with pytest.raises(PipeError, match="Version 5 of model 'm' is not loaded"):
                await made.pipe.ask(SwapVersion("m", 5))
            bad = tmp_path / "bad.onnx"
            bad.write_bytes(b"nonsense")
            with pytest.raises(PipeError, match="cannot load the model"):
                await made.pipe.ask(load(card(graph, 3), bad))
            with pytest.raises(PipeError, match="is not here"):
                await made.pipe.ask(LoadVersion(card(graph, 3).encoded(), {}, "live"))
            with pytest.raises(PipeError, match="card cannot be read"):
                await made.pipe.ask(LoadVersion(b"{", {}, "live"))
            assert (await asyncio.to_thread(made.infer))["model_version"] == "2"
            client = triton_grpc.InferenceServerClient(made.ready.grpc)
            assert client.is_model_ready("m", "2")
            client.close()

    asyncio.run(run())


def test_vitals_reach_the_agent(tmp_path: Path, graph: Path) -> None:
    heard: asyncio.Queue[VersionPulse] = asyncio.Queue()

    def hear(request: Request) -> Answer:
        assert isinstance(request, VersionPulse)
        heard.put_nowait(request)
        return CallDone()

    async def run() -> None:
        async with child(tmp_path, hear, pulse=0.05, grpc="") as made:
            assert made.ready.grpc == ""
            await made.pipe.ask(load(card(graph), graph))
            await asyncio.to_thread(made.infer)
            answers = 0
            while not answers:
                answers += (await asyncio.wait_for(heard.get(), PATIENCE)).vitals.tally.answers
            assert answers == 1

    asyncio.run(run())


def test_the_tier_above_answers_what_is_unsure(tmp_path: Path, graph: Path) -> None:
    asked: list[int] = []

    def above(request: Request) -> Answer:
        if not isinstance(request, Offload):
            return CallDone()
        ask, inputs = read_ask(request.ask)
        asked.append(len(inputs["x"]))
        assert ask.model == "big"
        better = {"y": np.full((len(inputs["x"]), 2), 9.0, np.float32)}
        return CallDone(packed(Above(values(better), "cloud", "big", 5)))

    async def run() -> None:
        async with child(tmp_path, above, consent=True, patience=5.0) as made:
            await made.pipe.ask(load(card(graph, cascade=Cascade("big", 0.9)), graph))
            sure = await asyncio.to_thread(made.infer, "m", 5.0)
            unsure = await asyncio.to_thread(made.infer, "m", 0.01)
        assert sure["parameters"] == {"tier": "device", "version": 1}
        assert unsure["parameters"] == {"tier": "cloud", "version": 5, "offloaded": 1, "model": "big"}
        assert asked == [1]

    asyncio.run(run())


def test_it_answers_a_tier_below(tmp_path: Path, graph: Path) -> None:
    def above(request: Request) -> Answer:
        """Has one model, and says so of any other."""
        if not isinstance(request, Offload):
            return CallDone()
        if read_ask(request.ask)[0].model != "huge":
            raise ConnectionError("there is no tier above this one")
        return CallDone(packed(Above(values({"y": np.full((2, 2), 9.0, np.float32)}), "cloud", "huge", 5)))

    async def run() -> None:
        async with child(tmp_path, above, tier="fog", consent=True) as made:
            await made.pipe.ask(load(card(graph, 4), graph))

            async def ask(model: str, width: int) -> tuple[Above, dict[str, object]]:
                inputs = {"x": np.ones((2, width), np.float32)}
                answer = await made.pipe.ask(AnswerRows(packed(Below(model, "1", values(inputs), 5000))))
                assert isinstance(answer, CallDone)
                found, outputs = read_answer(answer.data)
                return found, {name: array.tolist() for name, array in outputs.items()}

            found, outputs = await ask("m", 3)
            assert (found.tier, found.model, found.version, found.error) == ("fog", "m", 4, "")
            assert outputs == {"y": [[3.0, -3.0]] * 2}
            # What is not here is passed on.
            assert (await ask("huge", 3))[0].tier == "cloud"
            sentence = "Model other is not here, and asking further up failed: there is no tier above this one."
            assert (await ask("other", 3))[0].error == sentence
            assert "the model takes [-1, 3]" in (await ask("m", 4))[0].error

    asyncio.run(run())


def test_requests_are_finished_when_it_ends(tmp_path: Path, graph: Path) -> None:
    async def run() -> None:
        results: list[object] = []
        async with child(tmp_path) as made:
            await made.pipe.ask(load(card(graph), graph))
            body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1.0] * 3}]})
            head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            host, _, port = made.ready.http.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write((head + body[:10]).encode())
            await writer.drain()
            await asyncio.to_thread(made.infer)
            os.kill(made.process.pid, signal.SIGTERM)
            await asyncio.sleep(0.3)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(host, int(port))
            writer.write(body[10:].encode())
            results.append(await reader.read())
            writer.close()
            await made.pipe.closed()
        assert b'"data":[3.0,-3.0]' in results[0]  # type: ignore[operator]

    asyncio.run(run())


def test_it_ends_with_its_agent(tmp_path: Path) -> None:
    """Also when that is killed and can close nothing in order."""
    agent = f"""
import asyncio, socket, subprocess, sys, time
ours, theirs = socket.socketpair()
made = subprocess.Popen([sys.executable, "-m", "{PROGRAM}", str(theirs.fileno())], pass_fds=(theirs.fileno(),))
theirs.close()
print(made.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", agent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        time.sleep(0.5)
        process.kill()
        process.wait()
        deadline = time.monotonic() + PATIENCE
        while _alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
