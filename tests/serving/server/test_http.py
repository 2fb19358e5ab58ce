"""HTTP itself: order, pieces, old clients, and clients that do not read."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.serving.settings import Settings
from tests.patience import PATIENCE
from tests.serving.server.models import Identity, Slow, card_of
from tests.serving.server.running import Running, running


@pytest.fixture(scope="module")
def server() -> Generator[Running]:
    limits = Settings(largest=50_000, deadline=1.5, grpc="")
    with running(lambda card, _: Slow(card, 0.02) if card.model == "slow" else Identity(card), limits) as made:
        made.load(card_of("m"))
        made.load(card_of("slow"))
        yield made


def opened(server: Running) -> socket.socket:
    host, _, port = server.http.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def asking(value: float, model: str = "m", more: str = "", version: str = "1.1") -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [value] * 4}
    body = json.dumps({"id": str(value), "inputs": [tensor]})
    head = f"POST /v2/models/{model}/infer HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return (head + body).encode()


def read_to_end(raw: socket.socket) -> bytes:
    got = b""
    while chunk := raw.recv(65536):
        got += chunk
    return got


def identities(answers: bytes) -> list[str]:
    """The ids in a stream of answers, in order."""
    found: list[str] = []
    while answers:
        head, _, rest = answers.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        body = json.loads(rest[:length])
        found.append(body.get("id", body.get("error", "")))
        answers = rest[length:]
    return found


class TestOrder:
    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(data=st.data())
    def test_in_whatever_pieces_they_come_requests_are_answered_in_order(
        self, server: Running, data: st.DataObject
    ) -> None:
        models = data.draw(st.lists(st.sampled_from(["m", "slow", "none"]), min_size=1, max_size=6))
        sent = b"".join(
            asking(i, model, "Connection: close\r\n" if i == len(models) - 1 else "") for i, model in enumerate(models)
        )
        cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
        with opened(server) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
                raw.sendall(sent[start:end])
            got = identities(read_to_end(raw))
        assert got == [
            "There is no model 'none' here." if model == "none" else str(i) for i, model in enumerate(models)
        ]

    def test_a_refusal_waits_for_the_answers_before_it(self, server: Running) -> None:
        with opened(server) as raw:
            raw.sendall(asking(1, "slow") + asking(2, "slow") + b"nonsense\r\n\r\n")
            got = identities(read_to_end(raw))
        assert got == ["1", "2", "What was sent is no HTTP request."]

    def test_nothing_is_read_behind_the_last(self, server: Running) -> None:
        with opened(server) as raw:
            raw.sendall(asking(1, "slow", "Connection: close\r\n") + asking(2))
            assert identities(read_to_end(raw)) == ["1"]


class TestClients:
    @pytest.mark.parametrize(("more", "version"), [("Connection: close\r\n", "1.1"), ("", "1.0")])
    def test_the_connection_ends_where_they_want_it(self, server: Running, more: str, version: str) -> None:
        with opened(server) as raw:
            raw.sendall(asking(1, "m", more, version))
            answer = read_to_end(raw)
        assert b"\r\nconnection: close\r\n" in answer
        assert identities(answer) == ["1"]

    def test_in_chunks_with_a_trailer(self, server: Running) -> None:
        body = asking(7).partition(b"\r\n\r\n")[2]
        head = b"POST /v2/models/m/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 9]), body[i : i + 9]) for i in range(0, len(body), 9))
        with opened(server) as raw:
            raw.sendall(head + pieces + b"0\r\nContent-Encoding: gzip\r\n\r\n")
            assert identities(read_to_end(raw)) == ["7"]

    def test_that_ask_before_they_send(self, server: Running) -> None:
        head, _, body = asking(3, more="Expect: 100-continue\r\nConnection: close\r\n").partition(b"\r\n\r\n")
        with opened(server) as raw:
            raw.sendall(head + b"\r\n\r\n")
            assert raw.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            raw.sendall(body)
            assert identities(read_to_end(raw)) == ["3"]

    def test_that_name_the_server_as_if_it_were_a_proxy(self, server: Running) -> None:
        for target, status in (("http://x:80/v2/health/live?a", 200), ("http://x", 200), ("*", 404),
                               ("http://x/v2/health/nothing", 404)):  # fmt: skip
            with opened(server) as raw:
                raw.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                assert read_to_end(raw).startswith(f"HTTP/1.1 {status} ".encode()), target

    def test_that_want_another_protocol(self, server: Running) -> None:
        with opened(server) as raw:
            raw.sendall(b"GET /v2/health/live HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
            assert read_to_end(raw).endswith(b'{"live":true}')
        with opened(server) as raw:
            raw.sendall(asking(3, "slow", "Upgrade: h2c\r\nConnection: Upgrade\r\n"))
            assert identities(read_to_end(raw)) == ["Only HTTP/1.1 is spoken here; leave out the header Upgrade."]

    def test_that_send_too_much_may_go_on(self, server: Running) -> None:
        large = b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000)
        with opened(server) as raw:
            raw.sendall(large + asking(1, more="Connection: close\r\n"))
            got = identities(read_to_end(raw))
        assert got == ["The request is too large; the largest has 50000 bytes.", "1"]

    def test_that_do_not_read_are_cut_off_and_take_little_memory(self, server: Running) -> None:
        """A thousand requests for a page of some kilobytes, of which nobody reads one."""
        before = _resident()
        with opened(server) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.settimeout(0.5)
            with pytest.raises((TimeoutError, ConnectionError)):
                raw.sendall(b"GET /docs HTTP/1.1\r\n\r\n" * 2_000_000)
            assert server.ask("GET", "/v2/health/live")[0] == 200
            assert _resident() - before < 60 << 20
            ended = threading.Event()
            deadline = time.monotonic() + PATIENCE
            while not ended.is_set() and time.monotonic() < deadline:
                try:
                    raw.sendall(b"x")
                except TimeoutError:
                    continue
                except OSError:
                    ended.set()
            assert ended.is_set()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
