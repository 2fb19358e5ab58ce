"""What each rule withstands: a small model on scikit-learn's digits, every rule against every attack.

Twenty devices, four of them malicious, ten rounds of two epochs, a network of 64-32-10; accuracy on the test set, and,
of backdoors, how often they open. Devices have like data (Dirichlet 10), or different data (Dirichlet 0.3).
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import fogline
from benchmarks.common import SCRATCH, console, read_json, write_json
from fogline.training.torch.models import mlp

DEVICES, MALICIOUS, ROUNDS = 20, 4, 10
RULES: dict[str, str | list[str]] = {
    "mean": "mean",
    "norm_bound": "norm_bound(1.0)",
    "centered_clipping": "centered_clipping(1.0, iterations=3, history=false)",
    "median": "median",
    "trimmed_mean": "trimmed_mean(0.2)",
    "krum": "krum(f=4)",
    "multi_krum": "multi_krum(f=4)",
    "geometric_median": "geometric_median",
    "nnm, trimmed_mean": ["nnm(f=4)", "trimmed_mean(0.2)"],
}
ATTACKS = (
    "none", "label_flip", "gaussian", "sign_flip(scale=5)", "min_max", "mimic", "opt_ipm", "opt_alie",
    "backdoor(size=2)", "model_replacement(size=2)",
)  # fmt: skip
FINE = ("none", "label_flip", "mimic", "opt_ipm", "opt_alie", "backdoor(size=2)")
"""Attacks that are tried where data differ: the others are seen whatever the data are."""
FIRM = ("mean", "median", "trimmed_mean", "multi_krum", "geometric_median", "nnm, trimmed_mean")
"""Rules that are tried there."""
STATE = SCRATCH / "byzantine" / "table.json"


@cache
def task(alpha: float) -> fogline.Task:
    data = fogline.load("digits", partition="dirichlet", clients=DEVICES, alpha=alpha, seed=0)
    return fogline.Task(partial(mlp, 64, (32,), 10), data, name="digits")


def measured(alpha: float, rule: str, attack: str) -> dict[str, float]:
    """Accuracy, and how often a backdoor opens; read if it was measured before."""
    kept: dict[str, dict[str, float]] = read_json(STATE) or {}
    key = f"{alpha}, {RULES[rule]}, {attack}"
    if key not in kept:
        result = fogline.simulate(
            task(alpha),
            tree=fogline.Tree(cloud=fogline.Tier(rule=_listed(RULES[rule]))),
            rounds=ROUNDS,
            local={"learning_rate": 0.1, "batch_size": 10, "epochs": 2},
            evaluation={"every": ROUNDS},
            attack=None if attack == "none" else {"name": attack, "malicious": MALICIOUS},
            engine="loop",
            processes=0,
            progress=False,
        )
        kept[key] = {
            name: round(result.metrics[name], 3) for name in ("accuracy", "attack_success") if name in result.metrics
        }
        write_json(STATE, kept)
        console.print(f"{key}: {kept[key]}", highlight=False)
    return kept[key]


def _listed(rule: str | list[str]) -> Any:
    return rule if isinstance(rule, str) else tuple(rule)


def table() -> dict[str, Any]:
    """By how alike devices are, by rule: the figures of every attack, and the least accuracy."""
    found: dict[str, Any] = {}
    for alpha, rules, attacks in ((0.3, FIRM, FINE), (10.0, tuple(RULES), ATTACKS)):
        for rule in rules:
            row = {attack: measured(alpha, rule, attack) for attack in attacks}
            found.setdefault(str(alpha), {})[rule] = row | {"worst": min(one["accuracy"] for one in row.values())}
    return {"devices": DEVICES, "malicious": MALICIOUS, "rounds": ROUNDS, "dirichlet": found}
