"""A subject of the talk between nodes.

A new one is a file beside this one with a :class:`Service`, and a line in the list of :mod:`fogline.network.node.node`.
Frames that other parts build, too, stand in :mod:`fogline.network.transport.messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Never, TypeVar, get_args

from fogline.governance.subject import Subject
from fogline.network.node.context import NodeContext
from fogline.network.transport.messages import DownFrame, UpFrame, Welcome
from fogline.network.transport.ports import Call
from fogline.network.transport.session import Session

FromChild = TypeVar("FromChild", bound=UpFrame)
FromParent = TypeVar("FromParent", bound=DownFrame)


class Service(Generic[FromChild, FromParent]):
    """A node's part in one subject. The kinds of frames stand in its brackets: what it takes from children, and what
    from the parent; several are a union, none is ``Never``.

    Args:
        node: whose part it is.
    """

    up: ClassVar[tuple[type[UpFrame], ...]]
    """Frames that it takes from children,"""
    down: ClassVar[tuple[type[DownFrame], ...]]
    """and from the parent."""

    def __init_subclass__(cls) -> None:
        cls.up, cls.down = (_kinds(said) for said in get_args(vars(cls)["__orig_bases__"][0]))

    def __init__(self, node: NodeContext) -> None:
        self.node = node

    def calls(self) -> Mapping[str, Call]:
        """What children may ask beside their stream, by the name of the method."""
        return {}

    def forbidden(self, child: Subject, frame: FromChild) -> str | None:
        """What a child says that is not its to say; None if all is. Aggregators speak for those below them, so nobody
        asks this of theirs."""
        return None

    def from_child(self, session: Session, frame: FromChild) -> None:
        """A child said something."""

    def from_parent(self, parent: str, frame: FromParent) -> None:
        """The parent said something."""

    def connected(self, parent: str, welcome: Welcome) -> None:
        """The parent is there (again)."""

    def arrived(self, session: Session) -> None:
        """A child is there (again)."""

    def departed(self, session: Session) -> None:
        """A child is gone."""


def another(child: str, *named: str) -> str | None:
    """A sentence where a child tells of a node that it is not."""
    return next((f"{child} told of {name}, which is another node" for name in named if name != child), None)


def _kinds(said: Any) -> tuple[Any, ...]:
    """The members of a union of frames, or the one."""
    return () if said is Never else get_args(said) or (said,)
