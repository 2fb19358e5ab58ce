"""The operator's folder, and the connection to the cloud that it names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from fogline.governance.errors import NoIdentityError, TrustError
from fogline.network.cloud.client import Client, connect
from fogline.network.cloud.cloud import AUTHORITY, FACTS, OPERATOR, OperatorFacts

A = TypeVar("A")


def operator_folder(folder: Path) -> Path:
    """The operator's part of a cloud's folder, or the folder itself."""
    return folder / OPERATOR if (folder / OPERATOR).is_dir() else folder


def facts_of(folder: Path) -> OperatorFacts:
    """Which cloud an operator's folder names.

    Raises:
        TrustError: none.
    """
    place = operator_folder(folder)
    try:
        return msgspec.json.decode((place / FACTS).read_bytes(), type=OperatorFacts)
    except FileNotFoundError:
        if (folder / AUTHORITY).is_dir():
            raise TrustError(f"The cloud in {folder} has never run; run: fogline cloud run --folder {folder}") from None
        raise NoIdentityError(
            f"There is no operator's folder {folder}; name one with --cloud, make a cloud with fogline cloud init, or "
            "join one with a token for operators"
        ) from None
    except msgspec.DecodeError as error:
        raise TrustError(f"{place / FACTS} is damaged: {error}") from None


@asynccontextmanager
async def cloud_of(folder: Path) -> AsyncGenerator[Client]:
    """A connection to the cloud of an operator's folder."""
    facts = facts_of(folder)
    async with connect(operator_folder(folder) / "identity", facts.name, facts.address) as client:
        yield client


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
