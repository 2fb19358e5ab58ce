"""An owner approves a job on the page, and it runs: real commands, real processes, a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.browser import needs_chromium
from tests.dashboard.looking import PHONE, browsing, check_accessible, fits
from tests.network.commands import Program, Terminal

pytestmark = [needs_chromium, pytest.mark.slow]
LOCAL = ("--listen", "127.0.0.1:0", "--door", "127.0.0.1:0")
JOB = """
name = "toy"
task = "small:task"
rounds = 2
[local]
learning_rate = 0.1
[task_parameters]
clients = 1
[publish]
at_least = 2
[tree.cloud]
"""


class Site:
    """A cloud, a device whose policy asks the owner ines, and her page."""

    def __init__(self, folder: Path) -> None:
        self.terminal = terminal = Terminal(folder)
        (folder / "job.toml").write_text(JOB)
        terminal.ok("cloud", "init")
        self.programs: list[Program] = []
        self._start("cloud", "run", *LOCAL).until("listens at")
        token = terminal.token("--role", "owner")
        said = terminal.ok(
            "join", terminal.door(), "--token", token, "--role", "owner", "--name", "ines", "--folder", "ines"
        )
        joining = ("--name", "press", "--folder", "press", "--trust", terminal.signer())
        terminal.ok("join", terminal.door(), "--token", terminal.token(), *joining)
        policy = folder / "press" / "policy.toml"
        policy.write_text(f"{policy.read_text()}\napproval = true\n{said[said.index('[[owner]]') :]}")
        self._start("device", "run", "--folder", "press")
        board = self._start("board", "--cloud", "ines")
        self.address = board.until("Only this machine").rpartition("Open ")[2].split()[0]

    def _start(self, *arguments: str) -> Program:
        program = self.terminal.start(*arguments)
        self.programs.append(program)
        return program

    def submit(self, *options: str) -> str:
        """The id of a job."""
        return self.terminal.ok("jobs", "submit", "job.toml", *options).rpartition("watch ")[2].strip()

    def close(self) -> None:
        for program in reversed(self.programs):
            program.end()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("approving") / "here")
    yield made
    made.close()


async def look(page: Any, job: str) -> None:
    """Open what a job does."""
    await page.get_by_role("link", name="Trust").click()
    row = page.get_by_role("row", name=job)
    await row.get_by_text("press").wait_for()  # The device has told that it waits.
    await row.get_by_role("link", name=job).focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name=f"What {job} does").wait_for()


def test_a_person_approves_a_job_with_the_keyboard_and_it_runs(site: Site) -> None:
    async def work() -> None:
        job = await asyncio.to_thread(site.submit)
        async with browsing(site.address, locale="en-GB") as page:
            await page.get_by_text("ines (owner)").wait_for()
            await look(page, job)
            await page.get_by_text("Nothing that was approved before is known").wait_for()
            await page.get_by_text("small.py").first.wait_for()
            await check_accessible(page)
            await page.get_by_label("Reason").fill("as agreed")
            await page.get_by_role("button", name="Approve").focus()
            await page.keyboard.press("Enter")
            await page.get_by_role("dialog").get_by_text("signed on this machine").wait_for()
            await check_accessible(page)
            await page.get_by_role("dialog").get_by_role("button", name="Approve").focus()
            await page.keyboard.press("Enter")
            await page.get_by_role("status").get_by_text(f"You approved job {job}").wait_for()
            await page.get_by_text("No job waits for an owner.").wait_for()
            await page.get_by_role("link", name="Runs").click()
            await page.get_by_role("region", name="Runs").get_by_role("cell", name="finished").wait_for()
        said = await asyncio.to_thread(site.terminal.ok, "jobs", "show", job)
        assert "ines: approve: as agreed" in said
        assert "2 of 2" in said

    asyncio.run(work())


def test_a_refusal_needs_a_reason_and_keeps_the_job_away_on_a_phone_and_in_chinese(site: Site) -> None:
    async def work() -> None:
        job = await asyncio.to_thread(site.submit, "--set", "rounds=3")
        async with browsing(site.address, locale="zh-TW", viewport=PHONE, color_scheme="dark") as page:
            await page.get_by_role("link", name="信任").click()
            await page.get_by_role("row", name=job).get_by_text("press").wait_for()
            await page.get_by_role("link", name=job).click()
            await page.get_by_role("heading", name=f"{job} 做什麼").wait_for()
            await page.get_by_text("rounds was 2 and is 3").wait_for()  # Than in the one that she approved.
            assert await fits(page)
            await check_accessible(page)
            await page.get_by_role("button", name="拒絕").click()
            await page.get_by_role("status").get_by_text("拒絕時必須填寫").wait_for()
            assert await page.get_by_role("dialog").count() == 0
            await page.get_by_label("理由").fill("two rounds will do")
            await page.get_by_role("button", name="拒絕").click()
            await page.get_by_role("dialog").get_by_role("button", name="拒絕").click()
            await page.get_by_role("status").get_by_text(f"You refused job {job}").wait_for()
        shown = await asyncio.to_thread(site.terminal.ok, "jobs", "show", job)
        assert "ines: refuse: two rounds will do" in shown
        await asyncio.to_thread(site.terminal.ok, "jobs", "stop", job)

    asyncio.run(work())


def test_policies_and_what_was_given_away_are_shown(site: Site) -> None:
    async def work() -> None:
        policy = site.terminal.folder / "fleet.toml"
        policy.write_text((site.terminal.folder / "fogline-cloud" / "policy.toml").read_text())
        await asyncio.to_thread(site.terminal.ok, "policy", "publish", "fleet.toml")
        async with browsing(site.address, locale="en-GB") as page:
            await page.get_by_text("ines (owner)").wait_for()
            await page.get_by_role("link", name="Trust").click()
            await page.get_by_role("button", name="Fetch and read").click()
            await page.get_by_text("Signed by operator").wait_for()
            await page.get_by_text("the fleet's policy holds now.").wait_for()
            await page.get_by_role("button", name="Fetch and add up").click()
            await page.get_by_text("No node has told of a ledger yet.").wait_for()
            assert await page.get_by_role("button", name="Revoke").count() == 0
            await check_accessible(page)

    asyncio.run(work())
