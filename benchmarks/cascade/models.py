"""Three image classifiers of growing size, as a device, a fog and a cloud would have them, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.common import console
from fogline.data import load_raw

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
VALIDATION = 9_000
"""Training images that are kept for fitting the thresholds."""


class Images(NamedTuple):
    """Pixels (n, 1, 28, 28) and classes."""

    x: Pixels
    y: Labels


def device_model() -> nn.Sequential:
    """Sees 14x14 pixels: 196-16-10, 3,322 parameters."""
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 16), nn.ReLU(), nn.Linear(16, 10))


def fog_model() -> nn.Sequential:
    """A small CNN of 8 and 16 maps."""
    return nn.Sequential(
        *_block(1, 8), nn.MaxPool2d(2), *_block(8, 16), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 7 * 7, 10)
    )


def cloud_model() -> nn.Sequential:
    """A larger CNN of 16, 32 and 64 maps."""
    return nn.Sequential(
        *_block(1, 16), nn.MaxPool2d(2), *_block(16, 32), nn.MaxPool2d(2), *_block(32, 64), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 3 * 3, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


def images() -> tuple[Images, Images, Images]:
    """Fashion-MNIST: for training, for fitting thresholds, for the report."""
    raw = load_raw("fashion_mnist")
    if raw.rows is None or raw.test is None:
        raise RuntimeError("fashion_mnist names no training rows or no test set; its loader has changed.")
    rows = np.random.default_rng(0).permutation(raw.rows)
    test = np.rint((raw.test.x * 0.3530 + 0.2860) * 255).astype(np.uint8)
    fitting, training = np.sort(rows[:VALIDATION]), np.sort(rows[VALIDATION:])
    return (
        Images(raw.x[training], raw.y[training].astype(np.int64)),
        Images(raw.x[fitting], raw.y[fitting].astype(np.int64)),
        Images(test, raw.test.y),
    )


def trained(
    model: nn.Module,
    data: Images,
    epochs: int,
    rate: float,
    batch: int = 128,
    loss: Callable[[Any, Tensor], Tensor] = nn.functional.cross_entropy,
) -> nn.Module:
    """Adam with one cycle of the learning rate; images are mirrored by chance."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    steps = epochs * -(-len(data.y) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    order = np.random.default_rng(1)
    for _ in range(epochs):
        rows = order.permutation(len(data.y))
        total = 0.0
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            x, y = numbers(data.x[part]), torch.from_numpy(data.y[part])
            mirrored = torch.from_numpy(order.random(len(part)) < 0.5)
            error = loss(model(torch.where(mirrored[:, None, None, None], x.flip(3), x)), y)
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            schedule.step()
            total += float(error.detach()) * len(part)
        console.print(f"  loss {total / len(rows):.3f}")
    return model.eval()


def logits(model: nn.Module, x: Pixels) -> npt.NDArray[np.float32]:
    """(n, classes)."""
    with torch.inference_mode():
        parts = [model(numbers(x[start : start + 512])).numpy() for start in range(0, len(x), 512)]
    return np.concatenate(parts)


def numbers(x: Pixels) -> Tensor:
    return torch.from_numpy(np.array(x)).float() / 255


def kilobytes(model: nn.Module) -> float:
    """Of its parameters as float32."""
    return round(sum(parameter.numel() for parameter in model.parameters()) * 4 / 1000, 1)
