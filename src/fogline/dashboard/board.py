"""What every board is: something that follows what it shows, and answers what its page asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from fogline.dashboard.hub import Hub

Answer = Callable[[bytes], Awaitable[Any]]
"""From the JSON of a request to what becomes the JSON of the answer."""


class About(msgspec.Struct, frozen=True):
    """What a page must know of the board before all else."""

    title: str
    pages: tuple[str, ...]
    """That there are: ``tree``, ``runs``, ``models``, ``trust``."""
    calls: tuple[str, ...] = ()
    """That the page may make: it has no button for any other."""
    who: str = ""
    """Who looks, and acts;"""
    role: str = ""
    """empty: nobody in particular, since there is nothing to act on."""
    keyless: tuple[str, ...] = ()
    """Calls that the role may make and this page cannot: they are signed with the person's key, which is not here."""
    until: float = 0.0
    """Unix time at which a person who has signed in is signed out; 0: nobody has to."""


class Board(Protocol):
    """What a page shows."""

    hub: Hub
    about: About

    def answers(self) -> Mapping[str, Answer]:
        """What the page may ask, by name. What the person's role may not is not among them."""
        ...

    async def follow(self) -> None:
        """Tell the hub what is so, and what becomes of it, until cancelled."""
        ...
