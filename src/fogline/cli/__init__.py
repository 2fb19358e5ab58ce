"""The ``fogline`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry of the ``fogline`` command; see :func:`fogline.cli.app.main`.

    Ctrl-C is met here while the command itself is still being imported, and as it ends.
    """
    try:
        from fogline.cli.app import main as run

        run(arguments)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
