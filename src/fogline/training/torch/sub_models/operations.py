"""How widths go through operations between layers: one rule for each kind, by the operation's name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor

from fogline.training.torch.sub_models.axes import Axis, UncuttableError, is_free, join, merged, stays
from fogline.training.torch.sub_models.traced import Traced, any_free, as_it_is

Rule = Callable[[Any, Any, Any], Any]
"""(arguments, named arguments, result) to the result with its axes."""


def operation_rule(name: str, args: Any, kwargs: Any, result: Any) -> Any:
    """The result of an operation with its axes.

    Raises:
        UncuttableError: a width goes into it, and what it does with that is not known.
    """
    if name == "getitem" and not isinstance(args[0], Traced):
        return args[0][args[1]]
    if not isinstance(result, Tensor | tuple | list) or name in ("size", "getattr"):
        return result
    if not any_free((args, kwargs)):
        return as_it_is(result)
    rule = RULES.get(name.strip("_"))
    if rule is None:
        raise UncuttableError("nothing is known of how a width goes through")
    return rule(args, kwargs, result)


def like_first(args: Any, kwargs: Any, result: Any) -> Traced:
    """Every number by itself: the axes are those of the input."""
    return Traced(result, _first(args, kwargs).axes)


def pooled(args: Any, kwargs: Any, result: Any) -> Any:
    """Behind batch and channels something is done with places, which stay."""
    x = _first(args, kwargs)
    if any(map(is_free, x.axes[2:])):
        raise UncuttableError("a width is where it wants places")
    if not isinstance(result, Tensor):
        raise UncuttableError("it gives indices too, which are not followed")
    return Traced(result, (*x.axes[:2], *map(stays, result.shape[2:])))


def reshaped(args: Any, kwargs: Any, result: Any) -> Traced:
    """Axes are flattened into one, or come or go where there is nothing along them."""
    x = _first(args, kwargs)
    before, after, axes = list(x.value.shape), list(result.shape), list[Axis]()
    i = j = 0
    while i < len(before) or j < len(after):
        first, second = i, j
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while (old := math.prod(before[first:i])) != (new := math.prod(after[second:j])):
            i, j = (i + 1, j) if old < new else (i, j + 1)
        axes += _split(list(x.axes[first:i]), after[second:j])
    return Traced(result, tuple(axes))


def _split(group: list[Axis], sizes: Sequence[int]) -> list[Axis]:
    """Axes as those of other sizes that have as many numbers together."""
    if len(sizes) == 1 and group:
        return [merged(group)]
    if len(group) == 1 and list(sizes).count(1) == len(sizes) - 1:
        return [group[0] if size > 1 else stays(1) for size in sizes]
    if any(map(is_free, group)):
        raise UncuttableError(
            "it takes a width apart (attention written by hand does that; nn.MultiheadAttention can be cut)"
        )
    return list(map(stays, sizes))


def _broadcast(args: Any, kwargs: Any, result: Any) -> Traced:
    """Numbers meet one by one, and axes of one number are stretched."""
    things = [thing for thing in (*args, *kwargs.values()) if isinstance(thing, Traced)]
    axes = list[Axis]()
    for place in range(1, result.ndim + 1):
        met = [t.axes[-place] for t in things if place <= len(t.axes) and t.value.shape[-place] == result.shape[-place]]
        axis = met[0]
        for other in met[1:]:
            axis = join(axis, other)
        axes.insert(0, axis)
    return Traced(result, tuple(axes))


def _concatenated(args: Any, kwargs: Any, result: Any) -> Traced:
    things = cast("Sequence[Traced]", args[0] if args else kwargs["tensors"])
    along = (args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))) % result.ndim
    axes = list(things[0].axes)
    for thing in things[1:]:
        axes = [
            one + two if i == along else join(one, two)
            for i, (one, two) in enumerate(zip(axes, thing.axes, strict=True))
        ]
    return Traced(result, tuple(axes))


def _permuted(args: Any, kwargs: Any, result: Any) -> Traced:
    x, *rest = args
    order = rest[0] if rest and isinstance(rest[0], tuple | list) else rest
    order = order or kwargs.get("dims")
    return Traced(result, tuple(x.axes[place] for place in order))


def _transposed(args: Any, kwargs: Any, result: Any) -> Traced:
    x, *ends = args
    one, two = ends or (kwargs["dim0"], kwargs["dim1"])
    axes = list(x.axes)
    axes[one], axes[two] = axes[two], axes[one]
    return Traced(result, tuple(axes))


def _reduced(args: Any, kwargs: Any, result: Any) -> Traced:
    """Numbers along some axes become one."""
    x = _first(args, kwargs)
    given = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
    if not isinstance(result, Tensor):
        raise UncuttableError("it gives indices too, which are not followed")
    gone = range(x.value.ndim) if given is None else [given] if isinstance(given, int) else given
    gone = {place % x.value.ndim for place in gone}
    kept = result.ndim == x.value.ndim
    axes = [stays(1) if i in gone else axis for i, axis in enumerate(x.axes) if kept or i not in gone]
    return Traced(result, tuple(axes))


def _product(args: Any, kwargs: Any, result: Any) -> Traced:
    x, y = args[:2]
    if x.value.ndim < 2 or y.value.ndim < 2 or x.value.ndim != y.value.ndim:
        raise UncuttableError("it multiplies tensors of several numbers of axes")
    join(x.axes[-1], y.axes[-2])
    outer = [join(one, two) for one, two in zip(x.axes[:-2], y.axes[:-2], strict=True)]
    return Traced(result, (*outer, x.axes[-2], y.axes[-1]))


def _picked(args: Any, kwargs: Any, result: Any) -> Traced:
    """Parts along axes that stay."""
    x, given = args
    keys = list(given) if isinstance(given, tuple) else [given]
    if ... in keys:
        place = keys.index(...)
        keys[place : place + 1] = [slice(None)] * (x.value.ndim - len(keys) + 1)
    keys += [slice(None)] * (x.value.ndim - len(keys))
    axes = list[Axis]()
    for key, axis in zip(keys, x.axes, strict=True):
        if isinstance(key, slice) and key == slice(None):
            axes.append(axis)
        elif is_free(axis) or not isinstance(key, slice | int):
            raise UncuttableError("it takes a part of a width")
        elif isinstance(key, slice):
            axes.append(stays(result.shape[len(axes)]))
    return Traced(result, tuple(axes))


def _expanded(args: Any, kwargs: Any, result: Any) -> Traced:
    x = args[0]
    own = (*map(stays, result.shape[: result.ndim - len(x.axes)]), *x.axes)
    sizes = zip(own, (*result.shape[: result.ndim - len(x.axes)], *x.value.shape), result.shape, strict=True)
    return Traced(result, tuple(axis if before == after else stays(after) for axis, before, after in sizes))


def _attended(args: Any, kwargs: Any, result: Any) -> Traced:
    query, key, value = args[:3]
    join(query.axes[-1], key.axes[-1])
    return Traced(result, (*query.axes[:-1], value.axes[-1]))


def _first(args: Any, kwargs: Any) -> Traced:
    return args[0] if args else next(thing for thing in kwargs.values() if isinstance(thing, Traced))


NAMES: dict[Rule, str] = {
    like_first: """relu relu6 leaky_relu elu celu selu gelu silu mish sigmoid tanh hardtanh hardswish hardsigmoid
        softplus softsign logsigmoid softmax log_softmax dropout alpha_dropout float double half to type contiguous
        clone detach exp log sqrt rsqrt abs neg clamp pow square masked_fill""",
    pooled: """max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d interpolate""",
    reshaped: "flatten view reshape squeeze unsqueeze",
    _broadcast: "add iadd sub isub mul imul div truediv maximum minimum where",
    _concatenated: "cat concat concatenate",
    _permuted: "permute",
    _transposed: "transpose swapaxes",
    _reduced: "mean sum amax amin",
    _product: "matmul bmm",
    _picked: "getitem",
    _expanded: "expand",
    _attended: "scaled_dot_product_attention",
}
RULES: dict[str, Rule] = {name: rule for rule, names in NAMES.items() for name in names.split()}
"""The operations that are known, functions and methods of a tensor, with their rules."""
