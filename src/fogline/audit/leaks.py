"""An audit: every attack from every place, and what it comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fogline.algorithms import Algorithm
from fogline.audit.findings import Finding, NotApplicableError, Outcome, sentence
from fogline.audit.registry import ATTACKS
from fogline.audit.scene import AuditSettings, Scene
from fogline.audit.verdict import verdict_of
from fogline.data import FederatedData
from fogline.jobs import Job, JobError
from fogline.jobs.protection.protection import DEVICES, protection_of
from fogline.training.task import Task

EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What the attacks on a job have found."""

    job: Job
    facts: Mapping[str, str]
    """Of the job, what decides how much it gives away: for people."""
    findings: tuple[Finding, ...]
    verdict: tuple[str, ...]
    """In sentences."""

    @property
    def worst(self) -> Mapping[str, Outcome]:
        """By place, the worst that was found."""
        order: list[Outcome] = ["leaks", "hints", "holds", "not applicable"]
        places: dict[str, Outcome] = {}
        for one in self.findings:
            before = places.get(one.place, "not applicable")
            places[one.place] = min(before, one.outcome, key=order.index)
        return places

    def to_json(self) -> dict[str, Any]:
        """For programs; without the pictures."""
        return {
            "job": self.job.name,
            "facts": dict(self.facts),
            "verdict": " ".join(self.verdict),
            "worst": dict(self.worst),
            "findings": [
                {
                    "attack": one.attack,
                    "place": one.place,
                    "examples": one.examples,
                    "devices": one.devices,
                    "outcome": one.outcome,
                    "words": one.words,
                    **{name: value if math.isfinite(value) else None for name, value in one.measures.items()},
                }
                for one in self.findings
            ],
        }


def audit_leaks(
    job: Job,
    task: Task,
    settings: AuditSettings | None = None,
    *,
    attacks: Sequence[str] = (),
    algorithm: Algorithm | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> LeakReport:
    """Attack a job with its own task, method, local training, stages, exchange and privacy.

    The attacker sits where updates pass: it keeps to the protocol, remembers all, and knows the job's code. What it
    sees is taken off the links of a simulation of the job.

    Args:
        job: as it would be run.
        task: that it names.
        settings: how much is done.
        attacks: by name; none: all.
        algorithm: the job's, where its name alone cannot make it.
        tell: told what is done next.

    Raises:
        JobError: the job cannot be.
        UnknownAttackError: there is no attack of that name.
        RunError: no round of it counts.
    """
    if task.trains_itself:
        raise JobError(
            f"The leak audit compares what it finds with devices' examples, and those of task '{task.name}' are seen "
            "by nobody but devices"
        )
    names = [ATTACKS.find(name).name for name in attacks] or list(ATTACKS)
    with Scene(job, task, settings or AuditSettings(), algorithm).opened() as scene:
        findings: list[Finding] = []
        for name in names:
            tell(ATTACKS.summary(name))
            findings += _found(name, scene)
    return LeakReport(job, facts_of(job, task.data), tuple(findings), verdict_of(job, findings))


def _found(name: str, scene: Scene) -> Iterable[Finding]:
    """What an attack finds; once, if it is that it does not apply."""
    try:
        findings = list(ATTACKS[name](scene))
    except NotApplicableError as error:
        return [Finding(name, EVERYWHERE, "not applicable", sentence(error))]
    words = {one.words for one in findings}
    if len(words) == 1 and all(one.outcome == "not applicable" for one in findings):
        return [Finding(name, EVERYWHERE, "not applicable", words.pop())]
    return findings


def facts_of(job: Job, data: FederatedData) -> dict[str, str]:
    """What of a job decides how much it gives away."""
    local, tiers = job.local, job.tree.tiers
    amount = f"{local.steps} steps" if local.steps else "a pass" if local.epochs == 1 else f"{local.epochs} passes"
    batch = "all examples" if local.batch_size is None else f"{local.batch_size} examples"
    sizes = data.sizes()
    facts = {
        "task": job.task or "given in Python",
        "method": job.algorithm.name,
        "local training": f"{amount} in batches of {batch}, {local.optimizer} at {local.learning_rate:g}",
        "devices": f"{len(data.clients)}, with {int(sizes.min())} to {int(sizes.max())} examples",
        "tree": " > ".join(f"{of.count} {name}" if of.count > 1 else name for name, of in tiers.items()),
        "stages upward": "; ".join(f"{name}: {', '.join(of.uplink)}" for name, of in tiers.items() if of.uplink),
        "exchange": "; ".join(f"{name}: {of.exchange}" for name, of in tiers.items() if of.exchange),
    }
    if job.privacy is not None:
        one = job.privacy
        protection = protection_of(job)
        where = DEVICES if protection is None else protection.tier_of(protection.noise)
        facts["privacy"] = f"{one.mechanism} at {where}: noise {one.noise:g}, clip {one.clip:g}"
    return {name: text or "none" for name, text in facts.items()}
