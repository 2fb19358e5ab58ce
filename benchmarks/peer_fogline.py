"""The job in Fogline: one call, everything at its default except that nothing is judged or drawn."""

import peer_job
import torch

import fogline
from fogline.data import Examples, FederatedData, from_clients
from fogline.jobs import Tier, Tree
from fogline.training.torch import TorchTask


def federated(job: peer_job.Job) -> FederatedData:
    ids = [str(client) for client in range(job.clients)]
    return from_clients(
        "peers",
        ids,
        lambda client: Examples(*(part.numpy() for part in peer_job.data(job.model, int(client)))),
        sizes=[peer_job.SAMPLES] * job.clients,
        classes=peer_job.CLASSES,
    )


def main() -> None:
    job = peer_job.arguments()
    for client in range(min(job.clients, peer_job.DISTINCT)):
        peer_job.data(job.model, client)
    result = fogline.simulate(
        TorchTask(lambda: peer_job.build(job.model), federated(job)),
        tree=Tree(cloud=Tier(cohort=job.cohort)),
        rounds=job.rounds,
        local={"learning_rate": peer_job.RATE, "batch_size": peer_job.BATCH, "epochs": 1},
        evaluation={"devices": False},
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
