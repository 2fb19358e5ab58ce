"""Things by name: one file with one decorator, and one sentence where there is no such thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fogline.algorithms import METHODS
from fogline.data import PARTITIONERS
from fogline.data.loaders.registry import LOADERS
from fogline.lab import LINK_PRESETS
from fogline.nodes.policies import POLICIES
from fogline.plugins import Registry, first_sentence, nearest, suggest
from fogline.simulation.profiles import DEVICE_PRESETS
from fogline.training.backends import backends

HEAD = "from shop.registry import TOOLS\n\n\n"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose files register what is in them."""
    folder = tmp_path / "shop"
    (folder / "tools").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "tools" / "__init__.py").touch()
    (folder / "registry.py").write_text(
        'from fogline.plugins import Registry\n\nTOOLS = Registry("tool", "shop.tools", first="saw")\n'
    )
    (folder / "tools" / "awls.py").write_text(HEAD + '@TOOLS.add("awl", "Makes holes.")\ndef awl(): ...\n')
    (folder / "tools" / "saws.py").write_text(
        HEAD + '@TOOLS.add("saw")\nclass Saw:\n    """Cuts ``wood``.\n\n    Slowly.\n    """\n\n\n'
        '@TOOLS.add("band-saw")\nclass BandSaw(Saw):\n    """Cuts fast."""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def tools() -> Registry[type]:
    from shop.registry import TOOLS  # type: ignore[import-not-found]

    return TOOLS


def test_a_file_of_the_package_is_found_without_an_edit_elsewhere(shop: Path) -> None:
    (shop / "tools" / "new.py").write_text(HEAD + '@TOOLS.add("file")\ndef file():\n    """Smooths."""\n')
    registry = tools()
    assert "shop.tools.saws" not in sys.modules  # Nothing is imported before somebody asks.
    assert list(registry) == ["saw", "awl", "band-saw", "file"]
    assert {name: registry.summary(name) for name in registry} == {
        "saw": "Cuts wood.",
        "band-saw": "Cuts fast.",
        "awl": "Makes holes.",
        "file": "Smooths.",
    }


def test_the_order_does_not_depend_on_what_was_imported_first(shop: Path) -> None:
    import shop.tools.saws  # type: ignore[import-not-found]  # noqa: F401

    assert list(tools()) == ["saw", "awl", "band-saw"]


def test_names_are_found_as_people_write_them(shop: Path) -> None:
    registry = tools()
    assert registry.find("Band_Saw").name == "band-saw"
    assert registry["saw"].__name__ == "Saw"
    assert registry.name_of(registry["band-saw"]) == "band-saw"
    with pytest.raises(ValueError, match=r"^There is no tool 'bandsw'; did you mean 'band-saw'\?$"):
        registry.find("bandsw")
    with pytest.raises(ValueError, match=r"^There is no tool 'x'; there are saw, awl, band-saw$"):
        registry.find("x")


def test_two_things_of_one_name_are_refused_and_one_that_is_made_again_is_not(shop: Path) -> None:
    registry = tools()

    def define(name: str) -> type:
        made = type(name, (), {"__doc__": name, "__module__": "mine", "__qualname__": name})
        return registry.add("mine")(made)

    define("Mine")
    again = define("Mine")
    assert registry["mine"] is again
    assert registry.name_of(again) is None  # It has that name in this process only.
    with pytest.raises(ValueError, match=r"There are two of tool 'mine': mine:Mine and mine:Other\."):
        define("Other")


def test_a_file_that_cannot_be_imported_says_so_each_time(shop: Path) -> None:
    (shop / "tools" / "broken.py").write_text("raise OSError('no disk')\n")
    for _ in range(2):
        with pytest.raises(OSError, match="no disk"):
            len(tools())


@pytest.mark.parametrize("registry", [METHODS, POLICIES, LOADERS, PARTITIONERS, DEVICE_PRESETS, LINK_PRESETS])
def test_everything_that_has_a_name_says_what_it_is(registry: Registry[object]) -> None:
    assert len(registry) > 3
    for name in registry:
        assert registry.summary(name)
        assert registry.find(name.upper()).name == name


def test_what_is_meant() -> None:
    known = ["server_rate", "momentum"]
    assert nearest("serverRate", known) == "server_rate"
    assert nearest("x", known) is None
    assert suggest("momentm", known) == "; did you mean 'momentum'?"
    assert suggest("x", known) == "; there are server_rate, momentum"
    assert suggest("x", []) == ""


def test_a_name_costs_no_more_than_what_it_names() -> None:
    program = """
import sys
import fogline.cli.app
heavy = {"torch", "numpy", "fogline.algorithms"} & set(sys.modules)
assert not heavy, heavy
from fogline.nodes.policies import POLICIES
assert "fogline.nodes.policies.oort" not in sys.modules
list(POLICIES)
assert "fogline.nodes.policies.oort" in sys.modules
from fogline.algorithms import METHODS
from fogline.training.backends import backends
list(METHODS), backends()
assert "torch" not in sys.modules and "sklearn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_backends_are_the_packages_of_the_training_room() -> None:
    assert backends() == ["flwr", "sklearn", "torch"]


def test_a_summary_is_a_whole_sentence() -> None:
    def longer() -> None:
        """Does something of which one has to tell so much (Somebody et al., 2020, in ``theirs``) that it takes
        two lines. And then more.

        Besides, this.
        """

    told = "Does something of which one has to tell so much (Somebody et al., 2020, in theirs) that it takes two lines."
    assert first_sentence(longer) == told
