"""The job in Fogline: one call, everything at its default except that nothing is judged or drawn."""

import numpy as np
import peer_job
import torch

import fogline
from fogline.data import FederatedData, from_arrays
from fogline.jobs import Tier, Tree
from fogline.training.torch import TorchTask


def federated(job: peer_job.Job) -> FederatedData:
    distinct = min(job.clients, peer_job.DISTINCT)
    pairs = [peer_job.data(job.model, client) for client in range(distinct)]
    samples, labels = (torch.cat(parts).numpy() for parts in zip(*pairs, strict=True))
    rows = np.arange(len(labels)).reshape(distinct, -1)
    parts = [rows[client % distinct] for client in range(job.clients)]
    return from_arrays("peers", samples, labels, parts, classes=peer_job.CLASSES, overlap=True)


def main() -> None:
    job = peer_job.arguments()
    result = fogline.simulate(
        TorchTask(lambda: peer_job.build(job.model), federated(job)),
        tree=Tree(cloud=Tier(cohort=job.cohort)),
        rounds=job.rounds,
        local={"learning_rate": peer_job.RATE, "batch_size": peer_job.BATCH, "epochs": 1},
        progress=False,
    )
    module = peer_job.build(job.model)
    peer_job.load_vector(module, torch.from_numpy(result.params.vector))
    stamps = [0.0, *(row["wall"] for row in result.history)]
    peer_job.finish(
        job,
        stamps,
        module,
        engine=result.job.engine,
        chunk=result.job.chunk,
        updates=[row["updates"] for row in result.history],
    )


if __name__ == "__main__":
    main()
