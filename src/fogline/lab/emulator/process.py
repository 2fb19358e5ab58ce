"""The emulator's own process, so that a busy test does not disturb its timing. Started by ``Lab`` only.

It reads an order from standard input, writes one line when it is ready, and removes everything when it is
told to end or its owner is gone, however the owner went.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from fogline.lab import namespaces
from fogline.lab.emulator.control import Control
from fogline.lab.emulator.emulator import Emulator
from fogline.lab.emulator.order import Order
from fogline.lab.errors import LabError
from fogline.lab.links.settings import read_table
from fogline.lab.loop import EventLoop
from fogline.lab.state import HOSTS, SOCKET, Facts, process, write_facts
from fogline.lab.tun import open_tun

NICENESS = -10
"""Ahead of what it carries packets for, where the user may; a late emulator is a wrong delay."""


def main() -> None:
    """Run a lab until it is stopped or its owner ends."""
    signal.signal(signal.SIGTERM, _end)
    order = Order.model_validate_json(sys.stdin.read())
    loop = EventLoop()
    with _state(order), ExitStack() as after:
        try:
            _prepare(order, loop, after)
        except LabError as wrong:
            _say({"error": str(wrong)})
        except OSError as wrong:
            _say({"error": f"The lab's network cannot be set up: {wrong}."})
        else:
            _say({"ready": True})
            loop.run()


def _prepare(order: Order, loop: EventLoop, after: ExitStack) -> None:
    """Everything up to the first packet; ``after`` takes what has to be done at the end."""
    # A descriptor of the owner, rather than PR_SET_PDEATHSIG: that signal also comes when a mere thread of the owner
    # ends. It becomes readable when the owner is gone, or cannot be had if it was gone before.
    loop.watch(os.pidfd_open(order.owner), loop.stop)
    addresses = namespaces.addresses_of(order.lab.nodes)
    paths = _make(order)
    if order.rootless:
        after.callback(namespaces.kill_inside, list(paths.values()))
    tuns = {node: open_tun(path) for node, path in paths.items()}
    namespaces.configure(order.lab, paths, addresses)
    _prefer()
    loop.refresh()
    emulator = Emulator(order.lab, loop, tuns, addresses)
    Control(loop, order.folder / SOCKET, lambda command: _obey(emulator, loop, command))
    write_facts(order.folder, _facts(order, addresses, paths))


def _make(order: Order) -> dict[str, str]:
    if order.rootless:
        return namespaces.make_unnamed(order.lab.nodes)
    return namespaces.make_named(order.name, order.lab.nodes)


def _prefer() -> None:
    """Go ahead of other processes, and do not look for garbage in what is there."""
    with suppress(PermissionError):  # It works without, less exactly on a busy machine.
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    gc.freeze()


@contextmanager
def _state(order: Order) -> Generator[None]:
    """The lab's folder, written before anything else is made, so that what is left can always be found."""
    order.folder.mkdir(mode=0o700)
    try:
        write_facts(order.folder, _facts(order, {}, {}))
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not order.rootless:
            namespaces.remove_named(order.name)
        shutil.rmtree(order.folder)


def _facts(order: Order, addresses: Mapping[str, str], paths: Mapping[str, str]) -> Facts:
    hosts = "".join(f"{address} {node}\n" for node, address in addresses.items())
    (order.folder / HOSTS).write_text(f"127.0.0.1 localhost\n{hosts}", encoding="utf-8")
    me, owner = process(os.getpid()), process(order.owner)
    return Facts(order.name, str(order.folder), owner, me, order.rootless, addresses, paths)


def _obey(emulator: Emulator, loop: EventLoop, command: Mapping[str, Any]) -> Mapping[str, Any]:
    match command:
        case {"command": "set", "link": str(link), "changes": dict(changes)}:
            return {"links": emulator.set(link, read_table(changes, link))}
        case {"command": "counters"}:
            return {"counters": emulator.counters()}
        case {"command": "links"}:
            return {"links": emulator.links()}
        case {"command": "stop"}:
            loop.stop()
            return {"stopping": True}
        case _:
            raise LabError("A lab's commands are set (with link and changes), counters, links and stop.")


def _say(what: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _end(signal_number: int, frame: object) -> None:
    # A second one must not interrupt the removal.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)


if __name__ == "__main__":
    main()
