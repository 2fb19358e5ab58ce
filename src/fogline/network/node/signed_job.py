"""What runs must be what the developer signed, and what owners approved."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from fogline.governance.policy.protection import algorithm_of, exchange_of_devices, tiers_of

SIGNED = (
    "task",
    "task_parameters",
    "algorithm",
    "rules",
    "exchanges",
    "exchange of devices",
    "stages",
    "queries",
    "privacy",
)
"""Keys of a job that name code, or are handed to it, or protect what comes of it: what runs must be what the developer
signed."""


def differing(signed: str, resolved: str) -> str | None:
    """A key on whose value two jobs differ, among those that name code; None if there is none."""
    one, other = _named(signed), _named(resolved)
    return next((key for key in SIGNED if one[key] != other[key]), None)


def departing(signed: str, resolved: str) -> str | None:
    """A key to which the developer gave a value, and which has another one in the job as it would run; None if there is
    none. Fewer rounds are no other value: the job's own budget may allow no more. What the developer left out has the
    values that the cloud filled in.

    Raises:
        JobError: one of them is no job.
    """
    from fogline.jobs.reading import parse_job
    from fogline.jobs.writing import job_to_toml

    said = tomllib.loads(job_to_toml(parse_job(signed), only_given=True))
    runs = tomllib.loads(job_to_toml(parse_job(resolved)))
    if runs.get("rounds", 0) <= said.get("rounds", 0):
        said.pop("rounds")
    return _departing(said, runs)


def _departing(said: Mapping[str, Any], runs: Mapping[str, Any], under: str = "") -> str | None:
    for key, value in said.items():
        other = runs.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            found = _departing(value, other, f"{under}{key}.")
            if found is not None:
                return found
        elif value != other and not (value == "none" and other is None):
            return f"{under}{key}"
    return None


def _named(text: str) -> dict[str, object]:
    job = tomllib.loads(text)
    tiers = tiers_of(job)
    return {
        "task": job.get("task", ""),
        "task_parameters": job.get("task_parameters") or {},
        "algorithm": algorithm_of(text),
        "rules": {name: tier["rule"] for name, tier in tiers.items() if tier.get("rule", "none") != "none"},
        "exchanges": {
            name: (tier["exchange"], tier.get("exchange_parameters") or {})
            for name, tier in tiers.items()
            if tier.get("exchange")
        },
        "exchange of devices": exchange_of_devices(job),  # Another tier below would take it from them.
        "stages": {name: tier["uplink"] for name, tier in tiers.items() if tier.get("uplink")},
        "queries": job.get("queries") or [],
        "privacy": _privacy(job.get("privacy")),
    }


def _privacy(table: Any) -> object:
    """What a job says of differential privacy, with defaults where it says nothing."""
    if table is None:
        return None
    from fogline.jobs.privacy import Privacy

    return Privacy.model_validate(table)
