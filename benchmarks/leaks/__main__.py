"""What a job gives away with and without each defence: every attack of the leak audit, from every place.

``python -m benchmarks.leaks`` attacks one job (a cloud, two fogs, 32 devices) on two tasks: a dense network on digits
of 8 by 8 (scikit-learn) and LeNet on MNIST. A figure of the table is, by attack:

- ``labels``: the share of labels that are read (a guess has about as much as the classes are alike);
- ``first_layer``, ``dlg``, ``geiping``: examples rebuilt, of those there are;
- ``membership``, ``lira``: the area under the curve (chance: 0.5);
- ``canary``: the epsilon that was shown, with 95 % confidence.

The pages with the pictures lie in ``benchmarks/results/leaks`` (``--quick``: in ``.benchmarks/leaks``).
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.common import RESULTS, SCRATCH, console, report
from benchmarks.leaks.defences import DEFENCES, TASKS, job
from fogline.audit import AuditSettings, Finding, LeakReport, audit_leaks
from fogline.audit.page import page_of

FIGURES = {
    "labels": "right",
    "first_layer": "recovered",
    "dlg": "recovered",
    "geiping": "recovered",
    "membership": "auc",
    "lira": "auc",
    "canary": "epsilon",
}
QUICK = AuditSettings(examples=(1, 8, None), shadows=4, iterations=60, rounds=2, devices=2, canaries=120)


def row_of(task: str, defence: str, one: Finding) -> dict[str, Any]:
    """A line of the table."""
    return {
        "task": task,
        "defence": defence,
        "attack": one.attack,
        "place": one.place,
        "examples": one.examples,
        "devices": one.devices,
        "outcome": one.outcome,
        **{name: round(value, 4) for name, value in one.measures.items()},
    }


def attacked(task: str, defence: str, quick: bool) -> LeakReport:
    """One job under attack."""
    return audit_leaks(job(defence), TASKS[task](), QUICK if quick else AuditSettings())


def worst(findings: tuple[Finding, ...], place: str) -> dict[str, float]:
    """By attack, the highest figure that was found from a place."""
    figures: dict[str, float] = {}
    for one in findings:
        value = one.measures.get(FIGURES[one.attack])
        if one.place == place and value is not None:
            figures[one.attack] = max(value, figures.get(one.attack, 0.0))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="digits only, fewer trials; the result is not saved")
    parser.add_argument("--task", choices=TASKS, nargs="+", help="only these tasks")
    parser.add_argument("--defence", choices=DEFENCES, nargs="+", help="only these defences")
    given = parser.parse_args()
    tasks = given.task or (["digits"] if given.quick else list(TASKS))
    folder = (SCRATCH if given.quick else RESULTS) / "leaks"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for task in tasks:
        for defence in given.defence or DEFENCES:
            begun = time.process_time()
            found = attacked(task, defence, given.quick)
            seconds = time.process_time() - begun
            rows += [row_of(task, defence, one) for one in found.findings]
            summary[f"{task}, {defence}"] = {
                "worst": dict(found.worst),
                "seconds": round(seconds, 1),
                **{place: worst(found.findings, place) for place in ("fog", "cloud", "model")},
            }
            (folder / f"{task}-{defence.replace(' ', '-')}.html").write_text(page_of(found))
            console.print(f"{task}, {defence}: {' '.join(found.verdict)} [{seconds:.0f} s]", markup=False)
    whole = not (given.quick or given.task or given.defence)
    report("leaks", {"summary": summary, "rows": rows}, keep=whole)


if __name__ == "__main__":
    main()
