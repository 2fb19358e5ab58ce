"""``fogline lab`` over a real lab, from terminals of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.lab import why_not
from tests.network.commands import Program, Terminal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]
LAB = """
[nodes]
cloud = ""
fog = "cloud"
[links]
fog = { delay = "5ms" }
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[Terminal, Program, str]]:
    terminal = Terminal(tmp_path)
    (tmp_path / "lab.toml").write_text(LAB)
    program = terminal.start("lab", "up", "lab.toml")
    said = program.until("fogline lab set NODE")
    yield terminal, program, re.findall(r"The lab (\S+) runs", said)[0]
    if program.process.poll() is None:
        program.end()
    assert terminal.left_after(10) == []


def test_a_lab_from_up_to_down(lab: tuple[Terminal, Program, str]) -> None:
    terminal, program, name = lab
    assert name in terminal.ok("lab", "list")
    done = terminal.run("lab", "exec", "fog", "--lab", name, "--", "sh", "-c", "echo here; exit 7")
    assert (done.stdout, done.returncode) == ("here\n", 7)
    assert "Changed fog" in terminal.ok("lab", "set", "fog", "partition=true", "up.loss=0.1", "--lab", name)
    assert "packets" in terminal.ok("lab", "counters", "--lab", name)
    assert "did you mean 'fog'?" in terminal.refused("lab", "exec", "fogg", "--lab", name, "--", "true")
    assert "no lab 'other' runs" in terminal.refused("lab", "counters", "--lab", "other").lower()
    assert "ends" in terminal.ok("lab", "down", "--lab", name)
    assert program.wait() == 0
    assert "nothing of it is left" in program.said


def test_ctrl_c_ends_it(lab: tuple[Terminal, Program, str]) -> None:
    _, program, _ = lab
    assert program.end() == 0


def test_a_wrong_file_is_a_sentence(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    (tmp_path / "lab.toml").write_text("[nodes]\ncloud = ''\n[links]\ncloud = { rat = 3 }\n")
    assert "did you mean 'rate'?" in terminal.refused("lab", "up", "lab.toml")
