"""A language model that was trained elsewhere, fine-tuned by role with few parameters.

The base, a small transformer, has read the plays' smaller roles. Ten great roles hold their own speeches: one device
each. They train low-rank adapters together; the base is frozen, and travels once. The honest metric is perplexity on
the last fifth of every role's text: by how many characters, of equal chances, the model hesitates at every place.

python examples/lora.py        # bytes and perplexity, beside training all of the model
fogline simulate examples/lora.toml
"""

import sys
from functools import cache, partial

import numpy as np
import torch
from torch import nn

from fogline import Lora, Task, adapt, load, simulate
from fogline.data import Examples, MissingDatasetError, from_clients
from fogline.training.torch.models import small_transformer

LENGTH, WIDTH, DEVICES, ROUNDS = 64, 64, 10, 6
ADAPTERS = Lora(rank=4, alpha=8, names=("blocks.*",))

SPOKEN = {
    "baker": "I rise when the street is still dark. The oven wants wood before it wants dough. Salt, water, flour and "
    "time: of these time is the dearest. A loaf that was hurried tells everyone. I knock on its back, and it answers "
    "hollow when it is done. On market days I bake twice, and sell the dark bread first. What is left in the evening "
    "goes to the school by the river. My hands know the dough better than my eyes do.",
    "sailor": "The wind comes round before the rain does. Reef early, I say, and sleep well. A ship is a small town "
    "with no street to leave by. We count the lamps along the coast, and the coast counts us. When the fog lies on the "
    "water I ring the bell and listen for another. The sea gives back what it likes, and keeps the rest. At home I "
    "walk as if the floor would move. No harbour looks the same from the water and from the land.",
    "gardener": "First comes the soil, then the seed, then patience. A row that is straight is easy to weed. The pear "
    "by the wall has not borne for three years, and this spring it is white all over. I water in the evening, when the "
    "stones are still warm. Slugs love what I love. Who plants a walnut plants it for others. In winter I sharpen the "
    "spades, oil the handles and read the lists of seeds as others read novels.",
    "watchmaker": "A watch that stops is right twice a day, and no use at all. I open the back and hold my breath. "
    "There is dust in it, as there is in everything. One wheel drives the next, and the smallest runs the fastest. "
    "Oil is for the pivots and not for the teeth. People say that the shop is loud; I hear only the one that limps. "
    "When all of them strike at noon I put down my tools and have my bread.",
    "teacher": "Those who ask are half way there. On the first day I learn the names, on the second the silence. The "
    "slate is wiped every evening, and what was on it is not. A child that counts on its fingers has ten good friends. "
    "I would rather hear a wrong answer than none. In the last row sits the one who knows, and looks out of the "
    "window. When the bell rings they run, and the room is larger than before.",
}
"""For where the plays are not: five voices, of which the last two are the base's."""


def spoken() -> tuple[dict[str, Examples], dict[str, Examples], Examples]:
    """Of the voices above: what devices train on, what they are judged on, and what the base reads."""
    letters = sorted(set("".join(SPOKEN.values())))
    codes = {name: np.array([letters.index(letter) for letter in text]) for name, text in SPOKEN.items()}

    def lines(text: np.ndarray) -> Examples:
        starts = np.arange(0, len(text) - LENGTH - 1, 4)
        runs = text[starts[:, None] + np.arange(LENGTH + 1)]
        return Examples(runs[:, :-1], runs[:, 1:])

    *devices, one, other = codes
    train = {name: lines(codes[name][: len(codes[name]) * 2 // 3]) for name in devices}
    test = {name: lines(codes[name][len(codes[name]) * 2 // 3 :]) for name in devices}
    return train, test, lines(np.concatenate([codes[one], codes[other]]))


def plays() -> tuple[dict[str, Examples], dict[str, Examples], Examples]:
    """The same of Shakespeare's plays: the ten roles that say most are devices, the base reads all others.

    Raises:
        MissingDatasetError: they are not here (see ``fogline datasets``).
    """
    data = load("shakespeare", length=LENGTH)
    order = np.argsort(-data.sizes())
    great = {data.clients[i]: data.at(i) for i in sorted(order[:DEVICES])}
    cuts = {name: len(own.y) * 4 // 5 for name, own in great.items()}
    train = {name: own.part(slice(cuts[name])) for name, own in great.items()}
    test = {name: own.part(slice(cuts[name], None)) for name, own in great.items()}
    rest = [data.at(i) for i in order[DEVICES:]]
    return train, test, Examples(np.concatenate([r.array for r in rest]), np.concatenate([r.y for r in rest]))


@cache
def texts() -> tuple[dict[str, Examples], dict[str, Examples], Examples]:
    """The plays, or the voices above."""
    try:
        return plays()
    except MissingDatasetError:
        return spoken()


def letters() -> int:
    """Characters that occur."""
    train, test, read = texts()
    return 1 + max(int(part.array.max()) for part in (*train.values(), *test.values(), read))


@cache
def pretrained(steps: int) -> dict[str, torch.Tensor]:
    """The base's weights, after so many steps over what it reads."""
    read = texts()[2]
    x, y = torch.as_tensor(read.array), torch.as_tensor(read.y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = small_transformer(letters(), WIDTH, 4, 2, LENGTH)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(steps):
            rows = torch.randint(len(x), (32,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]).transpose(1, 2), y[rows]).backward()
            optimizer.step()
    return model.state_dict()


class Lines(Task):
    """Next characters, judged by perplexity."""

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        known = super().metrics(sums)
        return known | {"perplexity": float(np.exp(known["loss"]))}


def base(steps: int) -> nn.Module:
    """The transformer that has read."""
    model = small_transformer(letters(), WIDTH, 4, 2, LENGTH)
    model.load_state_dict(pretrained(steps))
    return model


def task(pretraining: int = 250, adapted: bool = True) -> Task:
    """Each role's next character; ``pretraining``: steps of the base."""
    train, test, _ = texts()
    data = from_clients("roles", train, test=test, classes=letters())
    make = partial(base, pretraining)
    model = (lambda: adapt(make(), ADAPTERS)) if adapted else make
    return Lines(model, data, name="roles", headline="perplexity", higher_is_better=False, class_axis=-1)


def perplexities(of: Task, params: object) -> dict[str, float]:
    """A model's perplexity on what each role has for judging."""
    return {role: of.metrics(of.evaluate(params, own))["perplexity"] for role, own in texts()[1].items()}


METHODS = {"fedavg": 1e-3, "fedit": 5e-3, "ffalora": 5e-3, "fedexlora": 5e-3, "flora": 5e-3}
"""Those that are compared, with their learning rates; FedAvg trains all of the model."""


def fine_tuned(name: str) -> dict[str, float]:
    """Perplexity by role after a method's rounds; prints what was sent."""
    own = task(adapted=name != "fedavg")
    result = simulate(
        own, name, rounds=ROUNDS, engine="loop", processes=0, progress=False, evaluation={"every": ROUNDS},
        local={"batch_size": 16, "steps": 8, "optimizer": "adam", "learning_rate": METHODS[name]},
    )  # fmt: skip
    rows, found = result.history, perplexities(own, result.params)
    down, up = ((rows[-1][f"{way}/cloud"] - rows[0][f"{way}/cloud"]) / (ROUNDS - 1) / 1e6 for way in ("down", "up"))
    sent = f"{down:6.3f} MB down and {up:6.3f} MB up a round, {rows[0]['down/cloud'] / 1e6 - down:6.3f} MB once"
    print(f"{name:10} {sent}; perplexity {np.mean(list(found.values())):.2f}", flush=True)
    return found


def main(names: list[str]) -> None:
    """Prints a line for each method, and a table of roles."""
    before = perplexities(task(), task().initial(0))
    print(f"base: perplexity {np.mean(list(before.values())):.2f}, mean over {len(before)} roles", flush=True)
    after = {name: fine_tuned(name) for name in names or METHODS}
    print("role".ljust(20), "base".rjust(10), *(name.rjust(10) for name in after))
    for role in before:
        print(role.ljust(20), f"{before[role]:10.2f}", *(f"{each[role]:10.2f}" for each in after.values()))


if __name__ == "__main__":
    main(sys.argv[1:])
