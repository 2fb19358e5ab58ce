"""How requests are run: at once, in batches, on versions that change meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from fogline.inference.card import Card, Cascade, Exits, Scores, Tensor
from fogline.inference.runtimes.base import Array, ModelError
from fogline.registry.release import BUCKETS, Tally, Vitals
from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.protocol.messages import InferenceRequest
from fogline.serving.quality.monitor import QualityMonitor
from fogline.serving.server.versions.counts import Counts
from fogline.serving.server.versions.hooks import Hooks
from fogline.serving.settings import Settings
from tests.patience import PATIENCE
from tests.serving.server.models import Identity, Scaled, Slow, card_of
from tests.serving.server.running import Running, running


def request(*rows: float, width: int = 4, **more: Any) -> dict[str, Any]:
    data = [row for row in rows for _ in range(width)]
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(rows), width], "data": data}], **more}


def at_once(*work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class TestBatches:
    def test_what_waits_is_run_together(self) -> None:
        models: list[Slow] = []

        def make(card: Card, _: object) -> Slow:
            models.append(Slow(card, 0.1))
            return models[-1]

        answers: dict[int, Any] = {}
        with running(make) as server:
            server.load(card_of("m"))
            models[0].batches.clear()

            def ask(i: int) -> None:
                answers[i] = server.ask("POST", "/v2/models/m/infer", request(float(i), float(i)))

            at_once(*(lambda i=i: ask(i) for i in range(12)))
            stats = server.ask("GET", "/v2/models/m/stats")[1]["model_stats"][0]
        for i, (status, body, _) in answers.items():
            assert status == 200
            assert body["outputs"][0]["shape"] == [2, 4]
            assert body["outputs"][0]["data"] == [float(i)] * 8
        assert sum(models[0].batches) == 24
        assert len(models[0].batches) < 6
        assert stats["inference_count"] == 24
        assert stats["execution_count"] == len(models[0].batches)

    def test_shapes_that_differ_are_not_mixed(self) -> None:
        answers: dict[int, Any] = {}
        with running(lambda card, _: Slow(card, 0.05), Settings(max_batch=8)) as server:
            server.load(card_of("m", shape=(-1, -1)))

            def ask(i: int) -> None:
                answers[i] = server.ask("POST", "/v2/models/m/infer", request(float(i), width=1 + i % 3))

            at_once(*(lambda i=i: ask(i) for i in range(12)))
        for i, (status, body, _) in answers.items():
            assert (status, body["outputs"][0]["data"]) == (200, [float(i)] * (1 + i % 3))

    def test_one_that_fails_fails_alone(self) -> None:
        answers: dict[int, Any] = {}
        with running(lambda card, _: Slow(card, 0.05)) as server:
            server.load(card_of("m"))

            def ask(i: int) -> None:
                answers[i] = server.ask("POST", "/v2/models/m/infer", request(-1.0 if i == 4 else float(i)))

            at_once(*(lambda i=i: ask(i) for i in range(9)))
        assert [answers[i][0] for i in range(9)] == [400 if i == 4 else 200 for i in range(9)]
        assert answers[4][1]["error"].endswith("The model takes no negative numbers.")

    def test_a_batch_never_grows_above_the_limit(self) -> None:
        models: list[Slow] = []

        def make(card: Card, _: object) -> Slow:
            models.append(Slow(card, 0.05))
            return models[-1]

        with running(make, Settings(max_batch=3)) as server:
            server.load(card_of("m"))
            models[0].batches.clear()
            at_once(*(lambda: server.ask("POST", "/v2/models/m/infer", request(1.0)) for _ in range(10)))
            assert max(models[0].batches) == 3
            server.ask("POST", "/v2/models/m/infer", request(*map(float, range(7))))
        assert models[0].batches[-1] == 7  # Nobody's request is cut.

    @pytest.mark.parametrize("kind", ["http", "grpc"])
    def test_nothing_is_run_for_who_hung_up(self, kind: str) -> None:
        models: list[Slow] = []

        def make(card: Card, _: object) -> Slow:
            models.append(Slow(card, 0.3))
            return models[-1]

        with running(make, Settings(max_batch=1)) as server:
            server.load(card_of("m"))
            model = models[0]
            model.batches.clear()
            model.running.clear()
            first = threading.Thread(target=lambda: server.ask("POST", "/v2/models/m/infer", request(1.0)))
            first.start()
            model.running.wait()
            if kind == "http":
                leaving = server.connection()
                leaving.request("POST", "/v2/models/m/infer", json.dumps(request(2.0)))
                time.sleep(0.05)
                leaving.close()
            else:
                client = triton_grpc.InferenceServerClient(server.grpc)
                given = triton_grpc.InferInput("x", [1, 4], "FP32")
                given.set_data_from_numpy(np.ones((1, 4), np.float32))
                call = client.async_infer("m", [given], lambda result, error: None)
                time.sleep(0.1)
                call.cancel()
                client.close()
            first.join()
            assert server.ask("POST", "/v2/models/m/infer", request(3.0))[0] == 200
            assert len(model.batches) == 2
            assert server.ask("GET", "/v2/models/m/stats")[1]["model_stats"][0]["inference_stats"]["fail"]["count"] == 0


class TestVersions:
    @pytest.mark.parametrize("kind", ["quick", "slow"])
    def test_swaps_under_load_fail_nobody(self, kind: str) -> None:
        """Every answer is that of the version which it names, and each version is closed once."""
        made: list[Scaled] = []

        class Slower(Scaled):
            def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
                time.sleep(0.002)
                return super().run(inputs)

        def make(card: Card, _: object) -> Scaled:
            made.append(Scaled(card) if kind == "quick" else Slower(card))
            return made[-1]

        ended = threading.Event()
        wrong: list[Any] = []
        answered: list[int] = []

        def ask() -> None:
            connection = server.connection()
            while not ended.is_set():
                connection.request("POST", "/v2/models/m/infer", json.dumps(request(3.0)))
                answer = connection.getresponse()
                body = json.loads(answer.read())
                if answer.status != 200 or body["outputs"][0]["data"] != [3.0 * int(body["model_version"])] * 4:
                    wrong.append((answer.status, body))
                answered.append(int(body.get("model_version", 0)))
            connection.close()

        with running(make) as server:
            server.load(card_of("m", version=1))
            threads = [threading.Thread(target=ask) for _ in range(6)]
            for thread in threads:
                thread.start()
            for version in range(2, 22):
                server.load(card_of("m", version=version), "beside")
                assert server.ask("POST", f"/v2/models/m/versions/{version}/infer", request(1.0))[0] == 200
                server.swap("m", str(version))
                assert server.ask("GET", f"/v2/models/m/versions/{version - 1}/ready")[0] == 503
            deadline = time.monotonic() + PATIENCE
            while 21 not in answered and time.monotonic() < deadline:
                time.sleep(0.01)
            ended.set()
            for thread in threads:
                thread.join()
        assert not wrong
        assert {1, 21} <= set(answered)
        assert [model.closed for model in made] == [1] * 21

    def test_a_version_that_cannot_be_loaded_changes_nothing(self) -> None:
        def make(card: Card, _: object) -> Identity:
            if card.version == 2:
                raise OSError("the disk is gone")
            return Identity(card)

        with running(make) as server:
            server.load(card_of("m"))
            with pytest.raises(OSError, match="the disk is gone"):
                server.load(card_of("m", version=2))
            assert server.ask("POST", "/v2/models/m/infer", request(1.0))[1]["model_version"] == "1"
            assert server.ask("GET", "/v2/models/m")[1]["versions"] == ["1"]

    def test_live_takes_the_place_of_live(self) -> None:
        made: list[Identity] = []

        def make(card: Card, _: object) -> Identity:
            made.append(Identity(card))
            return made[-1]

        with running(make) as server:
            for version in (1, 2, 2):
                server.load(card_of("m", version=version))
            assert server.ask("GET", "/v2/models/m")[1]["versions"] == ["2"]
        assert [model.closed for model in made] == [1, 1, 1]


class Seen:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, float, int]] = []
        self.failures = 0
        self.comparisons: list[tuple[int, int]] = []
        self.labels: dict[str, Sequence[int | float]] = {}

    def saw(
        self,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        seconds: float,
        request: str = "",
        offloaded: int = 0,
    ) -> bool:
        self.requests.append((request, float(outputs["y"].flat[0]), offloaded))
        self.left = 3
        return True

    def look(self) -> bool:
        self.left -= 1
        return self.left > 0

    def failed(self) -> None:
        self.failures += 1

    def compared(self, agreed: int, total: int) -> None:
        self.comparisons.append((agreed, total))

    def label(self, request: str, labels: Sequence[int | float]) -> int:
        self.labels[request] = labels
        return len(labels)

    def take(self) -> Vitals:
        return Vitals("m", 1, Tally(answers=len(self.requests)))


class Picky(Identity):
    """Takes what it is told to take."""

    worn = False

    def __init__(self, card: Card, takes: Callable[[Array], bool]) -> None:
        super().__init__(card)
        self._takes = takes

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if not self._takes(inputs["x"]):
            raise ModelError("It does not take that.")
        return super().run(inputs)


class TestWatches:
    def test_they_see_answers_and_labels_and_not_what_a_client_sent_wrongly(self) -> None:
        seen = Seen()
        with running(lambda card, _: Slow(card, 0.001), hooks=Hooks(watch=lambda card, _: seen)) as server:
            server.load(card_of("m"))
            server.ask("POST", "/v2/models/m/infer", request(5.0, id="a"))
            server.ask("POST", "/v2/models/m/infer", request(-5.0, id="b"))
            server.ask("POST", "/v2/models/m/infer", {"inputs": []})
            status, body, _ = server.ask("POST", "/v2/models/m/labels", {"id": "a", "labels": [3, 4]})
            assert server.ask("POST", "/v2/models/m/labels", {"id": "a", "labels": ["x"]})[0] == 400
        assert seen.requests == [("a", 5.0, 0)]
        assert seen.failures == 0
        assert (status, body, seen.labels) == (200, {"matched": 2}, {"a": [3, 4]})

    def test_they_see_failures_of_a_version_that_takes_nothing_of_that_shape(self) -> None:
        seen = Seen()
        made: list[Picky] = []

        def make(card: Card, _: object) -> Picky:
            made.append(Picky(card, lambda x: len(x) < 3 or not made[0].worn))
            return made[-1]

        with running(make, hooks=Hooks(watch=lambda card, _: seen)) as server:
            server.load(card_of("m"))
            made[0].worn = True
            assert server.ask("POST", "/v2/models/m/infer", request(1.0, 1.0, 1.0))[0] == 500
            assert server.ask("POST", "/v2/models/m/infer", request(1.0, 1.0))[0] == 200
        assert seen.failures == 1

    def test_they_see_failures_where_the_version_before_has_an_answer(self) -> None:
        seen = {1: Seen(), 2: Seen(), 3: Seen()}
        most = {1: 100.0, 2: 10.0, 3: 100.0}
        make = lambda card, _: Picky(card, lambda x: bool((x <= most[card.version]).all()))  # noqa: E731
        status: dict[float, list[int]] = {5.0: [], 50.0: [], 500.0: []}
        with running(make, hooks=Hooks(watch=lambda card, _: seen[card.version])) as server:
            for version in (1, 2):
                server.load(card_of("m", version=version), "beside")
                server.swap("m", str(version))
                for value, found in status.items():
                    found.append(server.ask("POST", "/v2/models/m/infer", request(value))[0])
            server.load(card_of("m", version=3))
            assert server.ask("POST", "/v2/models/m/infer", request(500.0))[0] == 400
        # Nobody takes 500; the second version should take 50, as the first did.
        assert status == {5.0: [200, 200], 50.0: [200, 500], 500.0: [400, 400]}
        assert [one.failures for one in seen.values()] == [0, 1, 0]

    def test_a_tier_below_is_told_at_once_and_the_version_before_is_asked_beside(self) -> None:
        """A wait would count as a failure of this tier; and if the version before has an answer, this one is wrong."""
        seen, loading, told = {1: Seen(), 2: Seen()}, threading.Event(), threading.Event()
        made: list[int] = []

        def make(card: Card, _: object) -> Picky:
            made.append(card.version)
            if made.count(1) > 1:
                assert loading.wait(PATIENCE)
            most = {1: 100.0, 2: 10.0}[card.version]
            return Picky(card, lambda x: bool((x <= most).all()))

        def failed() -> None:
            told.set()

        seen[2].failed = failed  # type: ignore[method-assign]
        with running(make, hooks=Hooks(watch=lambda card, _: seen[card.version])) as server:
            for version in (1, 2):
                server.load(card_of("m", version=version), "beside")
                server.swap("m", str(version))

            async def below() -> None:
                served = server.server.repository.find("m")
                inputs = {"x": np.full((1, 4), 50.0, np.float32)}
                ask = InferenceRequest(inputs, served.signature.in_json, 1)
                found = served.answer(ask, PATIENCE, 1)
                assert isinstance(found, asyncio.Task)
                await found

            with pytest.raises(ProtocolError, match="does not take such inputs"):
                server.run(below())
            assert not told.is_set()
            loading.set()
            assert told.wait(PATIENCE)

    def test_vitals_come_by_themselves(self) -> None:
        told: list[Vitals] = []
        heard = threading.Event()

        def tell(vitals: Vitals) -> None:
            told.append(vitals)
            heard.set()

        hooks = Hooks(lambda card, _: Seen())
        with running(lambda card, _: Identity(card), Settings(pulse=0.05), hooks, tell) as server:
            server.load(card_of("m"))
            assert heard.wait(PATIENCE)
        assert told[0].model == "m"

    def test_what_a_version_did_until_it_was_replaced_is_told_and_its_labels_still_count(self) -> None:
        tallies: dict[int, Tally] = {}

        def tell(vitals: Vitals) -> None:
            tallies[vitals.version] = tallies.get(vitals.version, Tally()) + vitals.tally

        hooks = Hooks(lambda card, _: QualityMonitor(card, None))
        with running(lambda card, _: Scaled(card), Settings(pulse=0.3), hooks, tell) as server:
            server.load(card_of("m", version=1, scores=True))
            server.ask("POST", "/v2/models/m/infer", request(5.0, id="a"))
            server.ask("POST", "/v2/models/m/infer", request(6.0, id="b"))
            server.load(card_of("m", version=2, scores=True))
            server.ask("POST", "/v2/models/m/infer", request(7.0, id="c"))
            assert server.ask("POST", "/v2/models/m/labels", {"id": "a", "labels": [0]})[1] == {"matched": 1}
            assert server.ask("POST", "/v2/models/m/versions/1/labels", {"id": "b", "labels": [1]})[1] == {"matched": 1}
            assert server.ask("POST", "/v2/models/m/versions/2/labels", {"id": "c", "labels": [0]})[1] == {"matched": 1}
            assert server.ask("POST", "/v2/models/m/versions/3/labels", {"id": "c", "labels": [0]})[0] == 404
            deadline = time.monotonic() + PATIENCE
            while sum(tally.labels for tally in tallies.values()) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert (tallies[1].answers, tallies[1].labels, tallies[1].correct) == (2, 2, 1)
        assert (tallies[2].answers, tallies[2].labels, tallies[2].correct) == (1, 1, 1)


class TestShadows:
    @pytest.mark.parametrize(("scores", "agreed"), [(True, 2), (False, 0)])
    def test_they_answer_silently_and_are_compared(self, scores: bool, agreed: int) -> None:
        """Twice the numbers are the same class, but not the same numbers."""
        watches: dict[int, Seen] = {}

        def watch(card: Card, _: object) -> Seen:
            return watches.setdefault(card.version, Seen())

        with running(lambda card, _: Scaled(card), hooks=Hooks(watch)) as server:
            server.load(card_of("m", version=1, scores=scores))
            server.load(card_of("m", version=2, scores=scores), "shadow")
            body = server.ask("POST", "/v2/models/m/infer", request(1.0, 2.0))[1]
            assert (body["model_version"], body["outputs"][0]["data"]) == ("1", [1.0] * 4 + [2.0] * 4)
            deadline = time.monotonic() + PATIENCE
            while not watches[2].comparisons and time.monotonic() < deadline:
                time.sleep(0.01)
            assert watches[2].comparisons == [(agreed, 2)]
            assert not watches[2].requests
            server.swap("m", "2")
            assert server.ask("POST", "/v2/models/m/infer", request(1.0))[1]["model_version"] == "2"
            time.sleep(0.05)
            assert len(watches[2].comparisons) == 1

    def test_a_slow_one_is_passed_over_and_a_broken_one_hurts_nobody(self) -> None:
        watches: dict[int, Seen] = {}

        def make(card: Card, _: object) -> Identity:
            return Slow(card, 0.2) if card.version > 1 else Identity(card)

        with running(make, hooks=Hooks(lambda card, _: watches.setdefault(card.version, Seen()))) as server:
            server.load(card_of("m", version=1))
            server.load(card_of("m", version=2), "shadow")
            for _ in range(5):
                assert server.ask("POST", "/v2/models/m/infer", request(-1.0))[0] == 200
            time.sleep(0.4)
            metrics = server.ask("GET", "/metrics")[1].decode()
        assert watches[2].failures == 1
        assert 'fogline_compared_not_total{model="m",version="2"} 4' in metrics


class TestEarlyExits:
    def test_the_first_sure_answer_is_given(self) -> None:
        card = Card(
            model="m",
            version=1,
            created=0.0,
            inputs=(Tensor("x", "FP32", (-1, 2)), Tensor("z", "FP32", (-1, 2))),
            outputs=(Tensor("early", "FP32", (-1, 2)), Tensor("late", "FP32", (-1, 2))),
            scores=Scores("late", kind="probabilities"),
            exits=Exits(("early", "late"), (0.9,)),
        )
        with running(lambda card, _: Identity(card)) as server:
            server.load(card)
            tensors = [
                {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [0.95, 0.05, 0.6, 0.4]},
                {"name": "z", "datatype": "FP32", "shape": [2, 2], "data": [0.25, 0.75, 0.25, 0.75]},
            ]
            (answer,) = server.ask("POST", "/v2/models/m/infer", {"inputs": tensors})[1]["outputs"]
            status, refusal, _ = server.ask(
                "POST", "/v2/models/m/infer", {"inputs": tensors, "outputs": [{"name": "early"}]}
            )
            shown = server.ask("GET", "/v2/models/m")[1]["outputs"]
            metrics = server.ask("GET", "/metrics")[1].decode()
        assert answer["name"] == "late"
        np.testing.assert_allclose(answer["data"], [0.95, 0.05, 0.25, 0.75], rtol=1e-6)
        assert (status, refusal) == (400, {"error": "The model has no output 'early'; it gives 'late'."})
        assert [tensor["name"] for tensor in shown] == ["late"]
        assert 'fogline_exits_total{model="m",version="1",exit="early"} 1\n' in metrics
        assert 'fogline_exits_total{model="m",version="1",exit="late"} 1\n' in metrics


class Better(NamedTuple):
    outputs: Mapping[str, Array]
    tier: Any = "cloud"
    model: str = "big"
    version: int = 7
    offloaded: int = 1
    why: str = ""


class Above:
    """Answers 100 for negative numbers."""

    def __init__(self, why: str = "") -> None:
        self.why = why

    def unsure(self, outputs: Mapping[str, Array]) -> Array | None:
        rows = np.flatnonzero(outputs["y"][:, 0] < 0)
        return rows if len(rows) else None

    async def improve(
        self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], unsure: Array, left: float, hops: int
    ) -> Better:
        if self.why:
            return Better(outputs, "device", "m", 1, 0, self.why)
        made = outputs["y"].copy()
        made[unsure] = 100.0
        return Better({"y": made}, offloaded=len(unsure))


class TestCascades:
    def test_the_answer_says_who_gave_it(self) -> None:
        seen = Seen()
        hooks = Hooks(lambda card, _: seen, lambda card: Above() if card.cascade else None)
        card = card_of("m")
        card = Card(**{name: getattr(card, name) for name in card.__struct_fields__} | {"cascade": Cascade("big", 0.5)})
        with running(lambda card, _: Identity(card), hooks=hooks) as server:
            server.load(card)
            sure = server.ask("POST", "/v2/models/m/infer", request(1.0))[1]
            mixed = server.ask("POST", "/v2/models/m/infer", request(1.0, -1.0))[1]
            client = triton_grpc.InferenceServerClient(server.grpc)
            given = triton_grpc.InferInput("x", [1, 4], "FP32")
            given.set_data_from_numpy(-np.ones((1, 4), np.float32))
            answer = client.infer("m", [given])
            client.close()
        assert sure["parameters"] == {"tier": "device", "version": 1}
        assert mixed["parameters"] == {"tier": "cloud", "version": 7, "offloaded": 1, "model": "big"}
        assert mixed["outputs"][0]["data"] == [1.0] * 4 + [100.0] * 4
        assert answer.as_numpy("y").tolist() == [[100.0] * 4]
        assert answer.get_response().parameters["tier"].string_param == "cloud"
        # It is judged by what it answered itself.
        assert [(own, offloaded) for _, own, offloaded in seen.requests] == [(1.0, 0), (1.0, 1), (-1.0, 1)]

    def test_without_help_the_own_answer_stands(self) -> None:
        hooks = Hooks(offloader=lambda card: Above("The tier above is gone."))
        with running(lambda card, _: Identity(card), hooks=hooks) as server:
            server.load(card_of("m"))
            body = server.ask("POST", "/v2/models/m/infer", request(-1.0))[1]
        assert body["outputs"][0]["data"] == [-1.0] * 4
        assert body["parameters"] == {
            "tier": "device", "version": 1, "offloaded": 0, "why": "The tier above is gone."
        }  # fmt: skip


class TestCounts:
    @pytest.mark.parametrize("place", range(len(BUCKETS)))
    def test_latencies_fall_into_their_buckets(self, place: int) -> None:
        counts = Counts()
        bound = round(BUCKETS[place] * 1e9)
        counts.answered(1, bound)
        counts.answered(1, bound + 1)
        assert counts.latency[place] == 1
        assert counts.latency[place + 1] == 1


class TestPages:
    def test_everything_is_described(self, server: Running) -> None:
        status, described, _ = server.ask("GET", "/openapi.json")
        assert status == 200
        assert described["openapi"].startswith("3.")
        operations = [(method.upper(), path) for path, methods in described["paths"].items() for method in methods]
        assert ("POST", "/v2/models/{model}/infer") in operations
        identities = [o["operationId"] for methods in described["paths"].values() for o in methods.values()]
        assert len(set(identities)) == len(operations) > 20
        for method, path in operations:
            address = path.replace("{model}", "m").replace("{version}", "1")
            body = described["paths"][path][method.lower()].get("requestBody")
            sample = body["content"]["application/json"]["example"] if body else None
            if "load" in path:
                continue
            assert server.ask(method, address, sample)[0] in (200, 400), (method, address)

    def test_the_example_is_answered(self, server: Running) -> None:
        example = server.ask("GET", "/v2/models/m/example")[1]
        assert server.ask("POST", "/v2/models/m/infer", example)[0] == 200

    def test_pages_load_nothing_from_elsewhere(self, server: Running) -> None:
        for path in ("/", "/docs"):
            status, body, headers = server.ask("GET", path)
            assert status == 200
            assert headers["content-type"].startswith("text/html")
            assert "default-src 'none'" in headers["content-security-policy"]
            text = body.decode()
            assert "https://" not in text
            assert "src=" not in text
        assert f"http://{server.http}/v2/models/m/infer" in server.ask("GET", "/")[1].decode()

    def test_a_host_cannot_be_script(self, server: Running) -> None:
        page = server.ask("GET", "/", headers={"Host": "<script>alert(1)</script>"})[1]
        assert b"<script>" not in page

    def test_metrics_can_be_read(self, server: Running) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        server.ask("POST", "/v2/models/m/infer", request(1.0, 2.0))
        server.ask("POST", "/v2/models/m/infer", b"{")
        status, body, headers = server.ask("GET", "/metrics")
        assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
        families = {family.name: family for family in text_string_to_metric_families(body.decode())}
        values = {s.name: s.value for f in families.values() for s in f.samples if s.labels.get("le") in (None, "+Inf")}
        assert values["fogline_request_seconds_bucket"] == values["fogline_request_seconds_count"] >= 1
        assert values["fogline_examples_total"] >= 2
        assert values["fogline_refusals_total"] >= 1
        assert values["process_resident_memory_bytes"] > 0

    def test_head(self, server: Running) -> None:
        connection = server.connection()
        connection.request("HEAD", "/v2/health/live")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        connection.close()


@pytest.fixture(scope="module")
def server() -> Any:
    with running(lambda card, _: Identity(card)) as made:
        made.load(card_of("m"))
        yield made
