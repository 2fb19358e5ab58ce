"""The garbage collector during a run, and after it."""

from __future__ import annotations

import gc

import pytest

from fogline.simulation.collecting import COLLECT_EVERY, rarely_collected


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done with what is there; it is not done, for the modules of all tests are frozen."""
    done: list[str] = []
    for name in ("collect", "freeze", "unfreeze"):
        monkeypatch.setattr(gc, name, lambda name=name: done.append(name))
    return done


def test_a_run_that_fails_leaves_the_collector_as_it_was(done: list[str]) -> None:
    def fail() -> None:
        assert gc.get_threshold()[0] == COLLECT_EVERY
        assert done == ["collect", "freeze"]
        raise ZeroDivisionError

    before = gc.get_threshold()
    gc.set_threshold(700, 11, 12)
    try:
        with pytest.raises(ZeroDivisionError), rarely_collected():
            fail()
        assert gc.get_threshold() == (700, 11, 12)
        assert done == ["collect", "freeze", "unfreeze"]
    finally:
        gc.set_threshold(*before)


def test_a_program_that_collects_rarely_by_itself_keeps_what_it_has_frozen(done: list[str]) -> None:
    assert gc.get_threshold()[0] >= COLLECT_EVERY, "as conftest.py has it"
    with rarely_collected():
        pass
    assert done == []
