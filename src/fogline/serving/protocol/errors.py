"""Requests that are refused."""

from __future__ import annotations


class ProtocolError(ValueError):
    """A request cannot be answered; the text is a sentence for whoever sent it.

    Args:
        why: the sentence.
        status: as in HTTP.
    """

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


def no_shared_memory(name: str) -> ProtocolError:
    """The refusal for a tensor that should be read from, or written to, memory of the client's."""
    return ProtocolError(f"This server shares no memory with its clients; send and ask for '{name}' as data.")
