"""The rules of a job's tiers: what fits together, and the sentence where something does not."""

from __future__ import annotations

from typing import Any

import pytest

from fogline.aggregation.rules import Rule, make_rule
from fogline.algorithms import make
from fogline.jobs import Job, JobError, Tier, Tree
from fogline.jobs.exchanging import exchanges_of
from fogline.jobs.files.reading import parse_job
from fogline.jobs.files.writing import job_to_toml
from fogline.jobs.rules import rules_of
from fogline.nodes.role import role_of
from fogline.nodes.traits import traits_of


class Smallest(Rule):
    """A rule of one's own."""

    power: float = 1.0

    def combine(self, block: Any, weights: Any) -> Any:
        return block.min(axis=0)


class Misspelt(Rule):
    def combin(self, block: Any, weights: Any) -> Any:
        return block.min(axis=0)


def names(tree: Tree, method: str = "fedavg", **more: Any) -> list[str]:
    rules = rules_of(Job(tree=tree, **more), make(method))
    return [type(rule).__name__ for rule in rules.values()]


@pytest.mark.parametrize("method", ["ifca", "fedproto"])
def test_an_exchange_wants_devices_that_send_the_same_names(method: str) -> None:
    tree = Tree(cloud=Tier(exchange="secagg"))
    assert exchanges_of(Job(tree=tree), make("fedavg"))
    with pytest.raises(
        JobError, match=r"devices send vectors of different names, and the exchange of tree\.cloud adds"
    ):
        exchanges_of(Job(tree=tree), make(method))


def test_a_tier_without_a_rule_takes_the_mean_or_the_exact_one_of_an_exact_job() -> None:
    tree = Tree(cloud=Tier(), fog=Tier())
    assert names(tree) == ["Mean", "Mean"]
    assert names(tree, exact=True) == ["Exact", "Exact"]
    assert names(Tree(cloud=Tier(), fog=Tier(rule="median")), exact=True) == ["Exact", "Median"]


@pytest.mark.parametrize(
    "tree",
    [
        Tree(cloud=Tier(rule="median"), fog=Tier(rule="trimmed_mean(0.2)")),
        Tree(cloud=Tier(rule="median"), fog=Tier(rounds=2)),
        Tree(cloud=Tier(rule="median"), fog=Tier(mode="async")),
        Tree(cloud=Tier(rule="exact"), fog=Tier(rule="exact")),
        Tree(cloud=Tier(rule="exact"), fog=Tier(rounds=2)),
        Tree(cloud=Tier(rule="krum(f=1)", cohort=5), fog=Tier(count=5, rule=["nnm(f=2)", "mean"])),
        Tree(cloud=Tier(rule=["nnm(f=1)", Smallest()]), fog=Tier(count=3, rule=["norm_bound(1.0)", "flame"])),
    ],
)
def test_what_fits_together(tree: Tree) -> None:
    assert len(names(tree)) == 2


@pytest.mark.parametrize(
    ("tree", "more", "why"),
    [
        (Tree(cloud=Tier(rule="median"), fog=Tier()), {}, "cloud.rule needs the update of each child"),
        (Tree(cloud=Tier(rule="exact"), fog=Tier()), {}, "Tier fog sends sums that its rule adds up in another way"),
        (Tree(cloud=Tier(rule="mean")), {"exact": True}, "cloud.rule is 'mean', which is in floating point"),
        (Tree(cloud=Tier(rule="median", mode="async")), {}, "but cloud.mode is 'async'; set it to 'sync'"),
        (Tree(cloud=Tier(rule="median", mode="ring")), {}, "but cloud.mode is 'ring'"),
        (Tree(cloud=Tier(rule="median", late="fold")), {}, "but cloud.late folds those of earlier ones"),
        (Tree(cloud=Tier(rule="nowhere_at_all:Rule")), {}, "cloud.rule: The rule 'nowhere_at_all:Rule' cannot be"),
        (Tree(cloud=Tier(rule="krum(f=2)", cohort=6)), {}, "cloud.rule is 'krum(f=2)', which needs 7 updates, but a"),
        (
            Tree(cloud=Tier(rule=["bucketing(2)", "krum(f=1)"]), fog=Tier(count=8, rule="median")),
            {},
            "cloud.rule is ['bucketing(2)', 'krum(f=1)'], which needs 9 updates, but a round of cloud has at most 8",
        ),
        (
            Tree(cloud=Tier(rule="fltrust('a')", cohort=0.5)),
            {},
            "in every round of its one aggregator, but cloud.cohort",
        ),
        (Tree(cloud=Tier(), fog=Tier(count=2, rule="fltrust('a')")), {}, "but fog.count is 2; set it to 1"),
        (Tree(cloud=Tier(rule=["nnm(f=1)", f"{__name__}:Misspelt"])), {}, "Misspelt has no combine and no mix"),
    ],
)
def test_what_does_not_is_refused_before_the_run(tree: Tree, more: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError) as wrong:
        names(tree, **more)
    assert why in str(wrong.value)


def test_a_rule_that_would_be_the_mean_is_refused() -> None:
    for rule in (Misspelt(), f"{__name__}:Misspelt"):
        with pytest.raises(JobError, match="Misspelt has no combine and no mix; it has 'combin'; write: def"):
            names(Tree(cloud=Tier(rule=rule)))


def test_a_parameter_of_another_type_is_refused() -> None:
    for text in (f"{__name__}:Smallest('a')", f"{__name__}:Smallest(power='a')"):
        with pytest.raises(JobError, match=r"Parameter 'power' of rule .* is 'a'; it wants a float"):
            names(Tree(cloud=Tier(rule=text)))
    assert make_rule(f"{__name__}:Smallest(2)") == Smallest(2.0)
    with pytest.raises(JobError, match="Parameter 'share' of rule 'trimmed_mean' is 'a'; it wants a float"):
        Tier(rule="trimmed_mean('a')")


def test_a_method_without_rounds_of_a_tier_takes_such_a_rule_at_the_root_only() -> None:
    assert names(Tree(cloud=Tier(rule="median")), "fedproto") == ["Median"]
    with pytest.raises(JobError, match=r"With fog.rule = 'median' tier fog moves a model of its own, and FedProto has"):
        names(Tree(cloud=Tier(), fog=Tier(rule="median")), "fedproto")


def test_an_asynchronous_method_is_refused_too() -> None:
    with pytest.raises(JobError, match=r"but cloud.mode is 'async'"):
        names(Tree(cloud=Tier(rule="median")), "fedbuff")


def test_a_rule_that_there_is_not_is_a_sentence_of_the_job() -> None:
    with pytest.raises(JobError, match=r"^job: cloud\.rule: There is no rule 'medain'; did you mean 'median'"):
        parse_job('[tree.cloud]\nrule = "medain"\n')
    with pytest.raises(JobError, match=r"^cloud\.rule: a rule is text such as"):
        Tree(cloud={"rule": 3})  # type: ignore[arg-type]


def test_a_rule_of_ones_own_is_written_as_text_that_makes_it_again() -> None:
    job = Job(tree=Tree(cloud=Tier(rule=Smallest(2.0)), fog=Tier(rule=make_rule("trimmed_mean(0.3)"))))
    again = parse_job(job_to_toml(job))
    assert again.tree.tiers["cloud"].rule == f"{__name__}:Smallest(power=2.0)"
    assert rules_of(again, make("fedavg")) == rules_of(job, make("fedavg"))


def test_a_list_of_rules_is_written_as_one_that_makes_it_again() -> None:
    tree = Tree(cloud=Tier(rule=["nnm(f=1)", Smallest(2.0)]), fog=Tier(count=3, rule=("norm_bound(2.0)", "median")))
    again = parse_job(job_to_toml(Job(tree=tree)))
    assert again.tree.tiers["cloud"].rule == ("nnm(f=1)", f"{__name__}:Smallest(power=2.0)")
    assert rules_of(again, make("fedavg")) == rules_of(Job(tree=tree), make("fedavg"))
    one = parse_job("", ['cloud.rule=["nnm(f=1)", "median"]'])
    assert rules_of(one, make("fedavg"))["cloud"] == make_rule(["nnm(f=1)", "median"])


def test_a_rule_asks_for_as_many_reports_as_it_needs() -> None:
    job = Job(tree=Tree(cloud=Tier(rule="krum(f=2)", cohort=0.3, quorum=0.5)))
    algorithm = make("fedavg")
    role = role_of(job, traits_of(algorithm, rules_of(job, algorithm)), "cloud", "cloud", None)
    assert (role.cohort_of(100), role.quorum_of(30)) == (30, 15)
    assert (role.cohort_of(10), role.quorum_of(7)) == (7, 7)
