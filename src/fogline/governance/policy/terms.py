"""What the owner of a site has decided, as the rest of the program reads it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from fogline.governance.policy.hours import DailyWindow
from fogline.governance.policy.protection import SecureSum
from fogline.governance.policy.tables import SiteTable
from fogline.governance.signatures.signers import Signer

OWNER = "owner.pub"
"""Beside the policy: who must have signed it; without that file nobody must."""
Channel = Literal["rounds", "stable"]
"""Which releases a node serves: every one, or only versions that people approved with the offline key."""
Unit = Literal["example", "device", "site"]
"""What may be protected as one by differential privacy, the smallest first."""


class Allowed(msgspec.Struct, frozen=True):
    """A developer whose jobs may run here."""

    signer: Signer
    tasks: tuple[str, ...] = ("*",)
    """Patterns of ``module:attribute``."""
    algorithms: tuple[str, ...] = ("*",)
    """Patterns of methods' names."""
    code: tuple[str, ...] = ()
    """SHA-256 of the code that may run, in hexadecimal; none at all: any that the developer signs."""
    approval: bool = False
    """Whether a job waits until the owners have approved it."""
    uses: int | None = None
    """How many jobs may begin here under this policy; None: any number."""


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


class Owners(msgspec.Struct, frozen=True):
    """Whose approval counts."""

    signers: tuple[Signer, ...] = ()
    needed: int | None = None
    """How many must approve; None: all."""


class Validity(msgspec.Struct, frozen=True):
    """When a policy holds, by the clock on the wall; None: without an end."""

    since: datetime | None = None
    until: datetime | None = None


class PrivacyBudget(msgspec.Struct, frozen=True):
    """What the data here may give away over all jobs."""

    epsilon: float
    delta: float
    unit: Unit
    """What is protected as one, at least."""


class Retention(msgspec.Struct, frozen=True):
    """After how many days what nobody needs any more is deleted; None: never by itself."""

    jobs: int | None = None
    """At a cloud: jobs, counted from their end."""
    logs: int | None = None
    """What the code of jobs printed, counted from its last line."""


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
    either: bool = False
    """Whether a secure sum or the budget will do; else both are demanded."""
    minimum: int = 1
    """Devices that must be in what the aggregator above them hands on."""
    owners: Owners = Owners()
    valid: Validity = Validity()
    tables: tuple[SiteTable, ...] = ()
    """Tables that tasks see in an altered copy."""
    digest: str = ""
    """SHA-256 of the file, in hexadecimal."""
    serial: int = 0
    """Of the owner's signature; 0: nobody must sign it."""
    retention: Retention = Retention()


class Decision(msgspec.Struct, frozen=True):
    """The answer to a job."""

    allowed: bool
    reason: str
    """One sentence, for the owner and for the developer."""
