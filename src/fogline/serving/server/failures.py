"""What goes wrong while a request is answered, as whoever asked is told."""

from __future__ import annotations

import logging

from fogline.inference.runtimes.base import ModelError
from fogline.serving.protocol.errors import ProtocolError

log = logging.getLogger("fogline.serving")


def explained(error: Exception, what: str) -> ProtocolError:
    """The refusal for an error; one that is not the sender's fault is logged.

    Args:
        error: that was raised.
        what: was asked.
    """
    if isinstance(error, ProtocolError):
        return error
    if isinstance(error, ModelError):
        log.error("%s: %s", what, error)
        return ProtocolError(str(error), 500)
    log.error("%s failed", what, exc_info=error)
    return ProtocolError("The server failed to answer this; its log says why.", 500)
