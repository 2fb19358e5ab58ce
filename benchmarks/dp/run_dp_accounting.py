"""The other side of `accountant.py`: dp-accounting, in an environment of its own. Reads cases (JSON) and prints ε."""

from __future__ import annotations

import json
import sys
import time

import dp_accounting  # pyright: ignore[reportMissingImports]
from dp_accounting import pld, rdp  # pyright: ignore[reportMissingImports]

ACCOUNTANTS = {"pld": pld.PLDAccountant, "rdp": rdp.RdpAccountant}


def event_of(case: dict[str, float]) -> object:
    """A case as dp-accounting has it."""
    if "rho" in case:
        return dp_accounting.ZCDpEvent(case["rho"])
    once = dp_accounting.GaussianDpEvent(case["noise"])
    sampled = once if case["rate"] == 1 else dp_accounting.PoissonSampledDpEvent(case["rate"], once)
    return dp_accounting.SelfComposedDpEvent(sampled, int(case["times"]))


def main() -> None:
    """Every case with every accountant that takes it."""
    found: list[dict[str, float]] = []
    given = json.load(sys.stdin)
    orders: list[float] = given["orders"]
    for case in given["cases"]:
        answers: dict[str, float] = {}
        for name, kind in ACCOUNTANTS.items():
            accountant = kind(orders=orders) if name == "rdp" else kind()
            event = event_of(case)
            if accountant.supports(event):
                began = time.process_time()
                answers[name] = float(accountant.compose(event).get_epsilon(case["delta"]))
                answers[f"{name}_seconds"] = time.process_time() - began
        found.append(answers)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
