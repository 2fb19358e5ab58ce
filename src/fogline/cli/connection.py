"""The operator's folder, and the connection to the cloud that it names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from fogline.decoding import UNREADABLE
from fogline.governance import role_check
from fogline.governance.errors import NoIdentityError, TrustError
from fogline.network.cloud.client import Client, connect
from fogline.network.cloud.folder import AUTHORITY, FACTS, OPERATOR, OPERATOR_FORMAT, OperatorFacts

A = TypeVar("A")


def operator_folder(folder: Path) -> Path:
    """The operator's part of a cloud's folder, or the folder itself."""
    return folder / OPERATOR if (folder / OPERATOR).is_dir() else folder


def facts_of(folder: Path) -> OperatorFacts:
    """Which cloud an operator's folder names.

    Raises:
        TrustError: none, or as another version of Fogline writes it.
    """
    place = operator_folder(folder)
    try:
        facts = msgspec.json.decode((place / FACTS).read_bytes(), type=OperatorFacts)
    except (FileNotFoundError, NotADirectoryError):
        if (folder / AUTHORITY).is_dir():
            raise TrustError(f"The cloud in {folder} has never run; run: fogline cloud run --folder {folder}") from None
        raise NoIdentityError(
            f"There is no operator's folder {folder}; name one with --cloud, make a cloud with fogline cloud init, or "
            "join one with a token for operators"
        ) from None
    except UNREADABLE as error:
        raise TrustError(f"{place / FACTS} is damaged: {error}") from None
    if facts.format != OPERATOR_FORMAT:
        raise TrustError(
            f"The operator's folder {place} has format {facts.format}; this version of Fogline reads "
            f"{OPERATOR_FORMAT}. Use the version that wrote it."
        )
    return facts


@asynccontextmanager
async def cloud_of(folder: Path) -> AsyncGenerator[Client]:
    """A connection to the cloud of an operator's folder."""
    facts = facts_of(folder)
    async with connect(operator_folder(folder) / "identity", facts.name, facts.address) as client:
        yield client


def check_role(folder: Path, call: str) -> None:
    """See :func:`fogline.governance.role_check.check_role`, for an operator's folder.

    Raises:
        TrustError: there is no cloud to ask.
        RoleError: the role of whose folder it is may not make that call.
    """
    facts_of(folder)
    role_check.check_role(operator_folder(folder) / "identity", call)


def asked(folder: Path, question: Callable[[Client], Awaitable[A]]) -> A:
    """What a cloud answers.

    Raises:
        OperatorApiError: it refuses, or does not answer.
        TrustError: the folder is no operator's.
    """

    async def ask() -> A:
        async with cloud_of(folder) as client:
            return await question(client)

    return asyncio.run(ask())
