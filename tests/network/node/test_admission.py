"""What a site lets in by its owner's policy, against a cloud that wants more: by itself, and offline."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fogline.governance.approvals.approval import sign_approval
from fogline.governance.bundles.bundle import open_bundle, pack
from fogline.governance.errors import SitePolicyError
from fogline.governance.identity.authority import Authority
from fogline.governance.identity.checked import credentials
from fogline.governance.identity.credentials import Credentials
from fogline.governance.identity.identity import Identity
from fogline.governance.policy.keys import parse_policy
from fogline.governance.policy.offers import Offers
from fogline.governance.policy.policy import not_in_force
from fogline.governance.policy.signed import sign_policy, signature_of
from fogline.governance.signatures.signing import SigningKey
from fogline.governance.subject import Role, Subject
from fogline.jobs.reading import parse_job
from fogline.jobs.writing import job_to_toml
from fogline.network.node.admission import AdmissionControl, NotAllowedError, UnapprovedError
from fogline.network.node.fleet_policy import FleetPolicyKeeper, sign_fleet_policy
from fogline.network.transport.messages import Blob, JobAnnouncement
from fogline.storage import open_database

JOB = """task = "mine:task"
rounds = 3
[local]
learning_rate = 0.1
[tree.cloud]
quorum = 4
"""
CODE = "def task():\n    pass\n"


class Site:
    """A device's folder with a policy, and jobs that come to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ana = SigningKey.create(folder / "ana.key", "ana")
        self.ines = SigningKey.create(folder / "ines.key", "ines")
        self.root = b""
        (folder / "mine.py").write_text(CODE)
        self.bundle = folder / "bundle.zip"
        self.sign(JOB)

    def sign(self, text: str) -> str:
        """The bundle of a job, in its file; its digest."""
        self.text = text
        self.bundle.write_bytes(pack(text, self.folder, [self.folder / "mine.py"], self.ana, 5.0))
        return open_bundle(self.bundle).digest

    def policy(self, signer: str = "", more: str = "") -> None:
        text = f'[[signer]]\nname = "ana"\nkey = "{self.ana.signer.key}"\n{signer}\n{more}\n'
        (self.folder / "policy.toml").write_text(text)

    def admit(
        self, job: str = "job-1", text: str = "", approvals: tuple[bytes, ...] = (), node: str = "press-7"
    ) -> None:
        """What the site says to a job as the cloud announces it."""
        opened = open_bundle(self.bundle)
        resolved = text or job_to_toml(parse_job(self.text))
        announcement = JobAnnouncement(
            job, resolved, Blob(opened.digest, self.bundle.stat().st_size), "", approvals=approvals
        )
        with open_database(self.folder / "records.sqlite") as database:
            offers = Offers(cpus=4, memory_bytes=10**9)
            code = self.folder / "code"
            control = AdmissionControl(self.root, self.folder / "policy.toml", offers, code, database, name=node)
            control.admit(announcement, self.bundle)

    def take(self, data: bytes) -> bool:
        """The fleet's policy, as it comes with a job."""
        with open_database(self.folder / "records.sqlite") as database:
            return FleetPolicyKeeper(self.root, database).take(data)

    def over(self, job: str = "job-1") -> None:
        with open_database(self.folder / "records.sqlite") as database:
            AdmissionControl(b"", self.folder / "policy.toml", Offers(1, 0), self.folder / "code", database).uses.ended(
                job
            )

    def approval(self, job: str = "job-1", **more: tuple[str, ...]) -> bytes:
        digest = open_bundle(self.bundle).digest
        return sign_approval(job, digest, "approve", "", self.ines, time.time(), more.get("nodes", ()))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refused(work: Callable[[], None]) -> str:
    with pytest.raises(NotAllowedError) as caught:
        work()
    said = str(caught.value)
    assert "\n" not in said
    return said


def with_owner(site: Site) -> None:
    site.policy("approval = true", f'[[owner]]\nname = "ines"\nkey = "{site.ines.signer.key}"')


def test_a_job_that_needs_approval_runs_with_it_only(site: Site) -> None:
    with_owner(site)
    with pytest.raises(UnapprovedError, match="waiting for the approval of ines"):
        site.admit()
    site.admit(approvals=(site.approval(),))
    with pytest.raises(UnapprovedError):
        site.admit(job="job-2", approvals=(site.approval(),))
    with pytest.raises(UnapprovedError):
        site.admit(approvals=(site.approval(nodes=("saw-*",)),))
    site.admit(node="saw-1", approvals=(site.approval(nodes=("saw-*",)),))


def test_other_code_than_was_approved_waits_again(site: Site) -> None:
    with_owner(site)
    approval = site.approval()
    (site.folder / "mine.py").write_text(CODE + "# and a little more\n")
    site.sign(JOB)
    with pytest.raises(UnapprovedError):
        site.admit(approvals=(approval,))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("rounds=4", "rounds"),
        ("local.learning_rate=0.5", "local.learning_rate"),
        ("cloud.quorum=1", "tree.cloud.quorum"),
    ],
)
def test_a_cloud_that_changes_an_approved_job_is_refused(change: str, key: str, site: Site) -> None:
    with_owner(site)
    changed = job_to_toml(parse_job(JOB, [change]))
    said = refused(lambda: site.admit(text=changed, approvals=(site.approval(),)))
    assert f"The cloud changed {key}, which was signed and approved otherwise" in said
    fewer = job_to_toml(parse_job(JOB, ["rounds=2"]))
    site.admit(text=fewer, approvals=(site.approval(),))  # A budget may allow no more.


def test_methods_and_code_are_listed(site: Site) -> None:
    site.policy('algorithms = ["fedprox", "scaff*"]')
    assert "does not allow mine:task of ana" in (said := refused(site.admit))
    assert 'add "fedavg" to its algorithms' in said
    for algorithm in ('algorithm = "fedprox"\n', 'algorithm = { name = "scaffold" }\n'):
        site.sign(algorithm + JOB)
        site.admit()
    digest = open_bundle(site.bundle).manifest.code
    site.policy(f'code = ["{digest}"]')
    site.admit()
    site.policy(f'code = ["{"0" * 64}"]')
    assert f"which has the digest {digest}" in refused(site.admit)


def test_a_sum_has_as_many_devices_as_the_owner_demands(site: Site) -> None:
    site.policy(more="[privacy]\nminimum = 5\n")
    assert "wants at least 5 devices" in refused(site.admit)
    site.policy(more="[privacy]\nminimum = 4\n")
    site.admit()
    fewer = job_to_toml(parse_job(JOB, ["cloud.quorum=2"]))
    assert "the cloud made it fewer" in refused(lambda: site.admit(text=fewer))
    site.sign(JOB.replace("quorum = 4", 'exchange = "secagg"\nexchange_parameters = { minimum = 4 }'))
    site.admit()
    for exchange in ('"secagg"', '"secagg(0.7)"', '"secagg(minimum=3)"', '"mine:Sum(minimum=9)"'):
        site.sign(JOB.replace("quorum = 4", f"exchange = {exchange}"))
        assert "wants at least 4 devices" in refused(site.admit), exchange


def test_a_secure_sum_or_noise_as_the_owner_says(site: Site) -> None:
    both = "[privacy]\nepsilon = 1000.0\nsecure_aggregation = true\n"
    plain, summed = JOB, JOB.replace("quorum = 4", 'exchange = "secagg"')
    noisy = JOB + "[privacy]\nnoise = 3.0\n"
    site.policy(more=both + "either = true")
    for text in (summed, noisy):
        site.sign(text)
        site.admit()
    site.sign(plain)
    assert "wants secure aggregation" in refused(site.admit)
    site.policy(more=both)
    for text in (summed, noisy, plain):
        site.sign(text)
        refused(site.admit)


def test_a_policy_ends_and_begins(site: Site) -> None:
    yesterday, tomorrow = (f"{datetime.now() + timedelta(days=days):%Y-%m-%d}" for days in (-1, 1))
    site.policy(more=f"[valid]\nuntil = {yesterday}")
    assert "held until" in (said := refused(site.admit))
    assert "the owner must renew it" in said
    site.policy(more=f"[valid]\nsince = {tomorrow}")
    assert "nothing may run yet" in refused(site.admit)
    site.policy(more=f"[valid]\nsince = {yesterday}\nuntil = {tomorrow}")
    site.admit()


def test_the_last_day_belongs_to_a_policy() -> None:
    policy = parse_policy("[valid]\nuntil = 2027-06-30")
    assert not_in_force(policy, datetime(2027, 6, 30, 23, 59)) is None
    assert not_in_force(policy, datetime(2027, 7, 1)) is not None
    policy = parse_policy("[valid]\nuntil = 2027-06-30T18:00:00")
    assert not_in_force(policy, datetime(2027, 6, 30, 18, 0)) is not None


def test_so_many_jobs_begin_and_no_more(site: Site) -> None:
    site.policy("uses = 2")
    site.admit("job-1")
    site.admit("job-1")  # It goes on after a restart.
    site.admit("job-2")
    assert "lets 2 jobs of ana begin (signer.uses), and so many have" in refused(lambda: site.admit("job-3"))
    site.over("job-1")
    refused(lambda: site.admit("job-3"))
    assert "so many have" in refused(lambda: site.admit("job-1")), "a job that comes again is another use"
    site.admit("job-2")
    site.policy("uses = 3")  # A new policy counts anew.
    site.admit("job-3")


def test_a_count_that_went_back_to_a_backup_lets_nothing_begin(site: Site) -> None:
    """The folder is put back as it was before the last use; the parent shows that more was recorded since."""
    site.policy("uses = 2")
    site.admit("job-1")
    shutil.copy(site.folder / "records.sqlite", site.folder / "backup")
    site.admit("job-2")
    shutil.copy(site.folder / "backup", site.folder / "records.sqlite")
    with open_database(site.folder / "records.sqlite") as database:
        AdmissionControl(b"", site.folder / "policy.toml", Offers(1, 0), site.folder / "code", database).went_back()
    assert "went back to a backup, so nobody knows how many did" in refused(lambda: site.admit("job-3"))
    site.admit("job-1")  # It had begun.
    site.policy("uses = 1")
    site.admit("job-3")


def test_a_policy_that_its_owner_must_sign(site: Site) -> None:
    path = site.folder / "policy.toml"
    site.policy()
    (site.folder / "owner.pub").write_text(site.ines.signer.text + "\n")
    assert "is not signed by its owner ines" in refused(site.admit)
    sign_policy(path, site.ana)
    assert "is not signed by its owner ines" in refused(site.admit), "a developer is not the owner"
    assert sign_policy(path, site.ines) == 2
    site.admit()
    older = path.read_bytes(), signature_of(path).read_bytes()
    path.write_text(path.read_text() + "# looser\n")
    assert "it was changed since" in refused(site.admit)
    assert sign_policy(path, site.ines) == 3
    site.admit()
    path.write_bytes(older[0])
    signature_of(path).write_bytes(older[1])
    assert "an older one was put back" in refused(site.admit)
    (site.folder / "owner.pub").unlink()
    assert "an older one was put back" in refused(site.admit), "who pinned an owner stays with one"


def test_the_fleet_s_policy_holds_beside_the_owner_s(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fleet")
    authority = Authority.create(folder / "authority")
    site.root = authority.root_pem

    def member(name: str, role: Role, nodes: tuple[str, ...] = ()) -> Credentials:
        key = Identity.create_key(folder / name)
        key.install(authority.issue(key.csr(), Subject(name, role, nodes=nodes), 30), authority.root_pem)
        return credentials(folder / name)

    def fleet(more: str) -> str:
        return f'[[signer]]\nname = "ana"\nkey = "{site.ana.signer.key}"\n{more}\n'

    operator = member("olga", "operator")
    loose, strict = (sign_fleet_policy(fleet(f"[privacy]\nminimum = {n}"), operator) for n in (1, 5))
    for liar in (member("cloud", "cloud"), member("eva", "developer"), member("otto", "operator", ("press-*",))):
        with pytest.raises(SitePolicyError, match="who is no operator of all nodes"):
            site.take(sign_fleet_policy(fleet(""), liar))
    with pytest.raises(SitePolicyError, match="cannot be believed"):
        site.take(strict[:-1] + bytes([strict[-1] ^ 1]))
    site.policy()
    assert site.take(strict)
    assert "the fleet's policy wants at least 5 devices" in refused(site.admit)
    assert not site.take(loose), "a cloud that hands down an older one changes nothing"
    assert not site.take(b"")
    refused(site.admit)
    site.take(sign_fleet_policy(fleet(""), operator))
    site.admit()
    site.policy(more="[privacy]\nminimum = 6\n")
    assert "policy.toml wants at least 6 devices" in refused(site.admit), "an owner may be stricter"
    (site.folder / "policy.toml").unlink()
    assert "There is no policy" in refused(site.admit), "and the fleet's alone lets nothing run"
    site.policy()
    site.take(sign_fleet_policy("", operator))
    site.admit()
