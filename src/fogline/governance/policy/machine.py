"""What this machine has, as far as the system tells."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from fogline.governance.policy.offers import Offers
from fogline.governance.policy.terms import Policy

FRAMEWORKS = ("flwr", "jax", "keras", "lightgbm", "numpy", "pandas", "sklearn", "tensorflow", "torch", "xgboost")
CGROUP = Path("sys/fs/cgroup")
SUPPLIES = Path("sys/class/power_supply")


def local_offers(policy: Policy, system: Path = Path("/")) -> Offers:
    """What this machine has, no more than its policy gives. Imports no framework.

    Args:
        policy: the owner's.
        system: root of the file system, for tests.
    """
    cpus, memory = _cpus(system), _memory(system)
    limits = policy.limits
    return Offers(
        cpus=cpus if limits.threads is None else min(cpus, limits.threads),
        memory_bytes=memory if limits.memory_bytes is None else min(memory, limits.memory_bytes),
        frameworks=tuple(name for name in FRAMEWORKS if find_spec(name) is not None),
        tags=policy.tags,
        on_mains=on_mains(system),
    )


def on_mains(system: Path = Path("/")) -> bool | None:
    """Whether the machine runs on mains; one without a battery does. None if it cannot tell."""
    supplies = system / SUPPLIES
    if not supplies.is_dir():
        return None
    batteries = False
    for supply in sorted(supplies.iterdir()):
        kind = _text(supply / "type")
        if kind == "Mains" or kind.startswith("USB"):
            if _text(supply / "online") == "1":
                return True
        # A mouse has a battery too; it says nothing about the machine.
        elif kind == "Battery" and _text(supply / "scope") != "Device":
            batteries = True
    return not batteries


def local_memory(system: Path = Path("/")) -> int:
    """Bytes of memory that a process here may have."""
    return _memory(system)


def _cpus(system: Path) -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _text(system / CGROUP / "cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal() and int(period) > 0:
        usable = min(usable, max(1, int(quota) // int(period)))
    return usable


def _memory(system: Path) -> int:
    """Bytes of the machine, or of the container that this runs in; 0 if it cannot tell."""
    total = 0
    for line in _text(system / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        amount = value.split()
        if key == "MemTotal" and amount and amount[0].isdecimal():
            total = int(amount[0]) * 1024
    most = _text(system / CGROUP / "memory.max")
    return min(total, int(most)) if most.isdecimal() else total


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""
