"""The keys of a policy file (TOML), and what they may say."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, get_args

import msgspec

from fogline.governance.errors import SignatureError, SitePolicyError
from fogline.governance.policy.hours import DailyWindow
from fogline.governance.policy.protection import SecureSum
from fogline.governance.policy.tables import SiteTable
from fogline.governance.policy.terms import (
    Allowed,
    Channel,
    Owners,
    Policy,
    PrivacyBudget,
    ResourceLimits,
    Retention,
    Serve,
    Unit,
    Validity,
)
from fogline.governance.signatures.signers import Signer
from fogline.plugins import suggest

DELTA = 1e-5
"""Of an owner's budget of privacy that names none."""
SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
Positive = Annotated[int, msgspec.Meta(ge=1)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class _Signer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    key: str
    tasks: tuple[str, ...] = ("*",)
    algorithms: tuple[str, ...] = ("*",)
    code: tuple[Digest, ...] = ()
    approval: bool = False
    uses: Positive | None = None


class _Owner(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    key: str


class _Approval(msgspec.Struct, forbid_unknown_fields=True):
    needed: Positive | None = None


class _Valid(msgspec.Struct, forbid_unknown_fields=True):
    since: Any = None
    until: Any = None


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    file: str
    columns: dict[str, str]
    ranges: bool = False


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
    either: bool = False
    minimum: Positive = 1


class _Retention(msgspec.Struct, forbid_unknown_fields=True):
    jobs: str | None = None
    logs: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    signer: tuple[_Signer, ...] = ()
    limits: _Limits = msgspec.field(default_factory=_Limits)
    data: _Data = msgspec.field(default_factory=_Data)
    serve: _Serve = msgspec.field(default_factory=_Serve)
    privacy: _Privacy = msgspec.field(default_factory=_Privacy)
    owner: tuple[_Owner, ...] = ()
    approval: _Approval = msgspec.field(default_factory=_Approval)
    valid: _Valid = msgspec.field(default_factory=_Valid)
    table: dict[str, _Table] = msgspec.field(default_factory=dict[str, _Table])
    retention: _Retention = msgspec.field(default_factory=_Retention)


TABLES: dict[str, type[msgspec.Struct]] = {
    "": _File,
    "signer": _Signer,
    "limits": _Limits,
    "data": _Data,
    "serve": _Serve,
    "privacy": _Privacy,
    "owner": _Owner,
    "approval": _Approval,
    "valid": _Valid,
    "retention": _Retention,
}


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
        allowed = tuple(map(_allowed, file.signer))
        limits = _limits(file.limits)
        serve = Serve(file.serve.offload, _size(file.serve.keep, "serve.keep") or 0, file.serve.channel)
        budget, sums = _budget(file.privacy), _sums(file.privacy.secure_aggregation)
        if file.privacy.either and (budget is None or not sums):
            raise ValueError("privacy.either is between privacy.epsilon and privacy.secure_aggregation; say both")
        owners, valid = _owners(file), Validity(_moment(file.valid.since, "valid.since"), _end(file.valid.until))
        kept = file.retention
        retention = Retention(_days(kept.jobs, "retention.jobs"), _days(kept.logs, "retention.logs"))
        tables = tuple(
            SiteTable.of(name, table.file, table.columns, table.ranges) for name, table in file.table.items()
        )
    except msgspec.ValidationError as error:
        raise SitePolicyError(f"{source}: {_placed(str(error))}") from None
    except (SignatureError, ValueError) as error:
        raise SitePolicyError(f"{source}: {error}") from None
    return Policy(
        source,
        True,
        allowed,
        limits,
        file.data.tags,
        serve,
        budget,
        sums,
        file.privacy.either,
        file.privacy.minimum,
        owners,
        valid,
        tables,
        hashlib.sha256(text.encode()).hexdigest(),
        retention=retention,
    )


def _allowed(raw: _Signer) -> Allowed:
    signer = Signer.of(raw.name, raw.key)
    return Allowed(signer, raw.tasks, raw.algorithms, raw.code, raw.approval, raw.uses)


def _owners(raw: _File) -> Owners:
    owners = tuple(Signer.of(entry.name, entry.key) for entry in raw.owner)
    needed = raw.approval.needed
    if any(entry.approval for entry in raw.signer) and not owners:
        raise ValueError("signer.approval is true, and no table [[owner]] says whose approval counts")
    if len({owner.public_key for owner in owners}) < len(owners):
        raise ValueError("two tables [[owner]] have the same key; each owner is listed once")
    if needed is not None and needed > len(owners):
        raise ValueError(f"approval.needed is {needed}, and there are {len(owners)} tables [[owner]]")
    return Owners(owners, needed)


def _moment(value: object, key: str) -> datetime | None:
    """A moment by the clock on the wall: a date is its beginning."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.astimezone().replace(tzinfo=None) if value.tzinfo is not None else value
    if isinstance(value, date):
        return datetime.combine(value, time())
    raise ValueError(f"{key} is no date; write it without quotes, as 2027-06-30 or 2027-06-30T18:00:00")


def _end(value: object) -> datetime | None:
    """The same where a date belongs to what it ends."""
    moment, whole = _moment(value, "valid.until"), isinstance(value, date) and not isinstance(value, datetime)
    return moment + timedelta(days=1) if moment is not None and whole else moment


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


def _days(value: str | None, key: str) -> int | None:
    """Days of a text such as ``90d``."""
    if value is None:
        return None
    number = value.removesuffix("d")
    if number == value or not number.isascii() or not number.isdecimal() or len(number) > 6 or int(number) == 0:
        raise ValueError(f"{key} is {value[:40]!r}; write days, such as 90d, or leave it out to keep everything")
    return int(number)


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
