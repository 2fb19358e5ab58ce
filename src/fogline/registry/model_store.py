"""What the registry keeps of each model besides its versions, in the cloud's records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec

from fogline.registry.model_report import Note
from fogline.registry.release import Outcome, Release, Tally
from fogline.registry.restored import read_floors
from fogline.registry.rollout import Rollout
from fogline.registry.rollout_events import RolloutPlan
from fogline.storage import Database

MODELS = "registry-model"
SHOWN = 200
"""Lines of a model's record that are shown."""


class RetrainRule(msgspec.Struct, frozen=True):
    """When a model's job runs again by itself."""

    psi: float
    cooldown: float
    """Seconds."""
    by: str
    last: float = 0.0
    """Unix time of the last such run, whichever version it was for."""


class ModelRecord(msgspec.Struct, frozen=True):
    """What is kept of a model besides its versions."""

    rollout: Rollout
    release: Release | None = None
    """The newest one; signed after it is kept."""
    plan: RolloutPlan = RolloutPlan()
    """Of the last rollout."""
    outcomes: dict[str, Outcome] = {}
    """What became of a version, the last of each node,"""
    alarms: dict[str, Outcome] = {}
    """and its last alarm."""
    tallies: dict[int, Tally] = {}
    psi: dict[int, float] = {}
    retrain: RetrainRule | None = None


_STATE = msgspec.msgpack.Decoder(ModelRecord)
_NOTE = msgspec.json.Decoder(Note)


class ModelStore:
    """The states of all models. A change is in the records when the call returns.

    Args:
        database: the records.
        noted: told of each line of a model's record, and who wanted it.
    """

    def __init__(self, database: Database, noted: Callable[[str, str, str], None] | None = None) -> None:
        self._database = database
        self._noted = noted
        self._states: dict[str, ModelRecord] = {model: _STATE.decode(body) for model, body in database.all(MODELS)}

    def __contains__(self, model: str) -> bool:
        return model in self._states

    def __iter__(self) -> Iterator[ModelRecord]:
        return iter(list(self._states.values()))

    def of(self, model: str) -> ModelRecord:
        """A model's; that of a model nothing has happened to, if it is not known."""
        return self._states.get(model) or ModelRecord(Rollout(model=model, number=read_floors(self._database).releases))

    def keep(self, state: ModelRecord) -> None:
        """Put a state in place of the one before."""
        self._database.put(MODELS, state.rollout.model, msgspec.msgpack.encode(state))
        self._states[state.rollout.model] = state

    def note(self, model: str, text: str, by: str = "") -> None:
        """Write a line into a model's record; ``by``: who wanted it."""
        if self._noted is not None:
            self._noted(model, text, by)
        self._database.note(f"model/{model}", msgspec.json.encode(Note(time.time(), text, by)))

    def notes(self, model: str) -> tuple[Note, ...]:
        """The newest lines, the newest last."""
        bodies = self._database.notes(f"model/{model}", limit=10 * SHOWN)[-SHOWN:]
        return tuple(_NOTE.decode(body) for _, body in bodies)
