"""``fogline privacy``: how much noise a promise takes, and what an owner's data has given away."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number
from msgspec import to_builtins
from rich.markup import escape

from fogline.cli.connection import asked, operator_folder
from fogline.cli.failures import UsageError
from fogline.cli.listing import Listing, present
from fogline.cli.options import COMMON, OPERATOR, CommonOptions, Json, OperatorOptions
from fogline.governance.identity.credentials import ROOT
from fogline.governance.policy.policy import read_policy
from fogline.network.cloud.client import Client
from fogline.network.cloud.owners.budgets import spent_budgets
from fogline.network.node.process import NodeFolder
from fogline.network.node.spending import AHEAD, ahead_of, behind
from fogline.privacy.accounting.accountants import epsilon, least_noise
from fogline.privacy.accounting.events import AccountantName, Event, Gaussian, Repeated, Sampled
from fogline.privacy.accounting.ledger import FILE, PrivacyLedger

DEVICE = Path("fogline-device")
Epsilon = Annotated[float, Parameter(validator=Number(gt=0))]
Delta = Annotated[float, Parameter(validator=Number(gt=0, lt=1))]
Rate = Annotated[float, Parameter(validator=Number(gt=0, lte=1))]
Rounds = Annotated[int, Parameter(validator=Number(gte=1))]

privacy = App(name="privacy")


@privacy.command
def noise(
    *,
    epsilon: Epsilon,
    rounds: Rounds,
    delta: Delta = 1e-5,
    rate: Rate = 1.0,
    accountant: AccountantName = "pld",
    options: CommonOptions = COMMON,
) -> None:
    """Say how much Gaussian noise (privacy.noise) a promise takes.

    Parameters
    ----------
    epsilon
        What may be given away of each unit in all.
    rounds
        Sums that are given out and that a unit may be in; of DP-SGD, steps.
    delta
        Probability with which the promise may fail.
    rate
        Of DP-SGD: the share of its examples that a device draws for a step, each by itself. Cohorts are not drawn so.
    accountant
        What adds it up: pld, rdp or zcdp.
    """

    def events(noise: float) -> tuple[Event, ...]:
        once = Gaussian(noise)
        return (Repeated(once if rate == 1 else Sampled(rate, once), rounds),)

    try:
        least = least_noise(events, epsilon, delta, accountant)
    except ValueError as error:
        raise UsageError(f"{error}; allow more, or ask for fewer rounds") from None
    print(f"noise = {least:g}")


@privacy.command
def spent(*, folder: Path = DEVICE, json: Json = False, options: CommonOptions = COMMON) -> None:
    """Show what the data of the device on this machine has given away, job after job.

    Parameters
    ----------
    folder
        As fogline join made it.
    json
        Print an array of objects (JSON) instead of a table.
    """
    ledger, budget = _ledger_of(folder), read_policy(NodeFolder(folder).policy).privacy
    hint = _in_all(ledger, None if budget is None else budget.epsilon, None if budget is None else budget.delta)
    listing = Listing(
        ("job", "protects each", "trainings", "ε of the job", "ε after it", "δ", "when"),
        title=f"Given away by {ledger.path}",
        hint=hint,
        empty=f"Nothing was given away yet that is counted: there is no entry in {ledger.path}",
    )
    for entry in ledger.starts.values():
        alone = epsilon(entry.events, entry.delta)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.at))
        item = {
            "job": entry.job,
            "unit": entry.unit,
            "trainings": entry.rounds,
            "epsilon": alone if math.isfinite(alone) else None,
            "epsilon_after": entry.epsilon,
            "delta": entry.delta,
            "at": entry.at,
        }
        after = "without bound" if entry.epsilon is None else f"{entry.epsilon:.4g}"
        listing.add(item, entry.job, entry.unit, f"{entry.rounds:,}", f"{alone:.4g}", after, f"{entry.delta:g}", when)
    present([listing], json)


@privacy.command
def ledgers(*, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """Show what the data of all nodes have given away, and what is left, as each node has signed it.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    root = (operator_folder(operator.folder) / "identity" / ROOT).read_bytes()
    listing = Listing(
        ("node", "protects each", "ε", "δ", "allowed", "left", "problem"),
        empty="No node has told of a ledger: nothing was given away yet that is counted.",
    )
    for one in spent_budgets(asked(operator.folder, Client.ledgers), root):
        figures = ("without bound" if one.epsilon is None else f"{one.epsilon:.4g}", f"{one.delta:g}")
        limits = ("no limit", "") if one.allowed is None else (f"{one.allowed:g}", f"{one.left:.4g}")
        known = ("", "", "", "", "") if one.problem else (one.unit, *figures, *limits)
        listing.add(to_builtins(one), one.node, *known, escape(one.problem))
    present([listing], json)


@privacy.command(name="take-over")
def take_over(*, folder: Path = DEVICE, options: CommonOptions = COMMON) -> None:
    """Book on top of a ledger that went back to a backup all that its lost end says was given away.

    What both have is counted twice: nobody can tell it apart any more. Where the newest ledger still exists, put it
    back instead.

    Parameters
    ----------
    folder
        As fogline join made it.
    """
    if NodeFolder(folder).runs():
        raise UsageError(f"The node in {folder} runs; stop it first")
    ledger = _ledger_of(folder)
    head = ahead_of(folder, ledger)
    if head is None:
        print(f"Nothing is lost of {ledger.path}, as far as this node was shown.")
        return
    budget = read_policy(NodeFolder(folder).policy).privacy
    entry = ledger.take_over(head.number, head.digest, head.events, head.unit, 1e-5 if budget is None else budget.delta)
    (folder / AHEAD).unlink(missing_ok=True)
    print(f"Entry {entry.number} of {ledger.path} books what entry {head.number} of the lost ledger said.")
    print(_in_all(ledger, None if budget is None else budget.epsilon, entry.delta))


def _ledger_of(folder: Path) -> PrivacyLedger:
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}; name the device's with --folder")
    if not (folder / FILE).exists() and not NodeFolder(folder).identity.exists():
        raise UsageError(
            f"There is no device in {folder}: it has no identity and no {FILE}; name its folder with --folder"
        )
    return PrivacyLedger(folder / FILE)


def _in_all(ledger: PrivacyLedger, allowed: float | None, delta: float | None) -> str:
    """What was given away over all jobs, and what the owner's policy allows."""
    if not ledger.number:
        return ""
    delta = delta or max(entry.delta for entry in ledger.starts.values())
    whose = {"example": "each example", "device": "this device's whole data set", "site": "all data of the site"}
    of = "policy.toml sets no limit ([privacy])" if allowed is None else f"of {allowed:g} allowed"
    told = f"Over all jobs: {whose[ledger.unit]}, ε = {ledger.spent(delta):.4g} at δ = {delta:g}, {of}"
    head = ahead_of(ledger.path.parent, ledger)
    return told if head is None else f"{told}. {behind(ledger.path.parent, ledger, head)}"
