"""Recordings of links, ours and the 5G data set's."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from fogline.data.loaders.folder import find_root
from fogline.lab import LabError
from fogline.lab.links.traces import TraceRow, read_trace
from fogline.simulation.profiles.presets.phones import DATA_SET, TRACES

RNG = random.Random(0)


def test_plain_rows_hold_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("seconds,rate,delay\n1s,8Mbit,20ms\n0.5,0,\n")
    recording = read_trace(str(path), RNG)
    assert recording.up == recording.down == (TraceRow(1.0, 1e6, 0.02), TraceRow(0.5, 0.0, None))


def test_phone_logs_give_a_row_a_second(tmp_path: Path) -> None:
    path = tmp_path / "logs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/Download/x.csv", "DL_bitrate,UL_bitrate,PINGAVG\n800,5,40\n-,5,-\n")
        archive.writestr("a/Netflix/y.csv", "DL_bitrate,UL_bitrate,PINGAVG\n1,1,1\n")
    recording = read_trace(str(path), RNG)
    assert recording.down == (TraceRow(1.0, 100_000.0, 0.02), TraceRow(1.0, 0.0, None))
    assert recording.up[0].rate == pytest.approx(20_000.0)


@pytest.mark.parametrize(
    "text", ["", "seconds,rate\n", "seconds\n1\n", "seconds,rate\n1,fast\n", "seconds,rate\n1,0\n"]
)
def test_what_is_no_trace_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(LabError, match=r"x\.csv"):
        read_trace(str(path), RNG)


def test_a_missing_trace_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="There is no trace at"):
        read_trace("nowhere.csv", RNG)
    monkeypatch.setenv("FOGLINE_DATA", str(tmp_path))
    with pytest.raises(LabError, match="set FOGLINE_DATA"):
        read_trace("measured", RNG)


def test_the_measured_traces_can_be_read() -> None:
    if not (find_root() / DATA_SET / TRACES).is_file():
        pytest.skip("the data set network_device_traces is not here")
    recording = read_trace("measured", RNG)
    assert len(recording.down) == len(recording.up) > 60
    assert max(row.rate for row in recording.down) > 1e5
