"""What a lab file says: nodes, their links, and what happens to the links at run time.

::

    [nodes]                                             # child = parent
    cloud = ""
    fog-0 = "cloud"
    dev-0 = "fog-0"
    [links]                                             # of a node to its parent
    default = { rate = "20Mbit", delay = "20ms" }
    fog-0 = { rate = "64kbit", delay = "300ms", jitter = "30ms", loss = 0.05, up = { rate = "32kbit" } }
    "dev-*" = { preset = "4g" }
    [[event]]
    at = "30s"
    node = "fog-0"
    set = { partition = true }
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from fogline.lab.errors import LabError, sentence
from fogline.lab.links.settings import LinkTable, Seconds
from fogline.plugins import suggest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
MOST_NODES = 10_000
DEFAULT = "default"


def _alone(value: object) -> object:
    """``""`` has no parent, and a lone parent needs no list."""
    if isinstance(value, str):
        return (value,) if value else ()
    return value


Parents = Annotated[tuple[str, ...], BeforeValidator(_alone)]


class Event(BaseModel):
    """A change at run time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: Seconds
    """Seconds after the lab is ready, or ``"30s"``."""
    node: str
    """Whose link to its parent: a name, a pattern (``"dev-*"``), or ``"dev-0>fog-1"`` where there are several."""
    set: LinkTable


class LabFile(BaseModel):
    """A lab: nodes, links, events. ``LabFile.model_validate`` takes what the TOML holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: Mapping[str, Parents]
    """Each node's parent, ``""`` where there is none; a list of several makes a matrix."""
    links: Mapping[str, LinkTable] = Field(default_factory=dict)
    """Tables by node, pattern or ``"child>parent"``; ``default`` goes first, and a later one overrides."""
    event: tuple[Event, ...] = ()
    seed: int = 0
    """Of lost packets, jitter, and where traces start."""
    mtu: Annotated[int, Field(ge=576, le=65535)] = 1500
    """Bytes of the largest packet."""
    congestion: str = "cubic"
    """TCP's congestion control between nodes. Linux may default to BBR, which hides loss."""
    folder: Path = Path(".")
    """What traces' paths are relative to; the file's own folder."""

    @field_validator("nodes")
    @classmethod
    def _tree(cls, nodes: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        if not 1 <= len(nodes) <= MOST_NODES:
            raise ValueError(f"a lab has 1 to {MOST_NODES} nodes, not {len(nodes)}")
        seen: set[frozenset[str]] = set()
        for name, parents in nodes.items():
            if not NAME.fullmatch(name) or name == DEFAULT:
                raise ValueError(f"'{name}' is no name of a node; use letters, digits, dots, dashes, at most 40")
            for parent in parents:
                if parent not in nodes:
                    raise ValueError(f"'{name}' has the parent '{parent}', which is no node{suggest(parent, nodes)}")
                pair = frozenset((name, parent))
                if len(pair) == 1 or pair in seen:
                    raise ValueError(f"'{name}' and '{parent}' cannot be linked {'twice' if pair in seen else 'so'}")
                seen.add(pair)
        return nodes

    @model_validator(mode="after")
    def _links_exist(self) -> LabFile:
        for key in self.links:
            if key != DEFAULT:
                self.select(key)
        for event in self.event:
            self.select(event.node)
        return self

    def pairs(self) -> dict[str, tuple[str, str]]:
        """Every link's child and parent, by the link's name: the child's, or ``child>parent`` if it has several."""
        return {
            name if len(parents) == 1 else f"{name}>{parent}": (name, parent)
            for name, parents in self.nodes.items()
            for parent in parents
        }

    def select(self, pattern: str) -> list[str]:
        """The names of the links that a name or a pattern means.

        Raises:
            ValueError: there are none.
        """
        child, arrow, parent = pattern.partition(">")
        left, right = _matcher(child), _matcher(parent if arrow else "*")
        found = [name for name, (low, high) in self.pairs().items() if left.fullmatch(low) and right.fullmatch(high)]
        if not found:
            why = "has no parent, so it has no link of its own" if pattern in self.nodes else "is no node with a link"
            raise ValueError(f"'{pattern}' {why}{suggest(pattern, self.pairs())}")
        return found


def _matcher(pattern: str) -> re.Pattern[str]:
    """A name in which ``*`` is any text."""
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")))


def read_lab(source: Path | str | Mapping[str, Any] | LabFile) -> LabFile:
    """The lab in a TOML file or in tables of the same shape.

    Raises:
        LabError: the file is missing or no TOML, or a key or value is wrong; one sentence that names it.
    """
    if isinstance(source, LabFile):
        return source
    if isinstance(source, Mapping):
        return _check(source, "")
    path = Path(source)
    try:
        raw = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise LabError(f"There is no lab file '{path}'.") from None
    except (OSError, UnicodeDecodeError) as wrong:
        raise LabError(f"'{path}' cannot be read: {wrong}.") from None
    except tomllib.TOMLDecodeError as wrong:
        raise LabError(f"'{path}' is not valid TOML: {wrong}.") from None
    if "folder" in raw:
        raise LabError(f"{path}: folder is no key of a lab file; traces are relative to the file.")
    return _check({**raw, "folder": path.parent.absolute()}, f"{path}: ")


def _check(raw: Mapping[str, Any], before: str) -> LabFile:
    try:
        return LabFile.model_validate(raw)
    except ValidationError as error:
        raise LabError(f"{before}{sentence(error, '', _known(error))}.") from None


def _known(error: ValidationError) -> list[str]:
    """The keys of the table that the first unknown key stands in."""
    depth = min((len(fault["loc"]) for fault in error.errors() if fault["type"] == "extra_forbidden"), default=1)
    table = cast("type[BaseModel]", {1: LabFile, 3: LinkTable}.get(depth, Event))
    return [key for key in table.model_fields if key != "folder"]
