"""Hours' worth of rounds in minutes: real processes, of which one is killed every few seconds.

``python -m benchmarks.soak [--minutes 10] [--every 5] [--seed 0]``

A cloud, two fogs and eight light devices train a tiny model; every ``--every`` seconds a random node is killed (-9)
or, if it is a device, asked to leave, and started again. In the end all are killed and the books are checked:

- no round is stuck: the longest time between two rounds of the cloud;
- every update that was acknowledged to a device is in exactly one round of the cloud, counted as dropped, or still
  on its way there when everything was ended;
- memory of every process that lived long enough, from its first fifth to its last.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.common import report
from fogline.network.node.participation.replay import ENTRIES, ModelMoved, Under
from fogline.nodes.records import Accepted, Closed, Confirmed, Record
from fogline.storage import open_database
from tests.network.cluster import job
from tests.network.processes import Fleet, fleet

FOGS, DEVICES = 2, 8
TIER = 'quorum = 0.5\ndeadline = "10s"\nlate = "fold"'


def memory(pid: int) -> int:
    """Bytes of a process."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def journal(folder: Path, stream: str) -> list[Record]:
    """A node's records of a job."""
    with open_database(folder / "records.sqlite") as database:
        entries = map(ENTRIES.decode, database.read(stream))
        return [entry for entry in entries if not isinstance(entry, Under | ModelMoved)]


def books(cloud: list[Record]) -> dict[str, Any]:
    """What the cloud's journal says: requests accepted, and in how many rounds each was folded."""
    waiting: list[Accepted] = []
    folded: Counter[int] = Counter()
    devices, rounds, times = 0, 0, [0.0]
    for record in cloud:
        if isinstance(record, Accepted):
            waiting.append(record)
        elif isinstance(record, Closed):
            times.append(record.at)
            if record.met:
                rounds += 1
                folded.update(entry.task for entry in waiting)
                devices += sum(entry.devices for entry in waiting)
                waiting = []
    return {
        "rounds": rounds,
        "folded_twice": sum(count > 1 for count in folded.values()),
        "reports": len(folded) + len(waiting),
        "updates_in_rounds": devices,
        "updates_waiting": sum(entry.devices for entry in waiting),
        "longest_round_s": round(max(b - a for a, b in pairwise(times)), 1) if times[1:] else None,
    }


async def soak(folder: Path, minutes: float, every: float, seed: int) -> dict[str, Any]:
    """One run."""
    rng = random.Random(seed)
    samples: dict[tuple[str, int], list[int]] = {}
    kills, leaves = Counter[str](), 0
    async with fleet(folder, fogs=FOGS, devices=DEVICES, hurry=False) as made:
        text = job(rounds=1_000_000, fogs=FOGS, clients=DEVICES, cloud=TIER, fog=TIER)
        record = await made.submit(text + "[evaluation]\nevery = 50\n")
        await made.rounds(record, 1)
        start, next_kill = time.monotonic(), time.monotonic() + every
        while time.monotonic() < start + 60 * minutes:
            await asyncio.sleep(1.0)
            for name, process in made.running.items():
                samples.setdefault((name, process.pid), []).append(memory(process.pid))
            if time.monotonic() < next_kill:
                continue
            next_kill += every
            name = rng.choice(sorted(made.running))
            if name.startswith("client") and rng.random() < 0.5:
                made.running[name].send_signal(signal.SIGTERM)
                await made.died(name)
                leaves += 1
            else:
                made.kill(name)
                kills[name.partition("-")[0]] += 1
            made.start(name)
        settled = time.monotonic()
        while time.monotonic() < settled + 120 and not await quiet(made):
            await asyncio.sleep(0.5)
        back = await quiet(made)
        await made.rounds(record, books(journal(made.folder / "cloud", record.job))["rounds"] + 3)
        for name in list(made.running):
            made.kill(name)  # Now nothing changes any more, and the books can be compared.
        acknowledged = {name: taken(made, name, record.job) for name in made.specs if name.startswith("client")}
        fogs = {name: journal(made.folder / name, record.job) for name in made.specs if name.startswith("fog")}
        cloud = journal(made.folder / "cloud", record.job)
        return {
            "minutes": minutes,
            "all_back": back,
            "kills": dict(kills),
            "leaves": leaves,
            **books(cloud),
            "acknowledged": sum(acknowledged.values()),
            **fog_books(fogs),
            "memory": flatness(samples),
        }


async def quiet(made: Fleet) -> bool:
    """Whether every device has its connection again, so that the journals are those of a working tree."""
    assert made.client is not None
    try:
        nodes = await made.client.nodes()
    except RuntimeError:
        return False
    return sum(known.up for known in nodes) == FOGS + DEVICES


def taken(made: Fleet, name: str, job_id: str) -> int:
    """Updates that a device was told are taken."""
    return sum(isinstance(r, Confirmed) and r.accepted for r in journal(made.folder / name, job_id))


def fog_books(fogs: dict[str, list[Record]]) -> dict[str, int]:
    """What the fogs took, what they have passed on, and what the cloud refused."""
    from fogline.nodes.records import Posted

    accepted = passed = refused = waiting = 0
    for records in fogs.values():
        posted: dict[int, int] = {}
        for record in records:
            match record:
                case Accepted(devices=devices):
                    accepted += devices
                    waiting += devices
                case Posted(report=report) if report.update is not None:
                    posted[report.task] = report.devices
                    waiting -= report.devices
                case Confirmed(task=task, accepted=took) if task in posted:
                    passed += posted[task] * took
                    refused += posted[task] * (not took)
                    del posted[task]
                case _:
                    pass
        waiting += sum(posted.values())
    return {"accepted_by_fogs": accepted, "passed_on": passed, "dropped": refused, "still_at_fogs": waiting}


def flatness(samples: dict[tuple[str, int], list[int]]) -> dict[str, float]:
    """Of every kind of node, the largest growth in MiB from the first to the last fifth of a process's life, of those
    that lived a minute or more."""
    growth: dict[str, float] = {}
    for (name, _), values in samples.items():
        if len(values) < 60:
            continue
        fifth = len(values) // 5
        first, last = sum(values[fifth : 2 * fifth]) / fifth, sum(values[-fifth:]) / fifth
        kind = name.partition("-")[0]
        growth[kind] = round(max(growth.get(kind, -1e9), (last - first) / 2**20), 2)
    return growth


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-save", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(soak(Path(folder), asked.minutes, asked.every, asked.seed))
    told = result["acknowledged"] <= result["accepted_by_fogs"]
    above = result["updates_in_rounds"] + result["updates_waiting"]
    passed = result["passed_on"] <= above <= result["passed_on"] + result["still_at_fogs"]
    kept = result["accepted_by_fogs"] == result["passed_on"] + result["dropped"] + result["still_at_fogs"]
    result["counts_add_up"] = told and passed and kept and result["folded_twice"] == 0
    report("soak", result, keep=not asked.no_save)
    sys.exit(0 if result["counts_add_up"] else 1)


if __name__ == "__main__":
    main()
