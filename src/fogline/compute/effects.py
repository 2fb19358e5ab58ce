"""Effects that compute, asked for and answered: an effect names its values by keys, and files hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from fogline.nodes.effects import (
    AddUp,
    Adopt,
    ChildStep,
    Combine,
    Examine,
    FoldInput,
    GroupUpdate,
    Merge,
    Move,
    ParentStep,
    Train,
)
from fogline.nodes.events import Trained
from fogline.nodes.messages import Count, Key
from fogline.nodes.versions import DIFFERENCE
from fogline.privacy.identity import AgreementIdentity

AggregatorEffect = Adopt | Move | Merge | AddUp | GroupUpdate | Combine
"""What an aggregator computes."""
DeviceEffect = Train | Examine
"""What a device computes."""
StepEffect = ChildStep | ParentStep
"""A half of a step of an exchange."""
Computed = AggregatorEffect | DeviceEffect | StepEffect
Share = Annotated[float, Meta(ge=0, le=1)]
GROUP = "/group"
"""After a model's key: the aggregator's numbers behind it."""
STATE: Key = "state"
"""Key of the vectors that the method keeps on a device."""
SENDER: Key = "sender"
"""Key of the vectors that the stages of its uplink keep on a node."""
PERSONAL: Key = "personal"
"""Key of what a device has of its own of the model that it judges: for its node to serve, and for no record."""


class CarryOut(msgspec.Struct, frozen=True, tag=True):
    """Carry out an effect, from files to files."""

    effect: Computed
    reads: dict[Key, str]
    """Where the values lie that the effect names."""
    writes: dict[Key, str]
    """Where those go that it makes."""
    earlier: Count = 0
    """Moves of the group, or trainings of the device, that came before this one."""
    population: Count = 0
    """Devices below the node."""
    identity: AgreementIdentity | None = None
    """Who the node is, for the first step of an exchange."""
    sums: bool = False
    """Whether it is of what is asked beside the training, which has an exchange of its own."""


class Sift(msgspec.Struct, frozen=True, tag=True):
    """Look which updates could not be folded together."""

    members: tuple[FoldInput, ...]
    reads: dict[Key, str]
    """Where the updates lie."""
    sums: bool = False
    """Whether they are to be sums, and not updates of the model."""
    combine: Combine | None = None
    """What an exchange would come to with them; None: they are folded as they are."""


class CarriedOut(msgspec.Struct, frozen=True, tag=True):
    """What came of an effect, or of a look at updates."""

    made: tuple[Key, ...] = ()
    """Values that were written; an effect may make fewer than it could."""
    refused: tuple[tuple[Count, str], ...] = ()
    """Places of the members whose updates could not be used, and why."""
    scores: tuple[tuple[Count, Share], ...] = ()
    """Places of the members, and how much the tier's rule has used of each, beside the usual."""
    trained: Trained | None = None
    """How a training ended."""
    failure: str | None = None
    """Why a step of an exchange cannot be taken."""


def refusals(answer: CarriedOut, members: Sequence[FoldInput]) -> dict[int, str]:
    """Why members were refused, by place; who answers may be foreign code, so places that do not exist are left out."""
    return {place: why for place, why in answer.refused if place < len(members)}


def needed(effect: Computed) -> tuple[Key, ...]:
    """The values without which an effect cannot be carried out; updates to fold are not among them."""
    match effect:
        case Adopt():
            return (effect.source,) if effect.base is None else (effect.source, effect.base + GROUP)
        case Move() | GroupUpdate():
            return (effect.base + GROUP,)
        case Train() | Examine():
            return (effect.model,)
        case Merge() | AddUp():
            return ()
        case ChildStep():
            return (effect.state,) if effect.received is None else (effect.state, effect.received)
        case ParentStep() | Combine():
            return () if effect.state is None else (effect.state,)


def members_of(effect: Computed) -> tuple[FoldInput, ...]:
    """The updates that an effect folds."""
    return effect.members if isinstance(effect, Move | Merge | AddUp | Combine) else ()


def makes(effect: Computed) -> Mapping[Key, str]:
    """The values that an effect may make, and what each of them is."""
    match effect:
        case Adopt() | Move():
            return {effect.model + GROUP: "group", effect.model: "model", effect.model + DIFFERENCE: "difference"}
        case Merge() | GroupUpdate():
            return {effect.update: "update", SENDER: "state"}
        case AddUp() | Examine() | Combine():
            return {effect.update: "update"}
        case ChildStep():
            return {effect.payload: "step", effect.after: "step"}
        case ParentStep():
            return {key: "reply" for _, key in effect.replies} | {effect.after: "step"}
        case Train():
            return {effect.update: "update", STATE: "state", SENDER: "state"}
