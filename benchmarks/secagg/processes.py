"""Rounds between processes: a cloud and devices, over mutual TLS."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from benchmarks.common import console, median
from benchmarks.network.tree import Tree, cpu_seconds, family, tree

EXCHANGES = {
    "plain": "",
    "secagg": 'exchange = "secagg(weight=100.0, clip=1.0)"',
    "ckks": 'exchange = "ckks(weight=100.0, clip=1.0)"',
    "ckks_selective": 'exchange = "ckks_selective(weight=100.0, clip=1.0, share=0.1)"',
}
ROUNDS = 3


def between_processes(quick: bool) -> dict[str, Any]:
    """Seconds of a round, and the processor's of all devices and of the cloud, with each exchange."""
    devices, size = (4, 20_000) if quick else (8, 200_000)
    with tree() as made:
        cloud = made.start_cloud()
        for i in range(devices):
            name = f"dev-{i}"
            made.start(name, "device", str(made.member(name, "device")), f"cloud@{cloud}")
        rows = {name: asyncio.run(_measured(made, tier, devices, size)) for name, tier in EXCHANGES.items()}
    return {"devices": devices, "parameters": size, "rounds": ROUNDS, "exchanges": rows}


async def _measured(made: Tree, tier: str, devices: int, size: int) -> dict[str, float]:
    pids = {name: facts["pid"] for name, facts in made.facts.items()}
    before = {name: cpu_seconds(family(pid), ended=True) for name, pid in pids.items()}
    async with made.client() as client:
        record = await made.submit(client, ROUNDS, size, devices, f"quorum = 1.0\n{tier}\n", planned=True)
        lines = [line async for line in client.watch(record.job)]
    rows = [line.row for line in lines if line.row is not None]
    if len(rows) != ROUNDS:
        raise SystemExit(
            f"A job with '{tier}' made {len(rows)} rounds: {[(line.what, line.why) for line in lines][-3:]}"
        )
    used = {name: cpu_seconds(family(pid), ended=True) - before[name] for name, pid in pids.items()}
    ends = [row["seconds"] for row in rows]
    found = {
        "round_seconds": median(after - one for one, after in pairwise(ends)),
        "device_cpu_seconds": median(used[name] / ROUNDS for name in used if name != "cloud"),
        "cloud_cpu_seconds": used["cloud"] / ROUNDS,
    }
    console.print(tier or "plain", found)
    return found
