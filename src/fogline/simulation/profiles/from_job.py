"""From a job's tables to fleets and links, with faults as sentences."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from fogline.simulation.profiles.errors import ProfileError, sentence
from fogline.simulation.profiles.fedscale import fedscale_profile
from fogline.simulation.profiles.fleet import Fleet
from fogline.simulation.profiles.link import Link, LinkProfile
from fogline.simulation.profiles.profile import DeviceProfile


def device_profile(table: Mapping[str, object] | str) -> DeviceProfile:
    """The profile of a job's ``[devices]`` table: a preset's name, or fields, with ``preset`` or ``fedscale`` (a
    path) as what they differ from. An empty table is the preset ``equal``.

    Raises:
        ProfileError: an unknown key or an impossible value; one sentence that names it.
    """
    fields: dict[str, object] = {"preset": table} if isinstance(table, str) else dict(table)
    try:
        if "fedscale" in fields:
            return fedscale_profile(str(fields.pop("fedscale")), fields=fields)
        return DeviceProfile.model_validate(fields)
    except ValidationError as wrong:
        known = [*DeviceProfile.model_fields, "preset", "fedscale"]
        raise ProfileError(sentence(wrong, "devices", known)) from None


def link_profile(table: Mapping[str, object]) -> LinkProfile:
    """The profile of a job's ``[links]`` table; an empty one is 100 Mbit/s and 20 ms.

    Raises:
        ProfileError: an unknown key or an impossible value; one sentence that names it.
    """
    try:
        return LinkProfile.model_validate(dict(table))
    except ValidationError as wrong:
        raise ProfileError(sentence(wrong, "links", LinkProfile.model_fields)) from None


def fleet_of(table: Mapping[str, object] | str, count: int, seed: int) -> Fleet:
    """``count`` devices as a job's ``[devices]`` table describes them.

    Raises:
        ProfileError: see :func:`device_profile`.
    """
    return Fleet.draw(device_profile(table), count, seed)


def link_of(table: Mapping[str, object]) -> Link:
    """The link between an aggregator and its parent, as a job's ``[links]`` table describes it.

    Raises:
        ProfileError: see :func:`link_profile`.
    """
    return link_profile(table).link()
