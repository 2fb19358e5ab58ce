"""``python -m docs.site``: the site of the documents, in ``build/site``; needs ``pip install 'fogline[docs]'``.

A link or an anchor that leads nowhere ends it with status 1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from docs.site import api, named
from docs.site.offline import write_search
from docs.site.staging import ROOT, stage_documents, write


def stage(folder: Path) -> None:
    """Lay out every page anew, as Markdown, in a folder that nothing else is in."""
    shutil.rmtree(folder, ignore_errors=True)
    stage_documents(folder)
    package = api.read_package()
    for name, text in (api.pages(package) | named.pages(package)).items():
        write(folder / "reference" / name, text)


def build(root: Path) -> int:
    """Make the site: ``zensical.toml`` of a folder says of what, and where.

    Returns:
        the exit status: 1 where a link leads nowhere.
    """
    return subprocess.call([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=root)


def make(root: Path) -> int:
    """Lay out the pages in ``build/docs`` of a folder, and make ``build/site`` of them.

    Returns:
        the exit status, as ``build`` gives it.
    """
    stage(root / "build" / "docs")
    status = build(root)
    if status == 0:
        write_search(root / "build" / "site")
    return status


if __name__ == "__main__":
    sys.exit(make(ROOT))
