"""Nodes as programs: start one, in spite of what may pass, and run it until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import NamedTuple, TypeVar

import msgspec

from fogline import logs
from fogline.cli.failures import UsageError, say
from fogline.cli.options import Monitoring, Predictions
from fogline.governance.errors import UntimelyIdentityError
from fogline.governance.subject import Role
from fogline.network.node.monitor.endpoint import monitored
from fogline.network.node.monitor.watch import Watch
from fogline.network.node.node import Node
from fogline.network.node.process import Attach, Listening, NodeFolder, RunningNode, until_told
from fogline.network.node.status import StatusChange
from fogline.network.transport.messages import ParentAddress
from fogline.registry.release import NodeKind
from fogline.retries import START, Backoff, Failures
from fogline.storage import Database, StorageFullError

log = logging.getLogger("fogline.network")
T = TypeVar("T")
METRICS: dict[Role, int] = {"cloud": 7445, "fog": 7455, "device": 7465}
"""Ports of metrics where none is named."""
Addresses = tuple[str, str, str]
"""Where a node listens, its enrolment endpoint, and how others reach it."""
FULL = (errno.ENOSPC, errno.EDQUOT)


async def keep_up(
    make: Callable[[], AbstractAsyncContextManager[RunningNode]],
    who: str,
    watch: Watch,
    endpoint: Endpoint | None,
    attached: bool,
    patient: bool,
    hint: str = "",
) -> None:
    """Run a node until it is told to end.

    Args:
        make: makes it.
        who: it is, for people.
        watch: told of changes.
        endpoint: where it shows its metrics; None: nowhere.
        attached: whether another program has started this one, and ends it.
        patient: wait for a disk with room and a clock that is right; who started this program may know better.
        hint: what to tell people besides, once it runs.
    """
    while True:
        try:
            async with AsyncExitStack() as stack:
                up = await (entered(stack, make) if patient else stack.enter_async_context(make()))
                if endpoint is not None:
                    await endpoint.open(stack, up, watch)
                watch(StatusChange("ready", who=up.address, why=up.enrolment))
                if not attached:
                    where = (
                        f" listens at {up.address}, its enrolment endpoint at {up.enrolment}" if up.address else " runs"
                    )
                    print(f"{who}{where}; stop it with Ctrl-C.{hint}", flush=True)
                await until_told(up, attached)
            return
        except UntimelyIdentityError:
            if not patient:
                raise


class Endpoint(NamedTuple):
    """Where a node shows its metrics."""

    address: str
    chosen: bool
    """Whether somebody has named the address, and relies on it."""

    @classmethod
    def of(cls, monitoring: Monitoring, role: Role, attached: bool) -> Endpoint | None:
        """What options ask for; a node that another program has started shows nothing unasked.

        Raises:
            UsageError: it is no address.
        """
        if monitoring.metrics == "none" or (attached and not monitoring.metrics):
            return None
        if monitoring.metrics:
            parent_address_of(monitoring.metrics)
        return cls(monitoring.metrics or f"127.0.0.1:{METRICS[role]}", bool(monitoring.metrics))

    async def open(self, stack: AsyncExitStack, up: RunningNode, watch: Watch) -> None:
        """Show them, until the stack ends. Several nodes on one machine cannot all have the usual port.

        Raises:
            OSError: nobody can listen at the address that was named.
        """
        host, _, port = self.address.rpartition(":")
        try:
            taken = await stack.enter_async_context(monitored(up, watch, (host.strip("[]"), int(port))))
        except OSError as error:
            why = f"nobody can listen at {self.address}: it is taken, or is no address of this machine"
            if self.chosen:
                raise OSError(f"The metrics cannot be shown: {why}; choose another with --metrics") from error
            log.warning("%s shows no metrics: %s. --metrics HOST:PORT names another", up.node.name, why)
            return
        log.info("%s shows its metrics at http://%s/metrics", up.node.name, taken)


async def entered(
    stack: AsyncExitStack, make: Callable[[], AbstractAsyncContextManager[T]], backoff: Backoff = START
) -> T:
    """Start what ``make`` makes, again and again where it fails for a reason that may pass; each kind is said once.

    Args:
        stack: ends it.
        make: makes it anew for every attempt.
        backoff: how long it waits between attempts.
    """
    said: type[Exception] | None = None
    failures = Failures(backoff)
    while True:
        try:
            return await stack.enter_async_context(make())
        except (StorageFullError, UntimelyIdentityError, OSError) as error:
            if not may_pass(error):
                raise
            if type(error) is not said:
                said = type(error)
                say(f"fogline: {error}. The node tries again, now and then, until it can start.")
        await asyncio.sleep(failures.another())


def may_pass(error: Exception) -> bool:
    """Whether a start that failed may succeed later with nothing changed but room on the disk, or the clock."""
    return not isinstance(error, OSError) or error.errno in FULL


def watching(attached: bool, monitoring: Monitoring) -> Watch:
    """Who is told of changes; the log on standard error says the same, and more."""
    os.environ[logs.FORMAT] = monitoring.log_format  # Of the processes that this one starts, too.
    logs.write_logs()
    if not attached:
        return Watch(lambda _: None)
    encode = msgspec.json.encode

    def tell(change: StatusChange) -> None:
        # Whoever reads may be gone; then standard input ends too, and so does this program.
        with contextlib.suppress(BrokenPipeError):
            print(encode(change).decode(), flush=True)

    return Watch(tell)


def attach_tracer(monitoring: Monitoring) -> Attach | None:
    """What makes a node send traces; None where it does not.

    Raises:
        UsageError: the library for it is not installed.
    """
    if not monitoring.traces:
        return None
    try:
        from fogline.monitoring.tracing.exporting import exporting_tracer
    except ModuleNotFoundError as error:
        raise UsageError("--traces needs OpenTelemetry, which is not installed: pip install 'fogline[otel]'") from error

    async def attach(node: Node, database: Database, stack: AsyncExitStack) -> None:
        tracer = node.tracer = exporting_tracer(node.name)
        stack.push_async_callback(asyncio.to_thread, tracer.close)  # It may wait for the collector.

    return attach


def attaching(*parts: Attach | None) -> Attach:
    """What gives a node several parts, as far as there are any."""

    async def attach(node: Node, database: Database, stack: AsyncExitStack) -> None:
        for part in parts:
            if part is not None:
                await part(node, database, stack)

    return attach


def attach_server(place: NodeFolder, tier: NodeKind, predictions: Predictions) -> Attach | None:
    """What makes a node serve; None where it does not."""
    if not predictions.serve:
        return None
    from fogline.serving.on_node import attaching as serving  # A node that serves nothing has no memory for it.
    from fogline.serving.settings import Settings

    parent_address_of(predictions.http)
    grpc = "" if predictions.grpc == "none" else predictions.grpc
    settings = Settings(
        listen=predictions.http, grpc=grpc, tier=tier, threads=predictions.threads, variants=predictions.variants
    )
    return serving(place, settings)


def listening_at(addresses: Addresses) -> Listening:
    """The addresses, as a node takes them.

    Raises:
        UsageError: one is no address.
    """
    for text in addresses:
        if text:
            parent_address_of(text)
    return Listening(*addresses)


def parent_address_of(text: str) -> ParentAddress:
    """A node's name and address.

    Raises:
        UsageError: it is no ``name@host:port``.
    """
    parent_address = ParentAddress.parse(text)
    host, _, port = parent_address.address.rpartition(":")
    if not parent_address.name or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"'{text}' is no address of a node; write HOST:PORT or NAME@HOST:PORT")
    return parent_address
