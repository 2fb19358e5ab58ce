"""What each running lab leaves on disk: a folder with its facts and its control socket."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fogline.lab.errors import LabError
from fogline.storage.atomic import write_file

PREFIX = "fogline-"
FACTS = "lab.json"
SOCKET = "control.sock"
HOSTS = "hosts"
PROGRAMS = "programs"


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be taken for a later one with its number."""

    pid: int
    started: int
    """Clock ticks after boot; 0 if it is gone."""

    def alive(self) -> bool:
        """Whether the process still runs under the same number."""
        return self.started > 0 and started(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class Facts:
    """What others need to know of a lab."""

    name: str
    folder: str
    owner: Process
    emulator: Process
    rootless: bool
    addresses: Mapping[str, str]
    namespaces: Mapping[str, str]
    """Path of each node's network namespace; empty until they are there."""


def process(pid: int) -> Process:
    """That process as it is now."""
    return Process(pid, started(pid))


def started(pid: int) -> int:
    """When a process started, in clock ticks after boot; 0 if there is none, or a dead one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The name before may hold spaces and brackets, so the fields are counted from its end.
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def labs_folder() -> Path:
    """Where the folders of this user's labs lie, made if it is not there.

    Raises:
        LabError: it belongs to someone else.
    """
    user = os.geteuid()
    path = Path("/run/fogline-lab") if user == 0 else Path(tempfile.gettempdir(), f"fogline-lab-{user}")
    path.mkdir(mode=0o700, exist_ok=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != user or facts.st_mode & 0o022:
        raise LabError(f"'{path}' must be a folder of your own that others cannot write to; move it away.")
    return path


def write_facts(folder: Path, facts: Facts) -> None:
    """Write a lab's facts, whole or not at all."""
    write_file(folder / FACTS, json.dumps(asdict(facts)), durable=False)


def read_facts(folder: Path) -> Facts | None:
    """A lab's facts; None if there are none yet, or no longer, or none that this version knows."""
    try:
        raw: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    try:
        owner, emulator = Process(**raw.pop("owner")), Process(**raw.pop("emulator"))
        return Facts(owner=owner, emulator=emulator, **raw)
    except (KeyError, TypeError):
        return None  # Of another version of Fogline.


def note_program(folder: Path, pid: int) -> None:
    """Remember a program that was started on a node. Where namespaces have no names, nothing else leads to it."""
    with (folder / PROGRAMS).open("a", encoding="utf-8") as notes:
        notes.write(f"{pid} {started(pid)}\n")


def programs(folder: Path) -> list[Process]:
    """The programs that were started on a lab's nodes, those that have ended too."""
    notes = folder / PROGRAMS
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    return [Process(*map(int, line.split())) for line in lines]
