"""A lab that runs, seen from any process of the same user."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fogline.lab.client import send_command
from fogline.lab.errors import LabError
from fogline.lab.links.channel import Counters
from fogline.lab.state import HOSTS, SOCKET, Facts, note_program
from fogline.plugins import suggest

WITH_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'
"""Gives a command an ``/etc/hosts`` with the nodes' names, in a mount namespace of its own."""


class RunningLab:
    """A lab that runs, and the commands that it takes."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    @property
    def name(self) -> str:
        """What ``running_labs`` and ``ip netns`` know it by."""
        return self.facts.name

    @property
    def facts(self) -> Facts:
        """Who runs it, and where its nodes are."""
        return self._facts

    @property
    def socket(self) -> Path:
        """The control socket, for :func:`send_command`."""
        return Path(self.facts.folder, SOCKET)

    @property
    def nodes(self) -> list[str]:
        """The nodes' names, as in the lab file."""
        return list(self.facts.addresses)

    def address(self, node: str) -> str:
        """A node's IPv4 address, for nodes linked to it.

        Raises:
            LabError: there is no such node.
        """
        return self.facts.addresses[self._known(node)]

    def spawn(self, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on a node; there, the nodes' names stand in ``/etc/hosts``.

        It ends with the lab at the latest. Its process id is the program's own.

        Args:
            node: where.
            argv: program and arguments.
            options: of :class:`subprocess.Popen`.

        Raises:
            LabError: there is no such node or program, or the lab has ended.
        """
        path = self.facts.namespaces[self._known(node)]
        where = (options.get("env") or os.environ).get("PATH")
        if "/" not in argv[0] and shutil.which(argv[0], path=where) is None:
            raise LabError(f"There is no program '{argv[0]}' to start on '{node}'.")
        enter = ["nsenter", f"--net={path}"]
        if self.facts.rootless:
            enter += [f"--user=/proc/{self.facts.emulator.pid}/ns/user", "--preserve-credentials"]
        hosts = str(Path(self.facts.folder, HOSTS))
        program = subprocess.Popen([*enter, "unshare", "--mount", "sh", "-c", WITH_HOSTS, hosts, *argv], **options)
        try:
            note_program(Path(self.facts.folder), program.pid)
        except FileNotFoundError:
            program.kill()
            program.wait()
            raise LabError(f"The lab '{self.name}' has ended.") from None
        return program

    def set(self, link: str, **changes: Any) -> list[str]:
        """Change links at run time; ``up={...}`` or ``down={...}`` change one direction.

        Args:
            link: node whose link to its parent is meant, a pattern, or ``child>parent``.
            changes: keys as in the lab file's links.

        Returns:
            The names of the links that changed.

        Raises:
            LabError: there is no such link, key or value; one sentence.
        """
        return send_command(self.socket, "set", link=link, changes=changes)["links"]

    def partition(self, link: str, on: bool = True) -> None:
        """Cut links, both ways, or heal them."""
        self.set(link, partition=on)

    def counters(self) -> Mapping[str, Mapping[str, Counters]]:
        """What passed over every link so far, ``"up"`` (towards the parent) and ``"down"``."""
        links: dict[str, dict[str, dict[str, int]]] = send_command(self.socket, "counters")["counters"]
        return {link: {side: Counters(**figures) for side, figures in sides.items()} for link, sides in links.items()}

    def links(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """How every link is set now, in bytes and seconds."""
        return send_command(self.socket, "links")["links"]

    def stop(self) -> None:
        """Ask the lab to end, with all that runs on its nodes."""
        send_command(self.socket, "stop")

    def _known(self, node: str) -> str:
        if node not in self.facts.addresses:
            raise LabError(f"The lab has no node '{node}'{suggest(node, self.facts.addresses)}")
        return node
