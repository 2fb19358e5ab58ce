"""Messages in MessagePack: how they are encoded, and decoded strictly."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


encode = msgspec.msgpack.Encoder().encode


class Decoder(Generic[T]):
    """A strict decoder for one kind of message."""

    def __init__(self, kind: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def decode(self, data: bytes) -> T:
        """The message.

        Raises:
            msgspec.DecodeError: it is none.
        """
        try:
            return self._decode(data)
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from None


def decoder(kind: Any) -> Decoder[Any]:
    """A strict decoder for one kind of message."""
    return Decoder(kind)
