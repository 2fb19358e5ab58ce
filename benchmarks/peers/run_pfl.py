"""The job in pfl-research: two single-threaded processes joined by torch.distributed.

Set for speed: tensors in memory, batches cached by pfl's own data set, users taken in turn, no metrics, no
evaluation, no platform callbacks.
"""

import os
import subprocess
import sys
import time
from typing import Any

import peer_job
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel

PROCESSES = 2


class Stamps(TrainingProcessCallback):
    """Notes the time after each central iteration."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, *, model: Any) -> Metrics:
        self.times.append(time.perf_counter())
        return Metrics()

    def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Metrics]:
        self.times.append(time.perf_counter())
        return False, Metrics()


class Trained(torch.nn.Module):
    """The job's model with the two methods that pfl calls."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def loss(self, samples: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.inner(samples), labels)

    def metrics(self, *_: torch.Tensor) -> dict[str, Any]:
        return {}


def users(job: peer_job.Job) -> FederatedDataset:
    count = min(job.clients, peer_job.DISTINCT)
    held = [PyTorchTensorDataset(peer_job.data(job.model, user)) for user in range(count)]
    sampler = get_user_sampler("minimize_reuse", list(range(job.clients)))
    return FederatedDataset(lambda user: held[user % count], sampler)


def run(job: peer_job.Job) -> tuple[list[float], torch.nn.Module]:
    inner = peer_job.build(job.model)
    wrapped = Trained(inner)
    model = PyTorchModel(wrapped, torch.optim.SGD, torch.optim.SGD(wrapped.parameters(), lr=1.0))
    training = NNTrainHyperParams(
        local_num_epochs=1, local_learning_rate=peer_job.RATE, local_batch_size=peer_job.BATCH
    )
    settings = NNAlgorithmParams(
        central_num_iterations=job.rounds,
        evaluation_frequency=job.rounds + 1,  # only in the first, discarded round
        train_cohort_size=job.cohort,
        val_cohort_size=0,
    )
    stamps = Stamps()
    dataset = users(job)
    FederatedAveraging().run(
        settings,
        SimulatedBackend(training_data=dataset, val_data=None),
        model,
        training,
        callbacks=[stamps],
        send_metrics_to_platform=False,
    )
    return stamps.times, inner


def main() -> None:
    job = peer_job.arguments()
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={PROCESSES}"]
        command = [sys.executable, *launch, __file__, *peer_job.flags(job)]
        sys.exit(subprocess.run(command, check=False).returncode)
    torch.set_num_threads(1)
    times, module = run(job)
    if os.environ["RANK"] == "0":
        peer_job.finish(job, times, module)
    torch.distributed.barrier()
    os._exit(0)  # an orderly end sometimes aborts in the communication library's threads


if __name__ == "__main__":
    main()
