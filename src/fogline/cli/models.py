"""``fogline models``: what a cloud's registry holds, and where versions go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from fogline.cli.connection import asked, facts_of, operator_folder
from fogline.cli.durations import duration
from fogline.cli.failures import UsageError
from fogline.cli.listing import Item, Listing, present, print_json
from fogline.inference.card import Card, Exits, Tensor
from fogline.monitoring.human import human_bytes, human_seconds
from fogline.network.cloud.client import Client
from fogline.network.cloud.cloud import RELEASE_KEYS
from fogline.registry.model_report import Action, ModelReport, Steer
from fogline.registry.release import Outcome, Tally, Tier

WORDS = {"probation": "on probation", "shadowing": "in shadow"}
STATES = {"committed": "green", "probation": "cyan", "shadowing": "cyan", "reverted": "red", "failed": "red",
          "alarm": "yellow"}  # fmt: skip
NEWEST = 5
"""Versions of a model that the list shows, beside those that are served somewhere."""


def show_models(folder: Path, json: bool) -> None:
    """List models and versions: for people the newest and those that are served, for programs all."""
    model_reports = asked(folder, lambda client: client.models())
    if json:
        print_json([_facts(model_report, card) for model_report in model_reports for card in model_report.cards])
        return
    listing = Listing(
        ("model", "version", "made", "result", "from", "served by"),
        empty="There is no model yet: every job that finishes publishes one, and fogline models import takes one in.",
    )
    for model_report in model_reports:
        served = {outcome.version for outcome in model_report.outcomes}
        shown = [card for i, card in enumerate(model_report.cards) if i < NEWEST or card.version in served]
        for i, card in enumerate(shown):
            age = human_seconds(max(0.0, time.time() - card.created))
            name = escape(card.model) if i == 0 else ""
            version, served_by = _version(model_report, card), _served(model_report, card)
            listing.rows.append((name, version, f"{age} ago", _result(card), escape(_origin(card)), served_by))
        if len(model_report.cards) > len(shown):
            listing.rows.append(("", f"[dim]… {len(model_report.cards) - len(shown)} more[/]"))
    present([listing], json=False)


def _facts(model_report: ModelReport, card: Card) -> Item:
    """A version, for programs."""
    release = model_report.release
    return {
        "model": card.model,
        "version": card.version,
        "created": card.created,
        "metrics": dict(card.metrics),
        "headline": card.headline,
        "from": _origin(card),
        "approved_by": model_report.approved.get(card.version),
        "release": release.state if release is not None and release.version == card.version else None,
        "nodes": {found.node: found.what for found in model_report.outcomes if found.version == card.version},
    }


def _version(model_report: ModelReport, card: Card) -> str:
    return f"{card.version}{' (approved)' if card.version in model_report.approved else ''}"


def _origin(card: Card) -> str:
    lineage = card.lineage
    if lineage.origin:
        return "import"
    if not lineage.job and card.cascade is not None:
        return f"{lineage.parent}, asks {card.cascade.to}"
    return lineage.job


def _result(card: Card) -> str:
    value = card.metrics.get(card.headline)
    return "" if value is None else f"{card.headline} {value:.4g}"


def _served(model_report: ModelReport, card: Card) -> str:
    there = [outcome for outcome in model_report.outcomes if outcome.version == card.version]
    counts = {what: sum(outcome.what == what for outcome in there) for what in STATES}
    parts = [f"[{STATES[what]}]{n} {WORDS.get(what, what)}[/]" for what, n in counts.items() if n]
    release = model_report.release
    if release is not None and release.version == card.version and release.state != "done":
        parts.append(f"{release.state}, ring {release.width:.0%}")
    return ", ".join(parts)


def show_model(folder: Path, text: str) -> None:
    """All that is known of a version.

    Raises:
        UsageError: there is none.
    """
    name, version = parsed(text)
    (model_report,) = asked(folder, lambda client: client.models(name))
    card = chosen(model_report, version)
    facts = {
        "model": f"{card.model}, version {card.version}",
        "approved": "" if card.version not in model_report.approved else f"by {model_report.approved[card.version]}",
        "card": model_report.digests[card.version],
        "takes": ", ".join(map(_tensor, card.inputs)),
        "gives": ", ".join(map(_tensor, card.answers)),
        "exits": _exits(card.exits),
        "result": ", ".join(f"{key} {value:.4g}" for key, value in card.metrics.items()),
        "size": human_bytes(sum(asset.size for asset in card.assets().values())),
        "deltas": ", ".join(f"{delta.codec} {human_bytes(delta.asset.size)}" for delta in card.deltas),
        "variants": ", ".join(f"{v.name} (agrees on {v.agreement:.2%})" for v in card.variants),
        "job": card.lineage.job,
        "rounds": str(card.lineage.rounds or ""),
        "task": card.lineage.task,
        "method": card.lineage.algorithm,
        "data": ", ".join(card.lineage.data),
        "by": card.lineage.by,
        "privacy": ", ".join(f"{key} {value:g}" for key, value in card.lineage.privacy.items()) or "no mechanism used",
        "asks": "" if card.cascade is None else f"{card.cascade.to} below a confidence of {card.cascade.threshold:.3f}",
        "fares": _fares(model_report.tallies.get(card.version)),
        "drift": _drift(model_report.psi.get(card.version)),
    }
    for key, value in facts.items():
        if value:
            print(f"{key:<10}{value}")
    _show_nodes([outcome for outcome in model_report.outcomes if outcome.version == card.version])
    for note in model_report.notes:
        who = f" ({note.by})" if note.by else ""
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(note.at))}  {note.text}{who}")


def _show_nodes(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        why = f", {outcome.why}" if outcome.why else ""
        print(f"{'node':<10}{outcome.node}: {WORDS.get(outcome.what, outcome.what)}{why}")


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.datatype}[{', '.join('n' if n < 0 else str(n) for n in tensor.shape)}]"


def _exits(exits: Exits | None) -> str:
    if exits is None:
        return ""
    leaving = zip(exits.outputs, exits.thresholds, exits.shares, strict=False)
    sure = ", ".join(f"{name} from a confidence of {least:.3f} ({share:.0%})" for name, least, share in leaving)
    return f"{sure}; else {exits.outputs[-1]}{'' if exits.stages else ' (all of it runs for every sample)'}"


def _fares(tally: Tally | None) -> str:
    if tally is None or not tally.answers:
        return ""
    parts = [f"{tally.answers} answers", f"{tally.errors} errors", f"{1e3 * tally.seconds / tally.answers:.2f} ms"]
    if tally.confident:
        parts.append(f"mean confidence {tally.confidence / tally.confident:.3f}")
    if tally.labels:
        parts.append(f"accuracy {tally.correct / tally.labels:.3f} on {tally.labels} labels")
    if tally.offloaded:
        parts.append(f"{tally.offloaded / tally.answers:.1%} asked above")
    return ", ".join(parts)


def _drift(psi: float | None) -> str:
    if psi is None:
        return ""
    from fogline.inference.shifts import MAJOR, MODERATE

    reading = "none" if psi < MODERATE else "some" if psi < MAJOR else "strong"
    return f"{reading} (largest population stability index {psi:.3f})"


def steer(
    folder: Path,
    text: str,
    action: Action,
    rings: tuple[float, ...] = (),
    ring_time: str | None = None,
    shadow: bool = False,
    tiers: tuple[Tier, ...] = (),
) -> None:
    """Change where a model's versions go, and say what happens now.

    Raises:
        UsageError: that is no version, or no time.
    """
    name, version = parsed(text) if action in ("promote", "rollback") else (_name(text), 0)
    watched = None if ring_time is None else duration("--ring-time", ring_time)
    wanted = Steer(name, action, version, shadow, rings, watched, tiers)
    place = operator_folder(folder) / RELEASE_KEYS

    async def ask(client: Client) -> str:
        if place.is_dir():
            await _catch_up(client, place)
        return await client.steer(wanted)

    print(asked(folder, ask))


async def _catch_up(client: Client, place: Path) -> None:
    """Hand in what was approved, where the cloud has forgotten it: nodes believe no release beside older approvals."""
    from fogline.registry.trust import operator
    from fogline.registry.trust.offline_metadata import read_offline_metadata

    own = operator.newer(place, read_offline_metadata(await client.offline_metadata()))
    if own is not None:
        print(await client.adopt(own.encoded()))


def approve_version(folder: Path, text: str, keys: Path | None, withdraw: bool) -> None:
    """Sign, here, that nodes of the stable channel may serve a version, or no longer.

    Raises:
        UsageError: there is no such version.
        MetadataError: the keys are not there, or the cloud shows what nobody signed.
    """
    from fogline.registry.trust import operator
    from fogline.registry.trust.offline_metadata import read_offline_metadata

    name, version = parsed(text)
    place = keys or operator_folder(folder) / RELEASE_KEYS
    by = facts_of(folder).operator

    async def ask(client: Client) -> str:
        (model_report,) = await client.models(name)
        card = chosen(model_report, version)
        digest = model_report.digests[card.version]
        theirs = read_offline_metadata(await client.offline_metadata())
        if withdraw:
            offline_metadata = operator.withdraw(place, theirs, name, digest)
        else:
            offline_metadata = operator.approve(place, theirs, name, digest, by)
        adopted = await client.adopt(offline_metadata.encoded())
        what = "is no longer" if withdraw else "is"
        return f"{name} version {card.version} {what} approved. {adopted}"

    print(asked(folder, ask))


def export_version(folder: Path, text: str, file: Path | None) -> None:
    """Write a version into one file."""
    name, version = parsed(text)

    async def ask(client: Client) -> Path:
        (model_report,) = await client.models(name)
        card = chosen(model_report, version)
        default = f"{card.model}-{card.version}.fogline"
        path = Path(default) if file is None else file / default if file.is_dir() else file
        await client.export(name, card.version, path)
        return path

    path = asked(folder, ask)
    print(f"{path} ({human_bytes(path.stat().st_size)}); serve it alone: fogline serve {path}")
    print(f"Take it in at another cloud: fogline models import {path}")


def import_version(folder: Path, file: Path) -> None:
    """Take a version in.

    Raises:
        UsageError: there is no such file.
    """
    if not file.is_file():
        raise UsageError(f"There is no file {file}")
    print(asked(folder, lambda client: client.take_in(file)))


def link_models(folder: Path, model: str, to: str, accuracy: float | None, budget: float | None) -> None:
    """Make a cascade of two models.

    Raises:
        UsageError: it is not said what for, or the names are none.
    """
    if (accuracy is None) == (budget is None):
        raise UsageError("Say either what the two must reach (--accuracy 0.97) or what may be sent (--budget 0.3)")
    if not all(0 <= share <= 1 for share in (accuracy, budget) if share is not None):
        raise UsageError("--accuracy and --budget are shares; write a number from 0 to 1")
    small, large = _name(model), _name(to)
    print(asked(folder, lambda client: client.link(small, large, accuracy, budget)))


def retrain_on_drift(folder: Path, model: str, psi: float | None, cooldown: str, never: bool) -> None:
    """Set or clear the rule by which a model's job runs again.

    Raises:
        UsageError: the rule makes no sense.
    """
    if (psi is None) != never:
        raise UsageError("Say at which drift (--psi 0.25), or --never")
    if psi is not None and not psi > 0:
        raise UsageError(f"--psi must be above 0; {psi:g} is not, and 0.25 is usual")
    name, wait = _name(model), duration("--cooldown", cooldown)
    print(asked(folder, lambda client: client.retrain(name, psi, wait)))


def parsed(text: str) -> tuple[str, int]:
    """A model's name and a version; 0 where none is named.

    Raises:
        UsageError: it is no such text.
    """
    name, at, number = text.partition("@")
    if not name or (at and not (number.isdecimal() and int(number))):
        raise UsageError(f"'{text}' is no version of a model; write NAME or NAME@VERSION, such as digits@1")
    return name, int(number or 0)


def _name(text: str) -> str:
    """A model's name, where no version can be meant.

    Raises:
        UsageError: one is named.
    """
    name, version = parsed(text)
    if version:
        raise UsageError(f"This concerns no single version of {name}; write {name}")
    return name


def chosen(model_report: ModelReport, version: int) -> Card:
    """A version, or the newest.

    Raises:
        UsageError: there is none.
    """
    for card in model_report.cards:
        if version in (0, card.version):
            return card
    known = ", ".join(str(card.version) for card in model_report.cards)
    raise UsageError(f"There is no version {version} of {model_report.model}; there are {known}")
