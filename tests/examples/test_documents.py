"""The documents agree with the code: keys and defaults of a job, links, programs named, and no figure alone."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from torch import nn

import fogline
from fogline.algorithms import METHODS, Algorithm, FedAvg
from fogline.algorithms.checks import HOOKS
from fogline.data import from_arrays
from fogline.jobs import Evaluation, Job, Local, Privacy, Tier, Tree
from fogline.jobs.job import AttackPlan, FineTune, JobNeeds, Method, Publish
from fogline.jobs.shares import Shares
from fogline.jobs.tree import Quarantine
from fogline.params import Entry, Spec
from fogline.registry.release import Probation, Thresholds
from fogline.simulation.profiles import DeviceProfile, Distribution, LinkProfile
from fogline.stages import STAGES, Extent, LinkContext, make, pipeline

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "README.zh-Hant.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
Table = type[BaseModel] | type[msgspec.Struct]
SECTIONS: dict[str, Table] = {
    "The job": Job,
    "algorithm": Method,
    "local": Local,
    "tree": Tree,
    "tree.NAME": Tier,
    "tree.NAME.quarantine": Quarantine,
    "attack": AttackPlan,
    "needs": JobNeeds,
    "evaluation": Evaluation,
    "evaluation.fine_tune": FineTune,
    "privacy": Privacy,
    "publish": Publish,
    "publish.probation": Probation,
    "publish.thresholds": Thresholds,
    "devices": DeviceProfile,
    "links": LinkProfile,
    "shares": Shares,
}


def tables() -> dict[str, dict[str, str]]:
    """Per section of the jobs reference, the default of each key as it is written."""
    found: dict[str, dict[str, str]] = {}
    for section in (ROOT / "docs" / "jobs.md").read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        found[title] = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE))
    return found


def default(model: Table, name: str) -> str:
    """A field's default as the reference writes it."""
    if model is Tree and name == "tiers":
        return "`{ cloud = {} }`"
    if issubclass(model, BaseModel):
        value: Any = model.model_fields[name].default
    else:
        value = {field.name: field.default for field in msgspec.structs.fields(model)}[name]
    if value is None:
        return "none"
    if value is PydanticUndefined or (isinstance(value, BaseModel) and not isinstance(value, Distribution)):
        return "`{}`"
    if isinstance(value, Distribution):
        value = value.constant
    return {True: "`true`", False: "`false`"}[value] if isinstance(value, bool) else f"`{_toml(value)}`"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


@pytest.mark.parametrize("title", SECTIONS)
def test_the_jobs_reference_names_every_key_with_its_default(title: str) -> None:
    model = SECTIONS[title]
    names = model.model_fields if issubclass(model, BaseModel) else model.__struct_fields__
    assert tables()[title] == {name: default(model, name) for name in names}


def test_the_jobs_reference_has_a_section_for_each_table_of_a_job() -> None:
    found, waiting = set[type](), [Job]
    while waiting:
        model = waiting.pop()
        found.add(model)
        kinds: list[Any] = [field.annotation for field in model.model_fields.values()]
        while kinds:
            kind = kinds.pop()
            kinds += get_args(kind)
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in found:
                waiting.append(kind)
    assert found <= set(SECTIONS.values())


def prose_of(document: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def links() -> Iterator[tuple[Path, Path, str]]:
    """Every link within the project: where it stands, the file that it leads to, and the heading, if it names one."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(document)):
            file, _, heading = target.partition("#")
            if "://" not in target:
                yield document, document.parent / file if file else document, heading


@cache
def headings(document: Path) -> set[str]:
    """What links call the headings of a document, as GitHub and the site make it of their texts."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose_of(document), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        found.add(re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-"))
    return found


def test_links_lead_somewhere() -> None:
    assert [(document.name, str(target)) for document, target, _ in links() if not target.exists()] == []


def test_links_to_headings_lead_to_one() -> None:
    named = [link for link in links() if link[2]]
    assert len(named) > 50
    assert [
        (document.name, target.name, name) for document, target, name in named if name not in headings(target)
    ] == []


def test_programs_and_jobs_that_are_named_exist() -> None:
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    files = set(re.findall(r"\b((?:examples|docs|tests|benchmarks)/[\w/]+\.\w+)", text))
    programs = re.findall(r"python -m benchmarks\.(\w+)", text)
    folder = ROOT / "benchmarks"
    files |= {
        f"benchmarks/{name}/__main__.py" if (folder / name).is_dir() else f"benchmarks/{name}.py" for name in programs
    }
    assert files
    assert not [file for file in sorted(files) if "NAME" not in file and not (ROOT / file).exists()]


def hook_table() -> Iterator[tuple[list[str], list[str]]]:
    """Of the table of what to write for what: the hooks of each line, and its examples."""
    text = (ROOT / "docs" / "methods.md").read_text().split("| you want to |")[1].split("\n\n")[0]
    for line in text.split("\n")[2:]:
        _, _, hooks, examples, _ = line.split("|")
        yield re.findall(r"`(\w+)`", hooks), re.findall(r"`(\w+)`", examples)


def test_the_table_of_methods_names_every_hook_and_examples_that_override_it() -> None:
    named: set[str] = set()
    for hooks, examples in hook_table():
        named |= set(hooks)
        for example in examples:
            kind = METHODS.find(example).thing
            own = [hook for hook in hooks if getattr(kind, hook, None) is not getattr(Algorithm, hook, None)]
            assert own, f"{example} overrides none of {hooks}"
    assert named - {"gradient_at", "private"} == set(HOOKS)


def test_the_table_of_stages_is_what_they_say_of_themselves() -> None:
    text = (ROOT / "docs" / "stages.md").read_text()
    rows = re.findall(r"^\| `(.+?)` \| ([\d.]+) \| (yes|no) \| (yes|no) \|", text, re.MULTILINE)
    assert {stage.partition("(")[0] for stage, *_ in rows} == set(STAGES)
    million = {"delta": Extent(np.dtype(np.float32), 1_000_000)}
    square = Spec.of([Entry("square", (1000, 1000), "float32")])
    for stage, bits, bias, linear in rows:
        made = make(stage).fitted(square)
        assert 8 * made.size(million) / 1_000_000 == pytest.approx(float(bits), abs=0.006), stage
        assert (bias == "no", linear == "yes") == (made.unbiased, made.linear), stage


def test_the_stage_in_the_documents_is_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "stages.md").read_text(), re.DOTALL)
    (tmp_path / "documented_stage.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    sent, vector = pipeline(("documented_stage:Shares",)), np.linspace(-2, 1, 50, dtype=np.float32)
    received = sent.receive(sent.send({"delta": vector}, {}, LinkContext())[0])["delta"]
    assert 0 < np.abs(received - vector).max() <= 0.0101


def test_the_methods_in_the_documents_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "methods.md").read_text(), re.DOTALL)
    rng, rows = np.random.default_rng(0), [np.arange(20 * i, 20 * i + 20) for i in range(3)]
    x = rng.normal(size=(60, 4)).astype(np.float32)
    data = from_arrays("some", x, rng.integers(0, 3, 60), rows, classes=3, test=(x, rng.integers(0, 3, 60)))
    task = fogline.Task(lambda: nn.Sequential(OrderedDict(body=nn.Linear(4, 4), head=nn.Linear(4, 3))), data)
    ran: set[str] = set()
    monkeypatch.syspath_prepend(str(tmp_path))
    for number, block in enumerate(blocks):
        (tmp_path / f"documents_{number}.py").write_text(block)
        for name, thing in vars(import_module(f"documents_{number}")).items():
            if isinstance(thing, type) and issubclass(thing, FedAvg) and thing.__module__ == f"documents_{number}":
                result = fogline.simulate(task, thing(), rounds=2, processes=0, progress=False, local={"steps": 2})
                assert np.isfinite(result.params.vector).all()
                ran.add(name)
    assert ran >= {"Pull", "FedNTD", "Scaffnew", "Watched", "Halving", "Anything", "FedRep"}


def test_the_method_in_the_documents_is_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "methods.md").read_text(), re.DOTALL)[0]
    (tmp_path / "my_methods.py").write_text(program)
    monkeypatch.syspath_prepend(str(tmp_path))
    from fogline.algorithms import make

    method = make("my_methods:Pull", mu=0.5)
    assert method.adjust_gradient(1.0, 3.0, 1.0, {}, {}) == 2.0


def test_the_programs_on_tasks_run() -> None:
    rng = np.random.default_rng(0)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tasks.md").read_text(), re.DOTALL)
    given = {name: rng.normal(size=(6, 2)) for name in ("x", "x1", "x2")}
    given |= {name: rng.normal(size=6) for name in ("y", "y1", "y2")}
    seen: list[dict[str, Any]] = []
    for block in blocks:
        seen.append(dict(given))
        exec(block, seen[-1])
    several = next(names for names in seen if "Reading" in names)
    assert several["result"].metrics["accuracy"] >= 0
    photos = next(names for names in seen if "Photos" in names)
    assert photos["data"].sizes().tolist() == [20, 30]
    assert photos["records"].at(0).x["age"].tolist() == [40.0, 50.0]
