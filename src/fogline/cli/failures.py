"""Errors as sentences, and the exit status that scripts see."""

from __future__ import annotations

import sys
from bdb import BdbQuit
from collections.abc import Generator
from contextlib import contextmanager

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


SENTENCES = {
    BAD_INPUT: (
        ("fogline.cli.failures", "UsageError"),
        ("fogline.jobs.errors", "JobError"),
        ("fogline.nodes.policies.base", "SelectionPolicyError"),
        ("fogline.lab.errors", "LabError"),
        ("fogline.governance.errors", "TrustError"),
        ("fogline.inference.card", "CardError"),
        ("fogline.registry.archive", "ArchiveError"),
        ("fogline.inference.runtimes.base", "ModelError"),
    ),
    FAILED: (
        ("fogline.training.bugs", "CodeError"),
        ("fogline.cli.failures", "JobFailedError"),
        ("fogline.monitoring.mishaps", "RunError"),
        ("fogline.network.cloud.client", "OperatorApiError"),
        ("fogline.network.transport.uplink", "RefusedByParentError"),
        ("fogline.storage.errors", "StorageError"),
    ),
}
"""Errors by the status that they exit with; what caused the first kind is what was typed, or stands in a file."""


class UsageError(ValueError):
    """An option or an argument makes no sense; the text is a sentence."""


class JobFailedError(RuntimeError):
    """A job that was followed has failed; the text is a sentence."""


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
    try:
        yield
    except (KeyboardInterrupt, BdbQuit) as stop:
        say(str(stop) or "Interrupted.")
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if debug:
            raise
        status = _status(error)
        if status is not None:
            hint = " (--debug shows the whole traceback)" if error.__cause__ is not None and status == FAILED else ""
            say(f"fogline: {error}{hint}")
            raise SystemExit(status) from error
        if isinstance(error, OSError) and error.strerror:
            of = f"{error.filename}: " if error.filename else ""
            say(f"fogline: {of}{error.strerror} (--debug shows where)")
        else:
            say(f"fogline: {type(error).__name__}: {error} (--debug shows where)")
        raise SystemExit(FAILED) from error


def _status(error: Exception) -> int | None:
    """The exit status of an error whose text is a sentence for people; None for any other error."""
    if isinstance(error, OSError) and error.errno is None:
        return FAILED  # One of ours: the system's own have a number.
    for status, places in SENTENCES.items():
        for module, name in places:
            # What was not imported was not raised.
            if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
                return status
    return None


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)
