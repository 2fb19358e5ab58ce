"""Sets trees of real processes up for benchmarks, and measures what they take."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.checked import credentials
from fogline.governance.identity.identity import Identity
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import Role, Subject
from fogline.network.cloud.client import Client, bundle_of, connect
from fogline.network.cloud.cloud import create
from fogline.network.cloud.folder import AUTHORITY, OPERATOR, SIGNING
from fogline.network.cloud.records import Record

TICKS = os.sysconf("SC_CLK_TCK")
TASK = ROOT / "benchmarks" / "network" / "synthetic.py"
JOB = """
name = "{name}"
task = "synthetic:task"
rounds = {rounds}
[task_parameters]
size = {size}
clients = {clients}
[tree.cloud]
deadline = "10min"
"""


class Tree:
    """Folders and processes of one tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spawn: Callable[[str, list[str]], subprocess.Popen[str]] = _spawn
        """How a process is started, by label and command: elsewhere than here, in a namespace."""
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        create(folder / "cloud")
        self._authority = Authority.load(folder / "cloud" / AUTHORITY)

    def member(self, name: str, role: Role, below: Path | None = None) -> Path:
        """The folder of a member, with its certificate; as an operator would hand it out."""
        folder = (below or self.folder) / name
        key = Identity.create_key(folder / "identity")
        key.install(self._authority.issue(key.csr(), Subject(name, role), 30), self._authority.root_pem)
        credentials(folder / "identity")  # As joining does.
        shutil.copy(self.folder / "cloud" / "policy.toml", folder / "policy.toml")
        return folder

    def start(self, label: str, *arguments: str) -> dict[str, Any]:
        """Start a process of :mod:`benchmarks.network.processes`, and wait until it says that it is there."""
        command = [sys.executable, "-m", "benchmarks.network.processes", *arguments]
        process = self.spawn(label, command)
        self.processes[label] = process
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{label} did not start")
        self.facts[label] = json.loads(line)
        return self.facts[label]

    def start_cloud(self) -> str:
        """The cloud's address."""
        return self.start("cloud", "cloud", str(self.folder / "cloud"))["address"]

    def close(self) -> None:
        """End everything."""
        for process in reversed(self.processes.values()):
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def client(self) -> Any:
        """A connection of the operator."""
        return connect(self.folder / "cloud" / OPERATOR / "identity", "cloud", self.facts["cloud"]["address"])

    async def submit(self, client: Client, rounds: int, size: int, clients: int, tree: str = "", **more: Any) -> Record:
        """Put a job into the queue."""
        key = SigningKey.load(self.folder / "cloud" / OPERATOR / SIGNING)
        text = JOB.format(name="network", rounds=rounds, size=size, clients=clients) + tree
        return await client.submit(text, bundle_of(text, TASK.parent, [TASK], key), **more)


@contextmanager
def tree(where: str | None = None) -> Iterator[Tree]:
    """A tree in a folder that goes away."""
    folder = Path(tempfile.mkdtemp(prefix="fogline-", dir=where))
    made = Tree(folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(label: str, command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def cpu_seconds(pids: Sequence[int], ended: bool = False) -> float:
    """Processor time of processes so far; with ``ended``, that of their children that have ended too."""
    return sum(sum(map(int, _stat(pid)[11 : 15 if ended else 13])) for pid in pids) / TICKS


def family(pid: int) -> list[int]:
    """A process and its children."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # It has just ended.
        return []
    return [pid, *(one for child in below for one in family(int(child)))]


def resident_mb(pid: int) -> float:
    """Memory of a process now, in MB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS")), 0.0)


class Peaks:
    """The most memory of nodes while something runs, in MB: of each process with its workers, all at one moment.

    Args:
        nodes: process by name.
    """

    def __init__(self, nodes: Mapping[str, int]) -> None:
        self.peaks = dict.fromkeys(nodes, 0.0)
        self._nodes = nodes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            for name, pid in self._nodes.items():
                self.peaks[name] = max(self.peaks[name], sum(map(resident_mb, family(pid))))


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
