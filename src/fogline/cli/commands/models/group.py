"""``fogline models``: its commands."""

from __future__ import annotations

from cyclopts import App

from fogline.cli.commands.models.approval import approve
from fogline.cli.commands.models.archive import export, import_
from fogline.cli.commands.models.keys import keys
from fogline.cli.commands.models.rollout import abort, advance, pause, promote, resume, rollback
from fogline.cli.commands.models.rules import link, retrain
from fogline.cli.commands.models.versions import list_models, show

models = App(name="models")
models.command(list_models, name="list")
for command in (show, promote, rollback, approve, pause, resume, advance, abort, export, link, retrain):
    models.command(command)
models.command(import_, name="import")
models.command(keys)
