"""What travels with a job: the module of its task, and what that imports of the same folder."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fogline.governance.bundles.bundle import pack
from fogline.governance.signatures.signing import SigningKey
from fogline.jobs import Job, JobError
from fogline.jobs.files.writing import job_to_toml, rule_texts
from fogline.plugins import read_call


def bundle_of_job(job: Job, folder: Path, send: Sequence[Path], key: SigningKey) -> tuple[str, bytes, list[Path]]:
    """The job's text, its signed bundle, and the files in it.

    Args:
        job: as the developer wrote it.
        folder: where its file lies.
        send: further files of that folder.
        key: the developer's.

    Raises:
        JobError: the job names no task, or its module cannot be read.
        BundleError: the files are too large, or have names that cannot travel.
    """
    text = job_to_toml(job, only_given=True)
    files = files_of(job, folder) + [path for path in send if path.is_file()]
    missing = [str(path) for path in send if not path.is_file()]
    if missing:
        raise JobError(f"There is no file {missing[0]} to send")
    unique = list({path.resolve(): path for path in files}.values())
    return text, pack(text, folder, unique, key, time.time()), unique


def files_of(job: Job, folder: Path) -> list[Path]:
    """Python files of a folder that a job's task, method, exchange, rules, stages and noise need, found by imports.

    Modules that do not lie in the folder must be installed where the job runs.

    Raises:
        JobError: the job names no task, or a module cannot be read.
    """
    if not job.task:
        raise JobError("The job names no task; write task = 'module:attribute'")
    tiers = job.tree.tiers.values()
    rules = [text for tier in tiers for text in rule_texts(tier.rule)]
    stages = [text for tier in tiers for text in (*tier.uplink, *tier.downlink)]
    noise = [] if job.privacy is None else [job.privacy.mechanism]
    read = (read_call(text).name for text in rules + stages + noise)
    named = [job.algorithm.name, *(tier.exchange for tier in tiers), *read]
    roots = [job.task, *(name for name in named if ":" in name)]
    waiting = [part for root in roots for part in _with_parents(root.partition(":")[0])]
    found: dict[Path, None] = {}
    while waiting:
        module = waiting.pop()
        path = _file(module, folder)
        if path is not None and path not in found:
            found[path] = None
            waiting += _imports(path, module)
    return sorted(found)


def _file(module: str, folder: Path) -> Path | None:
    place = folder.joinpath(*module.split("."))
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def _with_parents(module: str) -> list[str]:
    """A module and the packages that it lies in."""
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _imports(path: Path, module: str) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise JobError(f"{path} cannot be sent: {error}") from error
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from _with_parents(base) if base else ()
            # What is imported may be a module itself.
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)
