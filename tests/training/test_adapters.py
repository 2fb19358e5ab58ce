"""Adapters: they change nothing when they come, train alone, and merge into what computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fogline import Bottleneck, JobError, Lora, Task, adapt
from fogline.data import Examples, from_clients
from fogline.inference.package import package
from fogline.inference.runtimes.onnx import OnnxRuntime
from fogline.jobs import Job
from fogline.jobs.starting import first_model
from fogline.params import load, save
from fogline.training.torch.adapters import merge
from fogline.training.torch.models import small_transformer

TOKENS, LENGTH = 11, 6
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 7), (2, 3, 5)),
    "no bias": (lambda: nn.Linear(5, 7, bias=False), (2, 5)),
    "conv1d": (lambda: nn.Conv1d(3, 6, 4, stride=2, padding=1, dilation=2), (2, 3, 20)),
    "conv2d": (lambda: nn.Conv2d(3, 6, (3, 2), stride=(2, 1), padding=1, padding_mode="circular"), (2, 3, 8, 7)),
    "embedding": (lambda: nn.Embedding(TOKENS, 5, padding_idx=0), (2, 4)),
}


def transformer() -> nn.Module:
    torch.manual_seed(0)
    return small_transformer(TOKENS, 8, 2, 1, LENGTH)


def inputs(shape: tuple[int, ...], layer: nn.Module) -> Tensor:
    whole = isinstance(layer, nn.Embedding)
    return torch.randint(1, TOKENS, shape) if whole else torch.randn(shape)


def moved(module: nn.Module) -> nn.Module:
    """As if it had trained."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_counts_as_with_the_weight_w_plus_s_b_a(name: str) -> None:
    torch.manual_seed(1)
    make, shape = LAYERS[name]
    layer = make()
    x, weight = inputs(shape, layer), next(p.detach().clone() for key, p in layer.named_parameters() if key == "weight")
    before, plain = layer(x), type(layer)
    adapted = adapt(nn.Sequential(layer), Lora(rank=2, alpha=6))
    assert torch.equal(adapted(x), before)
    assert {key for key, p in adapted.named_parameters() if p.requires_grad} == {"0.lora_A", "0.lora_B"}
    moved(adapted)
    a, b = (p.detach() for key, p in adapted.named_parameters() if key in ("0.lora_A", "0.lora_B"))
    given, low = adapted(x), torch.einsum("or,r...->o...", b, a).reshape(weight.shape)
    merged = merge(adapted)
    assert type(merged[0]) is plain
    assert [key for key, _ in merged.named_parameters()] == [f"0.{key}" for key, _ in make().named_parameters()]
    torch.testing.assert_close(merged.get_parameter("0.weight").detach(), weight + 3.0 * low)
    torch.testing.assert_close(merged(x), given, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(given, before, atol=1e-3)


def test_no_gradient_goes_to_the_weight_below_also_where_it_may_train() -> None:
    layer = adapt(nn.Sequential(nn.Linear(4, 4)), Lora(rank=1))[0]
    layer.weight.requires_grad_()
    moved(layer)(torch.randn(3, 4)).square().sum().backward()
    assert layer.weight.grad is None
    assert layer.lora_A.grad is not None


def test_a_bottleneck_is_what_the_paper_says() -> None:
    torch.manual_seed(1)
    layer, x = nn.Linear(5, 7), torch.randn(3, 5)
    before = layer(x)
    adapted = adapt(nn.Sequential(layer), Bottleneck(width=2))
    assert torch.equal(adapted(x), before)
    down, down_bias, up, up_bias = (dict(moved(adapted).named_parameters())[f"0.adapter_{key}"] for key in (
        "down", "down_bias", "up", "up_bias",
    ))  # fmt: skip
    expected = before + functional.gelu(before @ down.T + down_bias) @ up.T + up_bias
    torch.testing.assert_close(adapted(x), expected)
    assert merge(adapted) is adapted
    torch.testing.assert_close(adapted(x), expected)


def test_layers_are_chosen_by_name() -> None:
    module = adapt(transformer(), Lora(rank=2, names=("blocks.*.qkv", "tokens"), train=("norm.*",)))
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    layers = {"blocks.0.qkv", "tokens"}
    assert trained == {f"{layer}.lora_{m}" for layer in layers for m in "AB"} | {"norm.weight", "norm.bias"}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.head.weight = self.tokens.weight


@pytest.mark.parametrize(
    ("make", "adapter", "words"),
    [
        (transformer, Lora(names=("*.q",)), "no layer that can have an adapter is called '*.q'; there are tokens, "),
        (lambda: nn.Sequential(nn.LSTM(4, 4)), Lora(), "is called '*'; it has none."),
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), Lora(), "it has none"),
        (lambda: nn.MultiheadAttention(4, 2), Bottleneck(), "it has none"),
        (Tied, Lora(rank=2), "layer 'tokens' shares its weight with another"),
        (lambda: nn.Sequential(nn.Linear(3, 9)), Lora(rank=4), "'0' cannot have an adapter: rank is 4, and its weight"),
        (transformer, Lora(rank=2, train=("tail.*",)), "train names 'tail.*', and there is none of that name"),
        (transformer, Lora(rank=2, train=("head.*",)), "'head.weight' has an adapter in its place"),
    ],
)
def test_what_cannot_be_is_a_sentence(make: Callable[[], nn.Module], adapter: Lora | Bottleneck, words: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        adapt(make(), adapter)
    assert words in str(caught.value)


@pytest.mark.parametrize("wrong", [lambda: Lora(rank=0), lambda: Lora(dropout=1.0), lambda: Bottleneck(width=0)])
def test_sizes_are_checked(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        wrong()


def task(adapted: bool = True) -> Task:
    x = np.random.default_rng(0).integers(0, TOKENS, (12, LENGTH))
    data = from_clients("few", {"one": Examples(x, np.roll(x, 1, 1))}, classes=TOKENS, test=Examples(x, x))
    lora = Lora(rank=2, names=("blocks.*",))
    return Task(lambda: adapt(transformer(), lora) if adapted else transformer(), data, class_axis=-1)


def test_a_job_may_start_from_the_model_that_adapters_were_put_into(tmp_path: Path) -> None:
    plain, adapted = task(adapted=False), task()
    base = plain.initial(0)
    base.vector[...] += 1.0
    save(tmp_path / "base.safetensors", base)
    started, made = first_model(Job(seed=3), adapted, str(tmp_path / "base.safetensors")), adapted.initial(3)
    for name, array in started.arrays().items():
        expected = made.view(name) if "lora" in name else base.view(name)
        assert np.array_equal(array, expected), name
    save(tmp_path / "other.safetensors", adapted.initial(0))
    with pytest.raises(JobError, match="holds another model"):
        first_model(Job(), plain, str(tmp_path / "other.safetensors"))


def test_a_package_holds_the_merged_model(tmp_path: Path) -> None:
    made = task()
    params = made.initial(0)
    rng = np.random.default_rng(0)
    params.vector[: made.spec.trainable] += rng.normal(size=made.spec.trainable).astype(np.float32)
    version = package(made, params, tmp_path, "lines")
    weights = load(tmp_path / "weights.safetensors")
    assert weights.arrays().keys() == task(adapted=False).initial(0).arrays().keys()
    module = made.untrained().eval()
    made.layout.load(module, params.vector, params.counters)
    x = rng.integers(0, TOKENS, (3, LENGTH))
    with torch.no_grad():
        expected = module(torch.as_tensor(x)).numpy()
    given = OnnxRuntime(version.card, lambda asset: version.files[asset.digest]).run({"input": x})["output"]
    np.testing.assert_allclose(given, expected, atol=1e-4)
