"""What a job needs of a machine, and what a machine offers."""

from __future__ import annotations

import msgspec

UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


class Needs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a job asks of every device: its table ``needs``, as nodes tell each other of it."""

    memory: int = 0
    """Bytes."""
    cpus: int = 0
    frameworks: tuple[str, ...] = ()
    """Import names: ``torch``, ``sklearn``."""
    tags: tuple[str, ...] = ()
    """Data that it learns from."""


class Offers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a machine has, and what of it its owner gives."""

    cpus: int
    memory_bytes: int
    frameworks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """Data that the owner gives."""
    on_mains: bool | None = None
    """None if the machine cannot tell."""


def missing(needs: Needs, offers: Offers) -> str | None:
    """A sentence about what a job needs and a machine does not offer; None if it has everything."""
    lacks: list[str] = []
    if needs.cpus > offers.cpus:
        lacks.append(f"{needs.cpus} processors (it offers {offers.cpus})")
    if needs.memory > offers.memory_bytes:
        lacks.append(f"{_size(needs.memory)} of memory (it offers {_size(offers.memory_bytes)})")
    frameworks = [name for name in needs.frameworks if name not in offers.frameworks]
    if frameworks:
        lacks.append(f"the packages {', '.join(frameworks)}")
    tags = [tag for tag in needs.tags if tag not in offers.tags]
    if tags:
        lacks.append(f"data tagged {', '.join(tags)}")
    return f"The job needs {' and '.join(lacks)}." if lacks else None


def _size(count: int) -> str:
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"
