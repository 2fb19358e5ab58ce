"""Something that decodes, with examples of what it should take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

Example = bytes


@dataclass(frozen=True)
class Target:
    """Something that decodes."""

    examples: list[Example]
    decode: Callable[[bytes], object]
    refuses: tuple[type[BaseException], ...]
    """What it says of bad bytes."""
    packed: Callable[[bytes], Any] | None = msgspec.msgpack.decode
    """Opens an example, where its structure can be mutated too; the mutated structure is packed by ``pack``."""
    pack: Callable[[Any], bytes] = msgspec.msgpack.encode
    share: float = 1.0
    """Of the inputs; slow decoders get less."""
