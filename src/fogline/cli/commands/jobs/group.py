"""``fogline jobs``: its commands."""

from __future__ import annotations

from cyclopts import App

from fogline.cli.commands.jobs.clone import clone, resume
from fogline.cli.commands.jobs.queue import forget, list_jobs, show, stop
from fogline.cli.commands.jobs.result import result
from fogline.cli.commands.jobs.submit import submit
from fogline.cli.commands.jobs.watch import logs, watch

jobs = App(name="jobs")
jobs.command(submit)
jobs.command(list_jobs, name="list")
for command in (show, watch, stop, clone, resume, logs, result, forget):
    jobs.command(command)
