"""The next character in Shakespeare's plays.

Natural split: one device per role (98), whose speeches differ in length and style. Honest metric: accuracy at every
character of the last fifth of each role's own text, which nobody trains on. The guesses to beat need no model:
``python examples/text.py`` prints them.
"""

import numpy as np
import torch
from torch import Tensor, nn

from fogline import Task
from fogline.data import Examples, load_raw

CHARACTERS, SPACE = 65, 1
EMBEDDED, WIDTH, KERNEL = 32, 96, 4
LONGEST = 4
"""Characters that a guess without a model looks at."""


class Reader(nn.Module):
    """Characters (B, T) to scores of the next one at each place (B, T, 65), by the 16 characters up to there.

    Two causal convolutions, the second dilated (Bai, Kolter and Koltun, arXiv:1803.01271): all places at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, EMBEDDED)
        self.near = nn.Conv1d(EMBEDDED, WIDTH, KERNEL)
        self.far = nn.Conv1d(WIDTH, WIDTH, KERNEL, dilation=KERNEL)
        self.head = nn.Linear(EMBEDDED + WIDTH, CHARACTERS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Zeros stand before the first character."""
        characters = self.embedding(tokens).transpose(1, 2)
        near = torch.relu(self.near(nn.functional.pad(characters, (KERNEL - 1, 0))))
        far = near + torch.relu(self.far(nn.functional.pad(near, (KERNEL * (KERNEL - 1), 0))))
        return self.head(torch.cat([characters, far], dim=1).transpose(1, 2))


def task() -> Task:
    """Needs the data set ``shakespeare``."""
    return Task(Reader, load_raw("shakespeare").split_with_own_tests(), name="text", class_axis=-1)


def contexts(texts: np.ndarray, length: int) -> np.ndarray:
    """Of (n, T) texts a number for the last ``length`` characters at each place from the fifth on."""
    numbers = np.zeros_like(texts)
    for back in range(length):
        numbers = numbers * CHARACTERS + np.roll(texts, back, axis=1)
    return numbers[:, LONGEST:].ravel()


def followers(examples: Examples, length: int) -> dict[int, int]:
    """What followed most often, by context."""
    pairs = contexts(examples.array, length) * CHARACTERS + examples.y[:, LONGEST:].ravel()
    pairs, counts = np.unique(pairs, return_counts=True)
    pairs = pairs[np.argsort(counts, kind="stable")]  # The most frequent comes last, and stays.
    return dict(zip((pairs // CHARACTERS).tolist(), (pairs % CHARACTERS).tolist(), strict=True))


def guess_accuracy(length: int, own: bool) -> float:
    """Accuracy of saying what followed most often on the last ``length`` characters: in the role's own training text,
    or in that of all roles."""
    data = load_raw("shakespeare").split_with_own_tests()
    known = None if own else followers(data.pooled(range(len(data.clients))).at(0), length)
    right = list[np.ndarray]()
    for role, test in data.tests.items():
        said = followers(data[role], length) if known is None else known
        guesses = np.array([said.get(context, SPACE) for context in contexts(test.array, length).tolist()])
        right.append(guesses == test.y[:, LONGEST:].ravel())
    return float(np.concatenate(right).mean())


if __name__ == "__main__":
    for length in range(LONGEST + 1):
        alone, together = (guess_accuracy(length, own) for own in (True, False))
        print(f"by the last {length} characters: accuracy {alone:.4f} by the role's own text, {together:.4f} by all")
