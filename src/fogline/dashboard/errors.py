"""What can go wrong with a dashboard."""

from __future__ import annotations

from fogline.errors import FoglineError, InputError


class DashboardError(FoglineError, RuntimeError):
    """The page cannot be served; the text is a sentence."""


class BoardRequestError(InputError, ValueError):
    """The page asked for something that there is not, or in a way that makes no sense; the text is a sentence."""
