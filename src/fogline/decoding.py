"""How bytes from elsewhere are seen to be none of what they should be."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that it cannot read: beside errors of its own, text that is no UTF-8, and brackets
within brackets, deeper than the program can follow."""
