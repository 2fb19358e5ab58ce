"""What somebody has written for Flower, who has never heard of Fogline: softmax regression, in both of its styles."""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp


class Net:
    """Softmax regression."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.weight = rng.normal(size=(3, 4)).astype(np.float32)
        self.bias = np.zeros(3, np.float32)

    def get_weights(self) -> list[np.ndarray]:
        return [self.weight, self.bias]

    def set_weights(self, arrays: list[np.ndarray]) -> None:
        self.weight, self.bias = arrays

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"fc.weight": self.weight, "fc.bias": self.bias}


def load_data(partition_id: int, num_partitions: int) -> tuple[np.ndarray, np.ndarray]:
    assert 0 <= partition_id < num_partitions
    rng, count = np.random.default_rng(partition_id), 20 + 10 * partition_id
    y = rng.integers(0, 3, count)
    return (rng.normal(size=(count, 4)) + y[:, None]).astype(np.float32), y


def probabilities(net: Net, x: np.ndarray) -> np.ndarray:
    scores = x @ net.weight.T + net.bias
    raised = np.exp(scores - scores.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def train(net: Net, x: np.ndarray, y: np.ndarray, epochs: int, lr: float) -> float:
    loss = 0.0
    for _ in range(epochs):
        shares = probabilities(net, x)
        loss = float(-np.log(shares[np.arange(len(y)), y]).mean())
        shares[np.arange(len(y)), y] -= 1
        net.weight = net.weight - np.float32(lr) * (shares.T @ x / len(y)).astype(np.float32)
        net.bias = net.bias - np.float32(lr) * shares.mean(0)
    return loss


def test(net: Net, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    shares = probabilities(net, x)
    return float(-np.log(shares[np.arange(len(y)), y]).mean()), float((shares.argmax(1) == y).mean())


test.__test__ = False  # type: ignore[attr-defined]


class FlowerClient(NumPyClient):
    """As in the quickstart of 2024."""

    def __init__(self, net: Net, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
        self.net, self.x, self.y, self.epochs = net, x, y, epochs

    def get_parameters(self, config):
        return self.net.get_weights()

    def fit(self, parameters, config):
        self.net.set_weights(parameters)
        loss = train(self.net, self.x, self.y, self.epochs, config["lr"])
        return self.net.get_weights(), len(self.x), {"train_loss": loss}

    def evaluate(self, parameters, config):
        self.net.set_weights(parameters)
        loss, accuracy = test(self.net, self.x, self.y)
        return loss, len(self.x), {"accuracy": accuracy}


def client_fn(context: Context):
    x, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    return FlowerClient(Net(), x, y, context.run_config["local-epochs"]).to_client()


old_app = ClientApp(client_fn=client_fn)

app = ClientApp()
"""As in the quickstart of 2026."""


def loaded(msg: Message, context: Context) -> tuple[Net, np.ndarray, np.ndarray]:
    net = Net()
    arrays = msg.content["arrays"]
    net.set_weights([arrays["fc.weight"].numpy(), arrays["fc.bias"].numpy()])
    return net, *load_data(context.node_config["partition-id"], context.node_config["num-partitions"])


@app.train()
def train_fn(msg: Message, context: Context) -> Message:
    net, x, y = loaded(msg, context)
    config = msg.content["config"]
    assert config["server-round"] >= 1
    loss = train(net, x, y, context.run_config["local-epochs"], config["lr"])
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(x)})
    arrays = ArrayRecord({name: Array(value) for name, value in net.state_dict().items()})
    return Message(content=RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)


@app.evaluate()
def evaluate_fn(msg: Message, context: Context) -> Message:
    net, x, y = loaded(msg, context)
    loss, accuracy = test(net, x, y)
    metrics = MetricRecord({"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(x)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
