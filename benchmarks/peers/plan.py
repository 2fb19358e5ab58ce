"""What is run: configurations, sides and turns."""

from __future__ import annotations

from dataclasses import dataclass

SAME_WORK, SAME_SAMPLED, SAME_SHUFFLED = 0.02, 0.1, 0.15
"""How far the distance that a side moved the model may be from the plain loop's, as a share of it. With every client in
every round only rounding differs between sides that keep the order of the examples. Sampled cohorts are others on every
side: 6 % at most between loops of other seeds. Fogline shuffles, and 12 rounds of the CNN move 5 to 10 % less far in
plain loops that do (0.541, 0.552 and 0.571 by seed) than in the one that does not (0.603). Half the batches, or half
the learning rate, leave three tenths of the way undone, or more."""
PINS = {
    "flower": ("flwr[simulation]==1.41.0", "ray==2.55.1"),
    "pfl": ("pfl[pytorch]==0.6.0",),
    "nvflare": ("nvflare==2.9.0",),
}
OURS = ("fogline", "loop")  # run by this interpreter; loop is plain PyTorch, for orientation
MODELS = ("tiny", "mlp", "cnn")


@dataclass(frozen=True)
class Configuration:
    clients: int
    cohort: int
    sides: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.cohort} of {self.clients}"

    def tolerance(self, side: str) -> float:
        """How far a side's distance may be from the plain loop's."""
        if side == "fogline":
            return SAME_SHUFFLED
        return SAME_WORK if self.cohort == self.clients else SAME_SAMPLED


HEADLINE = Configuration(100, 20, ("fogline", "flower", "pfl", "loop"))
SILOS = Configuration(16, 16, ("fogline", "nvflare", "loop"))
EVERY = Configuration(100, 100, ("fogline", "pfl"))
POPULATION = Configuration(10_000, 100, ("fogline", "pfl"))
CONFIGURATIONS = (HEADLINE, SILOS, EVERY, POPULATION)


@dataclass(frozen=True)
class Run:
    """One start of one side."""

    model: str
    configuration: Configuration
    side: str
    turn: int
    warm: int
    timed: int

    @property
    def key(self) -> str:
        return f"{self.model}/{self.configuration.name}/{self.side}/{self.turn}"

    def flags(self) -> list[str]:
        c = self.configuration
        values = {"model": self.model, "clients": c.clients, "cohort": c.cohort, "rounds": self.warm + self.timed}
        return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def plan(models: list[str], peers: list[str], quick: bool) -> list[Run]:
    """All runs, what is reported first; the sides of one configuration take turns."""
    configurations = CONFIGURATIONS[:2] if quick else CONFIGURATIONS
    return [
        Run(model, configuration, side, turn, *_rounds(model, configuration, quick))
        for turn in range(2)
        for configuration in configurations
        for model in models
        if set(peers) & set(configuration.sides) and turn < _turns(model, configuration, quick)
        for side in configuration.sides
        if side in OURS or side in peers
    ]


def _turns(model: str, configuration: Configuration, quick: bool) -> int:
    """The ratios that are reported are of several turns; the other configurations show how time grows."""
    return 2 if configuration in (HEADLINE, SILOS) and model != "cnn" and not quick else 1


def _rounds(model: str, configuration: Configuration, quick: bool) -> tuple[int, int]:
    """Warm-up rounds, which are dropped, and timed rounds: the same for all sides."""
    if configuration is SILOS:  # NVFlare's connections keep getting faster for some rounds.
        return 8, 4 if quick or model == "cnn" else 12
    if model == "cnn":
        return 1, 2 if quick or configuration.cohort > 20 else 4
    return 3, 6 if quick or configuration.cohort > 20 else 20
