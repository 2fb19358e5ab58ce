"""Who a node or a person is: name, role and site, and to which nodes a person's role is limited."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, get_args

import msgspec

Role = Literal["operator", "developer", "owner", "auditor", "fog", "device", "cloud"]
ROLES: tuple[Role, ...] = get_args(Role)
PEOPLE: tuple[Role, ...] = ("operator", "developer", "owner", "auditor")
"""Roles that run no node."""
JOINING: tuple[Role, ...] = (*PEOPLE, "fog", "device")
"""Roles that join with a token."""
DOMAIN = "fogline.internal"
NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,63}", re.ASCII)
MOST_PATTERNS = 16
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


def check_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """Patterns of nodes' names, such as ``press-*``, if they are some. ``*`` is the only wildcard: then a pattern that
    fits another one, letter for letter, has no name that does not fit it.

    Raises:
        ValueError: one is none, or there are too many.
    """
    found = tuple(patterns)
    for pattern in found:
        if PATTERN.fullmatch(pattern) is None:
            raise ValueError(f"{pattern[:80]!r} is no pattern of nodes' names; write one such as 'press-*'")
    if len(found) > MOST_PATTERNS:
        raise ValueError(f"{len(found)} patterns of nodes are too many; {MOST_PATTERNS} will do")
    return found


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a node's name, or a narrower pattern, fits one of some patterns; no pattern at all fits every node."""
    found = tuple(patterns)
    return not found or any(fnmatchcase(name, pattern) for pattern in found)


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a certificate speaks for.

    In TLS, names that differ only in upper and lower case are one name: whoever gives names out must not give
    both.

    Raises:
        ValueError: the name, the role or the site is none, or a role is limited that people do not have.
    """

    name: str
    role: Role
    site: str = "main"
    nodes: tuple[str, ...] = ()
    """Patterns of the names of nodes to which a person's role is limited; none at all: it holds for the whole fleet."""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_name(self.site, "site")
        if self.role not in ROLES:
            raise ValueError(f"role {str(self.role)[:80]!r} is unknown; there are {', '.join(ROLES)}")
        if check_patterns(self.nodes) and self.role not in PEOPLE:
            raise ValueError(f"a {self.role} is one node; only {', '.join(PEOPLE)} can be limited to some")

    @property
    def uri(self) -> str:
        """The subject as one text: ``fogline://device/plant-a/press-7``, ``fogline://owner/main/ines?press-*,saw-1``."""
        return f"fogline://{self.role}/{self.site}/{self.name}" + ("?" + ",".join(self.nodes) if self.nodes else "")

    @property
    def dns_name(self) -> str:
        """What a client demands of this node in TLS: ``press-7.fogline.internal``."""
        return dns_name(self.name)
