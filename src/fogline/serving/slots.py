"""The places that versions of a model have in a server."""

from __future__ import annotations

from typing import Literal

VersionSlot = Literal["live", "beside", "shadow"]
"""It answers; it is loaded and ready to; it answers too, but only to be compared."""
