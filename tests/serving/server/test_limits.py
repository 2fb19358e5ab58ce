"""Hostile and clumsy senders: each gets the protocol's error, and the server goes on."""

from __future__ import annotations

import contextlib
import gzip
import json
import select
import socket
import threading
import zlib
from collections.abc import Callable, Generator, Mapping

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from fogline.inference.runtimes.base import Array
from fogline.serving.settings import Settings
from tests.patience import PATIENCE
from tests.serving.server.models import Identity, Slow, card_of, sample
from tests.serving.server.running import Running, running

LARGEST = 100_000
INFER = "/v2/models/m/infer"
GOOD = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}]}
HEADER = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def server() -> Generator[Running]:
    limits = Settings(largest=LARGEST, deadline=1.0, connections=40)
    with running(lambda card, _: Identity(card), limits) as made:
        made.load(card_of("m"))
        made.load(card_of("text", "BYTES", (-1, 1)))
        made.load(card_of("small", "INT8", (-1, 2)))
        made.load(card_of("truth", "BOOL", (-1, 2)))
        made.load(card_of("half", "FP16", (-1, 2)))
        yield made
        assert works(made), "The server answers after all that was done to it."


def works(server: Running) -> bool:
    status, body, _ = server.ask("POST", INFER, GOOD)
    return status == 200 and body["outputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0]


def binary(inputs: object, tail: bytes = b"", **more: object) -> tuple[bytes, dict[str, str]]:
    head = json.dumps({"inputs": inputs, **more}).encode()
    return head + tail, {HEADER: str(len(head))}


def x(size: int, shape: object = (1, 4), datatype: str = "FP32", name: str = "x") -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


class TestBrokenRequests:
    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (b"", "cannot be read"),
            (b"{", "cannot be read"),
            (b"[]", "Expected `object`, got `array`"),
            (b'{"inputs": 3}', "Expected `array`"),
            (b"{}", "missing required field `inputs`"),
            (b'{"inputs": []}', "lacks input 'x'"),
            (b"[" * 90_000, "cannot be read"),
            (b'{"inputs":' + b"[" * 90_000, "cannot be read"),
            (b'{"a":' * 15_000, "cannot be read"),
            (b'{"inputs": [], "outputs": [{"name": "\xff"}]}', "cannot be read"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "shape": [1] * 50}]}).encode(), "length <= 16"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "shape": [-1, 4]}]}).encode(), ">= 0"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "shape": [2**40, 4]}]}).encode(), "<= 2147483647"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "shape": [2**30, 4]}]}).encode(), "data of shape [4]"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "data": [1, 2, 3]}]}).encode(), "data of shape [3]"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "data": [[1, 2], [3, 4]]}]}).encode(), "of shape [2, 2]"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "data": [[1], [3, 4, 5]]}]}).encode(), "differ in length"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "data": [[[1, 2, 3, 4]]]}]}).encode(), "nested 2 deep"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "data": [1, 2, "3", 4]}]}).encode(), "got `str`"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "data": [1, 2, None, 4]}]}).encode(), "got `null`"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "data": 1}]}).encode(), "one flat list"),
            (json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4]}]}).encode(), "no data"),
            (json.dumps({"inputs": [GOOD["inputs"][0]] * 2}).encode(), "given twice"),
            (json.dumps({"inputs": [{**GOOD["inputs"][0], "name": "x" * 1000}]}).encode(), "length <= 200"),
            (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1e999,2,3,4]}]}', "no FP32"),
            (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1e39,2,3,4]}]}', "does not fit FP32"),
            (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[' + b"9" * 90_000 + b"]}]}", "no FP32"),
        ],
    )
    def test_get_a_sentence(self, server: Running, body: bytes, sentence: str) -> None:
        status, answer, _ = server.ask("POST", INFER, body)
        assert status == 400
        assert list(answer) == ["error"]
        assert sentence in answer["error"]

    @pytest.mark.parametrize(
        ("model", "datatype", "data", "sentence"),
        [
            ("small", "INT8", [1, 128], "does not fit INT8"),
            ("small", "INT8", [1, -(10**30)], "does not fit INT8"),
            ("small", "INT8", [1, 1.5], "no INT8"),
            ("small", "INT8", [1, True], "no INT8"),
            ("truth", "BOOL", [True, 1], "no BOOL"),
            ("half", "FP16", [1.0, 70_000.0], "does not fit FP16"),
        ],
    )
    def test_numbers_that_do_not_fit(
        self, server: Running, model: str, datatype: str, data: list[object], sentence: str
    ) -> None:
        tensor = {"name": "x", "datatype": datatype, "shape": [1, 2], "data": data}
        status, answer, _ = server.ask("POST", f"/v2/models/{model}/infer", {"inputs": [tensor]})
        assert (status, sentence in answer["error"]) == (400, True), answer

    @pytest.mark.parametrize(
        ("inputs", "tail", "sentence"),
        [
            ([x(16)], b"\0" * 15, "takes 16 bytes of data, but has 15"),
            ([x(12)], b"\0" * 12, "takes 16 bytes of data, but has 12"),
            ([x(16)], b"\0" * 17, "end at byte"),
            ([x(2**31 - 1)], b"\0" * 16, "end at byte"),
            ([x(16, shape=[2**31 - 1, 4])], b"\0" * 16, "takes 34359738352 bytes"),
            ([{**x(16), "parameters": {"binary_data_size": -1}}], b"\0" * 16, ">= 0"),
        ],
    )
    def test_wrong_sizes(self, server: Running, inputs: object, tail: bytes, sentence: str) -> None:
        status, answer, _ = server.ask("POST", INFER, *binary(inputs, tail))
        assert (status, sentence in answer["error"]) == (400, True), answer

    @pytest.mark.parametrize(
        "tail", [b"", b"\1\0\0", b"\5\0\0\0abc", b"\xff\xff\xff\xffabc", b"\1\0\0\0ab", b"\0\0\0\0\0\0\0\0"]
    )
    def test_broken_strings(self, server: Running, tail: bytes) -> None:
        body, headers = binary([x(len(tail), [1, 1], "BYTES")], tail)
        status, answer, _ = server.ask("POST", "/v2/models/text/infer", body, headers)
        assert status == 400
        assert "BYTES" in answer["error"] or "elements with their lengths" in answer["error"]

    def test_bytes_that_are_no_bool(self, server: Running) -> None:
        body, headers = binary([x(2, [1, 2], "BOOL")], b"\1\2")
        status, answer, _ = server.ask("POST", "/v2/models/truth/infer", body, headers)
        assert (status, answer["error"]) == (400, "Input 'x' has bytes that are neither 0 nor 1, so they are no BOOL.")

    def test_bytes_that_are_no_text(self, server: Running) -> None:
        body, headers = binary([x(5, [1, 1], "BYTES")], b"\1\0\0\0\xff")
        status, answer, _ = server.ask("POST", "/v2/models/text/infer", body, headers)
        assert (status, "ask for it as binary" in answer["error"]) == (400, True)

    @pytest.mark.parametrize("length", ["x", "-1", "", "9" * 30, "1e3", "99999"])
    def test_wrong_header_lengths(self, server: Running, length: str) -> None:
        status, answer, _ = server.ask("POST", INFER, GOOD, {HEADER: length})
        assert status == 400
        assert "error" in answer

    def test_wrong_addresses(self, server: Running) -> None:
        for path in ("/x", "/v2/models", "/v2/models/m/infer/x", "/v2//models", "/../etc/passwd", "/%2e%2e", "/%ff"):
            status, answer, _ = server.ask("POST", path, b"{}")
            assert (status, list(answer)) == (404, ["error"])
        status, answer, _ = server.ask("GET", INFER)
        assert (status, answer["error"]) == (405, "This address takes POST, not GET.")

    def test_a_page_of_another_site(self, server: Running) -> None:
        status, answer, _ = server.ask("POST", INFER, GOOD, {"Origin": "http://evil.example"})
        assert (status, list(answer)) == (403, ["error"])
        assert server.ask("POST", INFER, GOOD, {"Origin": f"http://{server.http}"})[0] == 200

    def test_what_fails_inside_stays_inside(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(Identity):
            def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
                if np.any(inputs["x"]):
                    raise KeyError("secret of the inside")
                return super().run(inputs)

        with running(lambda card, _: Broken(card)) as broken:
            broken.load(card_of("m"))
            status, answer, _ = broken.ask("POST", INFER, GOOD)
            assert (status, answer) == (500, {"error": "The server failed to answer this; its log says why."})
            assert "secret of the inside" in caplog.text
            client = triton_grpc.InferenceServerClient(broken.grpc)
            given = triton_grpc.InferInput("x", [1, 4], "FP32")
            given.set_data_from_numpy(np.ones((1, 4), np.float32))
            with pytest.raises(InferenceServerException, match="its log says why"):
                client.infer("m", [given])
            client.close()
            stats = broken.ask("GET", "/v2/models/m/stats")[1]["model_stats"][0]
            assert stats["inference_stats"]["fail"]["count"] == 2


class TestTooMuch:
    def test_a_large_body_is_not_read(self, server: Running) -> None:
        connection = server.connection()
        connection.putrequest("POST", INFER)
        connection.putheader("Content-Length", str(LARGEST + 1))
        connection.endheaders()  # Not a byte of the body is sent.
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (
            413, {"error": f"The request is too large; the largest has {LARGEST} bytes."}
        )  # fmt: skip
        connection.close()

    def test_a_body_of_unknown_length(self, server: Running) -> None:
        connection = server.connection()
        connection.request("POST", INFER, (b"x" * 10_000 for _ in range(20)), encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    def test_a_bomb(self, server: Running, encoding: str) -> None:
        squeeze = gzip.compress if encoding == "gzip" else zlib.compress
        status, answer, _ = server.ask("POST", INFER, squeeze(bytes(20 << 20)), {"Content-Encoding": encoding})
        assert (status, "too large" in answer["error"]) == (413, True)

    @pytest.mark.parametrize(
        ("encoding", "body", "status"),
        [("gzip", b"nonsense", 400), ("gzip", gzip.compress(b"{}", mtime=0)[:-3], 400), ("br", b"{}", 415)],
    )
    def test_broken_compression(self, server: Running, encoding: str, body: bytes, status: int) -> None:
        got, answer, _ = server.ask("POST", INFER, body, {"Content-Encoding": encoding})
        assert (got, list(answer)) == (status, ["error"])

    def test_a_large_message_over_grpc(self, server: Running) -> None:
        client = triton_grpc.InferenceServerClient(server.grpc)
        given = triton_grpc.InferInput("x", [LARGEST, 4], "FP32")
        given.set_data_from_numpy(sample("FP32", (LARGEST, 4)))
        with pytest.raises(InferenceServerException, match=r"larger than max|message larger"):
            client.infer("m", [given])
        assert client.is_server_ready()
        client.close()

    def test_a_large_head(self, server: Running) -> None:
        with opened(server) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nx: ")
            answer = b""
            while not answer:
                raw.sendall(b"y" * 1000)
                readable, _, _ = select.select([raw], [], [], 0.001)
                answer = raw.recv(65536) if readable else b""
        assert answer.startswith(b"HTTP/1.1 431 ")

    def test_more_connections_than_allowed(self, server: Running) -> None:
        limits = Settings(connections=10, grpc="")
        with running(lambda card, _: Identity(card), limits) as crowded, contextlib.ExitStack() as held:
            connections = [held.enter_context(opened(crowded)) for _ in range(11)]
            answer = connections[-1].recv(65536)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'{"error":' in answer
            connections[0].sendall(b"GET /v2/health/live HTTP/1.1\r\n\r\n")
            assert connections[0].recv(65536).startswith(b"HTTP/1.1 200 ")


def opened(server: Running) -> socket.socket:
    host, _, port = server.http.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


@pytest.mark.slow
class TestSlowSenders:
    """They are cut off, and keep nobody waiting."""

    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            b"POST /v2/models/m/infer HTT",
            b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nA: b\r\n",
            b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
            b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        ],
    )
    def test_one(self, server: Running, sent: bytes) -> None:
        with opened(server) as raw:
            raw.sendall(sent)
            assert works(server)
            got = b""
            while chunk := raw.recv(65536):
                got += chunk
        assert got.startswith(b"HTTP/1.1 408 ")
        assert b'{"error":' in got

    def test_many_that_drip(self, server: Running) -> None:
        ended = threading.Event()

        def drip() -> None:
            with opened(server) as raw:
                try:
                    while not ended.is_set():
                        raw.sendall(b"G")
                        ended.wait(0.05)
                except OSError:
                    return

        threads = [threading.Thread(target=drip) for _ in range(20)]
        for thread in threads:
            thread.start()
        assert all(works(server) for _ in range(50))
        ended.set()
        for thread in threads:
            thread.join()


class TestAtATime:
    def test_more_than_may_wait(self) -> None:
        with running(lambda card, _: Slow(card, 0.3), Settings(concurrent=2)) as busy:
            busy.load(card_of("m"))
            found: list[tuple[int, dict[str, str]]] = []

            def ask() -> None:
                status, _, headers = busy.ask("POST", INFER, GOOD)
                found.append((status, headers))

            threads = [threading.Thread(target=ask) for _ in range(5)]
            for thread in threads:
                thread.start()
            health = busy.ask("GET", "/v2/health/ready")[1]
            for thread in threads:
                thread.join()
        assert health == {"ready": True}
        assert sorted(status for status, _ in found) == [200, 200, 503, 503, 503]
        assert all(headers["retry-after"] == "1" for status, headers in found if status == 503)

    def test_a_model_that_takes_too_long(self) -> None:
        with running(lambda card, _: Slow(card, 0.4), Settings(deadline=0.1)) as slow:
            slow.load(card_of("m"))
            status, answer, _ = slow.ask("POST", INFER, GOOD)
        assert (status, answer["error"]) == (504, "There was no answer within 0.1 s.")


HTTP = st.sampled_from(
    (b"POST ", b"GET ", INFER.encode(), b" HTTP/1.1\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
     b"\r\n", b"0", b"5\r\n", HEADER.encode() + b": ", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n")
)  # fmt: skip
JSON_BITS = st.sampled_from(
    (b'{"inputs":', b"[", b"]", b"{", b"}", b'"name":"x"', b",", b'"shape":', b"[1,4]", b'"datatype":"FP32"',
     b'"data":', b"[1,2,3,4]", b'"parameters":', b'{"binary_data_size":16}', b"-1", b"1e9", b"\xff", b'"\\ud800"')
)  # fmt: skip


@pytest.mark.slow
class TestFuzz:
    @settings(max_examples=1500, derandomize=True, deadline=None)
    @given(st.lists(HTTP | st.binary(max_size=20), max_size=12).map(b"".join))
    def test_garbage_instead_of_http(self, server: Running, data: bytes) -> None:
        with opened(server) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)

    @settings(max_examples=1500, derandomize=True, deadline=None)
    @given(
        st.lists(JSON_BITS | st.binary(max_size=8), max_size=14).map(b"".join),
        st.none() | st.integers(-1, 200).map(str),
        st.sampled_from(["m", "text", "small", "truth", "half"]),
    )
    def test_garbage_instead_of_a_request(self, server: Running, data: bytes, header: str | None, model: str) -> None:
        headers = {} if header is None else {HEADER: header}
        status, answer, _ = server.ask("POST", f"/v2/models/{model}/infer", data, headers)
        assert status in (200, 400)
        if status == 400:
            assert list(answer) == ["error"]

    @settings(max_examples=500, derandomize=True, deadline=None)
    @given(st.data())
    def test_a_good_request_with_a_changed_byte(self, server: Running, data: st.DataObject) -> None:
        body, headers = binary([x(16)], np.ones(4, np.float32).tobytes())
        place = data.draw(st.integers(0, len(body) - 1))
        changed = body[:place] + bytes([data.draw(st.integers(0, 255))]) + body[place + 1 :]
        status, _, _ = server.ask("POST", INFER, changed, headers)
        assert status in (200, 400)

    @settings(max_examples=500, derandomize=True, deadline=None)
    @given(data=st.binary(max_size=60))
    def test_garbage_over_grpc(self, infer: Callable[[bytes], bytes], data: bytes) -> None:
        with pytest.raises(grpc.RpcError):
            infer(data)


@pytest.fixture(scope="module")
def infer(server: Running) -> Generator[Callable[[bytes], bytes]]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
