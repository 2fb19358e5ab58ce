"""``fogline roles``: who may do what."""

from __future__ import annotations

from fogline.cli.listing import Listing, present
from fogline.cli.options import COMMON, CommonOptions, Json
from fogline.governance.roles import CALLS, ApiCall, called

OPERATOR = "Operator/"


def roles(*, json: Json = False, options: CommonOptions = COMMON) -> None:
    """List what people may ask of a cloud, and in which role.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    listing = Listing(("may", "who", "limited to nodes", "command"), folds=False)
    for name, call in CALLS.items():
        if name.startswith(OPERATOR):
            who = who_may(call)
            item = {"call": name.removeprefix(OPERATOR), "may": call.what, "who": who, "reach": call.reach}
            listing.add({**item, "command": call.command}, call.what, ", ".join(who), REACHES[call.reach], call.command)
    present([listing], json)


def who_may(call: ApiCall) -> list[str]:
    """Roles that may make a call, for people."""
    roles = sorted(call.roles | call.own, key=called)
    return [f"{called(role)}{' (own)' if role in call.own else ''}" for role in roles]


REACHES = {"fleet": "no", "own": "its own", "nodes": "these", "none": "yes"}
"""What somebody may whose role is limited to some nodes."""
