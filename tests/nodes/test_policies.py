"""Selection policies: whom they pick."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from fogline.nodes.policies import POLICIES, Feedback, Selection, SelectionPolicyError, make_policy


class Children:
    """Candidates ``0`` … ``n-1`` for tests; counts how often it is asked."""

    def __init__(
        self,
        n: int,
        *,
        samples: Callable[[int], int] = lambda i: 10,
        seconds: Callable[[int], float | None] = lambda i: 1.0,
        available: Callable[[int, float], bool] = lambda i, now: True,
        free: Callable[[int], bool] = lambda i: True,
        deadline: float = 100.0,
    ) -> None:
        self.deadline = deadline
        self.calls = 0
        self._n = n
        self._samples, self._seconds, self._available, self._free = samples, seconds, available, free

    def __len__(self) -> int:
        return self._n

    def at(self, i: int) -> str:
        assert 0 <= i < self._n
        self.calls += 1
        return str(i)

    def samples(self, child: str) -> int:
        self.calls += 1
        return self._samples(int(child))

    def seconds(self, child: str) -> float | None:
        self.calls += 1
        return self._seconds(int(child))

    def available(self, child: str, now: float) -> bool:
        self.calls += 1
        return self._available(int(child), now)

    def free(self, child: str) -> bool:
        self.calls += 1
        return self._free(int(child))


def run(
    policy: Selection,
    children: Children,
    k: int,
    rounds: int,
    *,
    loss: Callable[[int], float | None] = lambda i: 1.0,
    first: int = 0,
    seed: int = 0,
) -> list[list[int]]:
    """Rounds in which everyone selected reports."""
    rng = random.Random(seed)
    picks: list[list[int]] = []
    for round_ in range(first, first + rounds):
        picked = policy.select(children, k, rng, round_, now=0.0)
        picks.append([int(child) for child in picked])
        for child in picked:
            seconds = children.seconds(child)
            feedback = Feedback(children.samples(child), loss(int(child)), seconds or 1.0, failed=False)
            policy.observe(child, feedback, round_)
    return picks


def counts(picks: list[list[int]]) -> Counter[int]:
    return Counter(child for cohort in picks for child in cohort)


EVERY = sorted(POLICIES)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "rotation"])  # Which has others wait their turn.
@pytest.mark.parametrize(("n", "k"), [(40, 5), (40, 30), (500, 5), (3, 5), (1, 1), (0, 3)])
def test_only_distinct_children_that_are_ready_are_picked_and_all_that_are_wanted(name: str, n: int, k: int) -> None:
    children = Children(n, available=lambda i, now: i % 2 == 0, free=lambda i: i % 3 != 0, seconds=lambda i: 1.0 + i)
    children.deadline = 1000.0
    fit = {i for i in range(n) if i % 2 == 0 and i % 3 != 0}
    for cohort in run(make_policy(name), children, k, 30):
        assert len(set(cohort)) == len(cohort) == min(k, len(fit))
        assert set(cohort) <= fit


@pytest.mark.parametrize("name", EVERY)
def test_the_same_calls_and_seed_pick_the_same(name: str) -> None:
    def picks(seed: int) -> list[list[int]]:
        children = Children(60, seconds=lambda i: 1.0 + i % 7, samples=lambda i: 1 + i % 5)
        return run(make_policy(name), children, 6, 40, loss=lambda i: 1.0 + i % 3, seed=seed)

    assert picks(1) == picks(1)
    assert picks(1) != picks(2)


@pytest.mark.parametrize(("n", "k"), [(200, 4), (40, 10)])
def test_uniform_is_unbiased_both_by_blind_draws_and_by_a_scan(n: int, k: int) -> None:
    children = Children(n, available=lambda i, now: i % 4 != 0)
    rounds = 40 * n // k * 4
    picked = counts(run(make_policy("uniform"), children, k, rounds))
    fit = n * 3 // 4
    expected = rounds * k / fit
    assert len(picked) == fit
    chi_square = sum((count - expected) ** 2 / expected for count in picked.values())
    assert chi_square < fit + 4 * (2 * fit) ** 0.5


@pytest.mark.parametrize("name", ["uniform", "fedcs", "tifl", "oort"])
def test_the_cost_does_not_grow_with_the_population(name: str) -> None:
    def cost(n: int) -> float:
        children = Children(n, seconds=lambda i: 1.0 + i % 5)
        policy = make_policy(name)
        run(policy, children, 10, 1)
        children.calls = 0
        run(policy, children, 10, 10)
        return children.calls / 10

    assert cost(1_000_000) < 1.5 * cost(10_000) + 10
    assert cost(1_000_000) < 2000


def test_uniform_finds_the_last_ready_child_among_many() -> None:
    children = Children(10_000, free=lambda i: i == 9_876)
    assert run(make_policy("uniform"), children, 3, 1) == [[9_876]]


def test_weighted_follows_the_data() -> None:
    children = Children(10, samples=lambda i: 30 if i == 0 else 10)
    first = Counter(cohort[0] for cohort in run(make_policy("weighted"), children, 1, 6000))
    assert first[0] == pytest.approx(6000 * 30 / 120, rel=0.08)
    assert first[5] == pytest.approx(6000 * 10 / 120, rel=0.15)


def test_weighted_takes_children_that_do_not_say_how_much_they_hold() -> None:
    assert sorted(run(make_policy("weighted"), Children(4, samples=lambda i: 0), 4, 1)[0]) == [0, 1, 2, 3]


def test_power_of_choice_tries_everyone_and_then_leans_to_high_losses() -> None:
    children = Children(20)
    policy = make_policy("power-of-choice", factor=3)
    assert policy.needs_loss
    picks = run(policy, children, 2, 600, loss=lambda i: float(i))
    picked = counts(picks[100:])
    assert len(counts(picks[:100])) == 20
    assert sum(picked[i] for i in range(15, 20)) > 3 * sum(picked[i] for i in range(5))
    assert picked[19] > 1.7 * 500 * 2 / 20
    # All are candidates: the two highest, always.
    policy = make_policy("power_of_choice", factor=10)
    assert [sorted(c) for c in run(policy, children, 2, 30, loss=float)[15:]] == [[18, 19]] * 15


def test_oort_prefers_high_loss_and_speed() -> None:
    children = Children(100, seconds=lambda i: 100.0 if i % 2 else 1.0, deadline=1000.0)
    picked = counts(
        run(make_policy("oort", pacer_step=0), children, 10, 150, loss=lambda i: 5.0 if i < 50 else 1.0)[50:]
    )
    quick_high = sum(picked[i] for i in range(0, 50, 2))
    slow_high = sum(picked[i] for i in range(1, 50, 2))
    quick_low = sum(picked[i] for i in range(50, 100, 2))
    assert quick_high > 2 * quick_low
    assert quick_high > 2 * slow_high


def test_oort_explores_much_at_first_and_less_later() -> None:
    children = Children(100_000)
    policy = make_policy("oort")
    picks = run(policy, children, 20, 60)
    seen: set[int] = set()
    fresh: list[int] = []
    for cohort in picks:
        fresh.append(len(set(cohort) - seen))
        seen |= set(cohort)
    assert sum(fresh[1:4]) >= 3 * 20 * 0.7
    assert 1 <= sum(fresh[-10:]) / 10 <= 20 * 0.35


def test_oort_explores_also_where_one_child_is_asked_at_a_time() -> None:
    picks = run(make_policy("oort"), Children(1000), 1, 400, first=100)
    assert 40 < len(counts(picks)) < 200


@pytest.mark.parametrize("name", ["oort", "power_of_choice", "tifl"])
@pytest.mark.parametrize("loss", [None, float("nan"), float("inf")])
def test_policies_that_go_by_loss_live_with_a_loss_that_is_none(name: str, loss: float | None) -> None:
    picks = run(make_policy(name), Children(30, seconds=lambda i: 1.0 + i), 5, 60, loss=lambda i: loss)
    assert all(len(cohort) == 5 for cohort in picks)


def test_oort_comes_back_to_a_child_not_seen_for_long() -> None:
    def losses(i: int) -> float:
        return 1.0 + 0.02 * i

    def late(staleness: float) -> int:
        policy = make_policy("oort", exploration=0, least=0, staleness=staleness, cutoff=1.0)
        children = Children(10)
        for i in range(10):
            policy.observe(str(i), Feedback(10, losses(i), 1.0, failed=False), 0)
        return len(counts(run(policy, children, 2, 200, loss=losses, first=1)))

    assert late(0.0) == 2
    assert late(0.1) > 2


def test_oort_turns_from_a_child_that_fails() -> None:
    policy = make_policy("oort", exploration=0, least=0, staleness=0)
    for i in range(4):
        policy.observe(str(i), Feedback(10, 2.0 if i == 3 else 1.0, 1.0, failed=False), 0)
    rng = random.Random(0)
    assert policy.select(Children(4), 1, rng, 1, 0.0) == ["3"]
    for _ in range(3):
        policy.observe("3", Feedback(0, None, 1.0, failed=True), 1)
    assert policy.select(Children(4), 1, rng, 2, 0.0) != ["3"]


def test_oort_fills_up_with_the_best_where_nobody_is_new() -> None:
    policy = make_policy("oort", least=1.0, exploration=1.0, staleness=0)
    for i in range(10):
        policy.observe(str(i), Feedback(10, 1.0 + i, 1.0, failed=False), 0)
    assert sorted(policy.select(Children(10), 3, random.Random(0), 1, 0.0)) == ["7", "8", "9"]


def test_oorts_pacer_lets_slower_children_in_once_there_is_nothing_to_gain() -> None:
    from fogline.nodes.policies.pacer import Pacer

    pacer = Pacer(30, 20, 5)
    durations = [float(i) for i in range(100)]
    seen = []
    for round_ in range(81):
        seen.append(pacer.preferred(round_, durations))
        pacer.gained(1.0)
    assert (seen[0], seen[39], seen[40], seen[60], seen[80]) == (30, 30, 35, 40, 45)
    pacer = Pacer(30, 2, 5)
    for round_ in range(6):
        last = pacer.preferred(round_, durations)
        pacer.gained(1.0 if round_ < 2 else 100.0)
    assert last == 25
    assert Pacer(100, 2, 5).preferred(0, durations) == float("inf")


def test_least_available_children_come_first() -> None:
    # The lower its number, the sooner a child goes.
    children = Children(20, available=lambda i, now: now < 15 * (i + 1) or now > 400)
    policy = make_policy("available", rest=0, probes=20)
    picked = run(policy, children, 10, 1)[0]
    assert set(picked[:6]) == set(range(6))  # Gone before the next round begins, in 100 s: equally rare.
    assert picked[6:] == [6, 7, 8, 9]


def test_children_that_took_part_rest() -> None:
    children = Children(12, available=lambda i, now: now == 0.0 or i > 3)
    picks = run(make_policy("available", rest=2), children, 4, 6)
    assert set(picks[0]) == {0, 1, 2, 3} == set(picks[3])
    assert not set(picks[0]) & set(picks[1])
    assert not set(picks[1]) & set(picks[2])


def test_only_children_that_stay_are_taken() -> None:
    children = Children(60, seconds=lambda i: 50.0, available=lambda i, now: now < 40 or i >= 50)
    assert {i for cohort in run(make_policy("available", prefer="stay"), children, 20, 5) for i in cohort} == set(
        range(50, 60)
    )


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("deadline", [5.0, 20.0, 60.0])
def test_fedcs_never_packs_beyond_the_deadline(share: float, deadline: float) -> None:
    times = [1.0 + (7 * i) % 50 for i in range(80)]
    children = Children(80, seconds=times.__getitem__, deadline=deadline)
    packed = 0
    for cohort in run(make_policy("fedcs", upload_share=share, pool=8), children, 10, 40):
        trained = [(1 - share) * times[i] for i in cohort]
        end = 0.0
        for i, done in zip(cohort, trained, strict=True):
            end = max(end, done) + share * times[i]
        assert end <= deadline
        packed += len(cohort)
    assert packed > 40


def test_fedcs_takes_the_quickest_of_its_pool_and_those_of_unknown_time() -> None:
    children = Children(30, seconds=float, deadline=100.0)
    assert run(make_policy("fedcs", pool=10), children, 3, 1) == [[0, 1, 2]]
    assert len(run(make_policy("fedcs"), Children(30, seconds=lambda i: None), 3, 1)[0]) == 3


def test_tifl_makes_cohorts_of_one_speed_and_gives_every_tier_its_turn() -> None:
    children = Children(1000, seconds=lambda i: 1.0 + i)
    tiers = [{i // 200 for i in cohort} for cohort in run(make_policy("tifl", credits=4), children, 10, 20)]
    assert all(len(tier) == 1 for tier in tiers)
    assert Counter(next(iter(tier)) for tier in tiers) == dict.fromkeys(range(5), 4)


def test_tifl_favours_the_tier_with_the_highest_loss() -> None:
    children = Children(500, seconds=lambda i: 1.0 + i)
    policy = make_policy("tifl", credits=10_000)
    picks = run(policy, children, 5, 800, loss=lambda i: 1.0 + i // 100)
    tiers = Counter(cohort[0] // 100 for cohort in picks[100:])
    assert tiers[4] == pytest.approx(700 * 5 / 15, rel=0.25)
    assert tiers[0] == pytest.approx(700 * 1 / 15, rel=0.45)


def test_tifl_with_equal_speeds_is_one_tier() -> None:
    children = Children(100_000)
    picks = run(make_policy("tifl"), children, 5, 60)
    assert len(counts(picks)) > 280
    assert children.calls < 60 * 100 + 3000


def test_tifl_is_uniform_until_speeds_are_known() -> None:
    picks = run(make_policy("tifl"), Children(100, seconds=lambda i: None), 5, 100)
    assert len(counts(picks)) > 95


def test_faults_are_sentences() -> None:
    for name, parameters, said in [
        ("ort", {}, "There is no policy 'ort'; did you mean 'oort'?"),
        ("zzz", {}, "; there are uniform, "),
        ("oort", {"explration": 1}, "Policy 'oort' has no parameter 'explration'; did you mean 'exploration'?"),
        ("uniform", {"d": 1}, "Policy 'uniform' has no parameter 'd'; it has none"),
        ("oort", {"clip": 2}, "The policy 'oort' cannot be made: 'clip' must be a number from 0 to 1, not 2.0."),
        ("tifl", {"tiers": 0}, "'tiers' must be a whole number of at least 1, not 0."),
        ("tifl", {"tiers": 2.5}, "Parameter 'tiers' of policy 'tifl' is 2.5; it wants an int."),
        ("tifl", {"tiers": True}, "is True; it wants an int."),
        ("available", {"prefer": "x"}, "'prefer' must be one of rare, stay, not 'x'."),
        ("fedcs", {"pool": "many"}, "Parameter 'pool' of policy 'fedcs' is 'many'; it wants a float."),
    ]:
        with pytest.raises(SelectionPolicyError) as fault:
            make_policy(name, **parameters)
        assert said in str(fault.value)
        assert "\n" not in str(fault.value)


def test_every_policy_has_a_name_and_a_line_for_people() -> None:
    assert list(POLICIES) == [
        "uniform",
        "available",
        "fedcs",
        "oort",
        "power_of_choice",
        "rotation",
        "tifl",
        "timelyfl",
        "weighted",
    ]
    assert all(POLICIES.summary(name) and policy.__doc__ for name, policy in POLICIES.items())


# By turns.


@pytest.mark.parametrize(("n", "k"), [(200, 5), (200, 200)])
def test_between_two_turns_of_a_child_a_whole_period_goes_by(n: int, k: int) -> None:
    last: dict[int, int] = {}
    picks = run(make_policy("rotation", period=7), Children(n), k, 60)
    for turn, cohort in enumerate(picks):
        assert all(turn - last.get(child, -7) >= 7 for child in cohort)
        last |= dict.fromkeys(cohort, turn)
    assert k < n or all(len(cohort) > n / 20 for cohort in picks)
    assert k < n or sorted(child for cohort in picks[:7] for child in cohort) == list(range(n))


def test_a_childs_turn_does_not_change_with_who_else_is_there() -> None:
    few, many = (run(make_policy("rotation"), Children(n), n, 10) for n in (50, 120))
    assert [[child for child in cohort if child < 50] for cohort in map(sorted, many)] == list(map(sorted, few))
