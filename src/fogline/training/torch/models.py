"""A small zoo: the models that papers on federated learning report on, as plain modules.

All are made of layers that every engine can run; all take images as (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mlp(inputs: int = 784, hidden: Sequence[int] = (200, 200), outputs: int = 10) -> nn.Sequential:
    """The 2NN of McMahan et al. (2017): 784-200-200-10 with ReLU, 199,210 parameters.

    Inputs of any shape are flattened. ``hidden=()`` gives (multinomial) linear regression.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def lenet(channels: int = 1, outputs: int = 10) -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling for 28x28 images: convolutions of 6 and 16 maps, 44,426 parameters
    (of 1x28x28 to 10 classes).
    """
    return niid_bench_cnn(channels, 28, outputs)


def niid_bench_cnn(channels: int = 3, size: int = 32, outputs: int = 10) -> nn.Sequential:
    """The CNN of NIID-Bench (Li et al., 2022): convolutions of 6 and 16 maps, 5x5, then 120 and 84 units.

    For 1x28x28 images 44,426 parameters; for CIFAR-10 62,006.
    """
    side = (((size - 4) // 2) - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, outputs),
    )


def leaf_cnn(outputs: int = 62, hidden: int = 2048) -> nn.Sequential:
    """The FEMNIST CNN of LEAF (Caldas et al., 2018): convolutions of 32 and 64 maps, 5x5 padded, on 1x28x28.

    ``hidden=512, outputs=10`` is the MNIST CNN of McMahan et al. (2017), 1,663,370 parameters.
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )


def pfl_cnn(channels: int = 3, size: int = 32, outputs: int = 10) -> nn.Sequential:
    """The CIFAR-10 CNN of pfl-research's benchmarks: 3x3 convolutions of 32 and 64 maps, dropout."""
    side = (size - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(64 * side * side, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, outputs),
    )


class CharLSTM(nn.Module):
    """Next character: tokens (B, T) to outputs (B, T, vocabulary)."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        return self.head(states)


def char_lstm(vocabulary: int = 80, embedding: int = 8, hidden: int = 128, layers: int = 1) -> CharLSTM:
    """An LSTM that predicts the next character at every place; LEAF's Shakespeare has 80 characters."""
    return CharLSTM(vocabulary, embedding, hidden, layers)


class SmallTransformer(nn.Module):
    """Next token: tokens (B, T) to outputs (B, T, vocabulary), T at most ``length``. Causal, pre-norm."""

    def __init__(self, vocabulary: int, width: int, heads: int, blocks: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.positions = Positions()
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.positions(self.tokens(tokens), self.places)
        return self.head(self.norm(self.blocks(embedded)))


class Positions(nn.Module):
    """Adds a row of a learned table (length, D) to each place of (B, T, D)."""

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        return x + table[: x.shape[1]]


class TransformerBlock(nn.Module):
    """One pre-norm transformer block: causal self-attention, then two linear layers with GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention = CausalAttention(heads)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.out(self.attention(self.qkv(self.norm1(x))))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class CausalAttention(nn.Module):
    """Self-attention in which a place sees itself and those before: q, k and v (B, T, 3D) to (B, T, D)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, qkv: Tensor) -> Tensor:
        split = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(split[0], split[1], split[2], is_causal=True)
        return mixed.transpose(1, 2).flatten(2)


def small_transformer(
    vocabulary: int = 80, width: int = 64, heads: int = 4, blocks: int = 1, length: int = 128
) -> SmallTransformer:
    """A causal transformer of a few blocks, to predict the next character or token."""
    return SmallTransformer(vocabulary, width, heads, blocks, length)
