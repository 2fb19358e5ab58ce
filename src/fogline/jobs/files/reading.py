"""Jobs as TOML files: reading, with overrides.

A job file says what :class:`fogline.jobs.Job` holds, with three conveniences: tiers may stand directly under
``[tree]`` (``[tree.fog]``), ``algorithm = "fedprox"`` is short for a table with that name, and since TOML has no
null, ``"none"`` is None wherever a key of the job's own may be None. In free tables (``task_parameters``,
``algorithm.parameters`` …), where text is text, None is ``{ none = true }``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args

from pydantic import BaseModel

from fogline.jobs.errors import JobError, check, part_of, shown, tiers_of, unknown_key
from fogline.jobs.errors import Path as Keys
from fogline.jobs.files.writing import Table
from fogline.jobs.job import Job
from fogline.jobs.tree import Tree
from fogline.plugins import suggest

NULL = {"none": True}
COMMAND_LINE = "command line"


def read_job(path: Path, overrides: Sequence[str] = ()) -> Job:
    """The job in a file, with ``key=value`` overrides on top.

    Raises:
        JobError: the file is missing or no TOML, or a key or a value of it (or of an override) is wrong.
    """
    if path.is_dir():
        raise JobError(f"{path} is a folder, not a job file; did you mean {path / 'job.toml'}?")
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise JobError(f"There is no job file {path}{_files_beside(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"{path} cannot be read: {error}") from error
    return parse_job(text, overrides, str(path))


def parse_job(text: str, overrides: Sequence[str] = (), source: str = "job") -> Job:
    """The job that a TOML text says, with ``key=value`` overrides on top.

    Args:
        text: TOML.
        overrides: ``fog.deadline=10s``, ``local.learning_rate=0.5``: the value is a TOML value, or else text. A key
            that begins with a tier's name goes to that tier.
        source: what to call the text in errors.

    Raises:
        JobError: one line that names the key.
    """
    try:
        return _parsed(text, overrides, source)
    except RecursionError:
        raise JobError(f"{source} is no job: it is nested too deeply") from None


def _parsed(text: str, overrides: Sequence[str], source: str) -> Job:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"{source} is not valid TOML: {error}") from error
    _settle(raw, source)
    given: list[Keys] = []
    for override in overrides:
        given.append(_override(raw, override))
        _settle(raw, COMMAND_LINE)
    _read_none(raw, ())

    def source_of(path: Keys) -> str:
        return COMMAND_LINE if any(path[: len(keys)] == keys for keys in given) else source

    return check(raw, source_of)


def _settle(raw: Table, source: str) -> None:
    """Bring the short forms into the full one: tiers under ``tree.tiers``, the algorithm as a table with ``private``
    among its parameters, where it does not stand yet.
    """
    if isinstance(raw.get("algorithm"), str):
        raw["algorithm"] = {"name": raw["algorithm"]}
    method = raw.get("algorithm")
    if isinstance(method, dict) and "private" in method:
        parameters = method.setdefault("parameters", {})
        if isinstance(parameters, dict) and "private" not in parameters:
            parameters["private"] = method.pop("private")
    tree = raw.get("tree")
    if not isinstance(tree, dict):
        if tree is not None:
            raise JobError(f"{source}: tree is {shown(tree)}; it must be a table with one table per tier")
        return
    tiers = tree.setdefault("tiers", {})
    if not isinstance(tiers, dict):
        raise JobError(f"{source}: tree.tiers is {shown(tiers)}; it must be a table with one table per tier")
    for name in [name for name in tree if name not in Tree.model_fields]:
        if not isinstance(tree[name], dict):
            raise JobError(f"{source}: {unknown_key(('tree', name))} (a tier would be a table)")
        before = tiers.get(name)
        tiers[name] = (before if isinstance(before, dict) else {}) | tree.pop(name)


def _override(raw: Table, override: str) -> Keys:
    """Put one ``key=value`` into the tables; the path to what is new."""
    key, equals, text = override.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise JobError(f"{COMMAND_LINE}: '{override}' is no override; write --set key=value, say --set rounds=20")
    tiers = tiers_of(raw) or ["cloud"]
    if keys[0] in tiers and keys[0] not in Job.model_fields:
        keys = ["tree", "tiers", *keys]
    elif keys[0] == "tree" and len(keys) > 2 and keys[1] not in Tree.model_fields:
        keys = ["tree", "tiers", *keys[1:]]
    if keys == ["algorithm", "private"]:  # Else a file that has it among the parameters would say it twice.
        keys = ["algorithm", "parameters", "private"]
    if keys[:2] == ["tree", "tiers"]:
        tree = raw.setdefault("tree", {})
        tree["tiers"] = tree.get("tiers") or {name: {} for name in tiers}
    table: Any = raw
    new = len(keys)
    for i, part in enumerate(keys[:-1]):
        if part not in table:
            table[part], new = {}, min(new, i + 1)
        table = table[part]
        if not isinstance(table, dict):
            above = ".".join(keys[: i + 1])
            raise JobError(f"{COMMAND_LINE}: {above} is {shown(table)}, so there is no {key} to set")
    table[keys[-1]] = value_of(text)
    return tuple(keys[:new])


def value_of(text: str) -> Any:
    """A value from the command line: as TOML reads it, else the text itself."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return table["value"] if len(table) == 1 else text


def _read_none(table: Table, path: Keys) -> None:
    """Replace the ways of writing None, in place."""
    part = part_of(path)
    for key, value in table.items():
        if part is not None and value == "none" and _may_be_none(part, key):
            table[key] = None
        elif part is None and path != ("tree", "tiers"):
            table[key] = _free(value)
        elif isinstance(value, dict):
            _read_none(cast("Table", value), (*path, key))


def _may_be_none(part: type[BaseModel], key: str) -> bool:
    field = part.model_fields.get(key)
    return field is not None and NoneType in get_args(field.annotation)


def _free(value: Any) -> Any:
    if value == NULL:
        return None
    if isinstance(value, dict):
        return {key: _free(item) for key, item in cast("Table", value).items()}
    return [_free(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


def _files_beside(path: Path) -> str:
    """A suggestion among the TOML files of the same folder."""
    found = sorted(file.name for file in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    return suggest(path.name, found) if found else ""
