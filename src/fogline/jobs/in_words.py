"""What a signed job does, in words for the owners of the data that it wants: read off what the developer signed, so
that whoever has the bundle can say it without trusting who brought it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from fogline.governance.bundles.manifest import Manifest
from fogline.jobs.budget import WHOSE, Account
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.promise import promise_of
from fogline.jobs.reading import parse_job
from fogline.jobs.writing import rule_texts

Facts = tuple[tuple[str, str], ...]
"""Sentences, each with what it is about."""
FIRST = "Nothing that was approved before is known to compare it with."


def facts_of(manifest: Manifest, digest: str, before: Manifest | None = None, leaks: str = "") -> Facts:
    """What a job does.

    Args:
        manifest: what the developer signed of it.
        digest: SHA-256 of its bundle, in hexadecimal.
        before: of the job of that name that was approved last; None where there is none.
        leaks: what an audit of its leaks came to, as the developer sent it along; empty: nothing.

    Raises:
        JobError: what was signed is no job.
    """
    job = parse_job(manifest.job)
    who = f"{manifest.signer.name} (key {manifest.signer.fingerprint})"
    found = [
        ("signed by", who),
        ("bundle", digest),
        ("code", f"{manifest.code}: {', '.join(manifest.files) or 'no files; it must be installed'}"),
        ("difference", FIRST if before is None else difference(before, manifest)),
        ("task", _called(job.task, job.task_parameters)),
        ("data", _data(job)),
        ("training", f"{_called(job.algorithm.name, job.algorithm.parameters)}, at most {job.rounds} rounds"),
        ("sends up", _stages(job)),
        ("privacy", promise_of(job) or "None: there is no differential privacy."),
        ("budget", _budget(job)),
        ("leak audit", f"By the developer's word: {leaks}" if leaks else "The developer sent none along (leaks.json)."),
    ]
    return tuple(found)


def difference(before: Manifest, after: Manifest) -> str:
    """What is other in a job than in one before it."""
    said = _files(before, after)
    if before.signer.public_key != after.signer.public_key:
        said.insert(0, f"signed with another key than before ({before.signer.name}, {before.signer.fingerprint})")
    keys = _keys(tomllib.loads(before.job), tomllib.loads(after.job))
    said += [f"of the job: {', '.join(keys)}"] if keys else []
    return "; ".join(said) if said else "None: code and job are those that were approved before."


def _files(before: Manifest, after: Manifest) -> list[str]:
    one, other = before.files, after.files
    groups = {
        "new": [name for name in other if name not in one],
        "gone": [name for name in one if name not in other],
        "changed": [name for name in other if name in one and one[name].sha256 != other[name].sha256],
    }
    return [f"{what}: {', '.join(names)}" for what, names in groups.items() if names]


def _keys(before: Mapping[str, Any], after: Mapping[str, Any], under: str = "") -> list[str]:
    """Keys with other values, each with both."""
    found: list[str] = []
    for key in dict.fromkeys((*before, *after)):
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _keys(one, other, f"{under}{key}.")
        elif one != other:
            found.append(f"{under}{key} was {_value(one)} and is {_value(other)}")
    return found


def _value(value: object) -> str:
    return "not there" if value is None else repr(value)


def _called(name: str, parameters: Mapping[str, Any]) -> str:
    return name + (f"({', '.join(f'{key}={value!r}' for key, value in parameters.items())})" if parameters else "")


def _data(job: Job) -> str:
    tags = f"Data tagged {', '.join(job.needs.tags)}" if job.needs.tags else "Whatever its task reads: it names no tags"
    asks = [f"answers to {', '.join(job.queries)}"] if job.queries else []
    asks += ["what models are worth on it"] if job.evaluation.on_devices else []
    return f"{tags}; it is trained on{' and asked for ' + ' and '.join(asks) if asks else ''}."


def _stages(job: Job) -> str:
    """What aggregators get, tier by tier, from the devices up."""
    said: list[str] = []
    for name, tier in reversed([*job.tree.tiers.items()]):
        rules = ", ".join(rule_texts(tier.rule)) or "mean"
        steps = [*tier.uplink, *([tier.exchange] if tier.exchange else [])]
        said.append(f"to {name}: {', '.join(steps) or 'updates as they are'} (rule: {rules})")
    return "; ".join(said)


def _budget(job: Job) -> str:
    privacy = job.privacy
    if privacy is None:
        return "None is counted."
    if privacy.epsilon is not None:
        return f"It ends before ε = {privacy.epsilon:g} at δ = {privacy.delta:g} is spent of {WHOSE[privacy.unit]}."
    try:
        spent = Account(job).epsilon(job.rounds)
    except JobError:
        spent = None
    known = "not known before it runs" if spent is None else f"ε = {spent:.3g} at δ = {privacy.delta:g}"
    return f"It may spend, of {WHOSE[privacy.unit]}: {known}."
