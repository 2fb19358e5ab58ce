"""A site's policy: it refuses by default, says what would allow, and knows what time it is."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.governance.bundles.manifest import FORMAT, Manifest
from fogline.governance.errors import SitePolicyError
from fogline.governance.policy.hours import DailyWindow
from fogline.governance.policy.in_words import in_words
from fogline.governance.policy.keys import parse_policy
from fogline.governance.policy.machine import local_offers, on_mains
from fogline.governance.policy.offers import Needs, Offers, missing
from fogline.governance.policy.policy import allowed_now, decide, opens_at, read_policy
from fogline.governance.policy.terms import Policy, PrivacyBudget, Retention
from fogline.governance.signatures.signing import SigningKey
from tests.governance.conftest import JOB
from tests.patience import PATIENCE

OFFERS = Offers(cpus=4, memory_bytes=2 * 10**9, frameworks=("torch",), tags=("vibration",), on_mains=True)


def manifest(key: SigningKey, task: str = "vibration:make") -> Manifest:
    return Manifest(FORMAT, JOB, task, {}, key.signer, 5.0)


def text_for(key: SigningKey, tasks: str = '"vibration:*"') -> str:
    return f"""
[[signer]]
name = "ana"
key = "{key.signer.key}"
tasks = [{tasks}]
[limits]
threads = 2
memory = "2GB"
niceness = 5
hours = ["22:00-06:00", "12:00-13:30"]
mains_only = true
jobs = 2
[data]
tags = ["vibration", "hourly"]
"""


def test_a_policy_says_what_the_owner_wrote(ana: SigningKey) -> None:
    policy = parse_policy(text_for(ana))
    assert policy.allowed[0].signer == ana.signer
    assert policy.tags == ("vibration", "hourly")
    limits = policy.limits
    assert (limits.threads, limits.memory_bytes, limits.niceness, limits.jobs) == (2, 2 * 10**9, 5, 2)
    assert limits.windows == (DailyWindow(22 * 60, 6 * 60), DailyWindow(12 * 60, 13 * 60 + 30))


def test_what_is_kept_is_kept_always_unless_the_owner_says_for_how_long(ana: SigningKey) -> None:
    assert parse_policy(text_for(ana)).retention == Retention(None, None)
    policy = parse_policy('[retention]\njobs = "90d"\nlogs = "7d"')
    assert policy.retention == Retention(90, 7)
    assert in_words(policy, datetime(2027, 1, 1))[-2:] == [
        "Jobs that are over are deleted after 90 days.",
        "Logs of jobs are deleted after 7 days.",
    ]


def test_no_file_and_an_empty_file_refuse(tmp_path: Path, ana: SigningKey) -> None:
    path = tmp_path / "policy.toml"
    nothing = decide(read_policy(path), manifest(ana), ana.signer, Needs(), OFFERS)
    path.write_text("")
    empty = decide(read_policy(path), manifest(ana), ana.signer, Needs(), OFFERS)
    assert not nothing.allowed
    assert not empty.allowed
    assert "There is no policy" in nothing.reason
    for decision in (nothing, empty):
        assert ana.signer.fingerprint in decision.reason
        assert "\n" not in decision.reason


def test_the_refusal_says_what_would_allow_it(tmp_path: Path, ana: SigningKey) -> None:
    reason = decide(Policy(), manifest(ana), ana.signer, Needs(), OFFERS).reason
    said = reason[reason.index("[[signer]]") :].rstrip(".")
    policy = parse_policy(said.replace(" with ", "\n").replace(", key", "\nkey").replace(" and ", "\n"))
    assert decide(policy, manifest(ana), ana.signer, Needs(), OFFERS).allowed


def test_a_key_decides_and_a_name_does_not(ana: SigningKey, mallory: SigningKey) -> None:
    policy = parse_policy(text_for(ana))
    assert decide(policy, manifest(ana), ana.signer, Needs(), OFFERS).allowed
    refused = decide(policy, manifest(mallory), mallory.signer, Needs(), OFFERS)
    assert not refused.allowed
    assert mallory.signer.fingerprint in refused.reason


def test_tasks_are_patterns(ana: SigningKey) -> None:
    policy = parse_policy(text_for(ana))
    refused = decide(policy, manifest(ana, "payroll:make"), ana.signer, Needs(), OFFERS)
    assert not refused.allowed
    assert 'add "payroll:make"' in refused.reason
    twice = parse_policy(text_for(ana) + f'[[signer]]\nname = "ana"\nkey = "{ana.signer.key}"\n')
    assert decide(twice, manifest(ana, "payroll:make"), ana.signer, Needs(), OFFERS).allowed
    none = parse_policy(text_for(ana, tasks=""))
    assert not decide(none, manifest(ana), ana.signer, Needs(), OFFERS).allowed


@pytest.mark.parametrize(
    ("tree", "secure"),
    [
        ('[tree.cloud]\nexchange = "ckks"', False),
        ("", False),
        ("[tree.cloud]\n[tree.fog]\ncount = 2", False),
        ('[tree.cloud]\nexchange = "secagg"\n[tree.fog]\ncount = 2', False),  # Between fogs and the cloud only.
        ('[tree.cloud]\n[tree.fog]\nexchange = "secagg(threshold=0.7)"', True),
        ('[tree.cloud]\nexchange = "SecAgg"', True),
        ('[tree]\nminimum = 3\n[tree.tiers.cloud]\nexchange = "secagg"', True),
        ('[tree.cloud]\nexchange = "mine:SecAgg"', False),
        ('[tree.cloud]\nexchange = "secagg"\n[tree.fog]\nexchange = "sec agg("', False),
    ],
)
def test_an_owner_may_demand_secure_aggregation(tree: str, secure: bool, ana: SigningKey) -> None:
    asked = Manifest(FORMAT, f"{JOB}\n{tree}", "vibration:make", {}, ana.signer, 5.0)
    policy = parse_policy(text_for(ana) + "[privacy]\nsecure_aggregation = true\n")
    decision = decide(policy, asked, ana.signer, Needs(), OFFERS)
    assert decision.allowed is secure
    assert secure or "wants secure aggregation" in decision.reason
    assert decide(parse_policy(text_for(ana)), asked, ana.signer, Needs(), OFFERS).allowed


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [("'secagg'", {"secagg"}), ("'ckks'", {"ckks"}), ("['secagg', 'ckks']", {"secagg", "ckks"}), ("true", {"secagg"})],
)
def test_an_owner_names_which_secure_sums_will_do(wanted: str, allowed: set[str], ana: SigningKey) -> None:
    policy = parse_policy(text_for(ana) + f"[privacy]\nsecure_aggregation = {wanted}\n")
    exchanges = ("secagg", "secagg(minimum=5)", "ckks(readers=7)", "ckks", "ckks_selective(share=0.5)", "mine:Ckks")
    for exchange in exchanges:
        job = f'{JOB}\n[tree.cloud]\nexchange = "{exchange}"'
        asked = Manifest(FORMAT, job, "vibration:make", {}, ana.signer, 5.0)
        decision = decide(policy, asked, ana.signer, Needs(), OFFERS)
        assert decision.allowed is (exchange.split("(")[0] in allowed), exchange
        assert decision.allowed or all(f'"{name}"' in decision.reason for name in allowed)


@pytest.mark.parametrize("wrong", ["'ckks_selective'", "['secagg', 'mine:Sum']", "3"])
def test_no_other_sum_is_named(wrong: str) -> None:
    with pytest.raises(SitePolicyError, match=r"privacy\.secure_aggregation.*; write true, or 'secagg' or 'ckks'"):
        parse_policy(f"[privacy]\nsecure_aggregation = {wrong}")
    with pytest.raises(SitePolicyError, match="names no exchange"):
        parse_policy("[privacy]\nsecure_aggregation = []")


def test_a_budget_of_privacy_stands_with_and_without_that_demand() -> None:
    assert parse_policy("[privacy]\nsecure_aggregation = true").privacy is None
    both = parse_policy("[privacy]\nsecure_aggregation = true\nepsilon = 3.0")
    assert (both.secure_aggregation, both.privacy) == (("secagg",), PrivacyBudget(3.0, 1e-5, "device"))
    with pytest.raises(SitePolicyError, match=r"privacy\.unit are of a budget; say privacy\.epsilon too"):
        parse_policy('[privacy]\nunit = "site"')


def test_what_is_missing_is_said(ana: SigningKey) -> None:
    needs = Needs(memory=8 * 10**9, cpus=16, frameworks=("torch", "jax"), tags=("audio",))
    assert missing(needs, OFFERS) == (
        "The job needs 16 processors (it offers 4) and 8 GB of memory (it offers 2 GB) and the packages jax "
        "and data tagged audio."
    )
    assert missing(Needs(cpus=4, tags=("vibration",)), OFFERS) is None
    decision = decide(parse_policy(text_for(ana)), manifest(ana), ana.signer, needs, OFFERS)
    assert not decision.allowed
    assert "data tagged audio" in decision.reason


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[serve]\nchannel = "stabel"', r"serve.channel: Invalid enum value 'stabel'; write 'rounds' or 'stable'"),
        ("[limit]\nthreads = 2", r"'limit' is no key of a policy; did you mean 'limits'\?"),
        ("[limits]\nthread = 2", r"'limits.thread' is no key of a policy; did you mean 'threads'\?"),
        ("[[signer]]\nname = 'a'\nkey = 'k'\ntask = []", r"'signer.task' is no key"),
        ("[data]\ntag = []", r"'data.tag' is no key"),
        ("[limits]\nthreads = 0", r"limits.threads"),
        ("[limits]\nthreads = true", r"limits.threads"),
        ("[limits]\nthreads = '2'", r"limits.threads"),
        ("[limits]\nniceness = 20", r"limits.niceness"),
        ("[limits]\nmemory = '2 elephants'", r"limits.memory .* such as 512MB or 2GB"),
        ("[limits]\nmemory = '-1GB'", r"limits.memory"),
        ("[limits]\nmemory = 0", r"limits.memory"),
        ("[limits]\nhours = []", r"limits.hours is empty"),
        ("[limits]\nhours = ['22-6']", r"limits.hours"),
        ("[limits]\nhours = ['22:00-24:30']", r"no clock shows"),
        ("[limits]\nhours = ['06:00-06:00']", r"starts when it ends"),
        ("[limits]\nmains_only = 'yes'", r"limits.mains_only"),
        ("[retention]\njobs = '0d'", r"retention.jobs is '0d'; write days, such as 90d"),
        ("[retention]\nlogs = '3 weeks'", r"retention.logs is '3 weeks'; write days"),
        ("[retention]\njobs = 90", r"retention.jobs"),
        ("[retention]\nlog = '9d'", r"'retention.log' is no key of a policy; did you mean 'logs'\?"),
        ("limits = 3", r"limits"),
        ("signer = 3", r"signer"),
        ("[[signer]]\nname = 'ana'\nkey = 'ed25519:AAAA'", r"signer 'ana'"),
        ("[[signer]]\nname = 'ana'", r"key"),
        ("[", r"not valid TOML"),
    ],
)
def test_a_wrong_policy_is_one_clear_line(text: str, sentence: str) -> None:
    with pytest.raises(SitePolicyError, match=sentence) as caught:
        parse_policy(text, "site.toml")
    assert str(caught.value).startswith("site.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"), [("512MB", 512 * 10**6), ("1 GiB", 2**30), ("64kB", 64000), ("7", 7), ("8b", 8)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_policy(f"[limits]\nmemory = '{text}'").limits.memory_bytes == size


def test_unreadable_policies_are_errors(tmp_path: Path) -> None:
    for data in (b"\xff\xfe", b"#" * 70_000):
        (tmp_path / "policy.toml").write_bytes(data)
        with pytest.raises(SitePolicyError):
            read_policy(tmp_path / "policy.toml")
    with pytest.raises(SitePolicyError):
        read_policy(tmp_path)


@given(st.one_of(st.text(max_size=200), st.just("a = " + "[" * 30_000), st.just("[" + "a." * 20_000 + "a]")))
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_policy_or_an_error(text: str) -> None:
    try:
        assert not parse_policy(text).allowed
    except SitePolicyError:
        return


@pytest.mark.parametrize(
    ("clock", "opens"),
    [
        ("21:59", "22:00"),
        ("22:00", None),
        ("23:59", None),
        ("00:00", None),
        ("05:59", None),
        ("06:00", "12:00"),
        ("12:30", None),
        ("13:30", "22:00"),
    ],
)
def test_hours_cross_midnight(ana: SigningKey, clock: str, opens: str | None) -> None:
    limits = parse_policy(text_for(ana)).limits
    local = datetime.fromisoformat(f"2026-11-21T{clock}:30")
    reason = allowed_now(limits, local, on_mains=True)
    if opens is None:
        assert reason is None
        assert opens_at(limits, local) == local
    else:
        assert reason == f"The owner's hours are closed; they open at {opens}."
        assert opens_at(limits, local) == datetime.fromisoformat(f"2026-11-21T{opens}:00")


def test_the_next_opening_may_be_tomorrow() -> None:
    limits = parse_policy("[limits]\nhours = ['08:00-09:00']").limits
    assert opens_at(limits, datetime(2026, 12, 31, 9, 0)) == datetime(2027, 1, 1, 8, 0)
    assert allowed_now(parse_policy("[limits]\nhours = ['00:00-24:00']").limits, datetime(2026, 1, 1), None) is None


@given(st.lists(st.tuples(st.integers(0, 1439), st.integers(1, 1440)), min_size=1, max_size=4), st.integers(0, 4000))
@settings(max_examples=150, deadline=None)
def test_the_next_opening_is_the_first_open_minute(pairs: list[tuple[int, int]], minutes: int) -> None:
    windows = [f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}" for a, b in pairs if a != b % 1440 or b == 1440]
    if not windows:
        return
    limits = parse_policy(f"[limits]\nhours = {windows}").limits
    local = datetime(2026, 11, 20) + timedelta(minutes=minutes)
    opens = opens_at(limits, local)
    walk = local
    while allowed_now(limits, walk, None) is not None:
        walk += timedelta(minutes=1)
    assert opens == walk


def test_mains_only_means_mains(ana: SigningKey) -> None:
    limits = parse_policy("[limits]\nmains_only = true").limits
    now = datetime(2026, 1, 1)
    assert allowed_now(limits, now, True) is None
    assert "battery" in (allowed_now(limits, now, False) or "")
    assert "cannot tell" in (allowed_now(limits, now, None) or "")


def supply(system: Path, name: str, **facts: str) -> None:
    folder = system / "sys/class/power_supply" / name
    folder.mkdir(parents=True)
    for key, value in facts.items():
        (folder / key).write_text(value + "\n")


def test_the_power_supply_is_read(tmp_path: Path) -> None:
    assert on_mains(tmp_path) is None
    supply(tmp_path, "mouse", type="Battery", scope="Device")
    assert on_mains(tmp_path) is True
    supply(tmp_path, "BAT0", type="Battery")
    assert on_mains(tmp_path) is False
    supply(tmp_path, "AC", type="Mains", online="0")
    assert on_mains(tmp_path) is False
    (tmp_path / "sys/class/power_supply/AC/online").write_text("1\n")
    assert on_mains(tmp_path) is True


def test_a_machine_offers_what_its_owner_gives(tmp_path: Path, ana: SigningKey) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       8000000 kB\nMemFree: 1 kB\n")
    whole = local_offers(Policy(), tmp_path)
    assert whole.memory_bytes == 8_000_000 * 1024
    assert whole.cpus >= 1
    given_ = local_offers(parse_policy(text_for(ana)), tmp_path)
    assert given_.memory_bytes == 2 * 10**9
    assert given_.cpus <= 2
    assert given_.tags == ("vibration", "hourly")
    cgroup = tmp_path / "sys/fs/cgroup"
    cgroup.mkdir(parents=True)
    (cgroup / "memory.max").write_text("1000000\n")
    (cgroup / "cpu.max").write_text("50000 100000\n")
    assert local_offers(Policy(), tmp_path).memory_bytes == 1_000_000
    assert local_offers(Policy(), tmp_path).cpus == 1


def test_measuring_imports_no_framework() -> None:
    import subprocess

    program = (
        "import sys, fogline.governance as g; from pathlib import Path; g.Identity, g.read_token, g.open_bundle;"
        "offers = g.local_offers(g.read_policy(Path('/nowhere'))); assert 'numpy' in offers.frameworks;"
        "print([m for m in ('numpy', 'pydantic', 'torch', 'sklearn') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE).stdout
        == "[]\n"
    )
