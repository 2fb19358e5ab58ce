"""``fogline lab``."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fogline.cli.listing import Listing, present, print_json
from fogline.cli.options import COMMON, CommonOptions, Json
from fogline.lab import Lab, RunningLab, find_lab, parse_changes, running_labs
from fogline.lab import clean as remove_what_is_left
from fogline.monitoring.human import human_bytes

lab = App(name="lab")


@lab.command
def up(file: Path, /, *, options: CommonOptions = COMMON) -> None:
    """Make the namespaces and links of a lab file, and keep them until Ctrl-C or fogline lab down.

    Parameters
    ----------
    file
        The lab file (TOML).
    """
    with Lab(file) as started:
        asyncio.run(_keep(started))
    print("The lab has ended; nothing of it is left.")


@lab.command(name="list")
def list_labs(*, json: Json = False, options: CommonOptions = COMMON) -> None:
    """List the labs that run, with their nodes and addresses.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    labs = running_labs()
    if json:
        print_json([{"lab": lab.name, "nodes": {node: lab.address(node) for node in lab.nodes}} for lab in labs])
        return
    for lab in labs:
        print(lab.name)
        _show(lab)
    if not labs:
        print("No lab runs; start one: fogline lab up lab.toml")


@lab.command(name="set")
def set_link(node: str, changes: list[str], /, *, lab: str | None = None, options: CommonOptions = COMMON) -> None:
    """Change the link above a node: fogline lab set fog-0 rate=64kbit loss=0.05 partition=true.

    Parameters
    ----------
    node
        The node whose link to its parent is meant, or a pattern.
    changes
        key=value, as in the lab file's links; up.rate=... changes one direction.
    lab
        Which lab; by default the only one.
    """
    links = find_lab(lab).set(node, **parse_changes(changes))
    print(f"Changed {', '.join(links)}.")


@lab.command
def counters(*, lab: str | None = None, json: Json = False, options: CommonOptions = COMMON) -> None:
    """Show what passed over every link.

    Parameters
    ----------
    lab
        Which lab; by default the only one.
    json
        Print an array of objects (JSON) instead of a table.
    """
    figures = ("packets", "bytes", "lost", "dropped", "cut")
    listing = Listing(("link", "way", *figures), numbers=frozenset(figures))
    for link, sides in find_lab(lab).counters().items():
        for way, seen in sides.items():
            item = {"link": link, "way": way, **{figure: getattr(seen, figure) for figure in figures}}
            lost = (f"{n:,}" for n in (seen.lost, seen.dropped, seen.cut))
            listing.add(item, link, way, f"{seen.packets:,}", human_bytes(seen.bytes), *lost)
    present([listing], json)


@lab.command(name="exec")
def execute(
    node: str,
    command: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True)],
    /,
    *,
    lab: str | None = None,
    options: CommonOptions = COMMON,
) -> None:
    """Run a program on a node: fogline lab exec fog-0 -- ping -c 3 cloud.

    Parameters
    ----------
    node
        Where.
    command
        The program and its arguments, after --.
    lab
        Which lab; by default the only one.
    """
    program = find_lab(lab).spawn(node, command)
    # Ctrl-C goes to the program too, which decides what it means.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = program.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if status:
        raise SystemExit(status if status > 0 else 128 - status)


@lab.command
def down(*, lab: str | None = None, options: CommonOptions = COMMON) -> None:
    """End a lab, with all that runs on its nodes.

    Parameters
    ----------
    lab
        Which lab; by default the only one.
    """
    running = find_lab(lab)
    running.stop()
    print(f"The lab {running.name} ends.")


@lab.command
def clean(*, options: CommonOptions = COMMON) -> None:
    """Remove what labs left that were killed."""
    removed = remove_what_is_left()
    print(f"Removed {', '.join(removed)}." if removed else "Nothing was left.")


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


def _show(lab: RunningLab) -> None:
    for node in lab.nodes:
        print(f"  {node:<20} {lab.address(node)}")
