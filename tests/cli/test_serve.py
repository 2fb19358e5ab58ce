"""``fogline serve``: a model file becomes a server that answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper, save_model

from fogline.cli.commands.serve import find
from fogline.inference.runtimes.onnx import card_of_onnx
from fogline.registry.archive import export_version
from tests.patience import PATIENCE
from tests.registry.versions import opened

TASK = """
import numpy as np
from sklearn.linear_model import SGDClassifier
from fogline.data import from_arrays
from fogline.training.sklearn import SklearnTask

rng = np.random.default_rng(0)
x = rng.normal(size=(60, 4)).astype(np.float32)
y = (x[:, 0] > 0).astype(np.int64)
parts = [np.arange(0, 30), np.arange(30, 60)]
task = SklearnTask(SGDClassifier(loss="log_loss"), from_arrays("lines", x, y, parts, classes=2))
"""
JOB = """
name = "lines"
task = "lines:task"
rounds = 1
[local]
learning_rate = 0.1
batch_size = 5
[tree.cloud]
"""


def started(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", "from fogline.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        program, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextmanager
def serving(*arguments: str, folder: Path) -> Generator[list[str]]:
    """The lines that it greets with; it ends well when it is told to."""
    with started("serve", *arguments, "--http", "127.0.0.1:0", "--grpc", "none", folder=folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[2], process.stderr.read()
        try:
            yield lines
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0


def refused(*arguments: str, folder: Path) -> str:
    with started("serve", *arguments, folder=folder) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode in (1, 2)
    assert errors.count("\n") == 1, errors
    return errors


def answered(line: str) -> dict[str, Any]:
    """What the line that is printed answers, run as a person would."""
    command = line.partition("Ask it:")[2].strip()
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    shape = ["n", 2]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    made = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    path = tmp_path / "my model.onnx"
    save_model(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_curl
def test_an_onnx_file(graph: Path, tmp_path: Path) -> None:
    with serving(str(graph), "--name", "stats", folder=tmp_path) as lines:
        assert answered(lines[1])["model_name"] == "stats"
    with serving(str(graph), folder=tmp_path) as lines:
        assert lines[0].startswith("Model 'my-model' (onnx) answers at http://127.0.0.1:")
        answer = answered(lines[1])
        assert (answer["model_name"], answer["model_version"]) == ("my-model", "1")
        assert answer["outputs"][0]["shape"] == [1, 2]
        page = lines[2].split()[-1]
        assert urllib.request.urlopen(page, timeout=PATIENCE).status == 200


@needs_curl
def test_an_onnx_file_with_its_weights_beside_it(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy")
    weights = [helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])]
    made = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "apart.onnx"
    save_model(model, str(path), save_as_external_data=True, location="apart.onnx.data", size_threshold=0)
    with serving(str(path), folder=tmp_path) as lines:
        asked = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,1]}]}'
        url = lines[0].partition(" at ")[2].partition(";")[0] + "/v2/models/apart/infer"
        assert json.load(urllib.request.urlopen(url, asked, timeout=PATIENCE))["outputs"][0]["data"] == [4.0, 6.0]


@needs_curl
def test_a_folder_with_a_card(graph: Path, tmp_path: Path) -> None:
    card = card_of_onnx(graph)
    assert card.graph is not None
    (tmp_path / "version" / "blobs").mkdir(parents=True)
    shutil.copy(graph, tmp_path / "version" / "blobs" / card.graph.digest)
    (tmp_path / "version" / "card.json").write_bytes(card.encoded())
    with serving("version", "--name", "other", folder=tmp_path) as lines:
        assert answered(lines[1])["model_name"] == "other"


@pytest.mark.slow
@needs_curl
def test_a_run_and_its_weights(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "lines.py").write_text(TASK)
    (tmp_path / "job.toml").write_text(JOB)
    with started("simulate", "job.toml", "--folder", "run", "--quiet", folder=tmp_path) as simulation:
        output, errors = simulation.communicate(timeout=PATIENCE)
    assert simulation.returncode == 0, output + errors
    shutil.copy(tmp_path / "run" / "model.safetensors", tmp_path / "weights.safetensors")
    answers = []
    for model in ("run", "run/model.safetensors", "weights.safetensors"):
        with serving(model, folder=tmp_path) as lines:
            answers.append(answered(lines[1])["outputs"])
    assert answers[0] == answers[1] == answers[2]


EXITING = """
import numpy as np
from torch import nn
from fogline.data import Examples, from_arrays
from fogline.training.torch import TorchTask

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.early, self.late = nn.Linear(4, 2), nn.Linear(2, 2)

    def forward(self, x):
        early = self.early(x)
        return early, self.late(early)

rng = np.random.default_rng(0)
x = rng.normal(size=(60, 4)).astype(np.float32)
y = (x[:, 0] > 0).astype(np.int64)
parts = [np.arange(0, 20), np.arange(20, 40)]
task = TorchTask(Two, from_arrays("exits", x, y, parts, classes=2, test=Examples(x[40:], y[40:])))
"""


def exported(run: Path, path: Path) -> None:
    """A run's model as a cloud exports it."""
    catalogue = opened(run.parent / "registry")
    found = find(run, run.parent)
    card = catalogue.publish(found.card, found.files)
    export_version(catalogue, card.model, card.version, path)


@pytest.mark.slow
@needs_curl
def test_a_run_is_served_as_its_job_publishes_it(tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(EXITING)
    published = '[publish]\nexits = ["early", "late"]\nexit_accuracy = 0.01\n'
    (tmp_path / "job.toml").write_text(JOB.replace('"lines"', '"two lines"') + published)
    with started("simulate", "job.toml", "--folder", "run", "--quiet", folder=tmp_path) as simulation:
        output, errors = simulation.communicate(timeout=PATIENCE)
    assert simulation.returncode == 0, output + errors
    with serving("run", folder=tmp_path) as lines:
        assert lines[0].startswith("Model 'two-lines' ")
        assert [output["name"] for output in answered(lines[1])["outputs"]] == ["late"]
    exported(tmp_path / "run", tmp_path / "two.fogline")
    with serving("two.fogline", folder=tmp_path) as lines:
        assert lines[0].startswith("Model 'two-lines' ")
        assert [output["name"] for output in answered(lines[1])["outputs"]] == ["late"]
    damaged = bytearray((tmp_path / "two.fogline").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.fogline").write_bytes(damaged)
    assert "model archive" in refused("damaged.fogline", folder=tmp_path)
    (tmp_path / "run" / "model.safetensors").write_bytes(b"words")
    assert "The model in run/model.safetensors cannot be read." in refused("run", folder=tmp_path)
    (tmp_path / "run" / "model.safetensors").unlink()
    assert "There is no model in run/model.safetensors" in refused("run", folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing.onnx"], "There is no nothing.onnx"),
        (["words.txt"], "neither an ONNX file nor a safetensors file"),
        (["bad.onnx"], "cannot load the model"),
        (["lonely.safetensors"], "put the job.toml beside it"),
        (["."], "There is no run in ."),
        (["GRAPH", "--name", "a/b"], "cannot be called 'a/b'"),
        (["GRAPH", "--http", "nonsense"], "'nonsense' is no address"),
        (["GRAPH", "--http", "127.0.0.1:0", "--grpc", ":8081"], "':8081' is no address"),
        (["GRAPH", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:99999"], "'127.0.0.1:99999' is no address"),
        (["GRAPH", "--http", "127.0.0.1:0", "--grpc", "8081"], "'8081' is no address"),
        (["GRAPH", "--threads", "0"], 'Invalid value "0" for --threads'),
        (["GRAPH", "--http", "192.0.2.1:80"], "Nobody can listen at 192.0.2.1:80"),
        (["GRAPH", "--http", "127.0.0.1:0", "--grpc", "192.0.2.1:80"], "Nobody can listen at 192.0.2.1:80"),
        (["GRAPH", "--runtime", "dense"], "has no runtime 'dense'; there are onnx"),
    ],
)
def test_errors_are_one_sentence(graph: Path, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    for name in ("words.txt", "bad.onnx", "lonely.safetensors"):
        (tmp_path / name).write_bytes(b"words")
    given = [str(graph) if argument == "GRAPH" else argument for argument in arguments]
    if "--http" not in given:
        given += ["--http", "127.0.0.1:0"]  # What it listens at else may be taken here.
    assert sentence in refused(*given, folder=tmp_path)
