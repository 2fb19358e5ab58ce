"""Methods on low-rank adapters: against their formulas, with devices trained in plain PyTorch; on stars and trees."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fogline import FedAvg, JobError, Lora, Result, Task, Tier, Tree, adapt, simulate
from fogline.aggregation import Update, fold_named
from fogline.algorithms import AggregatorContext, Algorithm, make
from fogline.algorithms.low_rank import FACTORS
from fogline.algorithms.trained import with_trained
from fogline.data import Examples, from_clients
from fogline.params import Entry, Params, Spec, frozen_of, save, to_bytes
from fogline.params.low_rank import low_rank_of
from fogline.training.torch.models import small_transformer
from fogline.user_code.bugs import CodeError

TOKENS, LENGTH, RANK, STEPS, RATE = 11, 6, 4, 3, 0.5
SIZES = {"a": 6, "b": 4, "c": 8, "d": 5}
RANKS = {"a": 2, "b": 1, "c": 4, "d": 4}
SHARES: Mapping[str, Any] = {"devices": {"a": 0.5, "b": 0.25, "*": 1.0}}
STAR, TREE = Tree(), Tree(cloud=Tier(), fog=Tier(count=2))
Arrays = dict[str, np.ndarray]
Started = tuple[Params, str]


def examples(seed: int, count: int) -> Examples:
    x = np.random.default_rng(seed).integers(0, TOKENS, (count, LENGTH))
    return Examples(x, (x + seed) % TOKENS)


def model(train: tuple[str, ...] = ()) -> nn.Module:
    return adapt(small_transformer(TOKENS, 8, 2, 1, LENGTH), Lora(RANK, 6.0, ("blocks.*", "head"), train))


@cache
def task(train: tuple[str, ...] = ()) -> Task:
    clients = {name: examples(place, size) for place, (name, size) in enumerate(SIZES.items())}
    return Task(lambda: model(train), from_clients("few", clients, classes=TOKENS, test=examples(9, 9)), class_axis=-1)


def run(name: str, tree: Tree = STAR, rounds: int = 1, train: tuple[str, ...] = (), **more: Any) -> Result:
    local: dict[str, Any] = {"learning_rate": RATE, "steps": STEPS, "batch_size": None} | more.pop("local", {})
    settings = {
        "engine": "loop",
        "processes": 0,
        "chunk": 4,
        "progress": False,
        "rounds": rounds,
        "local": local,
    } | more
    return simulate(task(train), name, tree, **settings)


def alone(client: str, start: Params, rank: int = RANK, still: str = "nothing") -> Arrays:
    """A device's model after its steps in plain PyTorch, with the first rows of A and columns of B."""
    module, given = model(), examples(list(SIZES).index(client), SIZES[client])
    module.load_state_dict({name: torch.as_tensor(array.copy()) for name, array in start.arrays().items()})
    for layer in module.modules():
        if hasattr(layer, "lora_A"):
            layer.lora_A = nn.Parameter(layer.get_parameter("lora_A").detach()[:rank])
            layer.lora_B = nn.Parameter(layer.get_parameter("lora_B").detach()[:, :rank])
    trained = [p for name, p in module.named_parameters() if p.requires_grad and still not in name]
    for _ in range(STEPS):
        outputs = module(torch.as_tensor(given.array)).transpose(1, 2)
        gradients = torch.autograd.grad(nn.functional.cross_entropy(outputs, torch.as_tensor(given.y)), trained)
        with torch.no_grad():
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter -= RATE * gradient
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def products(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """``W + s B A`` of every layer with an adapter."""
    layers = [name.removesuffix(".lora_A") for name in arrays if name.endswith(".lora_A")]
    return {n: arrays[f"{n}.weight"] + 1.5 * arrays[f"{n}.lora_B"] @ arrays[f"{n}.lora_A"] for n in layers}


def mean(weights: Mapping[str, float], each: Mapping[str, Arrays]) -> Arrays:
    total, names = sum(weights.values()), next(iter(each.values()))
    return {n: sum(w / total * each[client][n] for client, w in weights.items()) for n in names}  # type: ignore[misc]


def assert_near(given: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    for name, array in wanted.items():
        np.testing.assert_allclose(given[name], array, atol=2e-6, err_msg=name)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Started:
    """A model in which no factor is zero, and its file."""
    made, rng = task().initial(0), np.random.default_rng(0)
    made.vector[...] += 0.1 * rng.normal(size=made.vector.size).astype(np.float32)
    for layer in low_rank_of(made.spec):
        made.view(layer.scale)[...] = 1.5
    file = tmp_path_factory.mktemp("start") / "start.safetensors"
    save(file, made)
    return made, str(file)


def test_fedit_averages_factors_and_so_not_what_devices_learned(start: Started) -> None:
    done = run("fedit", start=start[1]).params.arrays()
    ends = {client: alone(client, start[0]) for client in SIZES}
    assert_near(done, mean(SIZES, ends))
    learned = mean(SIZES, {client: products(end) for client, end in ends.items()})
    assert max(np.abs(products(done)[n] - learned[n]).max() for n in learned) > 1e-4


def test_ffa_averages_what_devices_learned_and_leaves_a_alone(start: Started) -> None:
    result = run("ffalora", start=start[1])
    done, test = result.params.arrays(), task().data.test
    assert test is not None
    judged = task().metrics(task().evaluate(result.params, test))  # By the task as it was made: A trains there.
    assert judged["loss"] == pytest.approx(result.metrics["loss"], rel=1e-5)
    ends = {client: alone(client, start[0], still="lora_A") for client in SIZES}
    assert_near(products(done), mean(SIZES, {client: products(end) for client, end in ends.items()}))
    assert all(np.array_equal(done[name], array) for name, array in start[0].arrays().items() if "lora_B" not in name)


@pytest.mark.parametrize("tree", [STAR, TREE], ids=["star", "tree"])
def test_fedex_averages_factors_and_is_exact_all_the_same(start: Started, tree: Tree) -> None:
    done = run("fedexlora", tree, start=start[1]).params.arrays()
    ends = {client: alone(client, start[0]) for client in SIZES}
    assert_near(done, {name: array for name, array in mean(SIZES, ends).items() if "lora" in name})
    assert_near(products(done), mean(SIZES, {client: products(end) for client, end in ends.items()}))
    assert np.abs(done["head.weight"] - start[0].view("head.weight")).max() > 1e-4


@pytest.mark.parametrize("tree", [STAR, TREE], ids=["star", "tree"])
def test_flora_merges_what_devices_learned_of_whatever_rank(start: Started, tree: Tree) -> None:
    done = run("flora", tree, shares=SHARES, start=start[1]).params.arrays()
    ends = {client: alone(client, start[0], rank) for client, rank in RANKS.items()}
    learned = mean(SIZES, {client: products(end) for client, end in ends.items()})
    assert_near(done, {f"{name}.weight": array for name, array in learned.items()})
    assert all(not array.any() for name, array in done.items() if name.endswith("lora_B"))
    assert all((array != start[0].view(name)).all() for name, array in done.items() if name.endswith("lora_A"))


@pytest.mark.parametrize("tree", [STAR, TREE], ids=["star", "tree"])
def test_hetlora_pads_with_zeros_and_weighs_by_what_was_learned(start: Started, tree: Tree) -> None:
    done = run("hetlora", tree, shares=SHARES, start=start[1]).params.arrays()
    padded, weights = dict[str, Arrays](), dict[str, float]()
    for client, rank in RANKS.items():
        end = alone(client, start[0], rank)
        pairs = [(end[n.replace("lora_A", "lora_B")], end[n]) for n in end if n.endswith("lora_A")]
        weights[client] = float(np.sqrt(sum(np.square(b @ a).sum() for b, a in pairs)))
        room = {n: [(0, w - h) for w, h in zip(start[0].view(n).shape, end[n].shape, strict=True)] for n in end}
        padded[client] = {n: np.pad(array, room[n]) for n, array in end.items() if "lora" in n}
    assert_near(done, mean(weights, padded))


DECAY, PENALTY = 0.75, 1.0


def tail(arrays: Mapping[str, Any], kept: int, rank: int) -> list[list[Any]]:
    """The last ranks of all A, and of all B."""
    return [
        [
            array[kept:rank] if which == "lora_A" else array[:, kept:rank]
            for name, array in arrays.items()
            if which in name
        ]
        for which in ("lora_A", "lora_B")
    ]


def product_of_norms(arrays: Mapping[str, Any], kept: int, rank: int) -> Any:
    a, b = (sum((part**2).sum() for part in parts) for parts in tail(arrays, kept, rank))
    return (a * b) ** 0.5


def pruning(client: str, start: Mapping[str, np.ndarray], rank: int) -> tuple[Arrays, int]:
    """A device's round in plain PyTorch: its factors padded with zeros, and its rank behind it."""
    module, given, kept = model(), examples(list(SIZES).index(client), SIZES[client]), max(1, int(DECAY * rank))
    arrays = {name: np.array(array) for name, array in start.items()}
    for parts in tail(arrays, rank, RANK):
        for part in parts:
            part[...] = 0
    module.load_state_dict({name: torch.as_tensor(array) for name, array in arrays.items()})
    factors = {name: p for name, p in module.named_parameters() if p.requires_grad}
    before = float(product_of_norms({n: p.detach() for n, p in factors.items()}, kept, rank))
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(
            module(torch.as_tensor(given.array)).transpose(1, 2), torch.as_tensor(given.y)
        )
        if kept < rank:
            loss = loss + PENALTY * product_of_norms(factors, kept, rank)
        gradients = torch.autograd.grad(loss, list(factors.values()))
        with torch.no_grad():
            for parameter, gradient in zip(factors.values(), gradients, strict=True):
                parameter -= RATE * gradient
    end = {name: p.detach().numpy().copy() for name, p in factors.items()}
    rank = kept if float(product_of_norms(end, kept, rank)) < before else rank
    for parts in tail(end, rank, RANK):
        for part in parts:
            part[...] = 0
    return end, rank


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_a_device_prunes_the_last_of_its_ranks_where_they_shrink(start: Started, engine: str) -> None:
    """Over three rounds, of which each begins with the ranks that devices had left."""
    method, rounds = make("hetlora_pruned", decay=DECAY, penalty=PENALTY), 3
    local = {"learning_rate": RATE, "steps": STEPS, "batch_size": None}
    done = simulate(
        task(), method, rounds=rounds, shares=SHARES, start=start[1], local=local, engine=engine, chunk=4, processes=0,
        progress=False,
    ).params.arrays()  # fmt: skip
    arrays, ranks = {name: np.array(array) for name, array in start[0].arrays().items()}, dict(RANKS)
    for _ in range(rounds):
        ends, weights = dict[str, Arrays](), dict[str, float]()
        for client in SIZES:
            ends[client], ranks[client] = pruning(client, arrays, ranks[client])
            pairs = [(end, ends[client][n.replace("lora_A", "lora_B")]) for n, end in ends[client].items() if "_A" in n]
            weights[client] = float(np.sqrt(sum(np.square(b @ a).sum() for a, b in pairs)))
        arrays |= mean(weights, ends)
    assert ranks["b"] == 1
    assert ranks["c"] < RANKS["c"] or ranks["d"] < RANKS["d"]
    assert_near(done, {name: array for name, array in arrays.items() if "lora" in name and "scale" not in name})


@pytest.mark.parametrize("name", ["fedexlora", "flora"])
def test_what_trains_beside_adapters_is_averaged_as_ever(name: str) -> None:
    norms = ("norm.*",)
    done, plain = (run(method, train=norms).params for method in (name, "fedit"))
    for entry in ("norm.weight", "norm.bias"):
        np.testing.assert_allclose(done.view(entry), plain.view(entry), atol=1e-6)
        assert not np.array_equal(done.view(entry), task(norms).initial(0).view(entry))


def test_bytes_are_those_of_the_factors_and_frozen_weights_travel_once() -> None:
    size = {name: sum(e.bytes for e in task().spec.entries if name in e.name) for name in ("lora_A", "lora_B")}
    weights = sum(task().initial(0).view(layer.weight).nbytes + 4 for layer in low_rank_of(task().spec))
    factors, devices, header = sum(size.values()), len(SIZES), 200
    for name, up, down in (
        ("fedit", factors, factors),
        ("ffalora", size["lora_B"], size["lora_B"]),
        ("fedexlora", factors, factors + weights),
    ):
        result = run(name, rounds=2)
        rows, once = result.history, frozen_of(result.params)
        assert once is not None
        for row, before in zip(rows[1:], rows, strict=False):
            for way, numbers in (("up", up), ("down", down)):
                sent = row[f"{way}/cloud"] - before[f"{way}/cloud"]
                assert devices * numbers <= sent <= devices * (numbers + header), (name, way)
        first = rows[0]["down/cloud"] - devices * down
        assert first == pytest.approx(devices * len(to_bytes(once)), abs=devices * header)


def test_what_has_the_length_of_no_rank_counts_nothing() -> None:
    method = make("fedexlora")
    own = with_trained(task(), method)
    start, fold = own.initial(0), fold_named(False)
    fold.take(Update({f"{FACTORS}0": np.ones(7, np.float32)}, {f"{FACTORS}0": 1.0}, start.counters))
    head = start.vector[: own.spec.trainable]
    moved, _ = method.server_update(head, fold.finish(), {}, AggregatorContext(1, 0, spec=own.spec))
    assert np.array_equal(moved, head)


FOGS = Tree(cloud=Tier(), fog=Tier(count=2, rounds=2))


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("fedexlora", {"tree": Tree(cloud=Tier(exchange="secagg"))}, "send vectors of different names"),
        ("flora", {"tree": Tree(cloud=Tier(rule="median"))}, "each device sends under a name of its own"),
        ("fedexlora", {"tree": FOGS}, "no rounds of a tier's own"),
        ("fedexlora", {"local": {"weight_decay": 0.1}}, "would shrink the weights under the adapters"),
        ("fedexlora", {"tree": Tree(cloud=Tier(uplink=["clip(norm=1.0)"]))}, "clip"),
        ("fedit", {"shares": SHARES}, "smaller"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_run(name: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises((JobError, ValueError)) as caught:
        run(name, **more)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["fedit", "ffalora", "fedexlora", "flora", "hetlora", "hetlora_pruned"])
def test_a_model_without_adapters_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot train this model: the model has no low-rank .*fogline.adapt"):
        with_trained(Task(lambda: nn.Linear(LENGTH, TOKENS), task().data), make(name))


PEFT = Spec.of(
    [
        Entry("model.q.base_layer.weight", (6, 5), "float32", "frozen"),
        Entry("model.q.lora_A.default.weight", (2, 5), "float32"),
        Entry("model.q.lora_B.default.weight", (6, 2), "float32"),
    ]
)


def test_adapters_of_peft_are_known_and_their_weights_are_not() -> None:
    assert [(layer.a.name, layer.rank) for layer in low_rank_of(PEFT)] == [("model.q.lora_A.default.weight", 2)]
    assert list(make("ffalora").trained_of(PEFT)) == ["model.q.lora_B.default.weight"]
    with pytest.raises(ValueError, match=r"is not of an adapter of fogline.adapt.*take 'fedit' or 'ffalora'"):
        make("fedexlora").trained_of(PEFT)


class Names(FedAvg):
    """Gives what is no name."""

    def trained_of(self, spec: Spec) -> Any:
        return ["nothing.weight"]


class Empty(FedAvg):
    def trained_of(self, spec: Spec) -> Any:
        return []


@pytest.mark.parametrize(
    ("method", "words"), [(Names(), "'nothing.weight', which is no parameter"), (Empty(), "gives nothing")]
)
def test_a_wrong_hook_is_told_of(method: Algorithm, words: str) -> None:
    with pytest.raises(CodeError, match="trained_of") as caught:
        with_trained(task(), method)
    assert words in str(caught.value)
