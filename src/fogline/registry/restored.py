"""Numbers after a restore: a cloud that went back to a backup must not give a number for the second time.

Numbers that only machines see go on at the time on the clock, which is above all that were counted up before. Those
that people see go on at the next thousand.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fogline.storage import Database

KIND, KEY = "restored", "floors"
LEAP = 1000


class Floors(msgspec.Struct, frozen=True):
    """Below what numbers are not given any more."""

    at: float = 0.0
    """Unix time at which a restore was noticed last; 0: never."""
    jobs: int = 0
    versions: dict[str, int] = {}
    """Of models that were known then,"""
    others: int = 0
    """and of models that may have been lost."""

    @property
    def releases(self) -> int:
        """Numbers of releases are above this."""
        return int(self.at)

    def version(self, model: str) -> int:
        """Numbers of a model's versions are above this."""
        return self.versions.get(model, self.others)

    def raised(self, now: float, job: int, versions: Mapping[str, int]) -> Floors:
        """After one more restore.

        Args:
            now: Unix time.
            job: the highest number of a job that is known.
            versions: the highest number of a version, by model.
        """
        known = {model: following_thousand(max(number, self.version(model))) for model, number in versions.items()}
        jobs = following_thousand(max(job, self.jobs))
        return Floors(now, jobs, {**self.versions, **known}, following_thousand(self.others))


def following_thousand(number: int) -> int:
    """The next multiple of a thousand above a number."""
    return (number // LEAP + 1) * LEAP


_FLOORS = msgspec.msgpack.Decoder(Floors)


def read_floors(database: Database) -> Floors:
    """What is kept; zeros where no restore was ever noticed."""
    body = database.get(KIND, KEY)
    return Floors() if body is None else _FLOORS.decode(body)


def keep_floors(database: Database, floors: Floors) -> None:
    """Write the floors into the database."""
    database.put(KIND, KEY, msgspec.msgpack.encode(floors))
