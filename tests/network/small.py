"""The task of the network's tests: softmax regression in numpy, so that a worker starts quickly."""

from tests.toy import ToyTask, toy_data


def task(clients: int = 4) -> ToyTask:
    return ToyTask(toy_data(clients))
