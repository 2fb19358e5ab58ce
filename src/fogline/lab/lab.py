"""Rehearse a deployment on one machine: every node in a network namespace, every link as bad as it will be."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import fogline
from fogline.lab.emulator.order import Order
from fogline.lab.errors import LabError
from fogline.lab.here import needs_user_namespace, why_not
from fogline.lab.labfile import LabFile, read_lab
from fogline.lab.leftovers import remove
from fogline.lab.running import RunningLab
from fogline.lab.state import PREFIX, Facts, labs_folder, read_facts

START_SECONDS = 30.0
START_SECONDS_PER_NODE = 0.2
END_SECONDS = 30.0
GRACE_SECONDS = 3.0
"""For programs on the nodes to end by themselves."""


class Lab(RunningLab):
    """A lab of one's own, from ``with`` (or ``async with``) to its end; nothing is left after it.

    ::

        with Lab("lab.toml") as lab:
            server = lab.spawn("cloud", ["fogline", "up", "cloud.toml"])
            lab.partition("fog-0")

    Args:
        source: a lab file's path, tables of the same shape, or a checked :class:`LabFile`.
        rootless: work in a user namespace; None: only if this process is not root's.

    Raises:
        LabError: the file is wrong; or, at the start, this machine cannot run a lab.
    """

    def __init__(self, source: Path | str | Mapping[str, Any] | LabFile, *, rootless: bool | None = None) -> None:
        self.file = read_lab(source)
        self._rootless = rootless
        self._process: subprocess.Popen[str] | None = None
        self._programs: list[subprocess.Popen[Any]] = []

    def start(self) -> Self:
        """Make the namespaces and start the emulator; ready when this returns.

        Raises:
            LabError: this machine cannot run it, or it runs already; one sentence.
        """
        if self._process is not None:
            raise LabError("The lab runs already.")
        reason = why_not(self._rootless)
        if reason is not None:
            raise LabError(reason)
        name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(3)}"
        self._folder = labs_folder() / name
        order = Order(
            name=name,
            folder=self._folder,
            owner=os.getpid(),
            rootless=needs_user_namespace(self._rootless),
            lab=self.file,
        )
        self._process = _start(order)
        try:
            self._facts = self._ready()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every program on the nodes, then the lab. Again is no fault."""
        emulator, self._process = self._process, None
        if emulator is None:
            return
        _end_programs(self._programs)
        emulator.terminate()
        try:
            emulator.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            emulator.kill()
            emulator.wait()
        if emulator.stdout is not None:
            emulator.stdout.close()
        if self._folder.is_dir():  # The emulator could not clean up: it was killed.
            remove(self._folder.name, read_facts(self._folder))

    @property
    def facts(self) -> Facts:
        """Who runs it, and where its nodes are.

        Raises:
            LabError: it does not run.
        """
        if self._process is None:
            raise LabError("The lab does not run; use it within 'with lab:'.")
        return self._facts

    def spawn(self, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """As :meth:`RunningLab.spawn`; the program is asked to end when the lab does, and killed after 3 s."""
        program = super().spawn(node, argv, **options)
        self._programs.append(program)
        return program

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self.close))

    def _ready(self) -> Facts:
        assert self._process is not None
        assert self._process.stdout is not None
        limit = START_SECONDS + START_SECONDS_PER_NODE * len(self.file.nodes)
        if not select.select([self._process.stdout], [], [], limit)[0]:
            raise LabError(f"The lab was not ready after {limit:.0f} s; is the machine overloaded?")
        line = self._process.stdout.readline()
        if not line:
            raise LabError("The lab's emulator ended before it was ready; its last words are above.")
        answer = json.loads(line)
        facts = read_facts(self._folder)
        if "error" in answer or facts is None:
            raise LabError(answer.get("error", "The lab ended as it began."))
        return facts


def _start(order: Order) -> subprocess.Popen[str]:
    """The emulator's process, with its order."""
    argv = [sys.executable, "-P", "-m", "fogline.lab.emulator.process"]
    if order.rootless:
        argv = ["unshare", "--user", "--map-root-user", "--net", *argv]
    packages = str(Path(fogline.__file__).parent.parent)
    paths = [packages, *filter(None, [os.environ.get("PYTHONPATH")])]
    # A session of its own: Ctrl-C is for the owner, which then ends the emulator in order.
    emulator = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert emulator.stdin is not None
    with emulator.stdin as orders:
        # Only what was given: a key that is set overrides, a default does not.
        orders.write(order.model_dump_json(exclude_unset=True))
    return emulator


def _end_programs(programs: Sequence[subprocess.Popen[Any]]) -> None:
    for program in programs:
        program.terminate()
    for program in programs:
        try:
            program.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
