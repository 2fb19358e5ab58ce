"""Submits a job from within a namespace and prints its rounds, for :mod:`benchmarks.wan`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from fogline.network.cloud.client import connect
from fogline.network.cloud.folder import OPERATOR


async def submit(folder: Path) -> None:
    facts = json.loads(sys.stdin.readline())
    async with connect(folder / "cloud" / OPERATOR / "identity", "cloud", facts["address"]) as client:
        record = await client.submit(facts["text"], bytes.fromhex(facts["bundle"]), planned=True, wait=facts["wait"])
        async for line in client.watch(record.job):
            if line.what == "began":
                print(json.dumps({"began": True}), flush=True)
            elif line.row is not None:
                print(json.dumps(line.row), flush=True)
            else:
                print(f"{line.node} {line.what} {line.child} {line.why}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    asyncio.run(submit(Path(sys.argv[1])))
