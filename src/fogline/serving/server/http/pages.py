"""What people see in a browser, and the OpenAPI description."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fogline.serving.server.facts import our_version
from fogline.serving.server.http.routes import Route
from fogline.serving.server.versions.repository import Repository

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def openapi(operations: Sequence[Route]) -> dict[str, Any]:
    """The server's description in OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    info = {
        "title": "Fogline",
        "version": our_version(),
        "description": "Predictions by the Open Inference Protocol V2, with its binary tensor extension.",
    }
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def _described(operation: Route) -> dict[str, Any]:
    made: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{operation.method}{operation.path}").strip("_").lower(),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", operation.path)
        ],
        "responses": {
            "200": {"description": "Done", "content": {operation.produces: {"schema": {}}}},
            "default": {"description": "Refused", "content": {"application/json": {"schema": ERROR}}},
        },
    }
    if operation.example is not None:
        content = {"schema": {"type": "object"}, "example": operation.example}
        made["requestBody"] = {"content": {"application/json": content}}
    return made


@cache
def docs() -> bytes:
    """The page that shows the description and lets one try it."""
    return Path(__file__).with_name("docs.html").read_bytes()


def welcome(repository: Repository, host: str) -> bytes:
    """The page at the root."""
    from html import escape  # Its entities take half a megabyte, and few look at the page.

    where = escape(host or "localhost")
    models = "".join(f"<li>{_model(escape(name), where)}</li>" for name, line in repository.lines.items() if line.live)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Fogline</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:16px/1.5 system-ui;max-width:46rem;margin:3rem auto;padding:0 1rem}}
pre{{background:#f3f3f3;padding:.6rem;overflow-x:auto}}</style>
<h1>Fogline answers here</h1>
<ul>{models or "<li>No model is loaded.</li>"}</ul>
<p><a href="/docs">All operations</a>, <a href="/metrics">metrics</a>, <a href="/v2">server</a>.</p></html>
""".encode()


def _model(name: str, where: str) -> str:
    path = f"/v2/models/{name}"
    here = f"http://{where}{path}"
    return f'<a href="{path}">{name}</a><pre>curl -s {here}/example | curl -s -d @- {here}/infer</pre>'
