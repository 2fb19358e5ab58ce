"""The ``fogline`` command."""

from fogline.cli.app import main

__all__ = ["main"]
