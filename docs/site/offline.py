"""Lets the search work in a site that is opened from the disk, where a page may neither fetch a file nor start a worker
from one. There the theme asks for ``search.js``, a script that holds the index.
"""

from __future__ import annotations

import json
from pathlib import Path

SCRIPT = """\
var __index = {index};
window.Worker = class extends Worker {{
  constructor() {{ super(URL.createObjectURL(new Blob([{worker}], {{ type: "text/javascript" }}))); }}
}};
"""
"""The index, and a worker that is made of its text instead of its file; the search is the only one of a page."""


def write_search(site: Path) -> None:
    """Write ``search.js`` of a site that was built.

    Raises:
        FileNotFoundError: the theme has laid down no index.
        ValueError: it has not one worker.
    """
    index = json.loads((site / "search.json").read_text())
    (worker,) = (site / "assets" / "javascripts" / "workers").glob("search.*.js")
    text = SCRIPT.format(index=json.dumps(index), worker=json.dumps(worker.read_text()))
    (site / "search.js").write_text(text)
