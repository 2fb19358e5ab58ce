"""Faults in a profile, as sentences."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from fogline.plugins import suggest


class ProfileError(ValueError):
    """A profile that cannot be used, or figures that cannot be read. The text is one sentence."""


def sentence(error: ValidationError, table: str, known: Iterable[str]) -> str:
    """The first fault that pydantic found, as one sentence that names the key.

    Args:
        error: what pydantic raised.
        table: the table's name in the job (``devices``).
        known: the keys that the table takes.
    """
    faults = error.errors()
    first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    place = _place(first["loc"])
    key = ".".join([table, *place])
    if first["type"] == "extra_forbidden":
        if len(place) > 1:  # Inside of a value: what is missing there is likely what was meant.
            known = [str(fault["loc"][-1]) for fault in faults if fault["type"] == "missing"]
        return _closed(f"There is no key '{key}'{suggest(place[-1], known)}")
    text = first["msg"].removeprefix("Value error, ").rstrip(".")
    return _closed(f"{key}: {text[0].lower()}{text[1:]}")


def _closed(sentence: str) -> str:
    return sentence if sentence.endswith("?") else f"{sentence}."


def _place(location: tuple[int | str, ...]) -> list[str]:
    """A path without the names of unions' branches, which pydantic puts before the branch's own key."""
    parts = [str(part) for part in location]
    return [part for i, part in enumerate(parts) if part not in parts[i + 1 : i + 2]]
