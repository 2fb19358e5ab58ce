"""The site of the documents: every page once, references that say what the code says, no dead link, no other host."""

from __future__ import annotations

import ast
import re
import shutil
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("griffe", reason="griffelib is not installed: pip install 'fogline[docs]'")
pytest.importorskip("zensical", reason="zensical is not installed: pip install 'fogline[docs]'")

from docs.site.__main__ import build, make
from docs.site.api import FACES
from docs.site.docstrings import prose
from docs.site.staging import ROOT, documents, stage_documents
from fogline.cli.app import COMMANDS
from fogline.cli.commands.lists import NAMED_KINDS
from tests.dashboard.browser import CHROMIUM, needs_chromium
from tests.patience import PATIENCE

SETTINGS = (ROOT / "zensical.toml").read_text()
FOREIGN = re.compile(r"""<(?:script|link|img|iframe)[^>]*?\s(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""")


def in_navigation(entry: Any) -> Iterator[str]:
    """The pages of a part of the navigation, in order."""
    match entry:
        case str():
            yield entry
        case dict():
            yield from (page for part in entry.values() for page in in_navigation(part))
        case _:
            yield from (page for part in entry for page in in_navigation(part))


def test_every_page_stands_in_the_navigation_once() -> None:
    listed = list(in_navigation(tomllib.loads(SETTINGS)["project"]["nav"]))
    made = {"reference/algorithms.md", "reference/commands.md", *(f"reference/{face}.md" for face in FACES)}
    assert sorted(listed) == sorted({*documents().values(), *made})


def test_links_out_of_the_documents_lead_to_pages_that_show_the_file(tmp_path: Path) -> None:
    stage_documents(tmp_path)
    tasks = (tmp_path / "tasks.md").read_text()
    shown = tmp_path / "files" / "examples" / "own_model_and_data.py.md"
    assert "](files/examples/own_model_and_data.py.md)" in tasks
    assert (ROOT / "examples" / "own_model_and_data.py").read_text() in shown.read_text()
    assert "](contributing.md)" in (tmp_path / "index.md").read_text()
    assert (tmp_path / "files" / "docs" / "pictures" / "dashboard_tree.png").is_file()
    assert (tmp_path / "files" / "docs" / "pictures" / "activity.png").is_file()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("``a_b * c`` and x_i * y", r"`a_b * c` and x\_i \* y"),
        ("see :func:`~fogline.jobs.job.check`, a <b>", "see `jobs.job.check`, a &lt;b>"),
        ("two ``words\nin`` code", "two `words in` code"),
        ("described in ``docs/privacy.md``.", "described in [privacy](../privacy.md)."),
        ("So::\n\n    a = b[_c]\n\nand on", "So:\n\n```python\na = b[_c]\n```\n\nand on"),
    ],
)
def test_docstrings_become_markdown(said: str, shown: str) -> None:
    assert prose(said) == shown


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "x"\ndocs_dir = "docs"\n')
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[two](#one)\n")
    assert build(tmp_path) == 0
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[two](#two)\n")
    assert build(tmp_path) != 0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the site: its pages in ``build/docs``, and in ``build/site`` what is made of them."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "zensical.toml", folder)
    assert make(folder) == 0
    return folder


def names_of(face: str) -> list[str]:
    """A module's ``__all__`` as its file says; what it imports need not be installed."""
    spec = find_spec(face)
    assert spec is not None
    assert spec.origin is not None
    for statement in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return ast.literal_eval(statement.value)
    raise AssertionError(f"{face} says nothing of what it hands out")


@pytest.mark.slow
def test_the_references_have_all_that_there_is(root: Path) -> None:
    folder = root / "build" / "docs" / "reference"
    for face in FACES:
        headings = re.findall(r"^## (\w+)$", (folder / f"{face}.md").read_text(), re.MULTILINE)
        assert headings == sorted(names_of(face)), face
    named = (folder / "algorithms.md").read_text()
    for kind in NAMED_KINDS:
        assert [f"{kind.kind}-{name}" for name in kind.registry()] == re.findall(rf"#({kind.kind}-[\w.]+) }}", named)
    assert "**Parameters**\n\n- `mu = 0.01`" in named
    commands = re.findall(r"^## fogline (\w+)$", (folder / "commands.md").read_text(), re.MULTILINE)
    assert commands == list(COMMANDS)


@pytest.mark.slow
def test_the_pages_are_there_and_ask_nobody_else(root: Path) -> None:
    pages = list((root / "build" / "site").rglob("*.html"))
    assert {page.name for page in pages} >= {"index.html", "jobs.html", "comparison.html", "algorithms.html"}
    assert [(page.name, found) for page in pages for found in FOREIGN.findall(page.read_text())] == []


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("dark", 390), ("light", 1280)])
def test_axe_finds_nothing_serious_and_nothing_is_scrolled_sideways(root: Path, scheme: Any, width: int) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        size = {"width": width, "height": 844}
        page = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce").new_page()
        page.set_default_timeout(1000 * PATIENCE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "comparison", "reference/fogline.exchanges"):
            page.goto((root / "build" / "site" / f"{name}.html").as_uri())
            page.evaluate(axe.AXE_SCRIPT)
            found = page.evaluate("axe.run()")["violations"]
            assert [(name, one["id"]) for one in found if one["impact"] in ("serious", "critical")] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert asked
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:null/"))] == []
        browser.close()


@needs_chromium
@pytest.mark.slow
def test_the_search_works_in_a_page_that_is_opened_from_the_disk(root: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.goto((root / "build" / "site" / "index.html").as_uri())
        page.locator(".md-search__button").first.click()
        page.get_by_role("combobox").fill("secure aggregation")
        page.get_by_text(re.compile(r"^\d+ results$")).wait_for()
        browser.close()
