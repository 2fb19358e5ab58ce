"""Faults of a lab, as sentences."""

from __future__ import annotations

from pydantic import ValidationError

from fogline.errors import InputError
from fogline.jobs.errors import suggest


class LabError(InputError, ValueError):
    """A lab file that cannot be used, or a lab that cannot run here. The text is one sentence for people."""


def sentence(error: ValidationError, place: str, known: list[str]) -> str:
    """The first fault that pydantic found, as one sentence that names the key.

    Args:
        error: what pydantic raised.
        place: where the table stands (``links.fog-0``); empty at the top of the file.
        known: the keys that the table takes.
    """
    faults = error.errors(include_url=False)
    first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    path = [str(part) for part in first["loc"] if part not in ("function-before", "constrained-str")]
    key = ".".join(([place] if place else []) + path)
    if first["type"] == "extra_forbidden":
        return f"{key} is no key of a lab{suggest(path[-1], known)}"
    if first["type"] == "missing":
        return f"{key} is missing"
    text = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{key}: {text[0].lower()}{text[1:]}"
