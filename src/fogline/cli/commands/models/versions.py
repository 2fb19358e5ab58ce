"""``fogline models list`` and ``show``: which versions there are, and who serves them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.markup import escape

from fogline.cli.commands.models.names import chosen, parsed
from fogline.cli.connection import asked
from fogline.cli.listing import Item, Listing, present, print_json
from fogline.cli.options import OPERATOR, Json, OperatorOptions
from fogline.cli.telling import tell
from fogline.inference.card import Card, Exits, Tensor
from fogline.monitoring.human import human_bytes, human_seconds
from fogline.registry.model_report import ModelReport
from fogline.registry.release import Outcome, Tally

WORDS = {"probation": "on probation", "shadowing": "in shadow"}
STATES = {"committed": "green", "probation": "cyan", "shadowing": "cyan", "reverted": "red", "failed": "red",
          "alarm": "yellow"}  # fmt: skip
NEWEST = 5
"""Versions of a model that the list shows, beside those that are served somewhere."""


def list_models(*, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """List the models, their versions and where they are served.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    model_reports = asked(operator.folder, lambda client: client.models())
    if json:
        print_json([_facts(model_report, card) for model_report in model_reports for card in model_report.cards])
        return
    listing = Listing(
        ("model", "version", "made", "result", "from", "served by"),
        empty="There is no model yet: a job that reaches what it wants publishes one, models import takes one in.",
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


def show(model: str, /, *, json: Json = False, operator: OperatorOptions = OPERATOR) -> None:
    """Show a version: what it takes and gives, where it came from, who serves it and how it fares.

    Parameters
    ----------
    model
        NAME for the newest version, or NAME@VERSION.
    json
        Print an object (JSON) instead of lines.
    """
    name, version = parsed(model)
    (model_report,) = asked(operator.folder, lambda client: client.models(name))
    card = chosen(model_report, version)
    if json:
        print_json(_all_facts(model_report, card))
        return
    facts = {
        "model": f"{card.model}, version {card.version}",
        "approved": "" if card.version not in model_report.approved else f"by {model_report.approved[card.version]}",
        "card": model_report.digests[card.version],
        "takes": ", ".join(map(_tensor, card.inputs)),
        "gives": ", ".join(map(_tensor, card.answers)),
        "exits": _exits(card.exits),
        "result": ", ".join(f"{key} {value:.4g}" for key, value in card.metrics.items()),
        "personal": f"{', '.join(card.personal)}: each device its own" if card.personal else "",
        "size": human_bytes(sum(asset.size for asset in card.assets().values())),
        "deltas": ", ".join(f"{delta.codec} {human_bytes(delta.asset.size)}" for delta in card.deltas),
        "variants": ", ".join(f"{v.name} (agrees on {100 * v.agreement:.2f} %)" for v in card.variants),
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
            tell(f"{key:<10}{value}")
    _show_nodes([outcome for outcome in model_report.outcomes if outcome.version == card.version])
    for note in model_report.notes:
        who = f" ({note.by})" if note.by else ""
        tell(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(note.at))}  {note.text}{who}")


def _facts(model_report: ModelReport, card: Card) -> Item:
    """A version, for programs."""
    release = model_report.release
    current = release if release is not None and release.version == card.version else None
    return {
        "model": card.model,
        "version": card.version,
        "created": card.created,
        "metrics": dict(card.metrics),
        "headline": card.headline,
        "from": _origin(card),
        "approved_by": model_report.approved.get(card.version),
        "release": current.state if current else None,
        "next_ring": model_report.next_ring if current else None,
        "nodes": {found.node: found.what for found in model_report.outcomes if found.version == card.version},
    }


def _all_facts(model_report: ModelReport, card: Card) -> Item:
    """A version in full, for programs: what the list tells of it, and the rest."""
    return {
        **_facts(model_report, card),
        "digest": model_report.digests[card.version],
        "card": card,
        "tally": model_report.tallies.get(card.version),
        "psi": model_report.psi.get(card.version),
        "outcomes": [outcome for outcome in model_report.outcomes if outcome.version == card.version],
        "notes": model_report.notes,
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
        parts.append(f"{release.state}, ring {100 * release.width:.0f} %{_at_least(model_report.next_ring)}")
    return ", ".join(parts)


def _at_least(next_ring: float | None) -> str:
    """For how long the ring stays as it is; empty where time does not hold it."""
    left = 0.0 if next_ring is None else next_ring - time.time()
    return f" for {human_seconds(left)} more at least" if left > 0 else ""


def _show_nodes(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        why = f", {outcome.why}" if outcome.why else ""
        tell(f"{'node':<10}{outcome.node}: {WORDS.get(outcome.what, outcome.what)}{why}")


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.datatype}[{', '.join('n' if n < 0 else str(n) for n in tensor.shape)}]"


def _exits(exits: Exits | None) -> str:
    if exits is None:
        return ""
    leaving = zip(exits.outputs, exits.thresholds, exits.shares, strict=False)
    sure = ", ".join(f"{name} from a confidence of {least:.3f} ({100 * share:.0f} %)" for name, least, share in leaving)
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
        parts.append(f"{100 * tally.offloaded / tally.answers:.1f} % asked above")
    return ", ".join(parts)


def _drift(psi: float | None) -> str:
    if psi is None:
        return ""
    from fogline.inference.shifts import MAJOR, MODERATE

    reading = "none" if psi < MODERATE else "some" if psi < MAJOR else "strong"
    return f"{reading} (largest population stability index {psi:.3f})"
