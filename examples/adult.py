"""Whether a person's income is above 50,000 dollars (census of the United States, 1994).

Natural split: one device per occupation, which is about as unlike as offices or employers are: 48 % of managers are
above, and 4 % of those in other services. Honest metric: accuracy on the official test set of 16,281 people, who never
train; always saying "below" is the guess to beat: ``python examples/adult.py`` prints it.
"""

from torch import nn

from fogline import Task, load
from fogline.training.torch.models import mlp

INPUTS = 91


def model() -> nn.Module:
    """A small network on 91 features of a person."""
    return mlp(INPUTS, (32,), 2)


def task() -> Task:
    """Needs the data set ``adult``."""
    return Task(model, load("adult"), name="adult")


def most_frequent() -> float:
    """Accuracy of always saying "below"."""
    test = load("adult").test
    assert test is not None
    return float((test.y == 0).mean())


if __name__ == "__main__":
    print(f"accuracy of the most frequent answer: {most_frequent():.4f}")
