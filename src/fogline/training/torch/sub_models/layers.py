"""How widths go through the layers of PyTorch: one rule for each kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from fogline.training.torch.sub_models.axes import Axis, UncuttableError, UnitRun, Width, axis_of, join, stays
from fogline.training.torch.sub_models.operations import like_first, pooled, reshaped
from fogline.training.torch.sub_models.traced import Traced, WidthTable, any_free, as_it_is

Rule = Callable[[WidthTable, str, Any, Any, Any, Any], Any]
"""(table, name, layer, arguments, named arguments, result) to the result with its axes."""

SAME = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Softmax, nn.LogSoftmax),
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
)
POOLS = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.Upsample, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ReflectionPad2d, nn.ReplicationPad2d),
)


def layer_rule(layer: nn.Module) -> Rule:
    """The rule of a layer's kind."""
    for kinds, rule in RULES:
        if isinstance(layer, kinds):
            return rule
    return _unknown


def _unknown(table: WidthTable, name: str, layer: nn.Module, args: Any, kwargs: Any, result: Any) -> Any:
    if any_free((args, kwargs)) or any(True for _ in layer.parameters()):
        raise UncuttableError("nothing is known of how its width goes through")
    return as_it_is(result)


def _linear(table: WidthTable, name: str, layer: nn.Linear, args: Any, kwargs: Any, result: Any) -> Traced:
    (x,) = args
    out, into = table.own(layer.weight, axis_of(Width(layer.out_features)), x.axes[-1])
    table.own(layer.bias, out)
    table.counts(name, "in_features", into)
    table.counts(name, "out_features", out)
    return Traced(result, (*x.axes[:-1], out))


def _conv(table: WidthTable, name: str, layer: Any, args: Any, kwargs: Any, result: Any) -> Traced:
    (x,), kernel = args, [stays(size) for size in layer.kernel_size]
    channels = x.axes[1]
    if layer.groups == 1:
        new = axis_of(Width(layer.out_channels))
        if layer.transposed:
            channels, out, *_ = table.own(layer.weight, channels, new, *kernel)
        else:
            out, channels, *_ = table.own(layer.weight, new, channels, *kernel)
    elif layer.groups == layer.in_channels == layer.out_channels:
        out, *_ = table.own(layer.weight, channels, stays(1), *kernel)
        table.counts(name, "groups", out)
    else:
        raise UncuttableError(f"it has {layer.groups} groups of channels; 1 can be cut, or one for each channel")
    table.own(layer.bias, out)
    table.counts(name, "in_channels", channels)
    table.counts(name, "out_channels", out)
    return Traced(result, (x.axes[0], out, *map(stays, result.shape[2:])))


def _by_channel(table: WidthTable, name: str, layer: Any, args: Any, kwargs: Any, result: Any) -> Traced:
    (x,) = args
    for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
        table.own(tensor, x.axes[1])
    table.counts(name, "num_features", x.axes[1])
    return Traced(result, x.axes)


def _layer_norm(table: WidthTable, name: str, layer: nn.LayerNorm, args: Any, kwargs: Any, result: Any) -> Traced:
    (x,) = args
    last = x.axes[-len(layer.normalized_shape) :]
    table.own(layer.weight, *last)
    table.own(layer.bias, *last)
    table.counts(name, "normalized_shape", *last, form=tuple)
    return Traced(result, x.axes)


def _group_norm(table: WidthTable, name: str, layer: nn.GroupNorm, args: Any, kwargs: Any, result: Any) -> Traced:
    (x,) = args
    _in_parts(x.axes[1], layer.num_groups)
    table.own(layer.weight, x.axes[1])
    table.own(layer.bias, x.axes[1])
    table.counts(name, "num_channels", x.axes[1])
    return Traced(result, x.axes)


def _embedding(table: WidthTable, name: str, layer: nn.Embedding, args: Any, kwargs: Any, result: Any) -> Traced:
    (x,) = args
    _, out = table.own(layer.weight, stays(layer.num_embeddings), axis_of(Width(layer.embedding_dim)))
    table.counts(name, "embedding_dim", out)
    return Traced(result, (*x.axes, out))


def _recurrent(table: WidthTable, name: str, layer: nn.RNNBase, args: Any, kwargs: Any, result: Any) -> Any:
    if len(args) + len(kwargs) > 1 or layer.proj_size:
        raise UncuttableError("it is given a state to begin with, or projects its own; that is not followed")
    (x,), state = args, axis_of(Width(layer.hidden_size))
    gates = state * {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
    ways = 2 if layer.bidirectional else 1
    into: Axis = x.axes[-1]
    table.counts(name, "input_size", into)
    table.counts(name, "hidden_size", state)
    for depth in range(layer.num_layers):
        for suffix in ("", "_reverse")[:ways]:
            end = f"l{depth}{suffix}"
            table.own(getattr(layer, f"weight_ih_{end}"), gates, into)
            table.own(getattr(layer, f"weight_hh_{end}"), gates, state)
            for bias in ("bias_ih", "bias_hh") if layer.bias else ():
                table.own(getattr(layer, f"{bias}_{end}"), gates)
        into = state * ways
    outputs, last = result
    states = [Traced(part, (*map(stays, part.shape[:-1]), state)) for part in _parts(last)]
    return Traced(outputs, (*map(stays, outputs.shape[:-1]), into)), tuple(states) if layer.mode == "LSTM" else states[
        0
    ]


def _attention(table: WidthTable, name: str, layer: nn.MultiheadAttention, args: Any, kwargs: Any, result: Any) -> Any:
    names = ("query", "key", "value")
    query, key, value = [*args, *(kwargs[name] for name in names[len(args) :])][:3]
    if {layer.kdim, layer.vdim} != {layer.embed_dim} or layer.bias_k is not None:
        raise UncuttableError("keys and values of other widths, or with a bias of their own, are not followed")
    outside = join(join(query.axes[-1], key.axes[-1]), value.axes[-1])
    whole, heads = _in_parts(outside, layer.num_heads), layer.num_heads
    inside = (UnitRun(whole if whole is None else Width(layer.head_dim, per=(whole, heads)), layer.head_dim),) * heads
    table.own(layer.in_proj_weight, inside * 3, outside)
    table.own(layer.in_proj_bias, inside * 3)
    table.own(layer.out_proj.weight, outside, inside)
    table.own(layer.out_proj.bias, outside)
    for attribute in ("embed_dim", "kdim", "vdim"):
        table.counts(name, attribute, outside)
    table.counts(name, "head_dim", inside[:1])
    table.counts(f"{name}.out_proj", "in_features", inside)
    table.counts(f"{name}.out_proj", "out_features", outside)
    attended, scores = result
    return Traced(attended, (*map(stays, attended.shape[:-1]), outside)), as_it_is(scores)


def _prelu(table: WidthTable, name: str, layer: nn.PReLU, args: Any, kwargs: Any, result: Any) -> Traced:
    (x,) = args
    if layer.num_parameters > 1:
        table.own(layer.weight, x.axes[1])
        table.counts(name, "num_parameters", x.axes[1])
    return Traced(result, x.axes)


def _in_parts(axis: Axis, parts: int) -> Width | None:
    """The one width of an axis, of which a narrower one has so many equal parts too; None where it stays.

    Raises:
        UncuttableError: the axis is made of several.
    """
    (run, *more) = axis
    if more or run.each > 1:
        raise UncuttableError(f"its {parts} parts lie across what was flattened or concatenated")
    if run.width is not None:
        if run.width.root.per is not None:
            raise UncuttableError("its parts lie across the head of an attention")
        run.width.root.multiple = math.lcm(run.width.root.multiple, parts)
    return run.width


def _parts(last: Any) -> tuple[Any, ...]:
    return last if isinstance(last, tuple) else (last,)


def _of_operation(operation: Callable[[Any, Any, Any], Any]) -> Rule:
    return lambda table, name, layer, args, kwargs, result: operation(args, kwargs, result)


BY_CHANNEL = (nn.modules.batchnorm._NormBase,)  # pyright: ignore[reportPrivateUsage]
CONVS = (nn.modules.conv._ConvNd,)  # pyright: ignore[reportPrivateUsage]
RULES: list[tuple[tuple[type[nn.Module], ...], Rule]] = [
    ((nn.Linear,), _linear),
    (CONVS, _conv),
    (BY_CHANNEL, _by_channel),
    ((nn.LayerNorm,), _layer_norm),
    ((nn.GroupNorm,), _group_norm),
    ((nn.Embedding,), _embedding),
    ((nn.RNNBase,), _recurrent),
    ((nn.MultiheadAttention,), _attention),
    ((nn.PReLU,), _prelu),
    ((nn.Flatten,), _of_operation(reshaped)),
    (SAME, _of_operation(like_first)),
    (POOLS, _of_operation(pooled)),
]
"""The kinds of layers that are known, with their rules."""
