"""Who a node is: its name, its role and its site."""

from __future__ import annotations

import hashlib
import re
from typing import Literal, get_args

import msgspec

Role = Literal["operator", "developer", "auditor", "fog", "device", "cloud"]
ROLES: tuple[Role, ...] = get_args(Role)
DOMAIN = "fogline.internal"
NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
NAME_RULE = "1 to 63 letters, digits, '.', '_' or '-', with a letter or a digit at both ends and no '..'"


def check_name(name: str, what: str = "name") -> str:
    """The name itself, if it is safe in paths, in TLS and in logs.

    Raises:
        ValueError: it is not.
    """
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{what} {name[:80]!r} cannot be used; it must be {NAME_RULE}")
    return name


def node_name(text: str) -> str:
    """The name of the node that has a client's data: the client's own, or, where that is no name, one close to it."""
    if NAME.fullmatch(text) is not None:
        return text
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text, flags=re.ASCII)[:50].strip("-_") or "client"
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def dns_name(name: str) -> str:
    """The name that a node's certificate carries for TLS, whatever its address is.

    Raises:
        ValueError: the name is no name for a node.
    """
    return f"{check_name(name).lower()}.{DOMAIN}"


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a certificate speaks for.

    In TLS, names that differ only in upper and lower case are one name: whoever gives names out must not give
    both.

    Raises:
        ValueError: the name, the role or the site is none.
    """

    name: str
    role: Role
    site: str = "main"

    def __post_init__(self) -> None:
        check_name(self.name)
        check_name(self.site, "site")
        if self.role not in ROLES:
            raise ValueError(f"role {str(self.role)[:80]!r} is unknown; there are {', '.join(ROLES)}")

    @property
    def uri(self) -> str:
        """The subject as one text: ``fogline://device/plant-a/press-7``."""
        return f"fogline://{self.role}/{self.site}/{self.name}"

    @property
    def dns_name(self) -> str:
        """What a client demands of this node in TLS: ``press-7.fogline.internal``."""
        return dns_name(self.name)
