"""The two exchanges as a job names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import ClassVar

from fogline.aggregation import Arrays, Partial, Update
from fogline.exchanges.base import Exchange, ExchangeError, Received
from fogline.exchanges.ckks.terms import Terms
from fogline.exchanges.registry import EXCHANGES
from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.parameters import bounded
from fogline.privacy.ckks import MOST
from fogline.privacy.ring import LEAST_WEIGHT


@EXCHANGES.add("ckks")
class Ckks(Exchange):
    """Sums of updates that the devices encrypt, with a key that the aggregator does not have (CKKS, by TenSEAL).

    In each round one of the devices, whom chance chooses, makes a key and seals it for the others. All encrypt their
    updates; the aggregator adds them up as they are, and has parts of the sum opened by several devices each, once
    more than half of all have said that they were shown the same list of whose updates are in it.

    Any number of devices may go missing at any step, and no device's work grows with the cohort. But all have one key:
    a device that is in league with the aggregator opens every update. Under a key of all it costs eight times the bytes
    of a plain update, so :class:`fogline.exchanges.secagg.SecAgg` is the first choice. What it protects, and what not,
    is in ``docs/privacy.md``.
    """

    steps = ("keys", "deal", "encrypt", "survivors", "open")
    identified: ClassVar[bool] = True
    only_sums: ClassVar[bool] = True

    clip: float = bounded(16.0, ge=1e-30, le=1e30)
    """The largest magnitude of a number in an update, its buffers and metrics too; a device with a larger one is
    refused. What is more than an update ever has costs precision."""
    weight: float = bounded(10_000.0, ge=LEAST_WEIGHT, le=1e12)
    """The largest weight (mostly: examples) of a device; one with more, or with less than a thousandth of 1 that is
    not 0, is refused."""
    minimum: int = bounded(3, ge=2)
    """Devices without which there is no sum, at least 2. Every device sees to it."""
    readers: int = bounded(5, ge=1)
    """Devices that open each part of the sum. More than half of those that answer must agree, and at least two unless
    this is 1."""

    def __post_init__(self) -> None:
        for package, extra in (("cryptography", "network"), ("tenseal", "he")):
            if find_spec(package) is None:
                raise ValueError(f"Homomorphic encryption needs the package {package}: pip install 'fogline[{extra}]'")
        self._terms.settings.ring(self.minimum)

    def check_cohort(self, cohort: int) -> None:
        self._terms.settings.check_members(cohort, "are asked in a round")
        if cohort > MOST:
            raise ExchangeError(f"{cohort} devices are asked in a round; encrypted sums have room for {MOST}.")
        self._terms.settings.ring(cohort)

    @property
    def _terms(self) -> Terms:
        # The half that its threshold stands for is that of Terms.agreed.
        settings = SecAggSettings(0.5, 32, float(self.clip), float(self.weight), self.minimum)
        return Terms(settings, self.readers, 1.0)

    def child(self, step: str, state: Received, received: Received) -> tuple[Arrays, Arrays]:
        from fogline.exchanges.ckks.child import STEPS  # It needs libraries that who only reads jobs can do without.

        return STEPS[step](self._terms, state, received)

    def parent(
        self, step: str, state: Received, payloads: Mapping[str, Received]
    ) -> tuple[Mapping[str, Arrays], Arrays]:
        from fogline.exchanges.ckks.parent import STEPS

        return STEPS[step](self._terms, state, payloads)

    def result(self, state: Received) -> Update | Partial:
        return Update.from_arrays(state)


@EXCHANGES.add("ckks_selective")
class CkksSelective(Ckks):
    """Encrypts the most sensitive share of an update and sends the rest as it is (FedML-HE; Jin et al., 2023).

    Devices first send, encrypted, how large their updates are in each block of 64 numbers. Some of them open the sum of
    that and say, under a key that only devices have, which blocks are the largest; these are encrypted by all.

    Of the rest the aggregator reads every single device's numbers. That is less than :class:`Ckks` protects, for about
    ``share`` of what that costs: what an attack still finds in it, try with the job's own model.
    """

    steps = ("keys", "deal", "map", "rank", "encrypt", "survivors", "open")
    only_sums: ClassVar[bool] = False

    share: float = bounded(0.1, gt=0, lt=1)
    """Of the blocks, which is encrypted."""

    @property
    def _terms(self) -> Terms:
        return replace(super()._terms, share=float(self.share))
