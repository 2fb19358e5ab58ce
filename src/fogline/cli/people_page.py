"""The page for people who sign in, where a cloud's folder asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

from fogline.cli.failures import UsageError
from fogline.dashboard.sign_in.settings import FILE, SECRET, read_sign_in
from fogline.network.cloud.cloud import CloudUp

Make = Callable[[], AbstractAsyncContextManager[CloudUp]]


class PagedCloud(NamedTuple):
    """A cloud, with or without a page."""

    make: Make
    hint: str = ""
    """What to tell people."""


def people_page_of(folder: Path, make: Make) -> PagedCloud:
    """A cloud with the page that its folder asks for; without, where it asks for none.

    Raises:
        UsageError: the libraries for it are not installed.
        SignInSettingsError: the settings cannot be used.
    """
    if not (folder / FILE).exists():
        return PagedCloud(make)
    try:
        from fogline.dashboard.sign_in.serving import with_page  # Not above: most clouds have no such page.
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{folder / FILE} needs {error.name}, which is not installed: pip install 'fogline[board,oidc]'"
        ) from error
    sign_in = read_sign_in(folder)
    os.environ.pop(SECRET, None)  # The code of jobs runs in processes that inherit the rest.
    return PagedCloud(lambda: with_page(make, folder, sign_in), f"\nPeople sign in at {sign_in.settings.address}")
