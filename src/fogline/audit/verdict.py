"""What an audit comes to, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fogline.audit.findings import Finding
from fogline.audit.tap import MODEL
from fogline.jobs import Job
from fogline.jobs.protection.protection import protection_of

SAYS = {
    "labels": "which labels a device has",
    "first_layer": "whole examples, read off the first layer",
    "dlg": "whole examples, by search",
    "geiping": "whole examples, by search",
    "membership": "whether an example was trained on",
    "lira": "whether an example was trained on",
    "canary": "whether one example was there (epsilon of at least 1)",
}
OF_SUMS = {
    "labels": "which labels several devices have together",
    "first_layer": "whole examples, read off the first layer, but not whose",
    "dlg": "whole examples, by search, but not whose",
    "geiping": "whole examples, by search, but not whose",
}
"""The same where the updates of several devices are one: a sum does not tell whose something is."""


def verdict_of(job: Job, findings: Sequence[Finding]) -> tuple[str, ...]:
    """A few sentences: who learns what, who was held off, and what would help."""
    places = list(dict.fromkeys(one.place for one in findings if one.outcome != "not applicable"))
    if not places:
        return ("None of the attacks has anything to work on in this job; that is no proof that nothing leaks.",)
    sentences = [_of_place(place, [one for one in findings if one.place == place]) for place in places]
    sentences.append(_advice(job, findings))
    return tuple(filter(None, sentences))


def _of_place(place: str, findings: Sequence[Finding]) -> str:
    who = "Whoever gets the models" if place == MODEL else f"The {place}"
    learned = _told([one for one in findings if one.outcome == "leaks"])
    hinted = _told([one for one in findings if one.outcome == "hints"])
    parts = [f"learned {_listed(learned)}"] if learned else []
    parts += [f"got hints of {_listed(new)}"] if (new := {k: v for k, v in hinted.items() if k not in learned}) else []
    return f"{who} {' and '.join(parts)}." if parts else f"{who} learned nothing that a guess does not have."


def _told(findings: Sequence[Finding]) -> dict[str, list[int | None]]:
    """What was learned, and in which trials."""
    told: dict[str, list[int | None]] = {}
    for one in findings:
        says = SAYS.get(one.attack, one.attack)
        trials = told.setdefault(says if one.devices == 1 else OF_SUMS.get(one.attack, says), [])
        if one.examples not in trials:
            trials.append(one.examples)
    return told


def _listed(told: Mapping[str, Sequence[int | None]]) -> str:
    parts = [f"{says}{_when(trials)}" for says, trials in told.items()]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _when(trials: Sequence[int | None]) -> str:
    """In which trials, where it was not with the devices' own data."""
    if None in trials:
        return ""
    counts = sorted(filter(None, trials))
    examples = "1 example" if counts == [1] else f"{', '.join(map(str, counts))} examples"
    return f" (of devices with {examples}; of their own data not)"


def _advice(job: Job, findings: Sequence[Finding]) -> str:
    alone = any(one.outcome == "leaks" and one.devices == 1 and one.place != MODEL for one in findings)
    sums = any(one.outcome == "leaks" and one.devices > 1 for one in findings)
    if alone and not any(tier.exchange for tier in job.tree.tiers.values()):
        noise = "noise that devices add" if job.privacy is None else "more noise"
        return f'Against who sees single updates: exchange = "secagg" in the last tier{_with(job)}, or {noise}.'
    if sums:
        noise = "noise, by a table [privacy]" if job.privacy is None else "more noise"
        return f"Against who sees sums or models: {noise}; larger cohorts help too."
    return ""


def _with(job: Job) -> str:
    """What the exchange wants beside it."""
    protection = protection_of(job)
    if protection is None or protection.mechanism.in_exchange:
        return ""
    if protection.privacy.unit == "site":
        return " without [privacy], whose noise for sites does not go with it"
    return ' with privacy.mechanism = "skellam" (without privacy.at and privacy.quantile)'
