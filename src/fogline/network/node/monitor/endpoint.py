"""A node's endpoint for those who watch over it: ``/metrics``, ``/healthz`` and ``/readyz``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus

from fogline.errors import FoglineError
from fogline.monitoring.metrics import exposition, process
from fogline.monitoring.metrics.exposition import Measured
from fogline.network.node.monitor.http import Page, PageServer
from fogline.network.node.monitor.metrics import NodeMetrics
from fogline.network.node.monitor.watch import Watch
from fogline.network.node.process import RunningNode

Measure = Callable[[], Measured]
WELL = Page(HTTPStatus.OK, b"ok\n")


@asynccontextmanager
async def monitored(up: RunningNode, watch: Watch, address: tuple[str, int]) -> AsyncGenerator[str]:
    """Show how a node fares, for as long as the context lasts; the address.

    Args:
        up: the node, which runs.
        watch: counted what it told from its start.
        address: host and port to listen at; port 0 takes a free one.

    Raises:
        OSError: nobody can listen there.
    """
    measures = (NodeMetrics(up, watch).measured, *up.measures, process.measured)
    server = PageServer(
        {"/metrics": lambda: metrics(measures), "/healthz": lambda: health(up), "/readyz": lambda: readiness(up)}
    )
    taken = await server.start(*address)
    try:
        yield taken
    finally:
        await server.stop()


def metrics(measures: Iterable[Measure]) -> Page:
    """All metrics; or why there are none: half of them would look like all."""
    try:
        return Page(HTTPStatus.OK, b"".join(exposition.as_text(measure()) for measure in measures), exposition.TEXT)
    except (FoglineError, OSError) as error:
        return Page(HTTPStatus.INTERNAL_SERVER_ERROR, f"The metrics cannot be read: {error}\n".encode())


def health(up: RunningNode) -> Page:
    """Whether the node goes on; where it does not, a restart alone helps nothing, but somebody has to see it."""
    failure = up.failed.exception() if up.failed.done() else None
    return WELL if failure is None else unavailable(f"{up.node.name} cannot go on: {failure}")


def readiness(up: RunningNode) -> Page:
    """Whether it takes part in the tree: a member needs its parent."""
    sick = health(up)
    if sick is not WELL:
        return sick
    uplink = up.node.uplink
    return WELL if uplink is None or uplink.parent else unavailable(f"{up.node.name} has no connection to a parent")


def unavailable(why: str) -> Page:
    """A sentence for who asks."""
    return Page(HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n".encode())
