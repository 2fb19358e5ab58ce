"""The page, the file for programs and the verdict of an audit, and the command that makes them."""

from __future__ import annotations

import json
import re
import struct
import zlib
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier

import fogline
from fogline import Job, Privacy, Tier, Tree
from fogline.audit import AuditSettings, Finding, LeakReport, audit_leaks
from fogline.audit.leaks import facts_of
from fogline.audit.page import page_of
from fogline.audit.pictures import drawn, png
from fogline.audit.verdict import verdict_of
from fogline.cli import main
from tests.audit.scenes import digits, digits_task, job

FEW = AuditSettings(examples=(1, None), rounds=1, devices=1, iterations=5, shadows=2, canaries=16)


@pytest.fixture(scope="module")
def report() -> LeakReport:
    return audit_leaks(job(name="<b>mine</b>"), digits_task(4, 20), FEW, attacks=["labels", "First-Layer"])


def test_a_page_is_whole_by_itself(report: LeakReport) -> None:
    page = page_of(report)
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)
    assert {text[:22] for text in re.findall(r'src="([^"]+)"', page)} == {"data:image/png;base64,"}
    assert "<b>mine" not in page
    assert "&lt;b&gt;mine" in page
    for sentence in report.verdict:
        assert sentence.split("(")[0] in page.replace("&#x27;", "'").replace("&quot;", '"')
    assert "counts as rebuilt" in page
    unbuilt = replace(report, findings=tuple(one for one in report.findings if not one.rebuilt))
    assert "counts as rebuilt" not in page_of(unbuilt)
    assert page.count("<figure") == sum(len(one.rebuilt) for one in report.findings) > 2


def test_what_programs_get_says_the_same(report: LeakReport) -> None:
    told = json.loads(json.dumps(report.to_json()))
    assert told["worst"]["cloud"] == "leaks"
    first = next(one for one in told["findings"] if one["attack"] == "first_layer" and one["examples"] == 1)
    assert (first["place"], first["recovered"], first["of"]) == ("cloud", 1.0, 1.0)
    assert told["verdict"].startswith("The cloud learned which labels a device has")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_the_array(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), np.uint8)
    file = png(picture)
    assert struct.unpack(">II", file[16:24]) == (7, 5)
    start = file.index(b"IDAT") + 4
    rows = zlib.decompressobj().decompress(file[start:])
    read = np.frombuffer(rows, np.uint8).reshape(5, 1 + 7 * channels)
    assert not read[:, 0].any()
    assert np.array_equal(read[:, 1:].reshape(5, 7, channels).transpose(2, 0, 1), picture)
    assert b64decode(drawn(np.zeros((1, 4, 4)), 0, 1, "x").split(",")[1].split('"')[0]).startswith(b"\x89PNG")
    assert "<polyline" in drawn(np.arange(20.0), 0, 20, "a series")


def test_what_has_nothing_to_work_on_says_why() -> None:
    task = fogline.SklearnTask(SGDClassifier(loss="log_loss"), digits(4, 20))
    report = audit_leaks(Job(rounds=1), task, FEW)
    told = {one.attack: one.words for one in report.findings if one.outcome == "not applicable"}
    assert told.keys() == {"dlg", "geiping", "canary"}
    assert "PyTorch" in told["dlg"]
    assert "scikit-learn" in told["canary"]
    assert {one.place for one in report.findings if one.attack == "first_layer"} == {"cloud", "model"}


def test_a_verdict_says_who_learned_what_and_what_would_help() -> None:
    findings = [
        Finding("labels", "fog", "leaks", "", 8),
        Finding("labels", "fog", "leaks", "", 1),
        Finding("lira", "cloud", "hints", "", None, 4),
        Finding("dlg", "model", "holds", "", 1, 8),
    ]
    fog, cloud, model, advice = verdict_of(Job(), findings)
    assert fog == "The fog learned which labels a device has (of devices with 1, 8 examples; of their own data not)."
    assert cloud == "The cloud got hints of whether an example was trained on."
    assert model == "Whoever gets the models learned nothing that a guess does not have."
    assert "secagg" in advice
    noised = Job(tree=Tree(cloud=Tier(), fog=Tier()), privacy=Privacy())
    assert 'with privacy.mechanism = "skellam"' in verdict_of(noised, findings)[-1]
    of_sums = verdict_of(Job(), [Finding("labels", "cloud", "leaks", "", None, 4)])[0]
    assert of_sums == "The cloud learned which labels several devices have together."
    assert "secagg" not in verdict_of(Job(tree=Tree(cloud=Tier(exchange="secagg"))), findings[:1])[-1]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "some_digits.py").write_text(
        "from tests.audit.scenes import digits_task\n\n\ndef task():\n    return digits_task(4, 20)\n"
    )
    (tmp_path / "job.toml").write_text(
        dedent("""\
        task = "some_digits:task"
        rounds = 2
        [tree.cloud]
        """)
    )
    monkeypatch.chdir(tmp_path)
    main(["audit", "leaks", "job.toml", "--attack", "labels", "--examples", "1", "--set", "local.learning_rate=0.2"])
    printed = capsys.readouterr().out
    assert "Page: leaks.html" in printed
    assert "sgd at 0.2" in (tmp_path / "leaks.html").read_text()
    assert json.loads((tmp_path / "leaks.json").read_text())["findings"][0]["attack"] == "labels"
    for arguments, why in (
        (["--attack", "lable"], "did you mean 'labels'?"),
        (["--examples", "none"], "--examples: 'none' is no number of examples"),
        (["--page", "leaks.pdf"], "name a file that ends in .html"),
        (["--shadows", "1"], "--shadows is 1; it must be at least 2"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["audit", "leaks", "job.toml", *arguments])
        assert ended.value.code == 2
        assert why in capsys.readouterr().err


def test_the_facts_name_the_tier_that_adds_noise() -> None:
    tree, data = Tree(cloud=Tier(), fog=Tier()), digits(4, 20)
    assert facts_of(Job(tree=tree, privacy=Privacy()), data)["privacy"].startswith("gaussian at cloud:")
    assert facts_of(Job(tree=tree, privacy=Privacy(unit="example")), data)["privacy"].startswith("gaussian at devices:")
