"""Lays out the documents as pages of a site: links between them lead to pages, and those to files show the file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "README.md": "index.md",
    "README.zh-Hant.md": "zh-hant.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages that do not lie in ``docs``, and their names in the site."""
EXTRAS = [Path(__file__).with_name(name) for name in ("extra.css", "extra.js")]
"""What every page loads beside the theme."""
PICTURES = {".png", ".svg"}
LINK = re.compile(r"(?<=\]\()(?!\w+://)([^)#\s]+)")
"""A file of the project that a document links to."""
HIDDEN = "---\nsearch:\n  exclude: true\n---\n\n"
"""Before a page that a search does not find."""
WIDE = {"comparison.md": "---\nhide:\n  - toc\n---\n\n"}
"""Before pages whose tables need the room beside the text."""
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml", ".json": "json", ".service": "ini"}


def documents() -> dict[Path, str]:
    """Every document, and the name of its page."""
    beside = {path: path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    return {ROOT / file: page for file, page in ELSEWHERE.items()} | beside


def stage_documents(stage: Path) -> None:
    """Write the page of every document, and of every other file that one links to.

    Args:
        stage: a folder; what is there is overwritten.

    Raises:
        FileNotFoundError: a link leads to no file.
    """
    known, linked = documents(), dict[Path, str]()
    for document, page in known.items():
        pieces = LINK.split(document.read_text())
        for i in range(1, len(pieces), 2):
            target = (document.parent / pieces[i]).resolve()
            pieces[i] = known.get(target) or linked.setdefault(target, page_of_file(target))
        write(stage / page, WIDE.get(page, "") + "".join(pieces))
    for extra in EXTRAS:
        write(stage / extra.name, extra.read_text())
    for target, page in linked.items():
        if target.suffix in PICTURES:
            (stage / page).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, stage / page)
        else:
            write(stage / page, shown(target))


def page_of_file(target: Path) -> str:
    """Where the site has a file or a folder that is no document.

    Raises:
        FileNotFoundError: there is no such file.
    """
    name = target.relative_to(ROOT)
    if not target.exists():
        raise FileNotFoundError(f"A document links to {name}, which does not exist.")
    return f"files/{name}" if target.suffix in PICTURES else f"files/{name}.md"


def shown(target: Path) -> str:
    """A page that shows a file of the project, or names the files of a folder."""
    title = f"{HIDDEN}# {target.relative_to(ROOT)}\n\n"
    if target.is_dir():
        return title + "".join(f"- `{path.name}`\n" for path in sorted(target.iterdir()) if path.name[0] not in "._")
    return f"{title}````{LANGUAGES.get(target.suffix, 'text')}\n{target.read_text()}````\n"


def write(page: Path, text: str) -> None:
    """Write a page, with the folders it lies in."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)
