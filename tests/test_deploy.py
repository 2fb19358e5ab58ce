"""What lies in ``deploy``, and what the documentation says of it: it names what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fogline.cli.options import Predictions
from fogline.cli.running import METRICS
from fogline.monitoring.metrics import process
from fogline.monitoring.metrics.exposition import Family
from fogline.network.cloud import metrics as of_cloud
from fogline.network.node.monitor import metrics as of_node
from fogline.serving.server.http import metrics as of_serving

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "monitoring.md").read_text()
FAMILIES = (*of_node.FAMILIES, *of_cloud.FAMILIES, *of_serving.FAMILIES, *process.FAMILIES)
NAMES = {family.name for family in FAMILIES}
OURS = re.compile(r"\b(?:fogline|process)_[a-z_]+\b")


def named(text: str) -> set[str]:
    """Metrics that a query, or a text, names."""
    return {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in OURS.findall(text)}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return json.loads((DEPLOY / "grafana" / "fogline.json").read_text())["panels"]


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def row(family: Family) -> str:
    """The line of the documentation's table."""
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.name}` | {family.kind} | {labels} | {family.text} |"


def test_names_are_stable_and_their_own() -> None:
    assert len(NAMES) == len(FAMILIES)
    for family in FAMILIES:
        assert OURS.fullmatch(family.name)
        assert (family.kind == "counter") == family.name.endswith("_total")
        assert "job" not in family.labels, "Prometheus has a label of that name itself"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_documentation_lists_every_metric(family: Family) -> None:
    assert row(family) in PAGE.splitlines()


def test_what_is_named_is_measured() -> None:
    asked = [named(query) for query in queries()]
    assert all(found or query == 'up{job="fogline"} == 0' for found, query in zip(asked, queries(), strict=True))
    assert set().union(*asked) <= NAMES
    assert named(PAGE) <= NAMES


def test_labels_of_queries_are_those_of_the_metrics() -> None:
    labels = {family.name: {*family.labels, "instance"} for family in FAMILIES}
    for query in queries():
        for name, matched in re.findall(r"((?:fogline|process)_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)[=!~]+\"", matched)) <= labels[name], query
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            known = set().union({"le"}, *(labels[name] for name in named(query)))
            assert set(grouped.replace(" ", "").split(",")) <= known, query


def test_every_alert_is_complete_documented_and_tested() -> None:
    tested = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tested for case in test["alert_rule_test"] if case["exp_alerts"]}
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"]
        assert f"`{rule['alert']}`" in PAGE
    assert fired == {rule["alert"] for rule in rules()}


def test_the_rules_do_what_their_tests_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    for arguments in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        done = subprocess.run([promtool, *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_their_places() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_prometheus_asks_where_nodes_answer() -> None:
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["job_name"] == "fogline"
    ports = [int(target.rpartition(":")[2]) for target in scrape["static_configs"][0]["targets"]]
    assert ports == [*METRICS.values(), int(Predictions.http.rpartition(":")[2])]
