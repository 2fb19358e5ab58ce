"""Text from other machines, which may do nothing to a terminal."""

from __future__ import annotations

from typing import TextIO


def printable(text: str) -> str:
    """A text from another machine, which may do nothing to a terminal: what is neither printable nor a new line or a
    tab is shown as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def tell(text: str, file: TextIO | None = None) -> None:
    """Print a line in which there is text from another machine.

    Args:
        text: may have any characters.
        file: standard output, if none is named.
    """
    print(printable(text), file=file, flush=True)
