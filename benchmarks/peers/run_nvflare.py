"""The job in NVFlare's Collab API on its simulator, which holds a process per client for the whole run.

So it serves a few clients, all sampled. Set for speed: one flat vector per message, one thread per client, every
client live at once, nothing validated, logged or saved.
"""

import logging
import os
import tempfile
import time
from pathlib import Path

import peer_job
import torch
from nvflare.collab import CollabRecipe, collab
from nvflare.recipe import SimEnv

RESULT = "PEER_RESULT"  # names, in the environment, the file that the server leaves


class Client:
    def __init__(self, model: str) -> None:
        self.model = model

    @collab.publish
    def train(self, values: torch.Tensor) -> torch.Tensor:
        module = peer_job.resident(self.model)
        peer_job.load_vector(module, values)
        peer_job.train(module, self.model, int(collab.site_name.rpartition("-")[2]) - 1)
        return peer_job.vector(module)


class Server:
    def __init__(self, model: str, rounds: int) -> None:
        self.model = model
        self.rounds = rounds

    @collab.main
    def run(self) -> None:
        values = peer_job.vector(peer_job.resident(self.model))
        stamps = [time.perf_counter()]
        for _ in range(self.rounds):
            updates = [update for _, update in collab.clients.train(values)]
            values = torch.stack(updates).mean(0)
            stamps.append(time.perf_counter())
        torch.save({"stamps": stamps, "values": values}, os.environ[RESULT])


def main() -> None:
    job = peer_job.arguments()
    if job.cohort != job.clients:
        raise SystemExit("this side samples every client: give --cohort the number of --clients")
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.pt"
        os.environ[RESULT] = str(result)
        recipe = CollabRecipe(
            job_name="peer",
            server=Server(job.model, job.rounds),
            client=Client(job.model),
            min_clients=job.clients,
        )
        recipe.execute(SimEnv(num_clients=job.clients, workspace_root=folder, log_config="ERROR"))
        found = torch.load(result, weights_only=True)
    module = peer_job.build(job.model)
    peer_job.load_vector(module, found["values"])
    peer_job.finish(job, found["stamps"], module)


if __name__ == "__main__":
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(Path(__file__).parent))
    from run_nvflare import main as run  # under its own name, so that the other processes find the classes

    run()
