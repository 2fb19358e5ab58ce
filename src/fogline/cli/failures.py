"""Errors as sentences, and the exit status that scripts see."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; the text says how to go on."""


@contextmanager
def reported(debug: bool) -> Generator[None]:
    """Turn what goes wrong inside into a sentence on standard error and an exit.

    Args:
        debug: let the traceback through instead.

    Raises:
        SystemExit: 2 for wrong input, 1 for a failed run, 130 after Ctrl-C.
    """
    from fogline.jobs.errors import JobError
    from fogline.nodes.policies import PolicyError

    try:
        yield
    except KeyboardInterrupt as stop:
        say(str(stop) or "Interrupted.")
        raise SystemExit(INTERRUPTED) from None
    except (JobError, PolicyError) as error:
        if debug:
            raise
        say(f"fogline: {error}")
        raise SystemExit(BAD_INPUT) from error
    except Exception as error:
        if debug:
            raise
        say(f"fogline: {type(error).__name__}: {error} (--debug shows where)")
        raise SystemExit(FAILED) from error


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)
