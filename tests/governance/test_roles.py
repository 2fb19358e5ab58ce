"""Roles that are limited to some nodes: what does not heed that is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fogline.governance.identity.authority import Authority
from fogline.governance.identity.certificates import subject_of
from fogline.governance.identity.identity import Identity
from fogline.governance.roles import CALLS, refusal
from fogline.governance.subject import PEOPLE, ROLES, Role, Subject, fits
from tests.governance.conftest import NOW

LIMITED = ("press-*", "saw-1")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("call", CALLS)
def test_a_limited_role_may_never_more_than_the_same_without_limits(role: Role, call: str) -> None:
    free, entry = Subject("ines", role), CALLS[call]
    assert (refusal(free, call) is None) == (role in entry.roles | entry.own)
    if role not in PEOPLE:
        return
    limited = Subject("ines", role, nodes=LIMITED)
    for owner in (None, "ines", "bo"):
        for node in (None, "press-7", "saw-2", "*"):
            if refusal(free, call, owner, node) is not None:
                assert refusal(limited, call, owner, node) is not None
    if role in entry.roles:
        assert (refusal(limited, call) is None) == (entry.reach != "fleet")
        assert (refusal(limited, call, node="saw-2") is None) == (entry.reach in ("none", "own"))
        assert (refusal(limited, call, owner="bo") is None) == (entry.reach in ("none", "nodes"))


def test_a_refusal_says_to_which_nodes_the_role_is_limited() -> None:
    by = Subject("ines", "operator", nodes=LIMITED)
    why = refusal(by, "Operator/Revoke", node="saw-2")
    assert why == (
        "the role of ines is limited to the nodes press-*, saw-1, so it may not revoke nodes beyond these, and this "
        "concerns saw-2"
    )
    why = refusal(by, "Operator/Steer")
    assert why is not None
    assert "which is of the whole fleet" in why


def test_a_pattern_that_fits_another_has_no_name_that_does_not() -> None:
    assert fits("press-1*", LIMITED)
    assert not fits("p*", LIMITED)
    assert not fits("*", LIMITED)
    assert not fits("saw-*", LIMITED)
    assert fits("anything", ())


@pytest.mark.parametrize("nodes", [("a b",), ("",), ("a/b",), ("a,b",), ("a?b",), ("[ab]",), ("*",) * 17])
def test_what_is_no_pattern_limits_nobody(nodes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Subject("ines", "owner", nodes=nodes)


def test_only_people_are_limited() -> None:
    with pytest.raises(ValueError, match="is one node"):
        Subject("press-7", "device", nodes=("press-*",))


def test_a_certificate_says_to_which_nodes_a_role_is_limited(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory, join: Callable[..., Identity]
) -> None:
    key = Identity.create_key(tmp_path_factory.mktemp("ines"))
    subject = Subject("ines", "owner", "main", LIMITED)
    assert subject_of(authority.issue(key.csr(), subject, 30, NOW)) == subject
    assert subject_of(join(authority, "press-7", "device").certificate) == Subject("press-7", "device")
