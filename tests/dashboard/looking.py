"""A browser without a screen, and what is looked for on every page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fogline.dashboard.board import Board
from fogline.dashboard.server import served
from tests.dashboard.browser import CHROMIUM
from tests.patience import PATIENCE

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed")
PHONE = {"width": 390, "height": 844}
LONG = 1000 * PATIENCE
SERIOUS = ("serious", "critical")


@asynccontextmanager
async def looking(board: Board, **how: Any) -> AsyncGenerator[Any]:
    """A page that is open on a board, see :func:`browsing`."""
    async with served(board) as serving, browsing(serving.address, **how) as page:
        yield page


@asynccontextmanager
async def browsing(address: str, others: tuple[str, ...] = (), **how: Any) -> AsyncGenerator[Any]:
    """A page that is open. In the end it must have had no error, and asked nobody but ``others`` for anything."""
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(**how)
        context.set_default_timeout(LONG)
        page = await context.new_page()
        errors: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(address)
        try:
            yield page
        finally:
            await browser.close()
        assert errors == []
        origin = address.partition("#")[0]
        assert [url for url in asked if not url.startswith((origin, "data:", *others))] == []


async def check_accessible(page: Any) -> None:
    """That axe finds nothing serious."""
    await page.evaluate(axe.AXE_SCRIPT)
    found = await page.evaluate("axe.run()")
    bad = [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]
    assert bad == []


async def fits(page: Any) -> bool:
    """Whether nothing has to be scrolled sideways."""
    return await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
