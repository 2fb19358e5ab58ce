"""The job in Flower's simulation: two Ray actors of one processor each, a virtual node per client.

Set for speed: data in each actor's memory, one thread per actor, no evaluation, model kept between messages.
"""

import logging
import os
import time
from collections.abc import Iterable

import peer_job
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

ACTORS = 2
client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    model = message.content["config"]["model"]
    module = peer_job.resident(model)
    peer_job.load(module, message.content["arrays"].to_torch_state_dict().values())
    peer_job.train(module, model, int(context.node_config["partition-id"]))
    counts = MetricRecord({"num-examples": peer_job.SAMPLES})
    content = RecordDict({"arrays": ArrayRecord(module.state_dict()), "metrics": counts})
    return Message(content=content, reply_to=message)


class Stamped(FedAvg):
    """FedAvg that notes when each round starts to be configured."""

    stamps: list[float]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.stamps.append(time.perf_counter())
        return super().configure_train(server_round, arrays, config, grid)


def server_app(job: peer_job.Job, module: torch.nn.Module, stamps: list[float]) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = Stamped(
            fraction_train=job.cohort / job.clients,
            fraction_evaluate=0.0,
            min_train_nodes=job.cohort,
            min_available_nodes=job.clients,
        )
        strategy.stamps = stamps
        config = ConfigRecord({"model": job.model})
        first = ArrayRecord(module.state_dict())
        result = strategy.start(grid, first, num_rounds=job.rounds, train_config=config)
        stamps.append(time.perf_counter())
        peer_job.load(module, result.arrays.to_torch_state_dict().values())

    return app


def main() -> None:
    job = peer_job.arguments()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    module = peer_job.build(job.model)
    stamps: list[float] = []
    run_simulation(
        server_app=server_app(job, module, stamps),
        client_app=client,
        num_supernodes=job.clients,
        backend_config={
            "init_args": {"num_cpus": ACTORS},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    peer_job.finish(job, stamps, module)


if __name__ == "__main__":
    os.environ.update(OMP_NUM_THREADS="1", FLWR_TELEMETRY_ENABLED="0", RAY_DEDUP_LOGS="0")
    from run_flower import main as run  # under its own name, so that Ray sends `train` by reference

    run()
