"""Runtimes: loading, choosing, threads, and files that are not what they should be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fogline.inference.card import Asset, Card, Dense, Tensor, read_card
from fogline.inference.package import Package
from fogline.inference.runtimes import choose, dense
from fogline.inference.runtimes.base import ModelError
from fogline.inference.runtimes.choose import open_runtime, sample_of
from fogline.inference.runtimes.dense import DenseRuntime
from fogline.inference.runtimes.initializers import ExternalTensor, beside, wanted
from fogline.inference.runtimes.onnx import OnnxRuntime, card_of_onnx
from fogline.params import load_arrays, save_arrays
from tests.inference.cases import TORCH, finder, made
from tests.patience import PATIENCE

X = np.random.default_rng(0).normal(size=(50, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return made(TORCH["mlp"](), tmp_path_factory.mktemp("version"), variants=("int8", "fp16"))


def test_light_imports() -> None:
    code = (
        "import sys\n"
        "import fogline.inference.golden, fogline.inference.runtimes.choose\n"
        "assert not {'torch', 'onnx', 'onnxruntime', 'sklearn'} & set(sys.modules)\n"
        "import fogline.inference.runtimes.onnx\n"
        "assert not {'torch', 'onnx', 'sklearn', 'pydantic'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_the_fastest_is_taken_and_the_others_are_closed(version: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"dense": 2.0, "onnx": 1.0, "onnx/int8": 0.95, "onnx/fp16": 0.5}
    opened: list[Any] = []

    def fake(_: Any, runtime: Any, sample: Any) -> float:
        opened.append(runtime)
        assert sample["input"].shape == (1, 1, 8, 8)
        runtime.run(sample)
        return seconds[runtime.name]

    monkeypatch.setattr(choose, "_seconds", fake)
    same = tuple(msgspec.structs.replace(variant, agreement=1.0) for variant in version.card.variants)
    card = msgspec.structs.replace(version.card, variants=same)
    for variants, best in ((False, "onnx"), (True, "onnx/fp16")):
        opened.clear()
        chosen = open_runtime(card, finder(version), variants=variants)
        assert chosen.runtime.name == best
        assert set(chosen.timings) == ({"dense", "onnx"} if not variants else set(seconds))
        for runtime in opened:
            if runtime is chosen.runtime:
                runtime.run({"input": X})
            else:
                with pytest.raises(ModelError, match="closed"):
                    runtime.run({"input": X})
    seconds["onnx/fp16"] = 0.99  # Faster, but not clearly.
    assert open_runtime(card, finder(version), variants=True).runtime.name == "onnx"


def test_a_variant_that_is_wrong_too_often_is_taken_by_name_only(version: Package) -> None:
    worse = tuple(msgspec.structs.replace(variant, agreement=0.9) for variant in version.card.variants)
    card = msgspec.structs.replace(version.card, variants=worse)
    chosen = open_runtime(card, finder(version), variants=True)
    assert set(chosen.timings) == {"dense", "onnx"}
    assert chosen.refused["onnx/int8"] == "Its agreement with the model is 0.900; at least 0.98 is asked."
    assert open_runtime(card, finder(version), only="onnx/int8").runtime.name == "onnx/int8"


def test_one_that_cannot_be_opened_does_not_hinder_the_others(version: Package, tmp_path: Path) -> None:
    def locate(asset: Asset) -> Path:
        return tmp_path / "nothing" if asset == version.card.graph else finder(version)(asset)

    chosen = open_runtime(version.card, locate)
    assert chosen.runtime.name == "dense"
    assert "cannot be read" in chosen.refused["onnx"]
    with pytest.raises(ModelError, match="cannot be read"):
        open_runtime(version.card, locate, only="onnx")
    with pytest.raises(ModelError, match="has no runtime 'tpu'; there are dense, onnx, onnx/int8, onnx/fp16"):
        open_runtime(version.card, locate, only="tpu")
    with pytest.raises(ModelError, match="nothing that could be run"):
        open_runtime(msgspec.structs.replace(version.card, graph=None, dense=(), variants=()), locate)


@pytest.mark.parametrize("only", ["dense", "onnx", "onnx/int8"])
def test_many_threads_get_their_own_answers(version: Package, only: str) -> None:
    runtime = open_runtime(version.card, finder(version), only=only).runtime
    parts = [X[i : i + 1 + i % 4] for i in range(46)]
    alone = [runtime.run({"input": part})["output"] for part in parts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            together = list(pool.map(lambda part: runtime.run({"input": part})["output"], parts))
            for one, other in zip(alone, together, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("only", ["dense", "onnx"])
@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"other": X},
        {"input": X.astype(np.float64)},
        {"input": X.astype(np.int64)},
        {"input": X[:, :, :3]},
        {"input": np.float32(1).reshape(())},
        {"input": np.array([["a"]], object)},
    ],
)
def test_wrong_inputs_are_errors(version: Package, only: str, inputs: Any) -> None:
    runtime = open_runtime(version.card, finder(version), only=only).runtime
    with pytest.raises(ModelError):
        runtime.run(inputs)
    assert runtime.run({"input": X})["output"].shape == (50, 10)


@pytest.mark.parametrize("only", ["dense", "onnx"])
def test_inputs_are_left_as_they_are_and_no_example_gives_no_answer(version: Package, only: str) -> None:
    runtime, x = open_runtime(version.card, finder(version), only=only).runtime, X.copy()
    x.flags.writeable = False
    first = runtime.run({"input": x})["output"]
    kept = first.copy()
    runtime.run({"input": -x})
    np.testing.assert_array_equal(first, kept)  # Answers do not share memory.
    assert runtime.run({"input": x[:0]})["output"].shape == (0, 10)


def broken(path: Path) -> list[tuple[Callable[[], None], str]]:
    """What may have become of a weights file, and what is said of it."""
    arrays, whole = load_arrays(path), path.read_bytes()
    return [
        (lambda: save_arrays(path, {n: a for n, a in arrays.items() if n != "1.bias"}), "1.bias"),
        (lambda: save_arrays(path, arrays | {"1.bias": np.zeros(3, np.float32)}), "1.bias"),
        (lambda: save_arrays(path, arrays | {"1.weight": arrays["1.weight"].T}), "1.weight"),
        (lambda: (path.write_bytes(whole[:-10]), None)[1], "The weights cannot be read"),
        (lambda: (path.write_bytes(b"\xff" * 64), None)[1], "The weights cannot be read"),
        (lambda: (path.write_bytes(b""), None)[1], "The weights cannot be read"),
        (path.unlink, "The weights cannot be read"),
    ]


@pytest.mark.parametrize("kind", [OnnxRuntime, DenseRuntime])
def test_weights_that_do_not_fit_are_refused(kind: Any, tmp_path: Path) -> None:
    version = made(TORCH["mlp"](), tmp_path)
    for spoil, said in broken(tmp_path / "weights.safetensors"):
        spoil()
        with pytest.raises(ModelError, match=said):
            kind(version.card, finder(version))


def test_weights_of_another_type_are_refused_by_the_graph(tmp_path: Path) -> None:
    version, path = made(TORCH["mlp"](), tmp_path), tmp_path / "weights.safetensors"
    save_arrays(path, {name: array.astype(np.float64) for name, array in load_arrays(path).items()})
    with pytest.raises(ModelError, match=r"float64.*the graph takes float32.*of different models"):
        OnnxRuntime(version.card, finder(version))


def test_a_graph_that_is_not_the_cards_is_refused(version: Package) -> None:
    card = version.card
    for changed, said in (
        ({"inputs": (Tensor("x", "FP32", (-1, 1, 8, 8)),)}, "input 'x' as FP32; the graph has nothing of that name"),
        ({"outputs": (Tensor("output", "INT64", (-1, 10)),)}, "output 'output' as INT64; the graph has FP32"),
    ):
        with pytest.raises(ModelError, match=said):
            OnnxRuntime(msgspec.structs.replace(card, **changed), finder(version))
    with pytest.raises(ModelError, match="not made of plain layers"):
        DenseRuntime(msgspec.structs.replace(card, dense=()), finder(version))
    layers = (Dense("3.weight", "3.bias"), Dense("1.weight", "1.bias"))
    with pytest.raises(ModelError, match="takes 64 inputs; the layer below it has 10"):
        DenseRuntime(msgspec.structs.replace(card, dense=layers), finder(version))
    with pytest.raises(ModelError, match="do not make a layer"):
        DenseRuntime(msgspec.structs.replace(card, dense=(Dense("1.weight", "3.bias"),)), finder(version))
    with pytest.raises(ModelError, match="has one output, not 16"):
        DenseRuntime(msgspec.structs.replace(card, dense=(Dense("1.weight", "1.bias", "pair"),)), finder(version))


@settings(max_examples=150, derandomize=True, deadline=None)
@given(data=st.data())
def test_a_damaged_graph_is_an_error_or_a_graph(data: st.DataObject, version: Package, tmp_path_factory: Any) -> None:
    whole = bytearray(finder(version)(version.card.assets()["graph"]).read_bytes())
    cut = data.draw(st.integers(0, len(whole)))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "graph.onnx"
    path.write_bytes(whole[:cut])
    card = version.card
    with suppress(ModelError):  # And nothing else.
        OnnxRuntime(card, lambda asset: path if asset == card.graph else finder(version)(asset)).run({"input": X})


def elsewhere(location: str) -> bytes:
    """A graph that gives a hundred bytes of a file as its output."""
    tensor = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[100], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "100")):
        tensor.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", 100])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["batch", 100])],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


@pytest.mark.parametrize("location", ["secret", "./secret", "../secret", "{}/secret"])
def test_a_graph_cannot_read_other_files(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    for folder in (tmp_path, tmp_path / "below"):
        (folder / "secret").write_bytes(b"k" * 100)
    path = tmp_path / "below" / "model.onnx"
    path.write_bytes(elsewhere(location.format(tmp_path)))
    for folder in (tmp_path, tmp_path / "below"):
        monkeypatch.chdir(folder)
        with pytest.raises(ModelError):
            card_of_onnx(path)


def test_what_a_graph_wants_is_what_onnx_says_it_wants(version: Package) -> None:
    data = finder(version)(version.card.assets()["graph"]).read_bytes()
    model = onnx.load_model_from_string(data)
    outside = [t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert len(outside) == 4
    assert wanted(data) == {t.name: ExternalTensor(np.dtype(np.float32), tuple(t.dims)) for t in outside}


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_graph(data: bytes) -> None:
    with suppress(ValueError):  # And nothing else.
        assert not wanted(data)


def bare(path: Path, kind: int = TensorProto.FLOAT) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    initializers = []
    if kind == TensorProto.FLOAT:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        initializers = [numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["batch", 3])],
        [helper.make_tensor_value_info("y", kind, ["batch", 3])],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def test_a_bare_file_is_served(tmp_path: Path) -> None:
    path = tmp_path / "my model (2).onnx"
    bare(path)
    card = card_of_onnx(path)
    assert card.model == "my-model-2"
    assert (card.inputs, card.outputs) == ((Tensor("x", "FP32", (-1, 3)),), (Tensor("y", "FP32", (-1, 3)),))
    assert read_card(card.encoded()) == card
    chosen = open_runtime(card, lambda _: path)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(chosen.runtime.run({"x": x})["y"], x)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ModelError, match="cannot load the model"):
        card_of_onnx(path)


@pytest.mark.parametrize("shape", [["batch", 3], [2, 3], [3], [], [1, "n", 3], ["batch", 0]])
def test_whatever_its_shape_a_bare_file_is_tried_on_an_example_that_it_takes(shape: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "shape.onnx"
    graph(path, "Neg", shape)
    card = card_of_onnx(path)
    example = sample_of(card, lambda _: path)
    assert example["x"].shape == tuple(1 if isinstance(size, str) else size for size in shape)
    runtime = open_runtime(card, lambda _: path).runtime
    assert runtime.run(example)["y"].shape == example["x"].shape


def test_a_bare_file_that_the_smallest_example_does_not_suit_is_served(tmp_path: Path) -> None:
    path = tmp_path / "pool.onnx"
    graph(path, "MaxPool", ["batch", 1, "height", "width"], kernel_shape=[4, 4])
    card = card_of_onnx(path)
    with pytest.raises(ModelError, match="cannot run") as caught:
        OnnxRuntime(card, lambda _: path).run(sample_of(card, lambda _: path))
    assert "/" not in str(caught.value), "it says where in ONNX Runtime's own code"
    runtime = open_runtime(card, lambda _: path).runtime
    assert runtime.run({"x": np.ones((1, 1, 8, 8), np.float32)})["y"].shape == (1, 1, 5, 5)


def graph(path: Path, operator: str, shape: list[Any], **attributes: Any) -> None:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))
    made = helper.make_graph([helper.make_node(operator, ["x"], ["y"], **attributes)], "g", [given], [gives])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def test_weights_beside_a_bare_file(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    bare(path)
    assert beside(path) == {}
    with_data(path, "large.onnx.data")
    weights = beside(path)
    assert weights.keys() == {"w"}
    np.testing.assert_array_equal(weights["w"], np.eye(3, dtype=np.float32))
    assert card_of_onnx(path, weights).inputs == (Tensor("x", "FP32", (-1, 3)),)
    (tmp_path / "large.onnx.data").write_bytes(b"short")
    with pytest.raises(ModelError, match=r"'w' cannot be read from large.onnx.data"):
        beside(path)
    (tmp_path / "large.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"in large.onnx.data, which is not beside it"):
        beside(path)


@pytest.mark.parametrize("name", ["secret", "./large.onnx.data", "below/large.onnx.data"])
def test_only_the_file_that_is_called_like_the_graph_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    bare(tmp_path / "large.onnx")
    with_data(tmp_path / "large.onnx", name)
    with pytest.raises(ModelError, match=r"only 'large.onnx.data' is read. .*onnx.load\('large.onnx'\)"):
        beside(tmp_path / "large.onnx")


def with_data(path: Path, file: str) -> None:
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=file, size_threshold=0)


def test_texts_are_bytes(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    bare(path, TensorProto.STRING)
    card = card_of_onnx(path)
    assert card.inputs[0].datatype == "BYTES"
    runtime = open_runtime(card, lambda _: path).runtime
    x = np.array([[b"a", "größer".encode(), b""]], object)
    assert runtime.run({"x": x})["y"].tolist() == x.tolist()
    with pytest.raises(ModelError, match="takes texts in UTF-8"):
        runtime.run({"x": np.array([[b"\xff", b"", b""]], object)})


def test_numpy_keeps_to_the_threads_it_was_given(version: Package) -> None:
    library = dense._openblas()
    if library is None:
        pytest.skip("numpy has another library than its own wheels bring")
    for threads in (2, 1):
        DenseRuntime(version.card, finder(version), threads)
        assert library.scipy_openblas_get_num_threads64_() == threads


def test_a_card_without_golden_samples_is_measured_on_zeros(tmp_path: Path) -> None:
    path = tmp_path / "bare.onnx"
    bare(path)
    card: Card = msgspec.structs.replace(card_of_onnx(path), inputs=(Tensor("x", "FP32", (-1, 10**14)),))
    with pytest.raises(ModelError, match="too large"):
        open_runtime(card, lambda _: path)
