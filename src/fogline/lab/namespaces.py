"""The nodes' network namespaces: making them, and removing them with all that runs inside."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from fogline.lab.errors import LabError
from fogline.lab.labfile import LabFile
from fogline.lab.tun import NAME, new_namespace

NAMED = Path("/run/netns")
TX_QUEUE = 4000
"""Packets that wait in the kernel for the emulator: a burst must be dropped by the link's queue, not by this one."""
PER_BLOCK = 250


def addresses_of(nodes: Iterable[str]) -> dict[str, str]:
    """An address for every node: 10.77.0.1 and so on. Labs do not see each other, so all use the same."""
    return {node: f"10.77.{i // PER_BLOCK}.{i % PER_BLOCK + 1}" for i, node in enumerate(nodes)}


def make_named(lab: str, nodes: Iterable[str]) -> dict[str, str]:
    """Namespaces that ``ip netns`` lists as ``<lab>-<node>``; needs root.

    Returns:
        Each node's path.

    Raises:
        LabError: ``ip`` refused.
    """
    paths: dict[str, str] = {}
    for node in nodes:
        _ip(["ip", "netns", "add", f"{lab}-{node}"])
        paths[node] = str(NAMED / f"{lab}-{node}")
    return paths


def make_unnamed(nodes: Iterable[str]) -> dict[str, str]:
    """Namespaces that this process holds; for user namespaces, where ``ip netns`` does not work."""
    return {node: f"/proc/{os.getpid()}/fd/{new_namespace()}" for node in nodes}


def configure(lab: LabFile, paths: Mapping[str, str], addresses: Mapping[str, str]) -> None:
    """Give each namespace its address and a route to each linked node; the TUN devices must be there.

    The congestion control stands on the routes: a namespace's own setting may only name one that the whole machine
    allows, which would have to be changed for all.

    Raises:
        LabError: ``ip`` refused; its own words.
    """
    neighbours: dict[str, list[str]] = {node: [] for node in paths}
    for child, parent in lab.pairs().values():
        neighbours[child].append(parent)
        neighbours[parent].append(child)
    for node, path in paths.items():
        lines = [
            "link set lo up",
            f"link set {NAME} mtu {lab.mtu} txqueuelen {TX_QUEUE} addrgenmode none",
            f"link set {NAME} up",
            f"addr add {addresses[node]}/32 dev {NAME}",
        ]
        routes = [f"route add {addresses[other]}/32 dev {NAME} src {addresses[node]}" for other in neighbours[node]]
        lines += [f"{route} congctl {lab.congestion}" for route in routes]
        _ip(["nsenter", f"--net={path}", "ip", "-batch", "-"], "\n".join(lines) + "\n")


def remove_named(lab: str) -> None:
    """Remove a lab's namespaces and kill what runs inside."""
    if not NAMED.is_dir():
        return
    names = [path for path in NAMED.iterdir() if path.name.startswith(lab + "-")]
    kill_inside(str(path) for path in names)
    for path in names:
        _ip(["ip", "netns", "del", path.name])


def kill_inside(paths: Iterable[str]) -> None:
    """Kill every process in those network namespaces, but this one."""
    doomed = {_identity(path) for path in paths} - {None, _identity("/proc/self/ns/net")}
    for entry in Path("/proc").iterdir() if doomed else ():
        if entry.name.isdigit() and _identity(f"{entry}/ns/net") in doomed:
            kill(int(entry.name))


def kill(pid: int) -> None:
    """Kill a process, unless it ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _identity(path: str) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return None
    return facts.st_dev, facts.st_ino


def _ip(argv: list[str], text: str = "") -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise LabError(f"The lab's network cannot be set up: {words[0].rstrip('.')}.")
