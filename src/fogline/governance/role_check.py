"""Whether the person of a folder may make a call, asked on that person's machine."""

from __future__ import annotations

from pathlib import Path

from fogline.governance.errors import RoleError
from fogline.governance.identity.checked import credentials
from fogline.governance.roles import refusal
from fogline.governance.subject import Subject


def check_role(identity: Path, call: str) -> Subject:
    """Refuse here what the cloud would refuse, before anything is fetched, signed or sent: a call that is ended while
    something large is on its way may hear no more than that it failed.

    Args:
        identity: the folder of the person's identity.
        call: a key of :data:`fogline.governance.roles.CALLS`.

    Returns:
        Who it is.

    Raises:
        RoleError: the person's role does not allow the call.
        IdentityError: there is no identity, or it does not hold.
    """
    subject = credentials(identity).subject
    if why := refusal(subject, call):
        raise RoleError(why)
    return subject
