"""``fogline audit``: its commands."""

from __future__ import annotations

from cyclopts import App

from fogline.cli.commands.audit.leaks import leaks
from fogline.cli.commands.audit.log import export, prove, show, verify

audit = App(name="audit", help="What a job gives away, by attack; what was done on a node, provably.")
for command in (leaks, show, export, verify, prove):
    audit.command(command)
