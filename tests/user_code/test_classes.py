"""A class of a developer's own is found by its name; what is wrong with its file is a sentence, for each kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fogline.aggregation.rules import make_rule
from fogline.algorithms import make
from fogline.exchanges import make_exchange
from fogline.stages import make as make_stage
from fogline.user_code.classes import own_class

MAKERS = {"rule": make_rule, "algorithm": make, "stage": make_stage, "exchange": make_exchange}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module, and gives its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(text: str) -> str:
        name = re.sub(r"\W", "_", f"own_{tmp_path.name}")
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return written


@pytest.mark.parametrize("noun", MAKERS)
def test_a_mistake_in_the_file_is_named_with_its_line(noun: str, module: Callable[[str], str]) -> None:
    name = module("one = 1\ntwo = oen\n")
    with pytest.raises(
        ValueError, match=rf"^The {noun} '{name}:Mine' cannot be imported: {name} raised NameError"
    ) as told:
        MAKERS[noun](f"{name}:Mine")
    assert f"{name}.py, line 2" in str(told.value)


@pytest.mark.parametrize("noun", MAKERS)
def test_what_there_is_not_or_is_something_else_is_said(noun: str, module: Callable[[str], str]) -> None:
    name = module("class Other: ...\n")
    with pytest.raises(ValueError, match=rf"^The {noun} '{name}:Mine' cannot be imported: module '{name}' has no"):
        MAKERS[noun](f"{name}:Mine")
    with pytest.raises(ValueError, match=rf"^The {noun} 'nowhere_at_all:Mine' cannot be imported: No module named"):
        MAKERS[noun]("nowhere_at_all:Mine")
    with pytest.raises(ValueError, match=rf"^'{name}:Other' is no subclass of fogline\."):
        MAKERS[noun](f"{name}:Other")


def test_a_class_may_lie_in_another(module: Callable[[str], str]) -> None:
    name = module("class Outer:\n    class Inner(dict): ...\n")
    assert own_class(f"{name}:Outer.Inner", "table", dict).__name__ == "Inner"
