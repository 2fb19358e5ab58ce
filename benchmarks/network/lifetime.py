"""How a process of a benchmark says that it is there, and learns that it is to end."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


def say(**facts: Any) -> None:
    """One line for the parent process."""
    print(json.dumps(facts), flush=True)


async def until_closed() -> None:
    """Wait until standard input is closed."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
