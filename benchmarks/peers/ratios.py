"""What the outcomes come to: ratios, and sides that did other work."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from benchmarks.common import (
    console,
    median,
    spread,
)
from benchmarks.peers.plan import HEADLINE, PINS, POPULATION, SILOS, Run
from benchmarks.peers.sides import Outcome


def summarise(runs: list[Run], outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """The result: per model, headline ratios, and everything measured under "detail"."""
    result: dict[str, Any] = {}
    for run in runs:
        model = result.setdefault(run.model, {"flower": None, "pfl": None, "nvflare": None, "detail": {}})
        sides = model["detail"].setdefault(run.configuration.name, {})
        side = sides.setdefault(run.side, {"seconds_each": [], "loads": []})
        if run.key not in outcomes:
            continue
        outcome = dict(outcomes[run.key])
        side["seconds_each"] += outcome.pop("seconds", [])
        side["loads"].append(outcome.pop("load"))  # of the machine over the minute before the run
        outcome.pop("updates", None)
        side |= outcome | {"tolerance": run.configuration.tolerance(run.side)}
    for model in result.values():
        _add_ratios(model)
    return result


def _add_ratios(model: dict[str, Any]) -> None:
    for sides in model["detail"].values():
        refuse_other_work(sides)
        ours = median(sides["fogline"]["seconds_each"]) if sides["fogline"]["seconds_each"] else None
        for side in sides.values():
            if side["seconds_each"]:
                side["seconds"] = spread(side["seconds_each"])
                side["ratio"] = round(side["seconds"]["median"] / ours, 3) if ours and not refused(sides) else None
    for peer in PINS:
        sides = model["detail"].get((SILOS if peer == "nvflare" else HEADLINE).name, {})
        model[peer] = sides.get(peer, {}).get("ratio")
    population = model["detail"].get(POPULATION.name, {}).get("fogline", {})
    model["population"] = population.get("seconds", {}).get("median")


def show(result: dict[str, Any]) -> None:
    table = Table(
        "model", "cohort", "side", "s/round", "÷ Fogline", "rounds", "moved", title="Median seconds per steady round"
    )
    for model, found in result.items():
        for name, sides in found["detail"].items():
            for side, values in sides.items():
                seconds, ratio = values.get("seconds"), values.get("ratio")
                cells = (f"{seconds['median']:.4f}", f"{ratio:.2f}" if ratio else "–") if seconds else ("failed", "–")
                moved = f"{values['moved']:.4f}" if "moved" in values else "–"
                table.add_row(model, name, side, *cells, str(values.get("rounds", "–")), moved)
    console.print(table)


def refuse_other_work(sides: dict[str, Any]) -> None:
    """Mark a side that did another number of rounds than the plain loop (or the first peer), or moved elsewhere."""
    done = {name: side for name, side in sides.items() if "moved" in side}
    wanted = done.get("loop") or next((side for name, side in done.items() if name != "fogline"), None)
    for side in done.values() if wanted else ():
        apart = abs(side["moved"] / wanted["moved"] - 1)
        if side["rounds"] != wanted["rounds"] or not apart <= side["tolerance"]:
            side["refused"] = (
                f"{side['rounds']} rounds moved the model by {side['moved']:.4f}, where {wanted['rounds']} of the "
                f"plain loop move it by {wanted['moved']:.4f}: that is other work"
            )


def refused(sides: dict[str, Any]) -> list[str]:
    """What is to be said of sides that did other work."""
    return [f"{name}: {side['refused']}" for name, side in sides.items() if "refused" in side]
