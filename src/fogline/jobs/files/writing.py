"""Jobs as TOML files: writing, so that reading gives the job back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.tree import Tree

Table = dict[str, Any]
HEAD = "# A Fogline job, with every default filled in. Run it with: fogline simulate FILE\n\n"
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def write_job(path: Path, job: Job) -> None:
    """Write a job so that :func:`fogline.jobs.files.reading.read_job` gives it back.

    Raises:
        JobError: the job holds something that TOML cannot say.
    """
    path.write_text(job_to_toml(job), encoding="utf-8", newline="\n")


def job_to_toml(job: Job, only_given: bool = False, note: str = "") -> str:
    """A job as TOML, with every default filled in.

    Args:
        job: any.
        only_given: leave out what nobody said, so that a method's own settings still count.
        note: a sentence for people, to stand above.

    Raises:
        JobError: it holds something that TOML cannot say (a Python object among the task's parameters).
    """
    table = _written(job, only_given)
    head = HEAD + (f"# {note}\n\n" if note else "")
    tree = table.get("tree")
    if tree is not None and not set(tree["tiers"]) & set(Tree.model_fields):
        table["tree"] = {key: value for key, value in tree.items() if key != "tiers"} | tree["tiers"]
    return ("" if only_given else head) + "\n".join(_lines(table, ())).lstrip("\n") + "\n"


def _written(part: BaseModel, only_given: bool = False) -> Table:
    """A checked part as tables; what is None or empty by default is left out."""
    table: Table = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if only_given and name not in part.model_fields_set:
            continue
        if isinstance(value, BaseModel):
            table[name] = _written(value, only_given)
        elif isinstance(value, Mapping) and value and all(isinstance(facts, BaseModel) for facts in value.values()):
            table[name] = {tier: _written(facts, only_given) for tier, facts in value.items()}
        elif value is None and field.default is not None:
            table[name] = "none"
        elif value is not None and value != {}:
            table[name] = value
    return table


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """A table's own values, then the tables below it, each under its header."""
    lines: list[str] = []
    for key, value in table.items():
        if not _is_table(value):
            lines.append(f"{_key(key, path)} = {_literal(value, (*path, key))}")
    for key, value in table.items():
        if _is_table(value):
            below = (*path, key)
            only_tables = value and all(_is_table(item) for item in value.values())
            header = [] if only_tables else ["", f"[{'.'.join(_key(part, path) for part in below)}]"]
            lines += header + _lines(value, below)
    return lines


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _key(key: object, path: tuple[str, ...]) -> str:
    if not isinstance(key, str):
        raise JobError(f"{'.'.join(path)} has the key {key!r}; keys in a job must be text.")
    return key if BARE_KEY.fullmatch(key) else _text(key)


def _literal(value: object, path: tuple[str, ...]) -> str:
    """A value as TOML."""
    match value:
        case None:
            return "{ none = true }"
        case bool():
            return str(value).lower()
        case str():
            return _text(value)
        case Path():
            return _text(str(value))
        case Integral():
            return str(int(value))
        case Real():
            return _number(float(value))
        case list() | tuple():
            return f"[{', '.join(_literal(item, path) for item in cast('list[Any]', value))}]"
        case Mapping():
            pairs = (f"{_key(k, path)} = {_literal(v, (*path, k))}" for k, v in cast("Table", value).items())
            return f"{{ {', '.join(pairs)} }}"
        case _ if type(value).__module__ != "builtins" and (rule := rule_text(value)):
            return _text(rule)
        case _:
            where = ".".join(path)
            raise JobError(f"{where} is a {type(value).__name__}; a job can hold numbers, text, lists and tables only.")


def rule_texts(value: object) -> list[str]:
    """The texts that name the rules of a tier, in order."""
    parts = cast("list[Any]", value) if isinstance(value, list | tuple) else [value]
    return [text for part in parts if (text := rule_text(part)) is not None]


def rule_text(value: object) -> str | None:
    """The text that names a rule of a tier; None where it is none."""
    if isinstance(value, str):
        return value
    from fogline.aggregation.rules import Rule, rule_name  # Not above: who only reads and writes text needs no rules.
    from fogline.jobs.files.naming import class_name

    return rule_name(value, class_name(type(value))) if isinstance(value, Rule) else None


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _text(value: str) -> str:
    """A TOML string: JSON's escapes, and the one control character that JSON lets pass."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
