"""Errors as sentences, and the exit status that scripts see."""

from __future__ import annotations

import sys
from bdb import BdbQuit
from collections.abc import Generator
from contextlib import contextmanager

from fogline.cli.telling import tell
from fogline.errors import FoglineError, InputError

INTERRUPTED = 130
WHERE = "(--debug shows where)"


class UsageError(InputError, ValueError):
    """An option or an argument makes no sense; the text is a sentence."""


class JobFailedError(FoglineError, RuntimeError):
    """A job that was followed has failed; the text is a sentence."""


class RoundsLostError(FoglineError, RuntimeError):
    """A run is over, and fewer of its rounds counted than were asked for; the text is a sentence."""

    exit_code = 3


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; the text says how to go on."""


@contextmanager
def reported(debug: bool) -> Generator[None]:
    """Turn what goes wrong inside into a sentence on standard error and an exit.

    Args:
        debug: let the traceback through instead.

    Raises:
        SystemExit: with the error's own status (3 for rounds that were lost), 1 for any other error, and 130 after
            Ctrl-C.
    """
    try:
        yield
    except (KeyboardInterrupt, BdbQuit) as stop:
        say(str(stop) or "Interrupted.")
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        say(f"fogline: {_sentence(error)}")
        raise SystemExit(error.exit_code if isinstance(error, FoglineError) else FoglineError.exit_code) from error


def _sentence(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, FoglineError) or (isinstance(error, OSError) and error.errno is None):
        # An error of the system's own has a number; the others were raised by us.
        return f"{error} (--debug shows the whole traceback)" if error.__cause__ is not None else str(error)
    if isinstance(error, OSError) and error.strerror:
        of = f"{error.filename}: " if error.filename else ""
        return f"{of}{error.strerror} {WHERE}"
    return f"{type(error).__name__}: {error} {WHERE}"


def say(text: str) -> None:
    """Print a line on standard error; what an error says may come from another machine."""
    tell(text, sys.stderr)
