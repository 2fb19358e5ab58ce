"""A budget is a number of rounds."""

from __future__ import annotations

import pytest

from fogline.jobs import Job, JobError
from fogline.jobs.files.reading import parse_job
from fogline.jobs.protection import budget
from fogline.jobs.protection.budget import Account, charge_of, in_words, why_fewer
from fogline.privacy.accounting.accountants import epsilon


def job(more: str = "", tree: str = "", rounds: int = 30) -> Job:
    return parse_job(f"rounds = {rounds}\n[privacy]\nnoise = 5.0\n{more}\n[tree.cloud]\n{tree}")


def spent(job: Job, rounds: int) -> float:
    found = Account(job).epsilon(rounds)
    assert found is not None
    return found


def within_budget(job: Job) -> Job:
    return budget.within_budget(None if job.privacy is None else Account(job), job)


def test_a_run_has_as_many_rounds_as_the_budget_allows() -> None:
    asked = job("epsilon = 3.0")
    cut = within_budget(asked)
    assert 1 < cut.rounds < 30
    assert spent(cut, cut.rounds) <= 3.0 < spent(cut, cut.rounds + 1)
    assert within_budget(cut) is cut
    assert why_fewer(asked, cut) == (
        f"The run ends after {cut.rounds} of 30 rounds: one more would exceed ε = 3 for each device's whole data set "
        "at δ = 1e-05."
    )


def test_who_has_no_budget_or_enough_of_it_has_all_rounds() -> None:
    for one in (Job(), job(), job("epsilon = 100.0")):
        assert within_budget(one) is one
        assert why_fewer(one, one) == ""


def test_a_budget_below_one_round_is_refused_with_what_to_do() -> None:
    with pytest.raises(JobError, match=r"privacy\.epsilon is 0\.1, and one round gives away ε = 0\.7.* set privacy\.n"):
        within_budget(job("epsilon = 0.1"))


def test_a_fog_that_adds_noise_in_rounds_of_its_own_pays_for_each() -> None:
    fog = "[tree.fog]\ncount = 2\nrounds = 3\n"
    assert spent(job('at = "fog"', fog), 4) == pytest.approx(spent(job(), 12))
    assert spent(job('at = "devices"', fog), 4) == pytest.approx(spent(job(), 12))
    assert spent(job(tree=fog), 4) == pytest.approx(spent(job(), 4))


def test_a_device_is_charged_for_what_it_took_part_in() -> None:
    """Where the root adds the noise, a round that was given up told nobody anything."""
    central, local = job(), job('at = "devices"')
    for times in (1, 7, 30):
        charge = charge_of(central, "toy-1", times, 10)
        assert (charge.job, charge.unit, charge.rounds) == ("toy-1", "device", times)
        assert epsilon(charge.events, 1e-5) == pytest.approx(spent(central, times))
    assert epsilon(charge_of(central, "toy-1", 40, 10).events, 1e-5) == pytest.approx(spent(central, 30))
    assert epsilon(charge_of(local, "toy-1", 40, 10).events, 1e-5) > spent(local, 30)


@pytest.mark.parametrize("privacy", ['at = "devices"', 'mechanism = "skellam"', 'at = "fog"'])
def test_turns_that_an_aggregator_does_not_keep_to_are_charged(privacy: str) -> None:
    """Who asks is not trusted where the noise is not the root's: a device that is asked every round pays for each."""
    turns = 'policy = "rotation"\npolicy_parameters = { period = 10 }\n[tree.fog]\ncount = 1\nexchange = "secagg"\n'
    turning = job(privacy, turns + turns.splitlines()[0] + "\n" + turns.splitlines()[1])
    always = job('at = "devices"' if "at" in privacy else privacy)
    for times in (1, 3, 40):
        assert charge_of(turning, "toy-1", times, 10).events == charge_of(always, "toy-1", times, 10).events
    central = job(tree=turns.partition("[")[0])
    assert charge_of(central, "toy-1", 40, 10).events == charge_of(central, "toy-1", 3, 10).events


def test_what_was_given_away_in_words_is_never_too_little() -> None:
    privacy = job("epsilon = 4.0").privacy
    assert privacy is not None
    assert in_words(privacy, 3.0001) == "each device's whole data set, ε = 3.01 at δ = 1e-05, of 4 allowed"
    assert in_words(privacy, float("inf")).startswith("each device's whole data set, no bound on ε at")
    assert in_words(privacy.model_copy(update={"epsilon": None}), 0.0).endswith("ε = 0 at δ = 1e-05, no limit is set")


def test_examples_are_counted_by_each_device_s_own_number() -> None:
    """The fewer there are, the more often each is drawn."""
    text = "local.batch_size = 10\n"
    many, few = (Account(examples("epsilon = 8.0", text), examples=count) for count in (200, 40))
    assert many.epsilon(5) < few.epsilon(5)  # pyright: ignore[reportOperatorIssue]
    cut = budget.within_budget(few, few.job)
    assert 1 < cut.rounds < budget.within_budget(many, many.job).rounds
    charged = charge_of(few.job, "toy-1", 5, 40)
    assert charged.unit == "example"
    assert epsilon(charged.events, 1e-5) == pytest.approx(few.epsilon(5))
    # Where it is not known how many a device has, each holds itself to it.
    assert budget.within_budget(Account(few.job), few.job) is few.job
    inner = "[tree.fog]\ncount = 2\nrounds = 2\n"
    assert Account(examples(tree=inner), examples=40).epsilon(5) == pytest.approx(few.epsilon(10))


def examples(more: str = "", text: str = "", tree: str = "") -> Job:
    return parse_job(f"rounds = 60\n{text}[privacy]\nunit = 'example'\nnoise = 1.0\n{more}\n[tree.cloud]\n{tree}")


def test_a_budget_needs_rounds() -> None:
    asynchronous = parse_job("rounds = 3\n[privacy]\nunit = 'example'\nepsilon = 4.0\n[tree.cloud]\nmode = 'async'\n")
    account = Account(asynchronous, examples=40)
    assert account.epsilon(3) is None
    with pytest.raises(JobError, match=r"not every tier works in rounds .* or leave privacy\.epsilon out"):
        budget.within_budget(account, asynchronous)
    assert Account(job(), mode="async").epsilon(1) is None
