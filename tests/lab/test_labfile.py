"""A lab file is checked before anything is made."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from fogline.lab import LINK_PRESETS, LabError, labfile, parse_changes, read_lab
from fogline.lab.links.settings import Both, OneWay, change, read_table

TREE = {"cloud": "", "fog-0": "cloud", "fog-1": "cloud", "dev-0": "fog-0", "dev-1": ["fog-0", "fog-1"]}
HERE = Path("/here")


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({}, "nodes is missing."),
        ({"nodes": {}}, "nodes: a lab has 1 to 10000 nodes, not 0."),
        ({"nodes": {"a": "b"}}, "'a' has the parent 'b', which is no node"),
        ({"nodes": {"a": "a"}}, "'a' and 'a' cannot be linked so."),
        ({"nodes": {"a": "b", "b": "a"}}, "'b' and 'a' cannot be linked twice."),
        ({"nodes": {"a/b": ""}}, "'a/b' is no name of a node"),
        ({"nodes": {"default": ""}}, "'default' is no name of a node"),
        ({"nodes": TREE, "link": {}}, "link is no key of a lab; did you mean 'links'?"),
        ({"nodes": TREE, "links": {"fgo-0": {}}}, "'fgo-0' is no node with a link; did you mean 'fog-0'?"),
        ({"nodes": TREE, "links": {"cloud": {}}}, "'cloud' has no parent"),
        (
            {"nodes": TREE, "links": {"fog-0": {"dely": 1}}},
            "links.fog-0.dely is no key of a lab; did you mean 'delay'?",
        ),
        ({"nodes": TREE, "links": {"fog-0": {"rate": "5 potatoes"}}}, "links.fog-0.rate: '5 potatoes' is no bandwidth"),
        ({"nodes": TREE, "links": {"fog-0": {"rate": 0}}}, "links.fog-0.rate: input should be greater than 0."),
        ({"nodes": TREE, "links": {"fog-0": {"queue": "5Mbit"}}}, "links.fog-0.queue: '5Mbit' is no size"),
        (
            {"nodes": TREE, "links": {"fog-0": {"loss": 5}}},
            "links.fog-0.loss: input should be less than or equal to 1.",
        ),
        (
            {"nodes": TREE, "links": {"dev-*": {"preset": "satelite"}}},
            "links.dev-*: there is no preset 'satelite'; did you mean 'satellite'?",
        ),
        ({"nodes": TREE, "links": {"fog-0": {"rate": 1, "trace": "x.csv"}}}, "links.fog-0: the trace gives the rate"),
        ({"nodes": TREE, "event": [{"at": "5s", "node": "x*", "set": {}}]}, "'x*' is no node with a link"),
        ({"nodes": TREE, "event": [{"at": "5 moons", "node": "dev-0", "set": {}}]}, "event.0.at: '5 moons' is no dur"),
    ],
)
def test_faults_are_sentences(tables: dict[str, object], says: str) -> None:
    with pytest.raises(LabError) as wrong:
        read_lab(tables)
    assert says in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_file_is_named_in_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    with pytest.raises(LabError, match="There is no lab file"):
        read_lab(path)
    path.write_text("nodes = [")
    with pytest.raises(LabError, match="is not valid TOML"):
        read_lab(path)
    path.write_text("[nodes]\na = ''\n[lnks]\n")
    with pytest.raises(LabError, match=r"lab\.toml: lnks is no key"):
        read_lab(path)


def test_the_example_in_the_documentation_is_a_lab(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(textwrap.dedent(str(labfile.__doc__).partition("::")[2]))
    lab = read_lab(path)
    assert lab.folder == tmp_path
    assert lab.nodes == {"cloud": (), "fog-0": ("cloud",), "dev-0": ("fog-0",)}
    assert lab.event[0].at == 30.0
    link = change(Both(), lab.links["fog-0"], lab.folder)
    assert (link.up.rate, link.down.rate, link.up.delay) == (4000, 8000, 0.3)


def test_links_are_selected_by_name_pattern_and_parent() -> None:
    lab = read_lab({"nodes": TREE})
    assert list(lab.pairs()) == ["fog-0", "fog-1", "dev-0", "dev-1>fog-0", "dev-1>fog-1"]
    assert lab.select("fog-*") == ["fog-0", "fog-1"]
    assert lab.select("dev-1") == ["dev-1>fog-0", "dev-1>fog-1"]
    assert lab.select("*>fog-0") == ["dev-0", "dev-1>fog-0"]


def test_later_settings_override_and_directions_differ() -> None:
    link = change(Both(), read_table({"preset": "4g", "loss": 0.5, "up": {"rate": "1Mbit"}}, "x"), HERE)
    assert (link.up.rate, link.down.rate) == (125e3, 25e6 / 8)
    assert link.up.loss == link.down.loss == 0.5
    link = change(link, read_table({"rate": "none"}, "x"), HERE)
    assert link.up.rate is None
    assert link.up.delay == 0.025
    link = change(link, read_table({"trace": "a.csv"}, "x"), HERE)
    assert link.up.trace == "/here/a.csv"
    assert change(link, read_table({"rate": "1MB"}, "x"), HERE).up.trace is None


def test_every_preset_is_right_and_has_a_note() -> None:
    assert list(LINK_PRESETS) == ["lan", "4g", "4g-measured", "dsl", "lossy", "lte-edge", "satellite", "wifi"]
    for name, preset in LINK_PRESETS.items():
        assert LINK_PRESETS.summary(name).endswith(".")
        for side in ("up", "down"):
            OneWay.model_validate(preset()[side])


def test_changes_on_a_command_line() -> None:
    pairs = ["rate=64kbit", "loss=0.1", "partition=true", "up.delay=20ms"]
    assert parse_changes(pairs) == {"rate": "64kbit", "loss": 0.1, "partition": True, "up": {"delay": "20ms"}}
    for wrong in (["rate"], [], ["=5"], ["up=5", "up.rate=5"]):
        with pytest.raises(LabError):
            parse_changes(wrong)
