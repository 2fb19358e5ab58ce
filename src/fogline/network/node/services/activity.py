"""How rounds stand: each aggregator tells the cloud what its open round waits for, for whoever looks at the tree.

It is looked at a while after something was said in a job, and told where it has changed: one small frame a second at
most, however many children there are.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Never

import msgspec

from fogline.governance.subject import Subject
from fogline.monitoring.tree_state import RoundState
from fogline.network.node.context import NodeContext
from fogline.network.node.services.base import Service, another
from fogline.network.timing import LOOKED_AT
from fogline.network.transport.messages import RoundActivity, Welcome
from fogline.network.transport.session import Session

if TYPE_CHECKING:
    from fogline.network.node.jobs import JobManager

NAMED = 4096
"""Children that are named at most, of those that a round waits for."""


class ActivityService(Service[RoundActivity, Never]):
    """Tells the cloud of rounds here, and hands on what is told below."""

    jobs: JobManager | None = None
    """The node's part in jobs; None until there is one."""

    def __init__(self, node: NodeContext) -> None:
        super().__init__(node)
        self._due: asyncio.TimerHandle | None = None
        self._told: dict[str, RoundState] = {}
        """What was told of each job."""
        self._wanted = False
        """Whether the parent takes it: one of an older version does not know such frames."""
        self._sent = self._received = 0

    def close(self) -> None:
        """Tell nothing any more."""
        if self._due is not None:
            self._due.cancel()

    def forbidden(self, child: Subject, frame: RoundActivity) -> str | None:
        return another(child.name, frame.node)

    def from_child(self, session: Session, frame: RoundActivity) -> None:
        self._tell(frame)

    def connected(self, parent: str, welcome: Welcome) -> None:
        self._wanted = welcome.activity
        self._told.clear()  # The cloud may have been restarted.
        self.stir()

    def carried(self, down: int, up: int) -> None:
        """So many bytes of blobs went to a child, or came from one."""
        self._sent += down
        self._received += up
        self.stir()

    def stir(self) -> None:
        """Something was said in a job: it is looked at in a while."""
        if self._due is None and self.node.downlink is not None:
            self._due = asyncio.get_running_loop().call_later(LOOKED_AT, self._look)

    def _look(self) -> None:
        self._due = None
        jobs = {} if self.jobs is None else self.jobs.participations
        states = {job: participation.round_state(NAMED) for job, participation in jobs.items()}
        for job in {*states, *self._told}:
            state = states.get(job) or RoundState()  # It is over, or has not begun.
            state = msgspec.structs.replace(state, sent=self._sent, received=self._received)
            if self._told.get(job) != state:
                self._told[job] = state
                self._tell(RoundActivity(self.node.name, job, state))
            if job not in jobs:
                del self._told[job]

    def _tell(self, frame: RoundActivity) -> None:
        if self._wanted or self.node.cloud is not None:
            self.node.tell(frame)
