"""The job as a plain PyTorch loop in one process with one thread: no framework at all."""

import random
import time

import peer_job
import torch


def main() -> None:
    job = peer_job.arguments()
    torch.set_num_threads(1)
    module = peer_job.build(job.model)
    centre = peer_job.vector(module)
    for client in range(min(job.clients, peer_job.DISTINCT)):
        peer_job.batches(job.model, client)
    sampling = random.Random(0)
    stamps = [time.perf_counter()]
    for _ in range(job.rounds):
        total = torch.zeros_like(centre)
        for client in sampling.sample(range(job.clients), job.cohort):
            peer_job.load_vector(module, centre)
            peer_job.train(module, job.model, client)
            total += peer_job.vector(module)
        centre = total / job.cohort
        stamps.append(time.perf_counter())
    peer_job.load_vector(module, centre)
    peer_job.finish(job, stamps, module)


if __name__ == "__main__":
    main()
