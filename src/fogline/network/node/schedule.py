"""When the owner of a machine lets jobs run: at some hours, or on mains only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from fogline.governance.errors import SitePolicyError
from fogline.governance.policy.machine import on_mains
from fogline.governance.policy.policy import allowed_now, not_in_force, read_policy
from fogline.network.node.jobs import JobManager
from fogline.network.timing import LOOK

log = logging.getLogger("fogline.network")


async def keep_hours(
    job_manager: JobManager,
    policy: Path,
    now: Callable[[], datetime] = datetime.now,
    mains: Callable[[], bool | None] = on_mains,
    look: float = LOOK,
) -> None:
    """Pause and resume a node as its owner's policy says, for as long as it runs.

    Args:
        job_manager: the jobs of the node.
        policy: the owner's file, read at every look.
        now: the time on the wall.
        mains: whether the machine runs on mains.
        look: seconds between two looks.
    """
    closed = False
    while True:
        try:
            holds, moment = await asyncio.to_thread(read_policy, policy), now()
            why = not_in_force(holds, moment) or allowed_now(holds.limits, moment, mains())
        except SitePolicyError as error:
            why = str(error)
        if why is not None and not closed:
            log.info("no job runs from now on: %s", why)
            await job_manager.pause(why)
        elif why is None and closed:
            log.info("jobs may run again")
            job_manager.resume()
        closed = why is not None
        await asyncio.sleep(look)
