"""What all tests share."""

from __future__ import annotations

import gc
import signal

import pytest

gc.disable()
"""While tests are collected, which makes hardly anything but modules."""


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without a terminal lets what it puts in the background ignore Ctrl-C, and that is handed down to programs
    # that tests start. (Not undone in these before they begin: Python would fork for that, beside gRPC's threads.)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """The modules of all tests stay until the end, and so do those that PyTorch imports later: the garbage collector
    need not look at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(500_000)
    gc.enable()


@pytest.fixture
def unplotted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's folder gets no figures, which take longer than its rounds."""
    monkeypatch.setattr("fogline.monitoring.plots.save", lambda result, folder: [])
