"""Budgets of privacy on real nodes: what an owner allows holds whatever the cloud asks, over crashes and backups."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fogline.cli import main
from fogline.governance.policy.policy import read_policy
from fogline.governance.policy.terms import Policy, PrivacyBudget, Unit
from fogline.network.cloud.owners.budgets import spent_budgets
from fogline.network.cloud.records import Record
from fogline.network.node.process import NodeFolder
from fogline.network.node.site.admission import unprotected
from fogline.privacy.accounting.ledger import FILE, PrivacyLedger
from tests.network.cluster import Cluster, cluster, job
from tests.network.processes import fleet

DELTA = 1e-5
ALL = "quorum = 1.0"


def private(rounds: int, noise: float = 5.0, more: str = "", **keys: str) -> str:
    """A job with differential privacy; without fogs."""
    privacy = f"[privacy]\nclip = 0.5\nnoise = {noise}\n{more}"
    text = job(rounds=rounds, fogs=0, clients=2, more=privacy, task="size = 20", **{"cloud": ALL, **keys})
    return text.replace("small:task", "small:noise")


def allow(folder: Path, text: str) -> None:
    policy = NodeFolder(folder).policy
    policy.write_text(f"{policy.read_text()}\n[privacy]\n{text}\n")


def ledger_of(folder: Path, name: str) -> PrivacyLedger:
    return PrivacyLedger(folder / name / FILE)


async def ended(made: Cluster, text: str) -> Record:
    return await made.finish(await made.submit(text, wait=1.0))


async def check_told(made: Cluster, spent: float) -> None:
    """What people are told of two devices, of which the first has a limit: what these have signed, and nothing else."""
    root = (made.folder / "cloud" / "operator" / "identity" / "root.pem").read_bytes()
    ends = await made.client.ledgers()
    limited, free = spent_budgets(ends, root)
    assert (limited.node, limited.unit, limited.epsilon, limited.allowed) == ("client-0", "device", spent, 2.0)
    assert limited.left == pytest.approx(2.0 - spent)
    assert free.epsilon is not None
    assert (free.node, free.epsilon > spent, free.allowed, free.left) == ("client-1", True, None, None)
    # A cloud that gives out one device's ledger as another's is not believed.
    swapped = spent_budgets([("client-0", ends[1][1]), ("client-1", ends[1][1][:-1])], root)
    assert ["not signed by" in one.problem for one in swapped] == [True, True]


def test_a_job_ends_before_its_own_budget_is_exceeded(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            record = await ended(made, private(30, more="epsilon = 2.0"))
            assert (record.state, record.why) == ("finished", "")
            assert 1 < record.done == record.rounds < 30
            said = {what: why for what, _, why in made.said(record)}
            assert said["budget"].startswith(f"The run ends after {record.done} of 30 rounds: one more would exceed")
            assert said["privacy"].startswith("each device's whole data set, ε = 1.")
            assert said["privacy"].endswith("at δ = 1e-05, of 2 allowed")
            for name in ("client-0", "client-1"):
                ledger = ledger_of(tmp_path, name)
                assert 1 < ledger.trainings(record.job) <= record.done  # One that loads for long misses the first.
                assert ledger.spent(DELTA) <= 2.0

    asyncio.run(work())


def test_an_owner_s_budget_holds_over_all_jobs_whatever_the_cloud_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            allow(tmp_path / "client-0", f"epsilon = 2.0\ndelta = {DELTA}")
            record = await ended(made, private(3))
            first = ledger_of(tmp_path, "client-0").spent(DELTA)
            assert (record.state, record.done, 0 < first < 2.0) == ("finished", 3, True)
            # The second job alone would be within the limit; both together are not.
            record = await ended(made, private(8, cloud="quorum = 1"))
            assert (record.state, record.done) == ("finished", 8)
            spent = ledger_of(tmp_path, "client-0")
            assert spent.trainings(record.job) < 8
            assert first < spent.spent(DELTA) <= 2.0
            assert ledger_of(tmp_path, "client-1").trainings(record.job) == 8
            await check_told(made, spent.spent(DELTA))
            capsys.readouterr()
            await asyncio.to_thread(main, ["privacy", "ledgers", "--cloud", str(tmp_path / "cloud")])
            _, limited, free = (line.split() for line in capsys.readouterr().out.splitlines())
            assert limited[:3] == ["client-0", "device", f"{spent.spent(DELTA):.4g}"]
            assert limited[3:] == ["1e-05", "2", f"{2.0 - spent.spent(DELTA):.4g}"]
            assert free[-2:] == ["no", "limit"]
            reasons = [why for _, child, why in made.said(record) if child == "client-0" and "owner allows 2" in why]
            assert reasons, made.said(record)
            # When nobody is left, the job ends with what it has learned.
            allow(tmp_path / "client-1", "epsilon = 3.5")
            record = await ended(made, private(40, cloud="quorum = 1"))
            assert (record.state, record.why) == ("finished", "")
            assert 1 <= record.done < 40
            assert ledger_of(tmp_path, "client-1").spent(DELTA) <= 3.5
            assert {child for what, child, _ in made.said(record) if what == "spent"} == {"client-0", "client-1"}

    asyncio.run(work())


def test_a_job_that_is_not_counted_is_not_let_in(tmp_path: Path) -> None:
    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            allow(tmp_path / "client-0", "epsilon = 2.0")
            record = await ended(made, job(rounds=1, fogs=0, clients=2, cloud="quorum = 1"))
            assert record.state == "finished"
            said = "the job has no differential privacy"
            assert any(child == "client-0" and said in why for _, child, why in made.said(record))
            assert not (tmp_path / "client-0" / FILE).exists()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("unit", "text", "sentence"),
    [
        ("device", "rounds = 1", "the job has no differential privacy; give it a table [privacy]."),
        ("device", "[privacy]\nunit = 'example'", "protects each example only; set privacy.unit to 'device'."),
        ("site", "[privacy]", "the job protects each device only; set privacy.unit to 'site'."),
        ("example", "queries = ['label_counts']\n[privacy]", "the job asks devices beside the training, without noise"),
        ("device", "[privacy]", None),
        ("example", "[privacy]\nunit = 'site'", None),
    ],
)
def test_what_an_owner_s_budget_cannot_count_is_refused(unit: Unit, text: str, sentence: str | None) -> None:
    surveys = "queries" in text
    found = unprotected(Policy(found=True, privacy=PrivacyBudget(2.0, DELTA, unit)), text, surveys)
    assert found is None if sentence is None else found is not None and sentence in found
    without = unprotected(Policy(found=True), text, surveys)
    assert without is None if not surveys else without is not None and "asks devices beside" in without


def test_where_an_owner_wants_only_sums_devices_are_asked_beside_the_training_in_sums_alone() -> None:
    """Whether the developer signed it or a cloud adds it: its flag is all that a device goes by."""
    masked, encrypted = ("[tree.cloud]\nexchange = 'secagg'", "[tree.cloud]\nexchange = 'ckks'")
    policy = Policy(found=True, secure_aggregation=("secagg", "ckks"))
    assert [unprotected(policy, job, False) for job in (masked, encrypted)] == [None, None]
    assert unprotected(policy, masked, True) is None  # What they find is added up in it too.
    found = unprotected(policy, encrypted, True)
    assert found is not None
    assert (
        "wants secure aggregation (privacy.secure_aggregation), and the job asks devices beside the training" in found
    )
    assert unprotected(Policy(found=True), encrypted, True) is None


def test_a_ledger_that_goes_back_to_a_backup_gives_away_nothing_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, text = tmp_path / "client-0" / FILE, private(2, cloud="quorum = 1")

    async def work() -> None:
        async with cluster(tmp_path, fogs=0, devices=2) as made:
            await ended(made, private(1))
            backup = ledger.read_bytes()
            await ended(made, private(3))
            newest = PrivacyLedger(ledger)
            await made.stop("client-0")
            ledger.write_bytes(backup)
            await made.start("client-0", [made.parent_address])
            record = await ended(made, text)
            assert (record.state, record.done) == ("finished", 2)  # With the other device.
            assert any("it went back to a backup, or is a copy. Put the newest ledger back" in why
                       for _, child, why in made.said(record) if child == "client-0")  # fmt: skip
            assert ledger.read_bytes() == backup
            # The owner books what is lost, and the device takes part again.
            await made.stop("client-0")
            main(["privacy", "spent", "--folder", str(tmp_path / "client-0")])
            assert "it went back to a backup" in capsys.readouterr().out
            main(["privacy", "take-over", "--folder", str(tmp_path / "client-0")])
            assert "books what entry 4 of the lost ledger said" in capsys.readouterr().out
            assert PrivacyLedger(ledger).spent(DELTA) > newest.spent(DELTA)
            await made.start("client-0", [made.parent_address])
            record = await ended(made, private(2))
            assert PrivacyLedger(ledger).trainings(record.job) == 2

    asyncio.run(work())


@pytest.mark.slow
def test_a_device_that_is_killed_between_charge_and_training_is_charged_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, fogs=0) as made:
            made.kill("client-0")
            made.start("client-0", call=("fogline.network.node.spending:Spending.charge", 2, True))
            record = await made.submit(private(3))
            await made.died("client-0")
            made.start("client-0")
            record = await made.finish(record)
            assert (record.state, record.why, record.done) == ("finished", "", 3)
            for name in ("client-0", "client-1"):
                assert ledger_of(tmp_path, name).trainings(record.job) == 3
                assert ledger_of(tmp_path, name).number == 3

    asyncio.run(work())


def test_a_policy_says_what_may_be_given_away(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[privacy]\nepsilon = 3\n")
    budget = read_policy(tmp_path / "policy.toml").privacy
    assert budget is not None
    assert (budget.epsilon, budget.delta, budget.unit) == (3.0, 1e-5, "device")
