"""The commands that the documents show are ones, the quick start works as it stands, and so does the comparison."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from fogline.cli import main
from fogline.cli.app import app
from fogline.jobs.files.reading import parse_job
from fogline.monitoring.run_files import load_run

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh-Hant.md", *sorted((ROOT / "docs").glob("*.md"))]
README, TRANSLATED = (path.read_text() for path in DOCUMENTS[:2])
QUICK_START = (ROOT / "docs" / "quick-start.md").read_text()
COMPARISON = (ROOT / "docs" / "comparison.md").read_text()
FOUND = {"yes", "part", "not found", "not its aim"}


def commands(text: str) -> list[list[str]]:
    """Every ``fogline`` command in the blocks of a document that are shell's, as its words."""
    found: list[list[str]] = []
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if kind not in ("", "sh"):
            continue
        for line in re.findall(r"^(?:\$ )?(fogline .*)$", block.replace("\\\n", " "), re.MULTILINE):
            parts = re.split(r" && | \| ", re.split(r"\s{2,}#", line)[0])
            found += [shlex.split(part, comments=True)[1:] for part in parts if part.startswith("fogline ")]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_one(document: Path) -> None:
    for words in commands(document.read_text()):
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_the_documents_show_commands() -> None:
    assert sum(len(commands(document.read_text())) for document in DOCUMENTS) > 40
    assert ["simulate", "machine.toml"] in commands(QUICK_START)


def examples_of(readme: str) -> set[str]:
    """Names in the rows of a table of examples: those that are files there, jobs without their ending."""
    rows = "\n".join(line.split(" | ")[0] for line in readme.splitlines() if line.startswith("| `"))
    return {name for name in re.findall(r"`([\w.-]+)`", rows) if list((ROOT / "examples").glob(f"{name}*"))}


def test_both_readmes_show_the_same_commands_and_every_example() -> None:
    assert commands(TRANSLATED) == commands(README)
    assert examples_of(TRANSLATED) == examples_of(README)
    assert {path.stem for path in (ROOT / "examples").glob("*.toml")} <= examples_of(README)


def test_the_readme_names_every_benchmark() -> None:
    folder = ROOT / "benchmarks"
    programs = {path.parent.name for path in folder.glob("*/__main__.py")}
    programs |= {path.stem for path in folder.glob("*.py") if 'if __name__ == "__main__"' in path.read_text()}
    assert set(re.findall(r"^\| `python -m benchmarks\.(\w+)`", README, re.MULTILINE)) == programs


def test_the_quick_start_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, method = re.findall(r"```python\n(.*?)```", QUICK_START, re.DOTALL)
    (job,) = re.findall(r"```toml\n(.*?)```", QUICK_START, re.DOTALL)
    for name, text in (("machine.py", task), ("pull.py", method), ("machine.toml", job)):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("fogline.monitoring.plots.save", lambda result, folder: [])
    errors = {}
    for words in commands(QUICK_START):
        if words[:2] == ["simulate", "machine.toml"]:
            folder = tmp_path / f"run-{len(errors)}"
            main([*words, "--folder", str(folder), "--quiet", "--debug", "--engine", "loop", "--processes", "0"])
            result = load_run(folder)
            errors[result.job.algorithm.name] = result.metrics["rmse"]
    assert errors.keys() == {"fedavg", "pull:Pull"}
    assert max(errors.values()) < 0.45


def rows() -> list[list[str]]:
    """The rows of the comparison's tables."""
    lines = [
        line for line in COMPARISON.splitlines() if line.startswith("| ") and not line.startswith(("| | ", "| --- "))
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_comparison_shows_where_each_of_our_entries_is_seen() -> None:
    assert len(rows()) > 20
    for name, ours, *others in rows():
        assert "](" in ours or ours == "not there yet", name
        assert len(others) == 9, name
        if name != "frameworks of models":
            assert {cell.partition(",")[0] for cell in others} <= FOUND, name


def test_what_the_comparison_writes_of_a_job_is_one() -> None:
    seen: set[str] = set()
    for _, ours, *_ in rows():
        for said in re.findall(r"`([^`]+)`", ours):
            if said.startswith("fogline "):
                words = shlex.split(said)[1:]
                chain, _, rest = app.parse_commands(words)
                assert [*chain, *rest] == words
                assert chain
                assert not rest or re.search(r"^-|\.toml$", rest[0]), said
            elif said.startswith("--set "):
                app.parse_args(["simulate", "job.toml", *shlex.split(said)], exit_on_error=False, print_error=False)
            elif said.startswith("fog."):
                parse_job(f'task = "demo:task"\n[tree.cloud]\n[tree.fog]\n{said.removeprefix("fog.")}\n')
            else:
                parse_job(f'task = "demo:task"\n{said}\n')
            seen.add(said.split()[0])
    assert seen >= {"fogline", "--set", "fog.rule", "devices.preset"}
