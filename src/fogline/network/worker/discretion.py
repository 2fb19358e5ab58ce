"""What of a failure may leave a node whose job protects its data: that there was one, and of which kind.

What code raises on a device's examples may have their values in it, and a loss that is not finite, or a vector that is
out of range, tells of them too; on a fog it is the weights and numbers of its devices' updates. The whole reason is in
the node's own log.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from fogline.compute.effects import CarriedOut, CarryOut
from fogline.network.worker.requests import Answer, Request, RequestFailed
from fogline.nodes.effects import Combine, ParentStep
from fogline.nodes.events import Trained

log = logging.getLogger("fogline.network")
WHERE = "; why stands in its own log alone, as the job protects its data"
TRAINING = f"it could not do what it was asked with its data{WHERE}"
STEP = (
    f"it could not go on in the exchange{WHERE} (often a number is beyond 'clip', or a weight beyond 'weight', of the "
    "exchange)"
)
REQUEST = f"its worker could not carry out a request{WHERE}"
UPDATE = "it cannot be used; why stands in the log of who should have added it up, as the job protects its data"


def without_reason(answer: Answer, asked: Request) -> Answer:
    """An answer of a worker process as others may hear of it.

    Args:
        answer: as the process gave it.
        asked: what it answers. Why a parent's half of an exchange cannot go on tells who is missing, and stays.
    """
    match answer:
        case RequestFailed(why=why, bug=bug, line=line):
            log.warning("a request failed: %s", why)
            place = f" ({line})" if line else ""
            return RequestFailed(f"the job's own code is wrong{place}{WHERE}" if bug else REQUEST, bug, line)
        case CarriedOut(failure=failure, trained=trained, refused=refused):
            told = isinstance(asked, CarryOut) and isinstance(asked.effect, ParentStep | Combine)
            kinds = tuple((place, _logged(why, UPDATE)) for place, why in refused)
            return replace(
                answer, failure=failure if told else _kind(failure, STEP), trained=_ended(trained), refused=kinds
            )
        case _:
            return answer


def _ended(trained: Trained | None) -> Trained | None:
    """How a training ended; how many examples there are is in what is reported, if anywhere."""
    if trained is None or trained.failure is None:
        return trained
    return replace(trained, failure=_kind(trained.failure, TRAINING), samples=0)


def _kind(failure: str | None, kind: str) -> str | None:
    return None if failure is None else _logged(failure, kind)


def _logged(failure: str, kind: str) -> str:
    """The kind of a failure, once the whole is in the log."""
    log.warning("it failed: %s", failure)
    return kind
