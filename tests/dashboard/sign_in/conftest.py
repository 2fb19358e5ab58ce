"""What the tests of signing in share: a provider, and a cloud whose page trusts it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.dashboard.sign_in.provider import SmallProvider, small_provider
from tests.dashboard.sign_in.visiting import PagedCloud, Visitor, paged_cloud
from tests.network.cluster import within

Inside = Callable[[Callable[[], Any]], Any]


@pytest.fixture(autouse=True, scope="module")
def forked_workers() -> None:
    """No job runs here, so no worker has to be warm."""


@pytest.fixture(scope="session")
def started_provider() -> Iterator[SmallProvider]:
    with small_provider() as provider:
        yield provider


@pytest.fixture
def provider(started_provider: SmallProvider) -> SmallProvider:
    started_provider.straighten()
    return started_provider


@pytest.fixture(scope="module")
def page(
    runner: asyncio.Runner, started_provider: SmallProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PagedCloud]:
    """A cloud that runs for the tests of a module."""
    started_provider.straighten()
    folder = tmp_path_factory.mktemp("page") / "cloud"
    with within(runner, paged_cloud(folder, started_provider)) as made:
        yield made


@pytest.fixture
def visitor(page: PagedCloud, provider: SmallProvider) -> Visitor:
    """A browser that was never here, at a page with the usual settings."""
    page.settings(provider)
    return Visitor(page)


@pytest.fixture
def inside(runner: asyncio.Runner) -> Inside:
    """Does what a browser does in a thread, while the cloud's loop goes on."""
    return lambda work: runner.run(asyncio.to_thread(work))
