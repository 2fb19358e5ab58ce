"""What is wrong with a job, as one line that names the key, what it holds and what would be right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fogline.errors import InputError
from fogline.jobs.checked import Demand, StrictModel, as_a_whole, explains
from fogline.jobs.job import Job, Method
from fogline.jobs.tree import Tree
from fogline.plugins import suggest

Path = tuple[str | int, ...]
"""Keys from the job's top to a value; tiers stand under ``("tree", "tiers")``."""

TYPES = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "number": "a number, and not true or false",
    "string": "text in quotes",
    "finite": "a finite number",
    "tuple": "a list",
    "list": "a list",
    "model": "a table of keys",
    "dict": "a table of keys",
    "mapping": "a table of keys",
}
LONGEST = 60


class JobError(InputError, ValueError):
    """A job, or what it names, that cannot be run as it is. The text is one sentence for people."""


def check(raw: Mapping[str, Any], source: Callable[[Path], str] | None = None) -> Job:
    """A job from its tables or parts.

    Args:
        raw: by key; tiers under ``tree.tiers``.
        source: where a key came from (a file, the command line), to stand before the error.

    Raises:
        JobError: one line that names the first wrong key and says what would be right.
    """
    try:
        with as_a_whole():
            return Job.model_validate(raw)
    except ValidationError as error:
        raise explain(error, raw, source or (lambda _: "")) from error


def explain(error: ValidationError, raw: Mapping[str, Any], source: Callable[[Path], str]) -> JobError:
    """One line for the first thing that is wrong, and how many more there are.

    Args:
        error: what pydantic found.
        raw: the tables that it checked, tiers under ``tree.tiers``.
        source: where a key came from (a file, the command line).
    """
    found: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        found.setdefault(_existing(details["loc"], raw), []).append(details)
    # An unknown key explains more than what it leads to, so it goes first.
    path = min(found, key=lambda p: found[p][0]["type"] != "extra_forbidden")
    more = f" ({len(found) - 1} more to mend after it)" if len(found) > 1 else ""
    before = f"{source(path)}: " if source(path) else ""
    return JobError(f"{before}{_sentence(path, found[path], raw)}{more}")


@explains
def explain_part(kind: type[BaseModel], error: ValidationError, fields: Mapping[str, Any]) -> JobError:
    """One line for what is wrong with a part that a program makes: ``Tier(cohrt=3)``."""
    place = _place_of(kind) or ()
    if kind is Tree:
        own = {name: value for name, value in fields.items() if name in Tree.model_fields}
        fields = {**own, "tiers": {name: value for name, value in fields.items() if name not in own}}
    raw: Any = dict(fields)
    for key in reversed(place):
        raw = {key: raw}
    found: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        found.setdefault(_existing((*place, *details["loc"]), raw), []).append(details)
    path = next(iter(found))
    if kind is Tree and path[:2] == ("tree", "tiers") and len(path) == 3:
        given = shown(fields["tiers"][path[2]])
        return JobError(f"{dotted(path)} is {given}; a tree has minimum, assign, and tiers by name: fog=Tier(...)")
    return JobError(_sentence(path, found[path], raw))


def dotted(path: Path) -> str:
    """A path as people write it: ``fog.deadline``, ``local.work[0]``."""
    text = ""
    for part in path[2:] if path[:2] == ("tree", "tiers") and len(path) > 2 else path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: object) -> str:
    """A value as a job file writes it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    text = "a table" if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def part_of(path: Path) -> type[StrictModel] | None:
    """The checked part of a job at that path; None where keys are free."""
    found: Any = Job
    for key in path:
        if _is_part(found):
            field = found.model_fields.get(str(key))
            found = None if field is None else _part_or(field.annotation)
        else:  # Parts by name, or a free table.
            found = get_args(found)[-1] if get_origin(found) is Mapping else None
    return found if _is_part(found) else None


def _part_or(annotation: Any) -> Any:
    """The part in ``Part | None``; anything else as it is."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    return next((kind for kind in get_args(annotation) if _is_part(kind)), annotation)


def _place_of(kind: type[BaseModel], part: type[BaseModel] = Job, above: Path = ()) -> Path | None:
    """Where parts of that kind stand in a job; one of many by name bears that of its kind."""
    if kind is part:
        return above
    for name, field in part.model_fields.items():
        below, place = field.annotation, (*above, name)
        if get_origin(below) is Mapping:
            below, place = get_args(below)[-1], (*place, kind.__name__)
        found = _place_of(kind, below, place) if _is_part(below) else None
        if found is not None:
            return found
    return None


def _is_part(kind: object) -> TypeGuard[type[StrictModel]]:
    return isinstance(kind, type) and issubclass(kind, StrictModel)


def unknown_key(path: Path, known: Sequence[str] = ()) -> str:
    """The sentence for a key that nobody knows; ``known`` are names that it may have beside the part's own."""
    part = part_of(path[:-1]) or Job
    names = [*(name for name in part.model_fields if name != "tiers"), *known]
    if part is Method:
        return f"{dotted(path)} is no key of {part.called}; its parameters stand under algorithm.parameters"
    return f"{dotted(path)} is no key of {part.called}{suggest(str(path[-1]), names)}"


def _sentence(path: Path, errors: list[ErrorDetails], raw: Mapping[str, Any]) -> str:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return unknown_key(path, tiers_of(raw) if len(path) == 1 else ())
    if first["type"] == "value_error":
        return f"{dotted(path)}: {first['ctx']['error'] if 'ctx' in first else first['msg']}"
    demand = _said_demand(path) or " or ".join(dict.fromkeys(_demand(details, _is_whole(path)) for details in errors))
    value: Any = raw
    for part in path:
        value = value[part]
    guess = suggest(value, _choices(first)) if first["type"] == "literal_error" and isinstance(value, str) else ""
    return f"{dotted(path)} is {shown(value)}; it must be {demand}" + (guess if "mean" in guess else "")


def _said_demand(path: Path) -> str:
    """What would be right, where the field says it itself."""
    field = _field_of(path)
    return next((note.text for note in field.metadata if isinstance(note, Demand)), "") if field is not None else ""


def _demand(details: ErrorDetails, whole: bool) -> str:
    """What would be right, to stand after "it must be"."""
    kind, facts = details["type"], details.get("ctx", {})
    if kind == "literal_error":
        return str(facts["expected"])
    if kind == "greater_than":
        return f"at least {facts['gt'] + 1}" if whole else f"above {facts['gt']:g}"
    bounds = {
        "greater_than_equal": ("at least", "ge"),
        "less_than": ("below", "lt"),
        "less_than_equal": ("at most", "le"),
    }
    if kind in bounds:
        word, key = bounds[kind]
        return f"{word} {facts[key]:g}"
    return TYPES.get(kind.partition("_")[0], f"right: {details['msg']}")


def _is_whole(path: Path) -> bool:
    """Whether the value at that path is a whole number."""
    field = _field_of(path)
    return field is not None and "float" not in str(field.annotation)


def _field_of(path: Path) -> FieldInfo | None:
    part = part_of(path[:-1])
    return part.model_fields.get(str(path[-1])) if part is not None else None


def _choices(details: ErrorDetails) -> list[str]:
    expected = str(details.get("ctx", {}).get("expected", ""))
    return [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]


def tiers_of(raw: Mapping[str, Any]) -> list[str]:
    """Names of the tiers in a job's tables."""
    tree = raw.get("tree")
    tiers = tree.get("tiers") if isinstance(tree, Mapping) else None
    return list(tiers) if isinstance(tiers, Mapping) else []


def _existing(location: Path, raw: Any) -> Path:
    """The part of a location that stands in the tables; what follows names a branch of pydantic's."""
    path: list[str | int] = []
    for part in location:
        inside = part in raw if isinstance(raw, Mapping) else isinstance(part, int) and part < _length(raw)
        if not inside:
            break
        raw = raw[part]
        path.append(part)
    return tuple(path)


def _length(value: object) -> int:
    return len(value) if isinstance(value, list | tuple) else 0
