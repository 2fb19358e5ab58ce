"""Budgets in simulated runs: they end in time, and say what was given away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fogline
from benchmarks.network.synthetic import task as numbers
from fogline import JobError
from fogline.cli import main
from fogline.monitoring.progress import Silent
from fogline.privacy.accounting.accountants import epsilon
from fogline.privacy.accounting.events import Gaussian, Repeated

PRIVACY = {"clip": 0.05, "noise": 5.0, "epsilon": 2.0}


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def simulate(rounds: int = 30, privacy: dict[str, Any] = PRIVACY, **settings: Any) -> fogline.Result:
    settings = {"processes": 0, "progress": False} | settings
    return fogline.simulate(numbers(20, 4), rounds=rounds, privacy=privacy, **settings)


def test_a_run_ends_before_its_budget_is_exceeded_and_says_so() -> None:
    notes = Notes()
    result = simulate(progress=notes)
    spent = [row["epsilon"] for row in result.history]
    last = len(spent)
    assert spent == pytest.approx([epsilon([Repeated(Gaussian(5.0), n + 1)], 1e-5) for n in range(last)])
    assert spent[-1] <= 2.0 < epsilon([Repeated(Gaussian(5.0), last + 1)], 1e-5)
    assert any(
        note.startswith(f"The run ends after {last} of 30 rounds: one more would exceed ε = 2") for note in notes.notes
    )
    summary = result.summary()
    assert "Given away" in summary
    assert "each device's whole data set, ε = 1.9" in summary
    assert "at δ = 1e-05, of 2 allowed" in summary


def test_what_is_only_counted_ends_nothing() -> None:
    result = simulate(3, {"clip": 0.05, "noise": 5.0})
    assert len(result.history) == 3
    assert "no limit is set" in result.summary()
    unprotected = simulate(2, {"clip": 0.05, "noise": 0})
    assert "no bound on ε" in unprotected.summary()
    assert "epsilon" not in fogline.simulate(numbers(20, 4), rounds=1, processes=0, progress=False).history[0]


def test_a_run_that_goes_on_is_held_to_its_budget_too(tmp_path: Path) -> None:
    whole = simulate()
    simulate(2, folder=tmp_path / "run")
    more = simulate(30, folder=tmp_path / "run", resume=True)
    assert [row["epsilon"] for row in more.history] == [row["epsilon"] for row in whole.history]
    again = simulate(30, folder=tmp_path / "run", resume=True)  # It has come to its end, and is not run anew.
    assert [row["wall"] for row in again.history] == [row["wall"] for row in more.history]


def test_a_budget_for_less_than_a_round_is_refused_with_enough_noise(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JobError, match=r"one round gives away ε = 0\.7.* set privacy\.noise above 5"):
        simulate(privacy=PRIVACY | {"epsilon": 0.1})
    main(["privacy", "noise", "--epsilon", "0.1", "--rounds", "1"])
    noise = float(capsys.readouterr().out.removeprefix("noise = "))
    assert len(simulate(privacy=PRIVACY | {"epsilon": 0.1, "noise": noise}).history) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--epsilon", "0", "--rounds", "1"], "epsilon"),
        (["--epsilon", "1", "--rounds", "0"], "rounds"),
        (["--epsilon", "1", "--rounds", "1", "--delta", "2"], "delta"),
        (["--epsilon", "1e-9", "--rounds", "1", "--delta", "1e-9"], "allow more, or ask for fewer rounds"),
    ],
)
def test_noise_for_what_cannot_be_is_refused(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["privacy", "noise", *options])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_device_that_has_given_nothing_away_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["privacy", "spent", "--folder", str(tmp_path)])
    assert f"There is no device in {tmp_path}" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "identity").mkdir()
    main(["privacy", "spent", "--folder", str(tmp_path)])
    assert "Nothing was given away yet that is counted" in capsys.readouterr().out
    main(["privacy", "spent", "--folder", str(tmp_path), "--json"])
    assert capsys.readouterr().out.strip() == "[]"
    main(["privacy", "take-over", "--folder", str(tmp_path)])
    assert "Nothing is lost" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["privacy", "spent", "--folder", str(tmp_path / "nowhere")])
    assert "There is no folder" in capsys.readouterr().err
