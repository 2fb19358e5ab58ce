"""Owners' words: nobody else can give them, and one is for one job with one bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fogline.governance.approvals.approval import PAYLOAD_TYPE, Approval, Verdict, read_approval, sign_approval
from fogline.governance.approvals.standing import believed, standing, standing_under
from fogline.governance.bundles.manifest import FORMAT, Manifest
from fogline.governance.errors import ApprovalError, SitePolicyError
from fogline.governance.policy.keys import parse_policy
from fogline.governance.signatures.signing import SigningKey, sign
from tests.governance.conftest import JOB

BUNDLE = "b" * 64
Say = Callable[..., bytes]


@pytest.fixture(scope="module")
def ines(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.create(tmp_path_factory.mktemp("ines") / "owner.key", "ines")


@pytest.fixture(scope="module")
def bo(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.create(tmp_path_factory.mktemp("bo") / "owner.key", "bo")


def say(key: SigningKey, verdict: Verdict = "approve", job: str = "job-1", at: float = 1.0, **more: object) -> bytes:
    reason = "" if verdict == "approve" else "not now"
    return sign_approval(job, str(more.get("bundle", BUNDLE)), verdict, reason, key, at, more.get("nodes", ()))  # type: ignore[arg-type]


def test_a_word_is_read_as_it_was_signed(ines: SigningKey) -> None:
    word = read_approval(say(ines, nodes=("press-*",)))
    assert (word.job, word.bundle, word.verdict, word.owner) == ("job-1", BUNDLE, "approve", ines.signer)
    assert word.nodes == ("press-*",)


def test_a_forged_word_counts_for_nothing(ines: SigningKey, mallory: SigningKey) -> None:
    """A cloud that has no owner's key can name the owner, and it can sign with a key of its own: not both."""
    claimed = Approval(1, "job-1", BUNDLE, "approve", "", ines.signer, 5.0)
    forged = sign(PAYLOAD_TYPE, msgspec.json.encode(claimed), mallory)
    with pytest.raises(ApprovalError, match="cannot be trusted"):
        read_approval(forged)
    own = say(mallory)
    changed = say(ines).replace(b"fogline.approval", b"fogline.approvax")
    words = believed([forged, own, changed, b"", b"{}"], "job-1", BUNDLE)
    assert [word.owner.public_key for word in words] == [mallory.signer.public_key]
    assert standing([ines.signer], None, words).state == "waiting"


@pytest.mark.parametrize("bit", range(0, 4000, 97))
def test_no_changed_bit_of_a_word_is_believed(bit: int, ines: SigningKey) -> None:
    envelope = bytearray(say(ines))
    envelope[bit // 8 % len(envelope)] ^= 1 << bit % 8
    words = believed([bytes(envelope)], "job-1", BUNDLE)
    assert not words or words == believed([say(ines)], "job-1", BUNDLE)  # Only the hint of the key is not signed.


def test_a_word_is_for_one_job_one_bundle_and_its_nodes(ines: SigningKey) -> None:
    word = say(ines, nodes=("press-*", "saw-1"))
    assert believed([word], "job-1", BUNDLE, "press-7")
    assert believed([word], "job-1", BUNDLE, "saw-1")
    assert not believed([word], "job-1", BUNDLE, "saw-2")
    assert not believed([word], "job-2", BUNDLE, "press-7")
    assert not believed([word], "job-1", "c" * 64, "press-7")


def test_all_owners_or_as_many_as_are_needed(ines: SigningKey, bo: SigningKey, mallory: SigningKey) -> None:
    owners = [ines.signer, bo.signer]

    def state(needed: int | None, *envelopes: bytes) -> str:
        return standing(owners, needed, believed(envelopes, "job-1", BUNDLE)).state

    assert state(None) == "waiting"
    assert state(None, say(ines)) == "waiting"
    assert state(None, say(ines), say(bo)) == "approved"
    assert state(None, say(ines), say(mallory), say(mallory, at=2.0)) == "waiting"
    assert state(None, say(ines), say(bo, "refuse")) == "refused"
    assert state(1, say(ines)) == "approved"
    assert state(1, say(ines, "refuse")) == "waiting"
    assert state(1, say(ines, "refuse"), say(bo, "refuse")) == "refused"
    assert standing([], None, []).state == "waiting", "nobody's approval is none"


def test_of_one_owner_the_newest_word_counts(ines: SigningKey) -> None:
    yes, no = say(ines, at=1.0), say(ines, "refuse", at=2.0)
    for order in ([yes, no], [no, yes]):
        assert standing([ines.signer], None, believed(order, "job-1", BUNDLE)).state == "refused"
    again = [no, say(ines, at=3.0)]
    assert standing([ines.signer], None, believed(again, "job-1", BUNDLE)).state == "approved"


def test_a_policy_says_which_jobs_need_whose_approval(ana: SigningKey, ines: SigningKey) -> None:
    text = f"""
[[signer]]
name = "ana"
key = "{ana.signer.key}"
tasks = ["vibration:*"]
[[signer]]
name = "ana"
key = "{ana.signer.key}"
tasks = ["vibration:make"]
approval = true
[[owner]]
name = "ines"
key = "{ines.signer.key}"
"""
    policy = parse_policy(text)
    asked = Manifest(FORMAT, JOB, "vibration:make", {}, ana.signer, 5.0)
    other = msgspec.structs.replace(asked, task="vibration:count")
    found = standing_under(policy, asked, [])
    assert found is not None
    assert (found.state, found.missing) == ("waiting", ("ines",))
    assert standing_under(policy, other, []) is None
    found = standing_under(policy, asked, believed([say(ines)], "job-1", BUNDLE))
    assert found is not None
    assert found.state == "approved"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{signer}approval = true\n", r"no table \[\[owner\]\]"),
        ("{owner}[approval]\nneeded = 2\n", "approval.needed is 2, and there are 1"),
        ("{owner}{owner}", "the same key"),
        ("[approval]\nneeded = 0\n", "approval.needed"),
    ],
)
def test_a_policy_that_nobody_could_fulfil_is_refused(
    text: str, why: str, ana: SigningKey, ines: SigningKey, tmp_path: Path
) -> None:
    signer = f'[[signer]]\nname = "ana"\nkey = "{ana.signer.key}"\n'
    owner = f'[[owner]]\nname = "ines"\nkey = "{ines.signer.key}"\n'
    with pytest.raises(SitePolicyError, match=why):
        parse_policy(text.format(signer=signer, owner=owner))


def test_a_refusal_has_a_reason(ines: SigningKey) -> None:
    with pytest.raises(ApprovalError, match="needs a reason"):
        sign_approval("job-1", BUNDLE, "refuse", " ", ines, 1.0)
    with pytest.raises(ApprovalError, match="names no nodes"):
        sign_approval("job-1", BUNDLE, "approve", "", ines, 1.0, ("a/b",))
