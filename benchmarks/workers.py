"""Memory of many devices on one machine: what one costs whose worker shares what it imports, and one whose does not.

``python -m benchmarks.workers [--devices 20]`` runs ``fogline up examples/demo-up.toml`` and looks at the proportional
set size (PSS) of every process while it trains: memory that processes share counts for each by its part of it. Then
two devices of the same job whose workers are processes of their own.

- ``total_mb``, ``worker_mb``, ``node_mb``: all processes together; the mean of a device's worker, and of the device;
- ``worker_alone_mb``: mean of the devices' workers that share nothing;
- ``shared_over_alone``: what a device costs with a shared worker, over what it costs without.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.common import report

JOB = Path(__file__).parents[1] / "examples" / "demo-up.toml"
MARK = "FOGLINE_BENCHMARK"
PAUSE = 0.2
KINDS = {"worker.forkserver": "fork server", "device run": "device", "fog run": "fog",
         "cloud run": "cloud"}  # fmt: skip


def kind_of(folder: Path) -> str:
    """What a process is; empty: none of a node's."""
    log = Path(os.readlink(folder / "fd" / "2"))
    if log.parent.name == "logs":  # Of a node's job: where its worker prints to.
        return "worker" if log.parents[1].name.startswith("client") else "worker of an aggregator"
    words = (folder / "cmdline").read_text().replace("\0", " ")
    return next((kind for part, kind in KINDS.items() if part in words), "")


def sizes(mark: str) -> dict[str, list[float]]:
    """PSS of the processes with that mark, in MB, by what they are."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                lines = (folder / "smaps_rollup").read_text().splitlines()
                pss = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
                if kind := kind_of(folder):
                    found[kind].append(pss * 1024 / 1e6)
        except (OSError, StopIteration):
            continue  # It has ended meanwhile.
    return found


def run(devices: int, share: bool) -> dict[str, list[float]]:
    """The sizes when most workers were there, at the moment when most memory was used."""
    mark = f"{os.getpid()}-{devices}-{share}"
    program = "from fogline.cli import main; main()"
    if not share:
        program = f"import fogline.cli.commands.up.fork_server as warm; warm.POSSIBLE = False; {program}"
    with tempfile.TemporaryDirectory() as scratch:
        job = Path(scratch) / JOB.name
        job.write_bytes(JOB.read_bytes())
        (Path(scratch) / "demo.py").write_bytes((JOB.parent / "demo.py").read_bytes())
        up = subprocess.Popen(
            [
                sys.executable,
                "-c",
                program,
                "up",
                str(job),
                "--fogs",
                "2",
                "--devices",
                str(devices),
                "--set",
                "rounds=100",
            ],
            cwd=scratch,
            env={**os.environ, MARK: mark, "FOGLINE_DATA": scratch},  # The data that comes along: small.
            stdout=subprocess.DEVNULL,
        )
        best: dict[str, list[float]] = {}
        while up.poll() is None:
            now = sizes(mark)
            best = max(best, now, key=lambda found: (len(found.get("worker", ())), sum(map(sum, found.values()))))
            time.sleep(PAUSE)
        if up.returncode:
            raise SystemExit(f"fogline up ended with status {up.returncode}")
    return best


def mean(values: list[float]) -> float:
    """In MB."""
    return round(sum(values) / len(values), 1)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=20)
    devices = parser.parse_args().devices
    shared, alone = run(devices, share=True), run(2, share=False)
    node, worker, own = mean(shared["device"]), mean(shared["worker"]), mean(alone["worker"])
    figures: dict[str, Any] = {
        "devices": devices,
        "total_mb": round(sum(map(sum, shared.values()))),
        "processes": {kind: len(found) for kind, found in shared.items()},
        "worker_mb": worker,
        "fork_server_mb": mean(shared["fork server"]),
        "node_mb": node,
        "worker_alone_mb": own,
        "shared_over_alone": round((worker + node) / (own + node), 2),
    }
    report("workers", figures)


if __name__ == "__main__":
    main()
