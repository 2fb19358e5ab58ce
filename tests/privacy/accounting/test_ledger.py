"""The ledger of an owner: nothing that was charged is lost, whatever ends the program or is done to the file."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fogline.privacy.accounting.accountants import epsilon
from fogline.privacy.accounting.events import Concentrated, Event, Gaussian, Repeated, Unit
from fogline.privacy.accounting.ledger import BudgetError, Charge, LedgerError, Limit, PrivacyLedger

DELTA = 1e-5


def charge(job: str, times: int, noise: float = 5.0, unit: Unit = "device", limit: float | None = None) -> Charge:
    return Charge(job, unit, times, (Repeated(Gaussian(noise), times),), DELTA, limit)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "privacy.jsonl"


def test_what_a_job_gives_away_is_in_its_last_entry_and_jobs_add_up(path: Path) -> None:
    ledger = PrivacyLedger(path)
    for times in (1, 2, 3):
        ledger.charge(charge("a", times))
    assert ledger.charge(charge("a", 3)) is None  # The same once more, after a crash.
    ledger.charge(charge("b", 2, noise=3.0))
    for known in (ledger, PrivacyLedger(path)):
        assert [(entry.job, entry.rounds) for entry in known.starts.values()] == [("a", 3), ("b", 2)]
        events: list[Event] = [Repeated(Gaussian(5.0), 3), Repeated(Gaussian(3.0), 2)]
        assert known.spent(DELTA) == pytest.approx(epsilon(events, DELTA))
        assert known.number == 4
    assert PrivacyLedger(path).digest == ledger.digest


def test_a_budget_is_never_exceeded_and_what_is_refused_is_not_charged(path: Path) -> None:
    ledger, owner = PrivacyLedger(path), Limit(1.5, DELTA)
    last = max(n for n in range(1, 50) if epsilon([Repeated(Gaussian(5.0), n)], DELTA) <= 1.5)
    for times in range(1, last + 1):
        ledger.charge(charge("a", times), owner)
    refused = rf"^Training {last + 1} for job a would bring what this data gives away over all jobs to ε = 1\.5"
    with pytest.raises(BudgetError, match=refused):
        ledger.charge(charge("a", last + 1), owner)
    assert PrivacyLedger(path).trainings("a") == last
    with pytest.raises(BudgetError, match=r"for job b .* and its owner allows 1\.5"):  # Another job changes nothing.
        ledger.charge(charge("b", last), owner)


def test_a_job_s_own_budget_holds_for_that_job(path: Path) -> None:
    ledger = PrivacyLedger(path)
    ledger.charge(charge("a", 9))
    ledger.charge(charge("b", 1, limit=1.0))
    with pytest.raises(BudgetError, match=r"Training 9 for job b .* and the job allows 1$"):
        ledger.charge(charge("b", 9, limit=1.0))


def test_a_name_that_comes_again_makes_a_ledger_no_younger(path: Path) -> None:
    """A cloud that lies gives a name twice: to the same job begun anew, or to another one."""
    ledger, owner = PrivacyLedger(path), Limit(2.5, DELTA)
    for times in range(1, 6):
        ledger.charge(charge("a", times), owner)
    once = ledger.spent(DELTA)
    for times in (1, 2):
        assert ledger.charge(replace(charge("a", times), start="anew"), owner) is not None
    ledger.charge(replace(charge("a", 6, noise=500.0), start="another"), owner)
    for known in (ledger, PrivacyLedger(path)):
        assert known.spent(DELTA) > once
        assert known.spent(DELTA) >= epsilon([Repeated(Gaussian(5.0), 7)], DELTA)
        assert known.trainings("a") == 5 + 2 + 6
    with pytest.raises(BudgetError, match="its owner allows"):
        ledger.charge(replace(charge("a", 9), start="anew"), owner)


def test_a_job_s_own_budget_is_not_larger_where_the_job_begins_anew(path: Path) -> None:
    ledger = PrivacyLedger(path)
    ledger.charge(charge("b", 3, limit=1.5))
    with pytest.raises(BudgetError, match=r"the job allows 1\.5"):
        ledger.charge(replace(charge("b", 3, limit=1.5), start="anew"))


@pytest.mark.parametrize("event", [Gaussian(0.0), Concentrated(math.inf)])
def test_what_has_no_bound_is_written_down_too(event: Event, path: Path) -> None:
    ledger = PrivacyLedger(path)
    ledger.charge(charge("a", 1))
    ledger.charge(Charge("b", "device", 1, (event,), DELTA))
    again = PrivacyLedger(path)
    assert again.starts["b", ""].epsilon is None
    assert again.spent(DELTA) == math.inf
    with pytest.raises(BudgetError, match="ε = inf"):
        again.charge(charge("a", 2), Limit(1e6, DELTA))


def test_the_smallest_unit_is_what_all_jobs_promise(path: Path) -> None:
    ledger = PrivacyLedger(path)
    ledger.charge(charge("a", 1, unit="site"))
    assert ledger.unit == "site"
    ledger.charge(charge("b", 1, unit="example"))
    assert ledger.unit == "example"


def test_a_line_that_was_cut_anywhere_is_as_if_it_were_never_begun(path: Path) -> None:
    ledger = PrivacyLedger(path)
    ledger.charge(charge("a", 1))
    before = path.read_bytes()
    ledger.charge(charge("a", 2))
    whole = path.read_bytes()
    for length in (*range(len(before), len(whole), 17), len(whole) - 1):
        path.write_bytes(whole[:length])
        found = PrivacyLedger(path)
        assert found.trainings("a") == 1
        found.charge(charge("a", 5))
        assert PrivacyLedger(path).trainings("a") == 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_changed_line_is_seen(data: st.DataObject, path: Path) -> None:
    path.unlink(missing_ok=True)
    ledger = PrivacyLedger(path)
    for times in (1, 2, 3):
        ledger.charge(charge("a", times))
    lines = path.read_bytes().splitlines(keepends=True)
    place = data.draw(st.integers(0, 1))
    match data.draw(st.sampled_from(["cheaper", "gone", "moved"])):
        case "cheaper":
            lines[place] = lines[place].replace(b'"noise":5.0', b'"noise":9.0')
        case "gone":
            del lines[place]
        case _:
            lines[place], lines[place + 1] = lines[place + 1], lines[place]
    path.write_bytes(b"".join(lines))
    with pytest.raises(LedgerError, match=r"Line \d of .*privacy\.jsonl does not follow the one before"):
        PrivacyLedger(path)


def test_what_is_no_entry_is_said(path: Path) -> None:
    path.write_text("{}\n")
    with pytest.raises(LedgerError, match=r"Line 1 of .* cannot be read, so .* put back the newest whole copy"):
        PrivacyLedger(path)


LOOP = """
import sys
from pathlib import Path
from tests.privacy.accounting.test_ledger import PrivacyLedger, charge
ledger = PrivacyLedger(Path(sys.argv[1]))
for times in range(1, 10_000):
    ledger.charge(charge("a", times))
    print(times, flush=True)  # It leaves.
"""


def test_a_killed_program_has_charged_at_least_what_left(path: Path) -> None:
    for more in (1, 12):
        path.unlink(missing_ok=True)
        command = [sys.executable, "-c", LOOP, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(more):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            left = more + len(process.stdout.read().split())
        charged = PrivacyLedger(path).trainings("a")
        assert left <= charged <= left + 1


def test_a_lost_ledger_is_booked_on_top(path: Path, tmp_path: Path) -> None:
    ledger = PrivacyLedger(path)
    ledger.charge(charge("a", 2))
    backup = path.read_bytes()
    ledger.charge(charge("b", 7))
    lost, old = (ledger.number, ledger.digest), tmp_path / "old.jsonl"
    old.write_bytes(backup)
    restored = PrivacyLedger(old)
    assert not restored.holds(*lost)
    restored.take_over(*lost, ledger.events(), ledger.unit, DELTA)
    again = PrivacyLedger(old)
    assert again.holds(*lost)
    assert again.number > lost[0]
    assert again.spent(DELTA) >= ledger.spent(DELTA)
    again.charge(charge("b", 8))  # It goes on, and pays for the lost rounds of the job a second time.
    assert again.spent(DELTA) > epsilon([*ledger.events(), Repeated(Gaussian(5.0), 1)], DELTA)
