"""Jobs as TOML files: reading with overrides, writing the resolved job, and finding the task that a job names.

A job file says what :class:`fogline.jobs.Job` holds, with three conveniences: tiers may stand directly under
``[tree]`` (``[tree.fog]``), ``algorithm = "fedprox"`` is short for a table with that name, and since TOML has no
null, ``"none"`` is None wherever a key of the job's own may be None. In free tables (``task_parameters``,
``algorithm.parameters`` …), where text is text, None is ``{ none = true }``.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import sys
import tomllib
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import PathFinder
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType, NoneType
from typing import TYPE_CHECKING, Any, cast, get_args

from pydantic import BaseModel

from fogline.jobs.errors import JobError, check, part_of, shown, tiers_of, unknown_key
from fogline.jobs.errors import Path as Keys
from fogline.jobs.job import Job
from fogline.jobs.tree import Tree
from fogline.plugins import suggest
from fogline.randomness import seeded

if TYPE_CHECKING:
    from fogline.training.task import Task

Table = dict[str, Any]
COMMAND_LINE = "command line"
NULL = {"none": True}
HEAD = "# A Fogline job, with every default filled in. Run it with: fogline simulate FILE\n\n"
_importing: list[str] = []
"""Modules that are being imported for a job."""
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


# Reading


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
    """Bring the short forms into the full one: tiers under ``tree.tiers``, the algorithm as a table."""
    if isinstance(raw.get("algorithm"), str):
        raw["algorithm"] = {"name": raw["algorithm"]}
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
    table[keys[-1]] = _value(text)
    return tuple(keys[:new])


def _value(text: str) -> Any:
    """An override's value: as TOML reads it, else the text itself."""
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


# Writing


def write_job(path: Path, job: Job) -> None:
    """Write a job so that :func:`read_job` gives it back.

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
        case _:
            where = ".".join(path)
            raise JobError(f"{where} is a {type(value).__name__}; a job can hold numbers, text, lists and tables only.")


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _text(value: str) -> str:
    """A TOML string: JSON's escapes, and the one control character that JSON lets pass."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# Tasks


def load_task(job: Job, folder: Path) -> Task:
    """Import the task that a job names, with ``folder`` (where its file lies) first on the import path.

    A function is called with the job's ``task_parameters``, under the job's seed; what it returns must be a task.

    Raises:
        JobError: there is no such module or attribute, it raises, or what it gives is no task.
    """
    from fogline.training.task import Task

    module, colon, attribute = job.task.partition(":")
    if not (colon and module and attribute) or module.endswith(".py") or "/" in module:
        wanted = f"{Path(module).stem or 'tasks'}:{attribute or 'task'}"
        raise JobError(f"task is '{job.task}'; write 'module:attribute', say '{wanted}'")
    # A file is imported once, whichever job comes first; so what it draws meanwhile is no job's.
    with seeded(0):
        made: object = _attribute(job.task, _import(module, folder.resolve()), attribute)
    if not isinstance(made, Task) and callable(made):
        with seeded(job.seed):
            made = _call(job, made, folder)
    elif job.task_parameters:
        raise JobError(f"'{job.task}' is a task, not a function, so it takes no task_parameters; leave them out")
    if not isinstance(made, Task):
        raise JobError(f"'{job.task}' gives a {type(made).__name__}; it must be a fogline Task or a function of one")
    made.seed = job.seed
    return made


def task_folder(job: Job) -> Path | None:
    """The folder that a job's task was imported from, for a later run; None if it was given in Python."""
    name = job.task.partition(":")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    if not name or file is None:
        return None
    path = Path(file).resolve()
    return path.parents[name.count(".") + (path.name == "__init__.py")]


def check_not_importing() -> None:
    """Refuse to start a run while a job's module is imported: it would never end.

    Raises:
        JobError: one is.
    """
    if _importing:
        raise JobError(
            f"task: importing module '{_importing[-1]}' starts a run; "
            'put what runs in it under: if __name__ == "__main__"'
        )


def _import(name: str, folder: Path) -> ModuleType:
    _importing.append(name)
    try:
        return _import_from(name, folder)
    finally:
        _importing.pop()


def _import_from(name: str, folder: Path) -> ModuleType:
    _forget_namesake(name.partition(".")[0], folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except JobError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            found = sorted(file.stem for file in folder.glob("*.py"))
            raise JobError(
                f"task: there is no module '{error.name}' in {folder}{suggest(error.name, found)}"
            ) from error
        raise JobError(f"task: module '{name}' needs '{error.name}', which is not installed") from error
    except Exception as error:
        raise JobError(f"task: importing module '{name}' raised {_raised(error, folder)}") from error


def _forget_namesake(name: str, folder: Path) -> None:
    """Drop a module of that name that came from elsewhere, if the job's folder has its own."""
    loaded = sys.modules.get(name)
    own = PathFinder.find_spec(name, [str(folder)])
    if loaded is None or own is None or own.origin in (None, getattr(loaded, "__file__", None)):
        return
    for module in [module for module in sys.modules if module == name or module.startswith(name + ".")]:
        del sys.modules[module]


def _attribute(task: str, module: ModuleType, dotted_name: str) -> object:
    found: object = module
    for name in dotted_name.split("."):
        known = [other for other in vars(found) if not other.startswith("_")] if hasattr(found, "__dict__") else []
        if not hasattr(found, name):
            raise JobError(f"task '{task}': module '{module.__name__}' has no '{name}'{suggest(name, known)}")
        found = getattr(found, name)
    return found


def _call(job: Job, function: Callable[..., object], folder: Path) -> object:
    signature = inspect.signature(function)
    try:
        signature.bind(**job.task_parameters)
    except TypeError as error:
        raise JobError(f"task_parameters do not fit {job.task}{signature}: {error}") from error
    try:
        return function(**job.task_parameters)
    except Exception as error:
        raise JobError(f"task: {job.task} raised {_raised(error, folder.resolve())}") from error


def _raised(error: Exception, folder: Path) -> str:
    """An exception and the last line of the job's own code that led to it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if folder in Path(frame.filename).parents]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{where}: {error}"
