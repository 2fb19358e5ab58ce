"""``fogline audit``: its commands."""

from __future__ import annotations

from cyclopts import App

from fogline.cli.commands.audit.leaks import leaks

audit = App(name="audit")
audit.command(leaks)
