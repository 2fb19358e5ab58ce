"""The command as people run it, and a person who signs in to its page in a real browser, with the keyboard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fogline.governance.signatures.signing import SigningKey
from fogline.network.cloud.people import ProvidedPerson
from tests.dashboard.browser import needs_chromium
from tests.dashboard.looking import PHONE, browsing, check_accessible, fits
from tests.dashboard.sign_in.provider import SECRET, SmallProvider
from tests.dashboard.sign_in.visiting import write_settings
from tests.network.commands import Terminal
from tests.network.processes import free_port

LOCAL = ("--listen", "127.0.0.1:0", "--door", "127.0.0.1:0", "--metrics", "none")
BUTTONS = ("out", "language", "theme")
"""Ids of the buttons at the head of the page."""
pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def running(
    started_provider: SmallProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Terminal, str, str]]:
    """A terminal, the address of the page of its cloud, and the id of a job that waits for an owner."""
    terminal = Terminal(tmp_path_factory.mktemp("browser") / "here")
    terminal.ok("cloud", "init")
    cloud = terminal.folder / "fogline-cloud"
    owner = SigningKey.create(terminal.folder / "owner.key", "ines").signer
    policy = (cloud / "policy.toml").read_text()
    (cloud / "policy.toml").write_text(f'{policy}approval = true\n[[owner]]\nname = "ines"\nkey = "{owner.key}"\n')
    address = write_settings(cloud, started_provider.issuer, free_port())
    program = terminal.start("cloud", "run", *LOCAL)
    assert "People sign in at" in program.until(address)
    job = terminal.ok("jobs", "submit", "job.toml").rpartition("watch ")[2].strip()
    yield terminal, address, job
    program.end()
    leaked = [secret for secret in (SECRET, *started_provider.tokens) if secret in program.said]
    assert leaked == []


async def press(page: Any, role: str, name: str) -> None:
    """With the keyboard."""
    await page.get_by_role(role, name=name).focus()
    await page.keyboard.press("Enter")


def test_an_owner_signs_in_looks_at_a_job_is_told_where_to_sign_and_signs_out(
    running: tuple[Terminal, str, str], provider: SmallProvider
) -> None:
    _, address, job = running
    provider.person = {"sub": "ines", "email": "ines@example.org", "email_verified": True}
    name = ProvidedPerson(provider.issuer, "ines").name

    async def work() -> None:
        async with browsing(address, (provider.issuer,), locale="en-GB") as page:
            await page.get_by_role("heading", name="Sign in").wait_for()
            await check_accessible(page)
            await press(page, "link", "Sign in with the tests")
            await page.get_by_text(f"{name} (owner)").wait_for()
            await page.set_viewport_size(PHONE)
            lines = [await page.locator(f"#{part}").evaluate("it => it.getClientRects()[0].height") for part in BUTTONS]
            assert max(lines) < 1.5 * min(lines)  # No button is broken into two lines.
            assert await fits(page)
            assert "code" not in page.url
            await press(page, "link", "Trust")
            await press(page, "link", job)
            await page.get_by_role("heading", name=f"What {job} does").wait_for()
            await page.get_by_text("signed with a key of your own, which this page does not hold").wait_for()
            assert await page.get_by_role("button", name="Approve").count() == 0
            await check_accessible(page)
            await press(page, "button", "Sign out")
            await page.get_by_role("link", name="Sign in with the tests").wait_for()
            assert await page.get_by_role("button", name="Sign out").count() == 0

    asyncio.run(work())


def test_who_has_no_role_reads_why_in_chinese_on_a_phone(
    running: tuple[Terminal, str, str], provider: SmallProvider
) -> None:
    _, address, _ = running
    provider.person = {"sub": "eve"}

    async def work() -> None:
        async with browsing(address, (provider.issuer,), locale="zh-TW", viewport=PHONE, color_scheme="dark") as page:
            await page.get_by_role("heading", name="登入").wait_for()
            await press(page, "link", "使用 the tests 登入")
            await page.get_by_role("alert").get_by_text("nobody here has given you a role").wait_for()
            assert await fits(page)
            await check_accessible(page)
            await press(page, "button", "English")
            await page.get_by_role("link", name="Sign in with the tests").wait_for()

    asyncio.run(work())


def test_settings_that_are_wrong_are_one_sentence_and_no_cloud_runs(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "here")
    terminal.ok("cloud", "init")
    write_settings(terminal.folder / "fogline-cloud", "http://login.example.org", 1)
    assert "provider.issuer: 'http://login.example.org' is not https" in terminal.refused("cloud", "run", *LOCAL)
