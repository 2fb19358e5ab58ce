"""A site's own policy: what may run here, when and with how much. It refuses whatever it does not allow."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import msgspec

from fogline.governance.errors import SignatureError, SitePolicyError
from fogline.governance.policy.hours import DailyWindow, is_open, next_open
from fogline.governance.policy.offers import Needs, Offers, missing
from fogline.governance.policy.protection import SecureSum, sums_securely
from fogline.governance.safe_files import read_bounded
from fogline.governance.signatures.signers import Signer
from fogline.plugins import suggest

if TYPE_CHECKING:
    from fogline.governance.bundles.manifest import Manifest

LARGEST = 64 * 1024
DELTA = 1e-5
"""Of an owner's budget of privacy that names none."""
SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
Positive = Annotated[int, msgspec.Meta(ge=1)]
Channel = Literal["rounds", "stable"]
"""Which releases a node serves: every one, or only versions that people approved with the offline key."""
Unit = Literal["example", "device", "site"]
"""What may be protected as one by differential privacy, the smallest first."""


class _Signer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    key: str
    tasks: tuple[str, ...] = ("*",)


class _Limits(msgspec.Struct, forbid_unknown_fields=True):
    threads: Positive | None = None
    memory: Positive | str | None = None
    niceness: Annotated[int, msgspec.Meta(ge=0, le=19)] = 10
    hours: tuple[str, ...] | None = None
    mains_only: bool = False
    jobs: Positive = 1


class _Data(msgspec.Struct, forbid_unknown_fields=True):
    tags: tuple[str, ...] = ()


class _Serve(msgspec.Struct, forbid_unknown_fields=True):
    offload: bool = False
    keep: Positive | str | None = None
    channel: Channel = "rounds"


class _Privacy(msgspec.Struct, forbid_unknown_fields=True):
    epsilon: Annotated[float, msgspec.Meta(gt=0)] | None = None
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    unit: Unit | None = None
    secure_aggregation: bool | SecureSum | tuple[SecureSum, ...] = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    signer: tuple[_Signer, ...] = ()
    limits: _Limits = msgspec.field(default_factory=_Limits)
    data: _Data = msgspec.field(default_factory=_Data)
    serve: _Serve = msgspec.field(default_factory=_Serve)
    privacy: _Privacy = msgspec.field(default_factory=_Privacy)


TABLES: dict[str, type[msgspec.Struct]] = {
    "": _File,
    "signer": _Signer,
    "limits": _Limits,
    "data": _Data,
    "serve": _Serve,
    "privacy": _Privacy,
}


class Allowed(msgspec.Struct, frozen=True):
    """A developer whose jobs may run here."""

    signer: Signer
    tasks: tuple[str, ...] = ("*",)
    """Patterns of ``module:attribute``."""


class ResourceLimits(msgspec.Struct, frozen=True):
    """How much of the machine jobs may take, and when."""

    threads: int | None = None
    """None takes all there are."""
    memory_bytes: int | None = None
    """None takes all there is."""
    niceness: int = 10
    windows: tuple[DailyWindow, ...] = ()
    """None at all means always."""
    mains_only: bool = False
    jobs: int = 1
    """At once."""


class Serve(msgspec.Struct, frozen=True):
    """What predictions here may do."""

    offload: bool = False
    """Whether a sample that the model is not sure of may leave the site, for a larger model to answer."""
    keep: int = 0
    """Bytes of hard and drifted samples that are kept here, for labelling and for training; 0 keeps none."""
    channel: Channel = "rounds"
    """``stable`` serves only versions that people approved with the offline key."""


class PrivacyBudget(msgspec.Struct, frozen=True):
    """What the data here may give away over all jobs."""

    epsilon: float
    delta: float
    unit: Unit
    """What is protected as one, at least."""


class Policy(msgspec.Struct, frozen=True):
    """What the owner of a site has decided. Without a file it refuses everything."""

    path: str = "policy.toml"
    found: bool = False
    allowed: tuple[Allowed, ...] = ()
    limits: ResourceLimits = ResourceLimits()
    tags: tuple[str, ...] = ()
    serve: Serve = Serve()
    privacy: PrivacyBudget | None = None
    """None: as much as jobs ask for, and jobs without differential privacy too."""
    secure_aggregation: tuple[SecureSum, ...] = ()
    """Only jobs may run in which no aggregator sees a single device's update, by one of these exchanges; none: all
    jobs."""


class Decision(msgspec.Struct, frozen=True):
    """The answer to a job."""

    allowed: bool
    reason: str
    """One sentence, for the owner and for the developer."""


def read_policy(path: Path) -> Policy:
    """The policy of a file; the one that refuses everything if there is no file.

    Raises:
        SitePolicyError: the file cannot be read, or one line that names the key that is wrong.
    """
    try:
        data = read_bounded(path, LARGEST)
    except FileNotFoundError:
        return Policy(path=str(path))
    except OSError as error:
        raise SitePolicyError(f"The policy {path} cannot be read: {error.strerror}.") from error
    if len(data) > LARGEST:
        raise SitePolicyError(f"The policy {path} is longer than {LARGEST} bytes.")
    try:
        return parse_policy(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise SitePolicyError(f"The policy {path} is no text in UTF-8.") from None


def parse_policy(text: str, source: str = "policy.toml") -> Policy:
    """The policy that a TOML text says; see the documentation of this room for its keys.

    Raises:
        SitePolicyError: one line that names the key that is wrong and what would be right.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SitePolicyError(f"{source} is not valid TOML: {error}") from None
    _check_keys(raw, source)
    try:
        file = msgspec.convert(raw, _File)
        allowed = tuple(Allowed(Signer.of(entry.name, entry.key), entry.tasks) for entry in file.signer)
        limits = _limits(file.limits)
        serve = Serve(file.serve.offload, _size(file.serve.keep, "serve.keep") or 0, file.serve.channel)
        budget, sums = _budget(file.privacy), _sums(file.privacy.secure_aggregation)
    except msgspec.ValidationError as error:
        raise SitePolicyError(f"{source}: {_placed(str(error))}") from None
    except (SignatureError, ValueError) as error:
        raise SitePolicyError(f"{source}: {error}") from None
    return Policy(source, True, allowed, limits, file.data.tags, serve, budget, sums)


def decide(policy: Policy, manifest: Manifest, signer: Signer, needs: Needs, offers: Offers) -> Decision:
    """Whether a job may run here.

    Args:
        policy: the owner's.
        manifest: what the developer signed.
        signer: whose signature under it was verified.
        needs: what the job asks of the machine.
        offers: what the machine has and the owner gives.
    """
    who = f"one who says to be {signer.name} (key {signer.fingerprint})"
    task = manifest.task
    add = f'a table [[signer]] with name = "{signer.name}", key = "{signer.key}" and tasks = ["{task}"]'
    if not policy.found:
        return Decision(
            False, f"There is no policy {policy.path}, so nothing may run here; to allow {who}, write into it: {add}"
        )
    entries = [entry for entry in policy.allowed if entry.signer.public_key == signer.public_key]
    if not entries:
        return Decision(False, f"{policy.path} does not list who signed {task}, {who}; to allow it, add to it: {add}")
    # From here on the owner's name for the key is used; the bundle may say any name.
    who = f"{entries[0].signer.name} (key {signer.fingerprint})"
    if not any(fnmatchcase(task, pattern) for entry in entries for pattern in entry.tasks):
        return Decision(
            False, f'{policy.path} does not allow the task {task} of {who}; to allow it, add "{task}" to its tasks.'
        )
    wanted = policy.secure_aggregation
    if wanted and not sums_securely(manifest.job, wanted):
        ways = " or ".join(f'"{name}"' for name in wanted)
        return Decision(
            False,
            f"{policy.path} wants secure aggregation (privacy.secure_aggregation), and {task} of {who} has none "
            f"that it names between devices and their aggregators; give the last tier of its tree exchange = {ways}.",
        )
    lack = missing(needs, offers)
    if lack is not None:
        return Decision(False, f"{lack[:-1]}, so {task} of {who} cannot run here under {policy.path}.")
    return Decision(True, f"{policy.path} allows {task} of {who}.")


def allowed_now(limits: ResourceLimits, local: datetime, on_mains: bool | None) -> str | None:
    """Why no job may run at this moment, in one sentence; None if one may.

    Args:
        limits: the owner's.
        local: the time on the wall.
        on_mains: whether the machine runs on mains; None if it cannot tell, which counts as no.
    """
    if not is_open(limits.windows, local):
        return f"The owner's hours are closed; they open at {opens_at(limits, local):%H:%M}."
    if limits.mains_only and on_mains is None:
        return "The owner allows jobs on mains only, and this machine cannot tell whether it runs on mains."
    if limits.mains_only and not on_mains:
        return "The owner allows jobs on mains only, and the machine runs on its battery."
    return None


def opens_at(limits: ResourceLimits, local: datetime) -> datetime:
    """The next moment, from ``local`` on, at which the owner's hours are open; ``local`` itself if they are."""
    return next_open(limits.windows, local)


def _limits(raw: _Limits) -> ResourceLimits:
    if raw.hours is not None and not raw.hours:
        raise ValueError("limits.hours is empty; leave it out for always")
    try:
        windows = tuple(DailyWindow.parse(text) for text in raw.hours or ())
    except ValueError as error:
        raise ValueError(f"limits.hours: {error}") from None
    return ResourceLimits(
        raw.threads, _size(raw.memory, "limits.memory"), raw.niceness, windows, raw.mains_only, raw.jobs
    )


def _budget(raw: _Privacy) -> PrivacyBudget | None:
    if raw.epsilon is not None:
        return PrivacyBudget(raw.epsilon, raw.delta or DELTA, raw.unit or "device")
    if raw.delta is not None or raw.unit is not None:
        raise ValueError("privacy.delta and privacy.unit are of a budget; say privacy.epsilon too")
    return None


def _sums(raw: bool | SecureSum | tuple[SecureSum, ...]) -> tuple[SecureSum, ...]:
    """Which exchanges will do: by itself the demand means the one that no device alone can break."""
    if isinstance(raw, bool):
        return ("secagg",) if raw else ()
    if not raw:
        raise ValueError("privacy.secure_aggregation names no exchange; leave it out where none is wanted")
    return (raw,) if isinstance(raw, str) else raw


def _size(value: int | str | None, key: str) -> int | None:
    """Bytes of a number, or of a text such as ``2GB``."""
    if not isinstance(value, str):
        return value
    number = value.rstrip("BbGgIiKkMm ")
    unit = value[len(number) :].strip().upper()
    if unit not in SIZES or not number.isdecimal() or len(number) > 15 or int(number) == 0:
        raise ValueError(f"{key} is {value[:40]!r}; write a size such as 512MB or 2GB")
    return int(number) * SIZES[unit]


def _check_keys(raw: Mapping[str, Any], source: str) -> None:
    """Refuse a key that means nothing: the owner would think that it does."""
    _check_table(raw, "", source)
    for name in filter(None, TABLES):
        found = raw.get(name)
        for table in found if isinstance(found, list) else [found]:
            if isinstance(table, Mapping):
                _check_table(table, name, source)


def _check_table(table: Mapping[str, Any], name: str, source: str) -> None:
    known = TABLES[name].__struct_fields__
    for key in table:
        if key not in known:
            where = f"{name}.{key[:40]}" if name else key[:40]
            raise SitePolicyError(f"{source}: {where!r} is no key of a policy{suggest(key[:40], known)}")


def _placed(message: str) -> str:
    """msgspec's message with the key first: ``limits.threads: Expected `int`, got `str```."""
    what, _, where = message.partition(" - at `$")
    key = where.rstrip("`")
    if key == ".serve.channel":
        what += f"; write {' or '.join(map(repr, get_args(Channel)))}"
    if key.startswith(".privacy.secure_aggregation"):
        what += f"; write true, or {' or '.join(map(repr, get_args(SecureSum)))}, or a list of these"
    return f"{key.lstrip('.')}: {what}" if where else what
