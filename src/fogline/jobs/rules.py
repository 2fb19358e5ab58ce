"""The rules of a job's tiers: made, and checked against what the tiers below and the method can give."""

from __future__ import annotations

from collections.abc import Mapping

from fogline.aggregation.rules import Rule, make_rule
from fogline.algorithms import Algorithm
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.protection import protection_of
from fogline.jobs.tree import Tree
from fogline.jobs.writing import rule_texts
from fogline.user_code.bugs import attempt


def rules_of(job: Job, algorithm: Algorithm) -> dict[str, Rule]:
    """The rule of each tier, by the tier's name, the root first.

    Raises:
        JobError: there is no such rule, or it does not fit where it stands; one sentence that names the key.
    """
    protection = protection_of(job)
    summed = () if protection is None else [protection.tier_of(depth) for depth in protection.sums]
    own_models = () if protection is None else protection.own_models
    rules = {name: _rule_of(job, name, name in summed) for name in job.tree.names}
    modes = job.tree.modes(algorithm.mode)
    above: str | None = None
    for name, rule in rules.items():
        _check_quarantine(job, name, rule)
        if rule.needs_all:
            _check_names(job, name, algorithm)
            _check_changes(job, name, algorithm)
            _check_rounds(job, name, modes[name])
            _check_trusted(job, name, rule)
            if above is not None and not algorithm.inner_rounds:
                raise JobError(
                    f"With {name}.rule = {rule_said(job.tree, name)} tier {name} moves a model of its own, and "
                    f"{type(algorithm).__name__} has no rounds of a tier's own; leave {name}.rule out"
                )
        tier, moves = job.tree.tiers[name], algorithm.group_models or rule.needs_all or name in own_models
        merges = tier.rounds == 1 and modes[name] == "sync" and not moves
        if above is not None and merges:
            _check_sums(rules, name, above)
        above = name
    check_enough(job.tree, rules, _children(job.tree), algorithm)
    return rules


def check_enough(tree: Tree, rules: Mapping[str, Rule], children: Mapping[str, int], algorithm: Algorithm) -> None:
    """Whether rounds can have the updates that rules need.

    Args:
        tree: the job's.
        rules: of its tiers, by name.
        children: how many an aggregator of a tier has, as far as that is known.
        algorithm: the method, which may have devices move one of several models.

    Raises:
        JobError: one cannot; one sentence that names the key.
    """
    for name, rule in rules.items():
        cohort = tree.tiers[name].cohort  # A share of too few is no harm: a round asks as many as its rule needs.
        known = [most for most in (children.get(name), cohort) if isinstance(most, int)]
        if not known:
            continue
        most = min(known)
        _check_quarantined(tree, name, rule, children.get(name))
        if most < rule.least:
            raise JobError(
                f"{name}.rule is {rule_said(tree, name)}, which needs {rule.least} updates, but a round of {name} has "
                f"at most {most}; count on fewer that lie, or ask more children"
            )
        if "*" in algorithm.movement and most < 2 * rule.least > 2:
            raise JobError(
                f"{name}.rule is {rule_said(tree, name)}, which needs {rule.least} updates of each model, and a device "
                f"of {type(algorithm).__name__} moves one of several; a round of {name} has at most {most}, "
                f"too few for two; ask {2 * rule.least} or more, or take a rule that needs fewer, such as 'median'"
            )


def rule_said(tree: Tree, name: str) -> str:
    """The rule of a tier as a job names it, for people."""
    texts = rule_texts(tree.tiers[name].rule)
    return f"'{texts[0]}'" if len(texts) == 1 else str(texts)


def _check_quarantine(job: Job, name: str, rule: Rule) -> None:
    """Who goes by whose updates a rule leaves out wants one that says it."""
    if job.tree.tiers[name].quarantine is not None and not rule.tells:
        raise JobError(
            f"{name}.quarantine goes by whose updates the tier's rule leaves out, and {_named(job.tree, name)} does "
            "not say that; take another, such as 'multi_krum(f=1)' or 'trimmed_mean(0.2)', or leave it out"
        )


def _check_names(job: Job, name: str, algorithm: Algorithm) -> None:
    """A rule compares what has the same name."""
    if algorithm.own_names:
        raise JobError(
            f"{name}.rule is {rule_said(job.tree, name)}, which compares updates, and with {type(algorithm).__name__} "
            f"each device sends under a name of its own; leave {name}.rule out"
        )


def _check_changes(job: Job, name: str, algorithm: Algorithm) -> None:
    """What devices have told is the sum of their changes, and a rule leaves out some of it."""
    if algorithm.adds_changes:
        raise JobError(
            f"{name}.rule is {rule_said(job.tree, name)}, and {type(algorithm).__name__} adds up all changes that "
            f"devices tell of: what the rule leaves out would be missing for good; leave {name}.rule out"
        )


def _check_quarantined(tree: Tree, name: str, rule: Rule, children: int | None) -> None:
    """Whoever may be in quarantine is fewer than half, and leaves enough for a round to count."""
    tier = tree.tiers[name]
    if tier.quarantine is None or children is None:
        return
    most, half = tier.quarantine.most, (children - 1) // 2
    if isinstance(most, int) and most > half:
        raise JobError(
            f"{name}.quarantine.most is {most}, but fewer than half may be in quarantine, and an aggregator of {name} "
            f"has {children} children; {_at_most(half)}"
        )
    kept, wanted = children - tier.quarantine.most_of(children), tier.reports_wanted(rule.least)
    if kept < wanted <= children:
        raise JobError(
            f"{name}.quarantine may leave {kept} of the {children} children of an aggregator of {name}, and a round "
            f"needs {wanted} ({name}.rule is {_named(tree, name)}); {_at_most(children - wanted)}, or count on "
            "fewer that lie"
        )


def _at_most(most: int) -> str:
    return f"set most to {most}" if most > 0 else "leave quarantine out"


def _named(tree: Tree, name: str) -> str:
    return "the mean" if tree.tiers[name].rule is None else rule_said(tree, name)


def _children(tree: Tree) -> dict[str, int]:
    """How many an aggregator has at least, of the tiers above others."""
    names, parents = tree.names, list(tree.parents().values())
    return {name: min(parents.count(node) for node in tree.nodes(name)) for name in names[:-1]}


def _check_trusted(job: Job, name: str, rule: Rule) -> None:
    """A rule that measures by one child wants it in every round."""
    tier = job.tree.tiers[name]
    if rule.trusted and (tier.count > 1 or tier.cohort != 1.0):
        wrong = f"{name}.count is {tier.count}" if tier.count > 1 else f"{name}.cohort is {tier.cohort}"
        raise JobError(
            f"{name}.rule is {rule_said(job.tree, name)}, which needs '{rule.trusted}' in every round of its one "
            f"aggregator, but {wrong}; set it to {'1' if tier.count > 1 else '1.0'}, or take another rule"
        )


def _rule_of(job: Job, name: str, summed: bool) -> Rule:
    """``summed``: whether the tier adds up what units give, to which noise comes then."""
    given = job.tree.tiers[name].rule
    if given is None:
        return make_rule("exact" if job.exact or summed else "mean")
    made = attempt(lambda: make_rule(given))
    if isinstance(made, Exception):
        raise JobError(f"{name}.rule: {str(made).rstrip('.')}") from made
    if summed and made != make_rule("exact"):
        raise JobError(
            f"{name}.rule is {rule_said(job.tree, name)}, but the noise of [privacy] is for sums in whole numbers, "
            f"which no unit changes by more than the clip; leave {name}.rule out, or set it to 'exact'"
        )
    if job.exact and made == make_rule("mean"):
        raise JobError(f"{name}.rule is 'mean', which is in floating point, but exact is true; leave one of them out")
    return made


def _check_rounds(job: Job, name: str, mode: str) -> None:
    """A rule that needs all updates wants those of one round, none of them older: it cannot count one for less."""
    tier = job.tree.tiers[name]
    wants = f"{name}.rule is {rule_said(job.tree, name)}, which needs all updates of a round at once"
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
