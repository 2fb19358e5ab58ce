"""What the network costs: an empty round, blobs, a thousand devices below one fog, and a model of 1 GB.

    python -m benchmarks.network [--quick] [--only rounds blobs crowd idle large footprint]

All processes are real, on this machine, over mutual TLS on the loopback. Keys of the last line:

- ``empty_round_s``: median seconds of a round of a model of one number, two devices below the cloud;
- ``blob_relative_throughput``: a blob through Fogline (read, hashed, written) over the same bytes through a plain
  asyncio TLS socket (not even looked at), side by side; ``blob_relative_to_same_work``: over a plain socket whose
  reader hashes and writes them too;
- ``crowd``: a full round of light devices below one fog process: wall time, the fog's processor time and memory;
- ``idle``: connected devices that do nothing but show that they are alive: the fog's share of a core;
- ``large``: a model of 1 GB to four devices below a fog, and back: the most memory of each node;
- ``footprint``: memory of an idle device agent and of a fog, and seconds from start to connected.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from itertools import pairwise
from typing import Any

from benchmarks.common import console, median, report
from benchmarks.network import blobs
from benchmarks.network.tree import Peaks, Tree, cpu_seconds, family, resident_mb, tree
from fogline.network.cloud.records import LogLine

FOG = '[tree.fog]\ncount = 1\ndeadline = "9min"\n'
PARTS = ("rounds", "blobs", "footprint", "crowd", "idle", "large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    result: dict[str, Any] = {}
    for part in options.only:
        console.rule(part)
        result |= globals()[f"measure_{part}"](options.quick)
        console.print(result)
    report("network", result, keep=not options.quick and options.only == list(PARTS))


# An empty round.


def measure_rounds(quick: bool) -> dict[str, Any]:
    rounds = 20 if quick else 200
    with tree() as made:
        address = made.start_cloud()
        for i in range(2):
            made.start(f"dev-{i}", "device", str(made.member(f"dev-{i}", "device")), f"cloud@{address}")
        times = asyncio.run(_round_times(made, rounds))
    steady = sorted(times[5:])
    return {
        "empty_round_s": round(median(steady), 5),
        "empty_round_p90_s": round(steady[len(steady) * 9 // 10], 5),
        "fsync_s": round(fsync_seconds(), 5),
    }


async def _round_times(made: Tree, rounds: int) -> list[float]:
    async with made.client() as client:
        record = await made.submit(client, rounds, 1, 2, planned=True)
        ends = [line.row["seconds"] async for line in client.watch(record.job) if line.row is not None]
    return [after - before for before, after in pairwise(ends)]


def fsync_seconds() -> float:
    """What one write to this disk takes to be durable: every round waits for some."""
    times: list[float] = []
    with tempfile.TemporaryFile() as file:
        for _ in range(50):
            start = time.perf_counter()
            file.write(bytes(500))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return median(times)


# Blobs.


def measure_blobs(quick: bool) -> dict[str, Any]:
    size, turns = (32 << 20, 2) if quick else (256 << 20, 5)
    with tree() as made:
        ours, plain, same = asyncio.run(_blob_times(made, size, turns))
    rate, bare, equal = (size / median(times) / 1e6 for times in (ours, plain, same))
    return {
        "blob_relative_throughput": round(rate / bare, 2),
        "blob_mb_s": round(rate),
        "plain_tls_mb_s": round(bare),
        "blob_relative_to_same_work": round(rate / equal, 2),
    }


async def _blob_times(made: Tree, size: int, turns: int) -> tuple[list[float], list[float], list[float]]:
    return await blobs.compare(made, size, turns)


# Footprint.


def measure_footprint(quick: bool) -> dict[str, Any]:
    with tree() as made:
        cloud = made.start_cloud()
        start = time.perf_counter()
        fog = made.start("fog", "fog", str(made.member("fog", "fog")), f"cloud@{cloud}")
        fog_s = time.perf_counter() - start
        times: list[float] = []
        for i in range(2 if quick else 5):
            start = time.perf_counter()
            folder = str(made.member(f"dev-{i}", "device"))
            made.start(f"dev-{i}", "device", folder, f"fog@{fog['address']}")
            times.append(time.perf_counter() - start)
        time.sleep(2)
        sizes = [resident_mb(made.facts[f"dev-{i}"]["pid"]) for i in range(len(times))]
        facts = {
            "device_mb": round(median(sizes), 1),
            "device_start_s": round(median(times), 2),
            "fog_mb": round(resident_mb(fog["pid"]), 1),
            "fog_start_s": round(fog_s, 2),
        }
    return {"footprint": facts}


# Many devices below one fog.


def measure_crowd(quick: bool) -> dict[str, Any]:
    devices, size = (50, 250_000) if quick else (1000, 250_000)
    with tree("/dev/shm") as made:
        return {"crowd": _crowd(made, devices, size, rounds=3)}


def _crowd(made: Tree, devices: int, size: int, rounds: int) -> dict[str, Any]:
    fog = _fog_and_crowd(made, devices)
    asyncio.run(_warm(made, devices))
    pids = family(fog["pid"])
    before = cpu_seconds(pids)
    with Peaks({"fog": fog["pid"]}) as watched:
        times = asyncio.run(_seconds_of(made, rounds, size, devices))
    used = cpu_seconds(family(fog["pid"])) - before
    return {
        "devices": devices,
        "model_mb": size * 4 / 1e6,
        "round_s": round(median(times), 2),
        "fog_cpu_s_per_round": round(used / rounds, 2),
        "fog_mb": round(watched.peaks["fog"]),
        "bytes_per_round_mb": round(2 * devices * size * 4 / 1e6),
        "own_cost_s": round(2 * devices * size * 4 / plain_tls_rate(), 2),
    }


def _fog_and_crowd(made: Tree, devices: int, processes: int = 2) -> dict[str, Any]:
    cloud = made.start_cloud()
    fog = made.start("fog", "fog", str(made.member("fog", "fog")), f"cloud@{cloud}")
    for n in range(processes):
        names = [f"dev-{i}" for i in range(n, devices, processes)]
        below = made.folder / f"crowd-{n}"
        for name in names:
            made.member(name, "device", below)
        made.start(f"crowd-{n}", "crowd", str(below), f"fog@{fog['address']}", ",".join(names))
    return fog


async def _warm(made: Tree, devices: int) -> None:
    await _lines(made, 1, 1, devices)


async def _seconds_of(made: Tree, rounds: int, size: int, devices: int) -> list[float]:
    lines = await _lines(made, rounds, size, devices)
    ends = [line.row["seconds"] for line in lines if line.row is not None]
    return [after - before for before, after in pairwise(ends)]


async def _lines(made: Tree, rounds: int, size: int, devices: int) -> list[LogLine]:
    async with made.client() as client:
        record = await made.submit(client, rounds, size, devices, FOG, planned=False)
        return [line async for line in client.watch(record.job)]


def plain_tls_rate() -> float:
    """Bytes per second of a plain TLS socket on this machine, now."""
    with tree() as made:
        return asyncio.run(blobs.plain_rate(made, 64 << 20))


def measure_idle(quick: bool) -> dict[str, Any]:
    devices, seconds = (100, 5) if quick else (5000, 60)
    with tree("/dev/shm") as made:
        fog = _fog_and_crowd(made, devices)
        time.sleep(5 if quick else 30)
        before = cpu_seconds([fog["pid"]])
        time.sleep(seconds)
        share = (cpu_seconds([fog["pid"]]) - before) / seconds
        facts = {"devices": devices, "fog_cores": round(share, 3), "fog_mb": round(resident_mb(fog["pid"]), 1)}
    return {"idle": facts}


# A large model.


def measure_large(quick: bool) -> dict[str, Any]:
    size = (10 if quick else 250) * 10**6
    with tree() as made:
        fog = _fog_and_crowd(made, 4, processes=4)
        nodes = {"cloud": made.facts["cloud"]["pid"], "fog": fog["pid"]}
        nodes |= {f"device {i}": made.facts[f"crowd-{i}"]["pid"] for i in range(4)}
        start = time.perf_counter()
        with Peaks(nodes) as watched:
            asyncio.run(_lines(made, 1, size, 4))
        seconds = time.perf_counter() - start
        peaks = {name: round(mb) for name, mb in watched.peaks.items()}
    return {"large": {"model_mb": size * 4 / 1e6, "seconds": round(seconds, 1), "peak_mb": peaks}}


if __name__ == "__main__":
    main()
