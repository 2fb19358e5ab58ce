"""What is tried again after it failed: after which errors, after how long, and when it is given up.

Whoever tries again takes its waits from here, and the text at each wait says what ends the trying. Two things do not
stand here: a database whose connection broke is asked once more at once (:mod:`fogline.storage.postgres`), and the
client of S3 tries again by itself (:mod:`fogline.storage.s3`).
"""

from __future__ import annotations

import random
from typing import NamedTuple


class Backoff(NamedTuple):
    """Waits that double with every failure in a row, up to the longest one."""

    first: float
    """Seconds after the first failure."""
    longest: float
    """Seconds, at most."""
    least: float = 1.0
    """The part of a wait that is always kept; the rest is drawn, so that many do not come back in the same moment."""

    def after(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row (>= 1), with nothing drawn."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 60))


class Failures:
    """Failures in a row of one thing that is tried again.

    Args:
        backoff: how long it waits.
    """

    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self.count = 0

    def another(self) -> float:
        """It has failed once more. Seconds to wait now."""
        self.count += 1
        return self.backoff.after(self.count) * random.uniform(self.backoff.least, 1.0)

    def at_least(self, count: int) -> None:
        """It counts as having failed so many times, if it has not so often yet."""
        self.count = max(self.count, count)

    def over(self) -> None:
        """It has worked: the next wait is a short one again."""
        self.count = 0


# A node's way to its parent.

RECONNECT = Backoff(first=0.2, longest=30.0, least=0.5)
"""A connection to the parent that was lost, or not made (``ConnectionLostError``). After three attempts the next parent
on the list is tried; it is never given up, but where the parent refuses the node (``RefusedByParentError``)."""
FETCH_AGAIN = Backoff(first=0.2, longest=30.0)
"""A transfer that broke off (``ConnectionLostError``): it goes on where it ended, and is never given up. What came
damaged is fetched once more from its first byte, and refused after that."""
REPORT_AGAIN = Backoff(first=5.0, longest=60.0)
"""A report, or a step of an exchange, for which no receipt came: until there is one, or the job is over."""
RENEW_AGAIN = 300.0
"""A certificate that could not be renewed; sooner where it has not so long to live. It is given up where the identity
itself is no good (``TrustError``)."""

# A job.

MACHINE_AGAIN = 5.0
"""A node's part in a job that its disk or its worker stopped (``StorageError``, ``WorkerError``): it is made anew from
its journal, until the job is over. At the root an error of the worker ends the job."""
VALUE_AGAIN = 5.0
"""A value that did not come with a request (``LookupError``, ``StorageError``): the node says that it is there, and the
parent asks again if the round is not over."""
RELOAD = Backoff(first=5.0, longest=60.0)
"""A job whose worker ended while it loaded it (``WorkerEndedError``), for want of memory perhaps. What the worker says
against the job (``WorkerError``) is final."""

# What is served.

UPDATE_AGAIN = Backoff(first=2.0, longest=300.0)
"""Files or metadata of a release that could not be had, and a server that did not bring a version back: until there is
a newer release. A version that failed its trial, or on probation, is refused at once and not tried again."""
RESTART_SERVER = Backoff(first=0.2, longest=30.0)
"""A server of predictions that ended or did not start: as long as the node runs. Whether a version is to blame is
decided in :mod:`fogline.serving.update.recovery`."""

# The cloud, and who looks at it.

START = Backoff(first=1.0, longest=60.0, least=0.5)
"""A node that could not start for want of room on the disk, or by a clock at which its certificate does not hold: until
it starts. Any other error ends the program."""
SIGN_AGAIN = 60.0
"""A release that could not be signed, for want of a key or of room (``TrustError``, ``StorageError``): as long as the
cloud runs."""
FOLLOW_AGAIN = Backoff(first=1.0, longest=30.0)
"""A dashboard's connection to the cloud (``OperatorApiError``): as long as the page is served."""
