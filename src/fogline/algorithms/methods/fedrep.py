"""FedRep."""

from __future__ import annotations

from fogline.algorithms.methods.fedper import FedPer
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.context import DeviceContext, RoundContext
from fogline.training.phase import Phases, TrainingPhase
from fogline.training.plan import Plan


@METHODS.add("fedrep")
class FedRep(FedPer):
    """A head of one's own, trained before the shared body (Collins et al., ICML 2021, arXiv 2102.07078, algorithm 1).

    A device trains its head alone as long as the job's local training says, on the body received, then the body alone
    for ``body_epochs`` on that head; bodies are averaged as FedAvg does it. ``private`` names the head; if it is
    empty, it is the last layer that trains.
    """

    body_epochs: int = bounded(1, ge=1)

    def work(self, plan: Plan, device: RoundContext) -> Plan:
        return plan.replace(steps=plan.steps + self._body(plan))

    def phases(self, device: DeviceContext) -> Phases:
        body = self._body(device.plan)
        yield TrainingPhase(steps=max(1, device.plan.steps - body), only=device.private_names)
        yield TrainingPhase(steps=body, only=device.shared_names)

    def fine_tune(self, device: DeviceContext) -> Phases:
        yield TrainingPhase(only=device.private_names)

    def _body(self, plan: Plan) -> int:
        return plan.replace(epochs=self.body_epochs).steps
