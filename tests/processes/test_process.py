"""Helper processes: asked, watched, and ended whatever they do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path

import pytest

import fogline.processes.process
from fogline.processes.process import HelperEndedError, HelperError, HelperProcess, module
from tests.patience import PATIENCE
from tests.processes.helper import ANSWERS, Do, Done

ROOT = Path(__file__).parents[2]
PROGRAM = "tests.processes.helper"
Helper = HelperProcess[Done]


@pytest.fixture(autouse=True)
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def looped(test: Callable[[Path], Awaitable[None]]) -> Callable[[Path], None]:
    @wraps(test)
    def run(tmp_path: Path) -> None:
        asyncio.run(asyncio.wait_for(test(tmp_path), PATIENCE))

    return run


@asynccontextmanager
async def helper(folder: Path, threads: int = 1) -> AsyncGenerator[Helper]:
    log = folder / "logs" / "helper.log"
    made = await HelperProcess.start(module(PROGRAM), log, ANSWERS, largest=1 << 20, threads=threads, name="it")
    try:
        yield made
    finally:
        await made.end()
    assert not Path(f"/proc/{made.pid}").exists()


@looped
async def test_it_is_asked_as_often_as_one_likes(tmp_path: Path) -> None:
    async with helper(tmp_path, threads=3) as made:
        assert (await made.ask(Do("threads"))).said == "3"
        await made.ask(Do("print"))
        assert (await made.ask(Do("interrupt"))).said == "alive", "Ctrl-C is for the parent"
    assert (tmp_path / "logs" / "helper.log").read_text() == "printed\n"


@looped
async def test_one_that_is_let_go_ends_by_itself(tmp_path: Path) -> None:
    async with helper(tmp_path) as made:
        await made.ask(Do("threads"))
        assert await made.end(grace=PATIENCE) == 0


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("exit", "^it ended with status 3$"),
        ("abort", "^it was ended by SIGABRT$"),
        ("forge", "^it sent what is no answer"),
    ],
)
def test_who_waits_is_told_how_it_ended(tmp_path: Path, what: str, words: str) -> None:
    async def run() -> None:
        async with helper(tmp_path) as made:
            with pytest.raises(HelperError, match=words) as caught:
                await made.ask(Do(what))
            assert isinstance(caught.value, HelperEndedError) == (what != "forge")
            with pytest.raises(HelperError, match=words):
                await made.ask(Do("threads"))

    asyncio.run(run())


@looped
async def test_who_waits_is_told_why_this_side_ended_it(tmp_path: Path) -> None:
    async with helper(tmp_path) as made:
        waiting = asyncio.ensure_future(made.ask(Do("sleep")))
        await asyncio.sleep(0)
        await made.end("nobody needs it")
        with pytest.raises(HelperError, match=r"^it was ended: nobody needs it$") as caught:
            await waiting
        assert not isinstance(caught.value, HelperEndedError)


@looped
async def test_a_request_has_a_limit_of_time(tmp_path: Path) -> None:
    async with helper(tmp_path) as made:
        with pytest.raises(HelperError, match=r"longer than 0\.01 s"):
            await made.ask(Do("sleep"), seconds=0.01)


def test_one_that_hangs_up_and_stays_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fogline.processes.process, "GRACE", 0.05)

    async def run() -> None:
        async with helper(tmp_path) as made:
            with pytest.raises(HelperEndedError, match="SIGKILL"):
                await asyncio.wait_for(made.ask(Do("linger")), PATIENCE)

    asyncio.run(run())


@looped
async def test_it_keeps_to_what_it_may_take(tmp_path: Path) -> None:
    async with helper(tmp_path) as made:
        assert (await made.ask(Do("hoard"))).said == f"no memory, niceness {os.nice(0) + 1}"


@looped
async def test_a_program_that_is_none_says_so_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = await HelperProcess.start(module("no.such.module"), log, ANSWERS, largest=1 << 20)
    with pytest.raises(HelperEndedError, match="the process ended with status 1"):
        await made.ask(Do("threads"))
    assert "no.such.module" in log.read_text() or "No module" in log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_it_ends_with_its_parent_also_in_the_middle_of_its_work(tmp_path: Path) -> None:
    parent = f"""
import asyncio
from pathlib import Path
from fogline.processes.process import HelperProcess, module
from tests.processes.helper import ANSWERS, Do

async def run():
    made = await HelperProcess.start(module("{PROGRAM}"), Path("{tmp_path}/log"), ANSWERS, largest=1 << 20)
    await made.ask(Do("threads"))
    print(made.pid, flush=True)
    await made.ask(Do("sleep"))

asyncio.run(run())
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        watched = os.pidfd_open(int(process.stdout.readline()))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    try:
        # A descriptor of a process is readable once it has ended.
        asyncio.run(asyncio.wait_for(_readable(watched), PATIENCE))
    finally:
        os.close(watched)


async def _readable(descriptor: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    await ended.wait()
