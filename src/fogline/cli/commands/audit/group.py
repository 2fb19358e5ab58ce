"""``fogline audit``: its commands."""

from __future__ import annotations

from cyclopts import App

from fogline.cli.commands.audit.leaks import leaks
from fogline.cli.commands.audit.log import export, prove, show, verify

audit = App(name="audit")
for command in (leaks, show, export, verify, prove):
    audit.command(command)
