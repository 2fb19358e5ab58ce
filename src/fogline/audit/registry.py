"""The attacks by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fogline.audit.findings import Finding
from fogline.audit.scene import Scene
from fogline.errors import InputError
from fogline.plugins import Registry


class UnknownAttackError(InputError, ValueError):
    """There is no attack of that name; the text says what there is."""


Attack = Callable[[Scene], Iterable[Finding]]
ATTACKS = Registry[Attack]("attack", "fogline.audit.attacks", first="labels", error=UnknownAttackError)
"""All attacks: one file each. Where an attack finds nothing to work on, it raises ``NotApplicableError``."""
