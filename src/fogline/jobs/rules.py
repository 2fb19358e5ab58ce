"""The rules of a job's tiers: made, and checked against what the tiers below and the method can give."""

from __future__ import annotations

from fogline.aggregation.rules import Rule, check_rule, make_rule
from fogline.algorithms import Algorithm
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.user_code.bugs import attempt


def rules_of(job: Job, algorithm: Algorithm) -> dict[str, Rule]:
    """The rule of each tier, by the tier's name, the root first.

    Raises:
        JobError: there is no such rule, or it does not fit where it stands; one sentence that names the key.
    """
    rules = {name: _rule_of(job, name) for name in job.tree.names}
    modes = job.tree.modes(algorithm.mode)
    above: str | None = None
    for name, rule in rules.items():
        if rule.needs_all:
            _check_rounds(job, name, modes[name])
            if above is not None and not algorithm.inner_rounds:
                raise JobError(
                    f"With {name}.rule = '{job.tree.tiers[name].rule}' tier {name} moves a model of its own, and "
                    f"{type(algorithm).__name__} has no rounds of a tier's own; leave {name}.rule out"
                )
        tier = job.tree.tiers[name]
        merges = tier.rounds == 1 and modes[name] == "sync" and not (algorithm.group_models or rule.needs_all)
        if above is not None and merges:
            _check_sums(rules, name, above)
        above = name
    return rules


def _rule_of(job: Job, name: str) -> Rule:
    given = job.tree.tiers[name].rule
    if given is None:
        return make_rule("exact" if job.exact else "mean")
    made = attempt(lambda: check_rule(given) if isinstance(given, Rule) else make_rule(given))
    if isinstance(made, Exception):
        raise JobError(f"{name}.rule: {str(made).rstrip('.')}") from made
    if job.exact and made == make_rule("mean"):
        raise JobError(f"{name}.rule is 'mean', which is in floating point, but exact is true; leave one of them out")
    return made


def _check_rounds(job: Job, name: str, mode: str) -> None:
    """A rule that needs all updates wants those of one round, none of them older: it cannot count one for less."""
    tier = job.tree.tiers[name]
    wants = f"{name}.rule is '{tier.rule}', which needs all updates of a round at once"
    if mode != "sync":
        raise JobError(f"{wants}, but {name}.mode is '{mode}'; set it to 'sync', or the rule to 'mean'")
    if tier.late == "fold":
        raise JobError(f"{wants}, but {name}.late folds those of earlier ones; set it to 'drop', or the rule to 'mean'")


def _check_sums(rules: dict[str, Rule], name: str, above: str) -> None:
    """A tier that merges its children's updates sends sums: whether the one above can do something with them."""
    if rules[above].needs_all:
        raise JobError(
            f"{above}.rule needs the update of each child, but tier {name} sends sums of its children's; give {name} "
            f"a rule of that kind too, such as {name}.rule = 'median', or {name}.rounds of 2 or more"
        )
    if rules[above] != rules[name]:
        raise JobError(
            f"Tier {name} sends sums that its rule adds up in another way than that of {above}; give both the same rule"
        )
