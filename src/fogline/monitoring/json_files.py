"""A run's records as JSON and back: numbers that JSON has not are null."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from fogline.monitoring.record import Baseline, Reached, Row, Spread
from fogline.storage.atomic import write_file
from fogline.training.metrics import is_better_higher


def line_of(row: Row) -> str:
    """A row as a line."""
    return json.dumps(_plain(row), allow_nan=False) + "\n"


def row_of(line: str) -> Row:
    """A row from its line."""
    return _with_nan(json.loads(line))


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write a file that people can read too."""
    write_file(path, json.dumps(_plain(facts), indent=1, allow_nan=False, ensure_ascii=False) + "\n", durable=False)


def facts_of(value: Spread | Reached | Baseline | None) -> dict[str, Any] | None:
    """A record as a table."""
    return None if value is None else asdict(value)


def result_of(text: str) -> dict[str, Any]:
    """The fields of a result, from what was written of it."""
    facts: dict[str, Any] = json.loads(text)
    for name in ("metrics", "held_out"):
        facts[name] = _with_nan(facts[name])
    for name in ("fogs", "devices"):
        facts[name] = _spread(facts[name])
    facts["common"] = _spread(facts.get("common"))  # Not there in a run from before devices judged both.
    facts["reached"] = None if facts["reached"] is None else Reached(**facts["reached"])
    facts["malicious"] = tuple(facts.get("malicious", ()))  # Not there in a run from before there were attacks.
    if "higher_is_better" not in facts:  # A run from before it was written down.
        facts["higher_is_better"] = is_better_higher(facts["headline"])
    return facts


def baselines_of(text: str) -> dict[str, Baseline]:
    """Baselines by name, from what was written of them."""
    made: dict[str, dict[str, Any]] = json.loads(text)
    return {name: _baseline(facts) for name, facts in made.items()}


def _baseline(facts: dict[str, Any]) -> Baseline:
    fields = dict(facts)
    for name in ("metrics", "held_out"):
        fields[name] = _with_nan(facts[name])
    fields["models"] = _spread(facts["models"])
    fields["devices"] = _spread(facts.get("devices"))  # Not there in a run from before devices judged it.
    fields["history"] = [_with_nan(row) for row in facts["history"]]
    return Baseline(**fields)


def _spread(facts: dict[str, Any] | None) -> Spread | None:
    if facts is None:
        return None
    numbers = _with_nan({name: value for name, value in facts.items() if name not in ("values", "bins")})
    bins = tuple((mean, devices) for mean, devices in facts.get("bins", ()))
    return Spread(values=_with_nan(facts["values"]), bins=bins, **numbers)


def _plain(value: Any) -> Any:
    """For JSON: a number that is not finite becomes null, numpy's numbers become Python's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, str | bool | int | None):
        return value
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _with_nan(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in numbers.items()}
