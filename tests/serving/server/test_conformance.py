"""Stock clients: every datatype, in every form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Generator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from fogline.inference.card import Card, Tensor
from fogline.inference.runtimes.base import Array
from fogline.serving.protocol import inference_pb2 as messages
from fogline.serving.protocol.rpc import FIELDS
from tests.patience import PATIENCE
from tests.serving.server.models import DATATYPES, Identity, card_of, sample
from tests.serving.server.running import Running, running

PAIR = Card(
    model="pair",
    version=3,
    created=0.0,
    inputs=(Tensor("a", "FP32", (-1, 2)), Tensor("b", "INT64", (-1, -1))),
    outputs=(Tensor("c", "FP32", (-1, 2)), Tensor("d", "INT64", (-1, -1))),
)


@pytest.fixture(scope="module")
def server() -> Generator[Running]:
    with running(lambda card, _: Identity(card)) as made:
        for datatype in DATATYPES:
            made.load(card_of(datatype.lower(), datatype, (-1, 3)))
        made.load(card_of("classes", "FP32", (-1, 4), scores=True))
        made.load(card_of("fixed", "FP32", (2, 2)))
        made.load(PAIR)
        yield made


@pytest.fixture(scope="module")
def http(server: Running) -> Generator[triton_http.InferenceServerClient]:
    client = triton_http.InferenceServerClient(server.http)
    yield client
    client.close()


@pytest.fixture(scope="module")
def rpc(server: Running) -> Generator[triton_grpc.InferenceServerClient]:
    client = triton_grpc.InferenceServerClient(server.grpc)
    yield client
    client.close()


def asked(kind: Any, name: str, datatype: str, array: Array, **options: Any) -> Any:
    given = kind.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, **options)
    return given


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("datatype", DATATYPES)
class TestEveryDatatype:
    @pytest.mark.parametrize("binary_in", [True, False])
    @pytest.mark.parametrize("binary_out", [True, False, None])
    def test_http(
        self,
        http: triton_http.InferenceServerClient,
        datatype: str,
        rows: int,
        binary_in: bool,
        binary_out: bool | None,
    ) -> None:
        array = sample(datatype, (rows, 3))
        given = asked(triton_http, "x", datatype, array, binary_data=binary_in)
        outputs = None if binary_out is None else [triton_http.InferRequestedOutput("y", binary_data=binary_out)]
        result = http.infer(datatype.lower(), [given], outputs=outputs, request_id="r1")
        np.testing.assert_array_equal(_plain(result.as_numpy("y")), array)
        answer = result.get_response()
        assert answer["id"] == "r1"
        assert answer["model_version"] == "1"
        assert answer["parameters"] == {"tier": "device", "version": 1}

    def test_grpc(self, rpc: triton_grpc.InferenceServerClient, datatype: str, rows: int) -> None:
        array = sample(datatype, (rows, 3))
        result = rpc.infer(datatype.lower(), [asked(triton_grpc, "x", datatype, array)], request_id="r1")
        np.testing.assert_array_equal(result.as_numpy("y"), array)
        answer = result.get_response()
        assert (answer.id, answer.model_version) == ("r1", "1")
        assert answer.parameters["tier"].string_param == "device"

    def test_typed_contents(self, server: Running, datatype: str, rows: int) -> None:
        array = sample(datatype, (rows, 3))
        request = messages.ModelInferRequest(model_name=datatype.lower())
        given = request.inputs.add(name="x", datatype=datatype, shape=array.shape)
        if datatype == "FP16":
            with pytest.raises(grpc.RpcError, match="raw_input_contents"):
                infer(server, request)
            return
        getattr(given.contents, FIELDS[datatype]).extend(array.ravel().tolist())
        answer = infer(server, request)
        assert not answer.raw_output_contents
        got = getattr(answer.outputs[0].contents, FIELDS[datatype])
        assert list(got) == array.ravel().tolist()
        assert list(answer.outputs[0].shape) == [rows, 3]


def _plain(array: Array) -> Array:
    """The client gives texts of JSON as ``str``."""
    if array.dtype != np.object_:
        return array
    made = np.empty(array.shape, dtype=np.object_)
    made.flat[:] = [item if isinstance(item, bytes) else item.encode() for item in array.ravel()]
    return made


def infer(server: Running, request: messages.ModelInferRequest) -> messages.ModelInferResponse:
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )
        return call(request, timeout=PATIENCE)


class TestSeveralInputs:
    @pytest.mark.parametrize("binary", [(True, True), (True, False), (False, True), (False, False)])
    def test_in_any_order_and_form(self, http: triton_http.InferenceServerClient, binary: tuple[bool, bool]) -> None:
        a, b = sample("FP32", (5, 2)), sample("INT64", (5, 3))
        inputs = [
            asked(triton_http, "b", "INT64", b, binary_data=binary[0]),
            asked(triton_http, "a", "FP32", a, binary_data=binary[1]),
        ]
        outputs = [triton_http.InferRequestedOutput("d", binary_data=binary[1]), triton_http.InferRequestedOutput("c")]
        result = http.infer("pair", inputs, model_version="3", outputs=outputs)
        np.testing.assert_array_equal(result.as_numpy("c"), a)
        np.testing.assert_array_equal(result.as_numpy("d"), b)

    def test_only_what_is_asked_for(self, rpc: triton_grpc.InferenceServerClient) -> None:
        a, b = sample("FP32", (2, 2)), sample("INT64", (2, 3))
        inputs = [asked(triton_grpc, "a", "FP32", a), asked(triton_grpc, "b", "INT64", b)]
        answer = rpc.infer("pair", inputs, outputs=[triton_grpc.InferRequestedOutput("d")])
        assert [output.name for output in answer.get_response().outputs] == ["d"]
        np.testing.assert_array_equal(answer.as_numpy("d"), b)


class TestForms:
    @pytest.mark.parametrize("compression", ["gzip", "deflate"])
    def test_compressed(self, http: triton_http.InferenceServerClient, compression: str) -> None:
        array = sample("FP32", (9, 3))
        given = asked(triton_http, "x", "FP32", array)
        result = http.infer("fp32", [given], request_compression_algorithm=compression)
        np.testing.assert_array_equal(result.as_numpy("y"), array)

    @pytest.mark.parametrize(("coding", "pack"), [("GZIP", gzip.compress), ("identity", bytes)])
    def test_names_of_codings_are_read_as_http_says(
        self, server: Running, coding: str, pack: Callable[[bytes], bytes]
    ) -> None:
        given = {"name": "x", "datatype": "INT32", "shape": [1, 3], "data": [7, 8, 9]}
        body = pack(json.dumps({"inputs": [given]}).encode())
        status, answer, _ = server.ask("POST", "/v2/models/int32/infer", body, {"Content-Encoding": coding})
        assert (status, answer["outputs"][0]["data"]) == (200, [7, 8, 9])

    @pytest.mark.parametrize("kind", ["http", "grpc"])
    @pytest.mark.parametrize("shared", ["input", "output"])
    def test_shared_memory_is_refused_in_words(
        self, http: triton_http.InferenceServerClient, rpc: triton_grpc.InferenceServerClient, kind: str, shared: str
    ) -> None:
        module, client = (triton_http, http) if kind == "http" else (triton_grpc, rpc)
        given, output = asked(module, "x", "FP32", sample("FP32", (1, 3))), module.InferRequestedOutput("y")
        (given if shared == "input" else output).set_shared_memory("region", 12)
        with pytest.raises(InferenceServerException, match="shares no memory with its clients"):
            client.infer("fp32", [given], outputs=[output])

    def test_raw(self, server: Running) -> None:
        array = sample("FP32", (4, 3))
        status, body, headers = server.ask(
            "POST", "/v2/models/fp32/infer", array.tobytes(), {"Inference-Header-Content-Length": "0"}
        )
        assert status == 200
        assert body[int(headers["inference-header-content-length"]) :] == array.tobytes()

    def test_nested_lists(self, server: Running) -> None:
        given = {"name": "x", "datatype": "INT32", "shape": [2, 3], "data": [[1, 2, 3], [4, 5, 6]]}
        status, body, _ = server.ask("POST", "/v2/models/int32/infer", {"inputs": [given]})
        assert status == 200
        assert body["outputs"] == [{"name": "y", "datatype": "INT32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]
        assert "id" not in body

    @pytest.mark.parametrize("kind", ["http", "grpc"])
    def test_best_classes(
        self, http: triton_http.InferenceServerClient, rpc: triton_grpc.InferenceServerClient, kind: str
    ) -> None:
        scores = np.array([[1.0, 5.0, 10.0, 4.0], [3.0, 2.0, 1.0, 0.0]], np.float32)
        client, module = (http, triton_http) if kind == "http" else (rpc, triton_grpc)
        outputs = [module.InferRequestedOutput("y", class_count=2)]
        result = client.infer("classes", [asked(module, "x", "FP32", scores)], outputs=outputs)
        assert result.as_numpy("y").tolist() == [
            [b"10.000000:2:cow", b"5.000000:1:bee"],
            [b"3.000000:0:ant", b"2.000000:1:bee"],
        ]

    def test_nan_is_null(self, server: Running) -> None:
        raw = np.array([[np.nan, 1.0, np.inf]], np.float64)
        request = {
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 3], "parameters": {"binary_data_size": 24}}]
        }
        import json

        head = json.dumps(request).encode()
        status, body, _ = server.ask(
            "POST", "/v2/models/fp64/infer", head + raw.tobytes(), {"Inference-Header-Content-Length": str(len(head))}
        )
        assert status == 200
        assert body["outputs"][0]["data"] == [None, 1.0, None]


class TestAboutTheServer:
    def test_health_and_metadata(
        self, http: triton_http.InferenceServerClient, rpc: triton_grpc.InferenceServerClient
    ) -> None:
        for client in (http, rpc):
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("pair")
            assert client.is_model_ready("pair", "3")
            assert not client.is_model_ready("pair", "4")
        assert http.get_server_metadata()["name"] == rpc.get_server_metadata().name == "fogline"
        model = http.get_model_metadata("pair")
        assert model["versions"] == ["3"]
        assert model["inputs"][1] == {"name": "b", "datatype": "INT64", "shape": [-1, -1]}
        assert list(rpc.get_model_metadata("pair").outputs[0].shape) == [-1, 2]

    def test_health_bodies_are_json(self, server: Running) -> None:
        assert server.ask("GET", "/v2/health/live")[1] == {"live": True}
        assert server.ask("GET", "/v2/health/ready")[1] == {"ready": True}

    def test_statistics(self, http: triton_http.InferenceServerClient, rpc: triton_grpc.InferenceServerClient) -> None:
        before = http.get_inference_statistics("fixed")["model_stats"][0]["inference_stats"]["success"]["count"]
        http.infer("fixed", [asked(triton_http, "x", "FP32", sample("FP32", (2, 2)))])
        after = rpc.get_inference_statistics("fixed").model_stats[0]
        assert after.inference_stats.success.count == before + 1
        assert after.last_inference > 0
        assert len(http.get_inference_statistics()["model_stats"]) > len(DATATYPES)


class TestRefusals:
    @pytest.mark.parametrize("kind", ["http", "grpc"])
    @pytest.mark.parametrize(
        ("model", "version", "name", "datatype", "shape", "sentence"),
        [
            ("nothing", "", "x", "FP32", (1, 3), "There is no model 'nothing' here."),
            ("fp32", "9", "x", "FP32", (1, 3), "Version 9 of model 'fp32' is not loaded."),
            ("fp32", "", "z", "FP32", (1, 3), "The model has no input 'z'; it takes 'x'."),
            ("fp32", "", "x", "FP64", (1, 3), "Input 'x' is FP32, not FP64."),
            ("fp32", "", "x", "FP32", (1, 4), "Input 'x' has shape [1, 4]; the model takes [-1, 3]"),
            ("fp32", "", "x", "FP32", (3,), "Input 'x' has shape [3]; the model takes [-1, 3]"),
            ("fp32", "", "x", "FP32", (0, 3), "Input 'x' has shape [0, 3]; the model takes [-1, 3]"),
            ("fixed", "", "x", "FP32", (1, 2), "Input 'x' has shape [1, 2]; the model takes [2, 2]"),
            ("pair", "", "a", "FP32", (1, 2), "The request lacks input 'b'."),
        ],
    )
    def test_what_the_model_cannot_answer(
        self,
        http: triton_http.InferenceServerClient,
        rpc: triton_grpc.InferenceServerClient,
        kind: str,
        model: str,
        version: str,
        name: str,
        datatype: str,
        shape: tuple[int, ...],
        sentence: str,
    ) -> None:
        client, module = (http, triton_http) if kind == "http" else (rpc, triton_grpc)
        array = np.zeros(shape, np.float64 if datatype == "FP64" else np.float32)
        with pytest.raises(InferenceServerException) as caught:
            client.infer(model, [asked(module, name, datatype, array)], model_version=version)
        assert sentence in caught.value.message()
        known = "404" if model == "nothing" or version else "400"
        assert caught.value.status() == (
            known if kind == "http" else {"404": "StatusCode.NOT_FOUND"}.get(known, "StatusCode.INVALID_ARGUMENT")
        )

    def test_unknown_output(self, http: triton_http.InferenceServerClient) -> None:
        given = asked(triton_http, "x", "FP32", sample("FP32", (1, 3)))
        with pytest.raises(InferenceServerException, match="no output 'q'; it gives 'y'"):
            http.infer("fp32", [given], outputs=[triton_http.InferRequestedOutput("q")])

    def test_inputs_that_disagree(self, http: triton_http.InferenceServerClient) -> None:
        inputs = [
            asked(triton_http, "a", "FP32", sample("FP32", (2, 2))),
            asked(triton_http, "b", "INT64", sample("INT64", (3, 2))),
        ]
        with pytest.raises(InferenceServerException, match="'b' has 3 examples, but 'a' has 2"):
            http.infer("pair", inputs)


class TestTheRepository:
    def test_load_and_unload(
        self, server: Running, http: triton_http.InferenceServerClient, rpc: triton_grpc.InferenceServerClient
    ) -> None:
        server.load(card_of("passing"))
        assert {"name": "passing", "version": "1", "state": "READY", "reason": ""} in http.get_model_repository_index()
        http.unload_model("passing")
        assert not rpc.is_model_ready("passing")
        index = rpc.get_model_repository_index()
        assert [m.state for m in index.models if m.name == "passing"] == ["UNAVAILABLE"]
        with pytest.raises(InferenceServerException, match="Model 'passing' is not loaded"):
            http.infer("passing", [asked(triton_http, "x", "FP32", sample("FP32", (1, 4)))])
        rpc.load_model("passing")
        assert http.is_model_ready("passing")
        with pytest.raises(InferenceServerException, match="There is no model 'other' here"):
            http.load_model("other")

    def test_control_is_refused_unless_it_was_allowed(self) -> None:
        from fogline.serving.settings import Settings

        with running(lambda card, _: Identity(card), Settings()) as closed:
            closed.load(card_of("m"))
            with triton_http.InferenceServerClient(closed.http) as client:
                with pytest.raises(InferenceServerException, match="does not let its clients"):
                    client.unload_model("m")
                assert client.is_model_ready("m")
