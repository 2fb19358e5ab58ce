"""The examples that are measured: each is a job, its personal variant is one too, and the page shows it."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("torch")

from benchmarks.applications import APPLICATIONS, FOLDER, Application
from benchmarks.common import ROOT
from fogline.algorithms import METHODS
from fogline.jobs.files.reading import read_job


@pytest.mark.parametrize("application", APPLICATIONS, ids=[one.name for one in APPLICATIONS])
def test_its_job_and_its_personal_variant_are_jobs(application: Application) -> None:
    job = read_job(FOLDER / f"{application.name}.toml", application.personal)
    assert job.name == application.name
    assert job.algorithm.name in METHODS


def test_the_page_has_a_section_for_each() -> None:
    page = (ROOT / "docs" / "applications.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == [one.name for one in APPLICATIONS]
