"""A role is asked for on the person's own machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fogline.governance.errors import NoIdentityError, RoleError
from fogline.governance.identity.authority import Authority
from fogline.governance.role_check import check_role
from fogline.network.cloud.owners.data_owner import DataOwner
from tests.governance.conftest import Join


def test_who_may_is_named_and_who_may_not_hears_why(tmp_path: Path, join: Join) -> None:
    authority = Authority.create(tmp_path / "authority")
    join(authority, "ida", "owner", now=time.time())
    join(authority, "eva", "developer", now=time.time())
    assert check_role(tmp_path / "ida", "Operator/Decide").name == "ida"
    with pytest.raises(RoleError, match="eva is a developer; only data owners may approve and refuse jobs"):
        check_role(tmp_path / "eva", "Operator/Decide")


def test_who_is_no_owner_of_data_does_not_get_as_far_as_a_key(tmp_path: Path, join: Join) -> None:
    join(Authority.create(tmp_path / "authority"), "eva", "developer", now=time.time())
    (tmp_path / "person").mkdir()
    (tmp_path / "eva").rename(tmp_path / "person" / "identity")
    with pytest.raises(RoleError, match="only data owners"):
        DataOwner.load(tmp_path / "person")


def test_who_has_not_joined_hears_that(tmp_path: Path) -> None:
    with pytest.raises(NoIdentityError):
        check_role(tmp_path, "Operator/Decide")
