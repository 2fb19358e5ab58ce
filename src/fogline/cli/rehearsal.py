"""``fogline lab``."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from fogline.cli.listing import Listing, present, print_json
from fogline.lab import Lab, RunningLab, clean, find_lab, parse_changes, running_labs
from fogline.monitoring.human import human_bytes


def start(file: Path) -> None:
    """A lab, until it is told to end.

    Raises:
        LabError: the file is wrong, or this machine cannot run a lab.
    """
    with Lab(file) as lab:
        asyncio.run(_keep(lab))
    print("The lab has ended; nothing of it is left.")


async def _keep(lab: Lab) -> None:
    """Until this program is told to end, or the emulator is."""
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    emulator = os.pidfd_open(lab.facts.emulator.pid)
    loop.add_reader(emulator, over.set)
    print(f"The lab {lab.name} runs. Stop it with Ctrl-C, or: fogline lab down")
    _show(lab)
    print("On a node: fogline lab exec NODE -- COMMAND; its link: fogline lab set NODE rate=64kbit", flush=True)
    await over.wait()
    loop.remove_reader(emulator)
    os.close(emulator)


def show_labs(json: bool) -> None:
    """Labs that run."""
    labs = running_labs()
    if json:
        print_json([{"lab": lab.name, "nodes": {node: lab.address(node) for node in lab.nodes}} for lab in labs])
        return
    for lab in labs:
        print(lab.name)
        _show(lab)
    if not labs:
        print("No lab runs; start one: fogline lab up lab.toml")


def _show(lab: RunningLab) -> None:
    for node in lab.nodes:
        print(f"  {node:<20} {lab.address(node)}")


def change_link(name: str | None, node: str, pairs: Sequence[str]) -> None:
    """Change links.

    Raises:
        LabError: there is no such lab, link or key.
    """
    links = find_lab(name).set(node, **parse_changes(pairs))
    print(f"Changed {', '.join(links)}.")


def show_counters(name: str | None, json: bool) -> None:
    """What passed over every link."""
    figures = ("packets", "bytes", "lost", "dropped", "cut")
    listing = Listing(("link", "way", *figures), numbers=frozenset(figures))
    for link, sides in find_lab(name).counters().items():
        for way, seen in sides.items():
            item = {"link": link, "way": way, **{figure: getattr(seen, figure) for figure in figures}}
            lost = (f"{n:,}" for n in (seen.lost, seen.dropped, seen.cut))
            listing.add(item, link, way, f"{seen.packets:,}", human_bytes(seen.bytes), *lost)
    present([listing], json)


def run_on(name: str | None, node: str, command: Sequence[str]) -> None:
    """Run a program on a node, in this terminal; exits with its status.

    Raises:
        LabError: there is no such lab, node or program.
    """
    program = find_lab(name).spawn(node, command)
    # Ctrl-C goes to the program too, which decides what it means.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = program.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if status:
        raise SystemExit(status if status > 0 else 128 - status)


def stop(name: str | None) -> None:
    """End a lab."""
    lab = find_lab(name)
    lab.stop()
    print(f"The lab {lab.name} ends.")


def remove_dead() -> None:
    """Remove what killed labs left."""
    removed = clean()
    print(f"Removed {', '.join(removed)}." if removed else "Nothing was left.")
