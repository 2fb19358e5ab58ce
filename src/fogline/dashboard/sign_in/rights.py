"""Who may be what: the operator's table, held against what a provider says of somebody."""

from __future__ import annotations

from collections.abc import Iterable

from fogline.dashboard.sign_in.errors import SignInError
from fogline.dashboard.sign_in.id_token import IdClaims
from fogline.dashboard.sign_in.settings import AllowedPerson
from fogline.governance.subject import Subject
from fogline.network.cloud.people import ProvidedPerson


def subject_of(claims: IdClaims, groups: str, allow: Iterable[AllowedPerson]) -> Subject:
    """As what somebody may sign in: by the first entry that fits.

    Args:
        claims: what the provider says.
        groups: the claim that says the groups.
        allow: the operator's table.

    Raises:
        SignInError: no entry fits.
    """
    member_of = claims.groups(groups)
    for entry in allow:
        if fits(entry, claims, member_of):
            return Subject(ProvidedPerson(claims.iss, claims.sub).name, entry.role, entry.site, entry.nodes)
    raise SignInError(
        f"{claims.iss} knows you as {claims.sub}, but nobody here has given you a role; ask the cloud's operator."
    )


def fits(entry: AllowedPerson, claims: IdClaims, groups: frozenset[str]) -> bool:
    """Whether an entry is about somebody. An e-mail address counts where the provider has verified it: else people
    could write down another's. Letters beyond ASCII count as they are: a small one may belong to several others."""
    if entry.group:
        return entry.group in groups
    if entry.subject:
        return entry.subject == claims.sub
    return claims.email_verified is True and claims.email is not None and _small(entry.email) == _small(claims.email)


def _small(address: str) -> str:
    return address.lower() if address.isascii() else address
