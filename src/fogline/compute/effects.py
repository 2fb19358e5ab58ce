"""Effects that compute, asked for and answered: an effect names its values by keys, and files hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from fogline.nodes.effects import Adopt, FoldInput, GroupUpdate, Merge, Move, Train
from fogline.nodes.events import Trained
from fogline.nodes.messages import Count, Key

AggregatorEffect = Adopt | Move | Merge | GroupUpdate
"""What an aggregator computes."""
GROUP = "/group"
"""After a model's key: the aggregator's numbers behind it."""
STATE: Key = "state"
"""Key of the vectors that the method keeps on a device."""
SENDER: Key = "sender"
"""Key of the vectors that the stages of its uplink keep on a node."""


class CarryOut(msgspec.Struct, frozen=True, tag=True):
    """Carry out an effect, from files to files."""

    effect: AggregatorEffect | Train
    reads: dict[Key, str]
    """Where the values lie that the effect names."""
    writes: dict[Key, str]
    """Where those go that it makes."""
    earlier: Count = 0
    """Moves of the group, or trainings of the device, that came before this one."""
    population: Count = 0
    """Devices below the node."""


class Sift(msgspec.Struct, frozen=True, tag=True):
    """Look which updates could not be folded together."""

    members: tuple[FoldInput, ...]
    reads: dict[Key, str]
    """Where the updates lie."""


class CarriedOut(msgspec.Struct, frozen=True, tag=True):
    """What came of an effect, or of a look at updates."""

    made: tuple[Key, ...] = ()
    """Values that were written; an effect may make fewer than it could."""
    refused: tuple[tuple[Count, str], ...] = ()
    """Places of the members whose updates could not be used, and why."""
    trained: Trained | None = None
    """How a training ended."""


def refusals(answer: CarriedOut, members: Sequence[FoldInput]) -> dict[int, str]:
    """Why members were refused, by place; who answers may be foreign code, so places that do not exist are left out."""
    return {place: why for place, why in answer.refused if place < len(members)}


def needed(effect: AggregatorEffect | Train) -> tuple[Key, ...]:
    """The values without which an effect cannot be carried out; updates to fold are not among them."""
    match effect:
        case Adopt():
            return (effect.source,) if effect.base is None else (effect.source, effect.base + GROUP)
        case Move() | GroupUpdate():
            return (effect.base + GROUP,)
        case Train():
            return (effect.model,)
        case Merge():
            return ()


def members_of(effect: AggregatorEffect | Train) -> tuple[FoldInput, ...]:
    """The updates that an effect folds."""
    return effect.members if isinstance(effect, Move | Merge) else ()


def makes(effect: AggregatorEffect | Train) -> Mapping[Key, str]:
    """The values that an effect may make, and what each of them is."""
    match effect:
        case Adopt() | Move():
            return {effect.model + GROUP: "group", effect.model: "model"}
        case Merge() | GroupUpdate():
            return {effect.update: "update", SENDER: "state"}
        case Train():
            return {effect.update: "update", STATE: "state", SENDER: "state"}
