"""What travels with a job, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fogline.cli.bundling import bundle_of_job, files_of
from fogline.cli.commands.join import read_secret
from fogline.cli.commands.up.plan import UpOptions, job_of
from fogline.cli.failures import UsageError
from fogline.governance.bundles.bundle import open_bundle
from fogline.governance.errors import TokenError, TrustError
from fogline.governance.signatures.signing import SigningKey
from fogline.jobs import Job, JobError, Method, Tier, Tree

FILES = {
    "task.py": "import math\nimport helper\nfrom package import part\n\ndef task():\n    import late\n",
    "helper.py": "import task\n",
    "late.py": "",
    "package/__init__.py": "",
    "package/part.py": "from . import other\nfrom .deep import x\n",
    "package/other.py": "",
    "package/deep.py": "",
    "package/unused.py": "",
    "mine.py": "class Mine: ...\n",
    "secret.py": "PASSWORD = 1\n",
    "data.csv": "1,2\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / "job" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "job" / name).write_text(text)
    return tmp_path / "job"


def names(folder: Path, job: Job) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in files_of(job, folder)}


def test_only_what_the_task_imports_is_sent(folder: Path) -> None:
    package = {"package/__init__.py", "package/part.py", "package/other.py", "package/deep.py"}
    assert names(folder, Job(task="task:task")) == {"task.py", "helper.py", "late.py"} | package
    assert names(folder, Job(task="late:task", algorithm=Method(name="mine:Mine"))) == {"late.py", "mine.py"}
    tree = Tree(cloud=Tier(rule="mine:Mine(power=2)"), fog=Tier(rule="median"))
    assert names(folder, Job(task="late:task", tree=tree)) == {"late.py", "mine.py"}
    tree = Tree(cloud=Tier(uplink=["mine:Mine(power=2)"]))
    assert names(folder, Job(task="late:task", tree=tree)) == {"late.py", "mine.py"}
    tree = Tree(cloud=Tier(exchange="mine:Mine"))
    assert names(folder, Job(task="late:task", tree=tree)) == {"late.py", "mine.py"}
    assert names(folder, Job(task="package.part:task")) == package


def test_a_module_that_lies_elsewhere_is_not_sent(folder: Path) -> None:
    assert names(folder, Job(task="json:loads")) == set()


def test_the_bundle_holds_them_and_what_was_asked_for(folder: Path, tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "key", "ana")
    text, data, files = bundle_of_job(Job(task="late:task"), folder, [folder / "data.csv"], key)
    (tmp_path / "bundle").write_bytes(data)
    opened = open_bundle(tmp_path / "bundle")
    assert set(opened.manifest.files) == {"late.py", "data.csv"}
    assert opened.manifest.job == text
    assert len(files) == 2


def test_what_cannot_be_sent_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "key", "ana")
    with pytest.raises(JobError, match="names no task"):
        bundle_of_job(Job(), folder, [], key)
    with pytest.raises(JobError, match=r"There is no file .*nothing.csv to send"):
        bundle_of_job(Job(task="late:task"), folder, [folder / "nothing.csv"], key)
    with pytest.raises(TrustError, match="does not lie in"):
        bundle_of_job(Job(task="late:task"), folder, [tmp_path / "key"], key)
    (folder / "late.py").write_text("def :\n")
    with pytest.raises(JobError, match=r"late.py cannot be sent"):
        bundle_of_job(Job(task="late:task"), folder, [], key)
    (folder / "late.py").write_bytes(b"#" * (65 << 20))
    with pytest.raises(TrustError, match="larger than a bundle may be"):
        bundle_of_job(Job(task="late:task"), folder, [], key)


def test_a_token_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("fogline1_x\n")
    assert read_secret(f"@{tmp_path / 'token'}") == "fogline1_x\n"
    assert read_secret("fogline1_x") == "fogline1_x"
    with pytest.raises(TokenError, match="cannot be read"):
        read_secret(f"@{tmp_path / 'nothing'}")


def test_fogs_stand_in_the_last_tier(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('task = "a:b"\n')
    assert job_of(file, UpOptions(fogs=2)).tree.names == ("cloud", "fog")
    file.write_text('task = "a:b"\n[tree.hq]\n[tree.region]\ncount = 2\n[tree.site]\ncount = 4\n')
    job = job_of(file, UpOptions(("rounds=3",), fogs=6))
    assert (job.tree.tiers["region"].count, job.tree.tiers["site"].count, job.rounds) == (2, 6, 3)
    with pytest.raises(ValueError, match="'site'"):
        job_of(file, UpOptions(fogs=0))


def test_devices_that_get_no_model_cannot_be_shown(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('task = "a:b"\n[publish]\ntiers = ["fog"]\n')
    assert job_of(file, UpOptions()).publish.tiers == ("fog",)
    with pytest.raises(UsageError, match=r"publish\.tiers"):
        job_of(file, UpOptions(serve=True))


def test_a_rehearsal_rolls_out_quickly_as_far_as_the_job_does_not_say(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('task = "a:b"\n[publish]\nring_time = "20s"\nprobation = { error_rate = 0.5, longest = 9 }\n')
    for options in (UpOptions(serve=True), UpOptions(serve=True, fogs=2)):
        publish = job_of(file, options).publish
        assert (publish.rings, publish.ring_time) == ((0.2, 1.0), 20.0)
        assert publish.probation == {"seconds": 2.0, "requests": 20.0, "longest": 9.0, "error_rate": 0.5}
    assert job_of(file, UpOptions()).publish.rings == (0.1, 0.5, 1.0)
