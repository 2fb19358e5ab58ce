"""Tree against star over mobile links: time and bytes to an accuracy.

    python -m benchmarks.wan [--quick] [--preset 4g] [--target 0.9]

UCI HAR, 30 devices, real processes in network namespaces of one machine (root is needed), joined by emulated links. In
the star every device has a mobile link to the cloud. In the tree, ten devices each hang below one of three fogs by
Wi-Fi, and only the fogs have mobile links. The rounds are the same in both: the fogs' sums merge into the mean of the
star. "Tree, 2 rounds" lets every fog make two rounds of its own per round of the cloud.

``wan_mb`` counts IP bytes with headers on the links to the cloud, in both directions, until the target is reached.
Training is computed by 30 processes on this machine's cores in all cases, which is part of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, console, report
from benchmarks.network.tree import Tree
from fogline.governance.signatures.signing import SigningKey
from fogline.lab import Lab, why_not
from fogline.network.cloud.client import bundle_of
from fogline.network.cloud.folder import OPERATOR, SIGNING

PYTHON = [sys.executable, "-m"]
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
DEVICES, FOGS = 30, 3
JOB = """
name = "{name}"
task = "activity:task"
rounds = {rounds}
[local]
learning_rate = 0.03
momentum = 0.9
batch_size = 32
[tree.cloud]
deadline = "5min"
{fogs}
[evaluation]
target = {target}
stop_at_target = true
"""
FOG = '[tree.fog]\ncount = 3\nrounds = {rounds}\ndeadline = "2min"\n'
SETTINGS = {"star": 0, "tree": 1, "tree, 2 rounds": 2}
"""Rounds of a fog per round of the cloud; 0: no fogs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rounds of six devices, to see that everything works")
    parser.add_argument("--preset", default="4g", help="of the links to the cloud, see fogline lab")
    parser.add_argument("--target", type=float, default=0.9)
    options = parser.parse_args()
    hindrance = why_not()
    if hindrance is not None:
        raise SystemExit(hindrance)
    result: dict[str, Any] = {"preset": options.preset, "target": options.target}
    for name, rounds in SETTINGS.items():
        console.rule(name)
        result[name] = asyncio.run(measure(name, rounds, options))
        console.print(result[name])
    if result["tree"]["wan_mb"]:
        result["fewer_bytes"] = round(result["star"]["wan_mb"] / result["tree"]["wan_mb"], 1)
        result["faster"] = round(result["star"]["seconds"] / result["tree"]["seconds"], 2)
    report("wan", result, keep=not options.quick)


def names(quick: bool) -> tuple[list[str], list[str]]:
    return [f"dev-{i:02d}" for i in range(6 if quick else DEVICES)], [f"fog-{i}" for i in range(FOGS)]


def lab_file(fog_rounds: int, preset: str, quick: bool) -> dict[str, Any]:
    """Who hangs below whom, and by which link."""
    devices, fogs = names(quick)
    if not fog_rounds:
        return {"nodes": {"cloud": "", **dict.fromkeys(devices, "cloud")}, "links": {"default": {"preset": preset}}}
    nodes = {"cloud": "", **dict.fromkeys(fogs, "cloud"), **{d: fogs[i % FOGS] for i, d in enumerate(devices)}}
    return {"nodes": nodes, "links": {"default": {"preset": "wifi"}, "fog-*": {"preset": preset}}}


async def measure(name: str, fog_rounds: int, options: argparse.Namespace) -> dict[str, Any]:
    """One setting, from a started tree to the target."""
    devices, fogs = names(options.quick)
    with tempfile.TemporaryDirectory(prefix="fogline-wan-") as folder:
        made = Tree(Path(folder))
        with Lab(lab_file(fog_rounds, options.preset, options.quick)) as lab:

            def spawn(label: str, command: list[str]) -> subprocess.Popen[str]:
                environment = {**os.environ, "FOGLINE_BENCHMARK_HOST": lab.address(label)}
                return lab.spawn(label, command, cwd=ROOT, env=environment, **PIPES)

            made.spawn = spawn
            try:
                start_all(made, devices, fogs if fog_rounds else [])
                return await run(made, lab, name, fog_rounds, options)
            finally:
                made.close()


def start_all(made: Tree, devices: list[str], fogs: list[str]) -> None:
    cloud = made.start_cloud()
    homes = [f"cloud@{cloud}"]
    if fogs:
        homes = []
        for fog in fogs:
            facts = made.start(fog, "fog", str(made.member(fog, "fog")), f"cloud@{cloud}")
            homes.append(f"{fog}@{facts['address']}")
    for i, device in enumerate(devices):
        made.start(device, "device", str(made.member(device, "device")), homes[i % len(homes)])


async def run(made: Tree, lab: Lab, name: str, fog_rounds: int, options: argparse.Namespace) -> dict[str, Any]:
    text = JOB.format(
        name="wan",
        rounds=2 if options.quick else 60,
        target=options.target,
        fogs=FOG.format(rounds=fog_rounds) if fog_rounds else "",
    )
    key = SigningKey.load(made.folder / "cloud" / OPERATOR / SIGNING)
    here = ROOT / "benchmarks" / "wan"
    bundle = bundle_of(text, here, [here / "activity.py"], key)
    # The operator sits at the cloud: what it says crosses no link that is measured.
    submitter = lab.spawn("cloud", [*PYTHON, "benchmarks.wan.submit", str(made.folder)], cwd=ROOT, **PIPES)
    assert submitter.stdin is not None
    assert submitter.stdout is not None
    facts = {
        "address": made.facts["cloud"]["address"],
        "text": text,
        "bundle": bundle.hex(),
        "wait": 5.0 if options.quick else 120.0,
    }
    submitter.stdin.write(json.dumps(facts) + "\n")
    submitter.stdin.flush()
    before: dict[str, int] | None = None
    start, rows = time.monotonic(), list[dict[str, float]]()
    while line := await asyncio.to_thread(submitter.stdout.readline):
        row = json.loads(line)
        if "round" in row:
            rows.append(row)
            console.print(f"{name}: round {row['round']:.0f}, accuracy {row.get('accuracy', 0):.3f}")
        if row.get("began"):
            before, start = wan_bytes(lab), time.monotonic()
        if row.get("accuracy", 0.0) >= options.target:
            break
    seconds, after = time.monotonic() - start, wan_bytes(lab)
    submitter.stdin.close()
    moved = sum(after.values()) - sum((before or after).values())
    reached = bool(rows) and rows[-1].get("accuracy", 0.0) >= options.target
    return {
        "reached": reached,
        "rounds": len(rows),
        "seconds": round(seconds, 1),
        "seconds_per_round": round(rows[-1]["seconds"] / len(rows), 2) if rows else None,
        "wan_mb": round(moved / 1e6, 2),
        "wan_mb_per_round": round(moved / 1e6 / max(1, len(rows)), 3),
        "accuracy": rows[-1].get("accuracy") if rows else None,
    }


def wan_bytes(lab: Lab) -> dict[str, int]:
    """IP bytes so far on every link to the cloud."""
    parents = lab.file.nodes
    total: dict[str, int] = {}
    for link, ways in lab.counters().items():
        child = link.partition(">")[0]
        if "cloud" in parents[child]:
            total[link] = sum(way.bytes for way in ways.values())
    return total


if __name__ == "__main__":
    main()
