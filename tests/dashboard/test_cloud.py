"""A board of a real cloud: what a person sees, and what comes of what he asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fogline.network.cloud.client import OperatorApiError
from tests.dashboard.browser import opened, until
from tests.dashboard.people import board_of, operator_of
from tests.network.cluster import Cluster, cluster, job, within

JOB = job(rounds=2, fogs=1, clients=2)


@pytest.fixture(scope="module")
def made(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cloud, a fog with two devices."""
    with within(runner, cluster(tmp_path_factory.mktemp("board"), fogs=1, devices=2)) as made:
        yield made


def test_a_job_is_followed_from_the_queue_to_its_end(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        board = board_of(made, operator_of(made))
        async with opened(board):
            nodes = await until(board, lambda said: len(said.get("nodes/fleet", {}).get("devices", ())) == 2 and said)
            assert [one["name"] for one in nodes["nodes/fleet"]["aggregators"]] == ["cloud", "fog"]
            assert nodes["nodes/fleet"]["homes"] == [1, 1]
            assert nodes["tree/fleet"]["states"] == "ww"
            record = await made.submit(JOB)
            said = await until(
                board,
                lambda said: said.get(f"run/{record.job}", {}).get("progress", {}).get("status") == "finished" and said,
            )
            assert said[f"run/{record.job}"]["progress"]["done"] == 2
            assert said[f"job/{record.job}"]["rounds"] == 2
            rows = await until(
                board,
                lambda said: (
                    len([one for key, part in said.items() if key.startswith("rows/") for one in part]) == 2 and said
                ),
            )
            assert any("began" in str(part) for key, part in rows.items() if key.startswith("log/"))

    runner.run(work())


def test_the_tree_says_what_rounds_wait_for(runner: asyncio.Runner, made: Cluster) -> None:
    """The cloud waits for its fog, the fog for its devices, while they train."""

    async def work() -> None:
        board = board_of(made, operator_of(made))
        async with opened(board) as page:
            record = await made.submit(job(rounds=1000, fogs=1, clients=2))

            def waits(said: dict[str, Any]) -> bool:
                rounds = said.get("tree/fleet", {}).get("rounds", ())
                return len(rounds) == 2 and any(one["names"] for one in rounds) and rounds[1]["sent"] > 0

            said = await until(board, lambda said: waits(said) and said)
            names = {name for one in said["tree/fleet"]["rounds"] for name in one["names"]}
            assert names <= {"fog", "client-0", "client-1"}
            assert set(said["tree/fleet"]["states"]) <= {"t", "w"}
            status, answer = await asyncio.to_thread(page.ask, "stop", {"job": record.job})
            assert (status, record.job in answer) == (200, True)
            await until(board, lambda said: said[f"run/{record.job}"]["progress"]["status"] == "stopped")
            # Nothing is open any more.
            await until(board, lambda said: not any(one["open"] for one in said["tree/fleet"]["rounds"]))

    runner.run(work())


def test_the_audit_log_is_verified_here_and_says_who_did_what(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        board = board_of(made, operator_of(made))
        async with opened(board) as page:
            await until(board, lambda said: "nodes/fleet" in said)
            status, token = await asyncio.to_thread(page.ask, "token", {"role": "auditor", "uses": 2})
            assert (status, len(token) > 20) == (200, True)
            status, log = await asyncio.to_thread(page.ask, "audit")
            assert (status, log["node"], log["problems"]) == (200, "cloud", [])
            made_token = [one for one in log["records"] if one["what"] == "token.made"][-1]
            assert made_token["by"] == "operator"
            assert token not in str(log)
            assert log["size"] >= len(log["records"])

    runner.run(work())


def test_a_revoked_node_is_cut_off(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        board = board_of(made, operator_of(made))
        async with opened(board) as page:
            await until(board, lambda said: said.get("member/client-1", {}).get("up"))
            status, said = await asyncio.to_thread(page.ask, "revoke", {"name": "client-1"})
            assert (status, "client-1 is" in said) == (200, True)
            known = await until(board, lambda said: not said["member/client-1"]["up"] and said)
            place = known["nodes/fleet"]["devices"].index("client-1")
            assert known["tree/fleet"]["states"][place] == "o"
            status, said = await asyncio.to_thread(page.ask, "revoke", {"name": "nobody"})
            assert (status, said["error"]) == (400, "no node named 'nobody' ever joined")

    runner.run(work())


def test_a_cloud_that_is_away_is_said_and_found_again(runner: asyncio.Runner, made: Cluster) -> None:
    """The page keeps what it has shown, says that it may be old, and goes on by itself."""

    async def work() -> None:
        board = board_of(made, operator_of(made))
        real = board._connect

        class Away:
            async def __aenter__(self) -> None:
                raise OperatorApiError("The cloud does not answer; does it run?")

            async def __aexit__(self, *_: object) -> None: ...

        board._connect = Away  # type: ignore[assignment]
        async with opened(board) as page:
            assert await until(board, lambda said: "does not answer" in said.get("trouble/cloud", ""))
            status, said = await asyncio.to_thread(page.ask, "revoke", {"name": "client-0"})
            assert (status, "not connected now" in said["error"]) == (502, True)
            board._connect = real
            await until(board, lambda said: "nodes/fleet" in said and not said.get("trouble/cloud"))

    runner.run(work())
