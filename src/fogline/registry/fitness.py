"""Whether what a job has come to may become a version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fogline.inference.card import Card
from fogline.jobs.job import Publish

Progressed = Literal["queued", "running", "finished", "failed", "stopped"]


@dataclass(frozen=True)
class Judgement:
    """How a job stands, and what its model was judged."""

    state: Progressed
    headline: str
    """The metric that decides."""
    higher_is_better: bool
    metrics: Mapping[str, float]
    """On the test set; none where there is none."""
    asked: bool = False
    """Whether who stopped the job wants its model published."""

    @property
    def value(self) -> float | None:
        """The headline metric; None if nothing judged the model."""
        value = self.metrics.get(self.headline, math.nan)
        return None if math.isnan(value) else value

    def unfit(self, rules: Publish, served: Card | None) -> str | None:
        """Why it must not become a version, as a sentence; None if it may.

        Args:
            rules: the job's.
            served: the version that nodes serve now, if any.
        """
        excused = {*rules.even_if, *(("stopped",) if self.asked else ())}
        if self.state in ("stopped", "failed") and self.state not in excused:
            more = ", or stop it with --publish" if self.state == "stopped" else ""
            key = f'publish.even_if = ["{self.state}"]'
            return f"The job {WAS[self.state]}; {key} would publish what it has all the same{more}."
        if self.value is None:
            return self._unjudged(rules, "unjudged" in excused)
        return self._too_bad(rules, self.value) or self._worse(rules, self.value, served)

    def _unjudged(self, rules: Publish, excused: bool) -> str | None:
        bars = [name for name in ("at_least", "not_worse_than") if getattr(rules, name) is not None]
        if bars:
            return f"Nothing judged the model, so publish.{bars[0]} cannot be met; give the task a test set."
        if excused:
            return None
        return (
            "Nothing judged the model; give the task a test set, or publish it all the same with "
            'publish.even_if = ["unjudged"].'
        )

    def _too_bad(self, rules: Publish, value: float) -> str | None:
        if rules.at_least is None or self._reaches(value, rules.at_least):
            return None
        return f"Its {self.headline} is {value:.4g}; publish.at_least wants {rules.at_least:g}."

    def _worse(self, rules: Publish, value: float, served: Card | None) -> str | None:
        if rules.not_worse_than is None or served is None:
            return None
        before = served.metrics.get(self.headline, math.nan)
        if math.isnan(before):
            return (
                f"Version {served.version}, which is served, has no {self.headline} that publish.not_worse_than could "
                "compare it with."
            )
        margin = rules.not_worse_than
        if self._reaches(value, before - margin if self.higher_is_better else before + margin):
            return None
        return (
            f"Its {self.headline} is {value:.4g}, that of version {served.version}, which is served, {before:.4g}; "
            f"publish.not_worse_than allows a difference of {margin:g}."
        )

    def _reaches(self, value: float, goal: float) -> bool:
        return value >= goal if self.higher_is_better else value <= goal


WAS = {"stopped": "was stopped", "failed": "failed"}
