"""Rules, exchanges and stages are among what a developer signs: a cloud cannot change them on the way."""

from __future__ import annotations

import pytest

from fogline.jobs.reading import parse_job
from fogline.jobs.writing import job_to_toml
from fogline.network.node.signed_job import differing

JOB = """task = "mine:task"
[tree.cloud]
rule = "median"
[tree.fog]
count = 2
"""


def test_the_resolved_job_has_the_rules_that_were_signed() -> None:
    signed = job_to_toml(parse_job(JOB), only_given=True)
    assert differing(signed, job_to_toml(parse_job(JOB))) is None
    assert differing('task = "mine:task"', job_to_toml(parse_job('task = "mine:task"'))) is None


CHANGES = [
    "cloud.rule=mean",
    "cloud.rule=mine:Other",
    "fog.rule=median",
    "cloud.rule=none",
    'cloud.rule=["nnm(f=1)", "median"]',
]


@pytest.mark.parametrize("change", CHANGES)
def test_another_rule_is_seen(change: str) -> None:
    assert differing(JOB, job_to_toml(parse_job(JOB, [change]))) == "rules"


GUARDED = """task = "mine:task"
[tree.cloud]
[tree.fog]
exchange = "secagg(threshold=0.7)"
uplink = ["clip(norm=1.0)"]
"""


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ('fog.exchange=""', "exchanges"),
        ("fog.exchange=secagg(threshold=0.5)", "exchanges"),
        ("fog.exchange_parameters={minimum = 2}", "exchanges"),
        ("cloud.exchange=secagg", "exchanges"),
        ('queries=["label_counts"]', "queries"),
        ('queries=["os:abort"]', "queries"),
        ("fog.uplink=[]", "stages"),
        ('fog.uplink=["clip(norm=100.0)"]', "stages"),
    ],
)
def test_a_cloud_that_takes_protection_away_is_seen(change: str, key: str) -> None:
    assert differing(GUARDED, job_to_toml(parse_job(GUARDED))) is None
    assert differing(job_to_toml(parse_job(GUARDED), only_given=True), job_to_toml(parse_job(GUARDED))) is None
    assert differing(GUARDED, job_to_toml(parse_job(GUARDED, [change]))) == key


def test_questions_that_were_signed_are_no_change() -> None:
    signed = f'queries = ["label_counts"]\n{GUARDED}'
    assert differing(signed, job_to_toml(parse_job(signed))) is None


MORE = ("[tree.mist]\ncount = 4\n", "[tree.mist]\ncount = 4\n[tree.haze]\ncount = 8\n")


@pytest.mark.parametrize("tree", MORE)
def test_a_tier_that_a_cloud_puts_between_devices_and_their_exchange_is_seen(tree: str) -> None:
    resolved = job_to_toml(parse_job(GUARDED))
    assert differing(GUARDED, job_to_toml(parse_job(GUARDED + tree))) == "exchange of devices"
    assert differing(resolved, job_to_toml(parse_job(GUARDED + tree))) == "exchange of devices"
