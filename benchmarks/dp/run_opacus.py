"""DP-SGD by Opacus; runs in an environment that has it, and knows nothing of Fogline.

    python run_opacus.py DATA.npz RESULT.npy

Reads a line of JSON: ``model`` (mlp or lenet), ``mode`` of taking gradients, ``batch_size``, ``noise``, ``clip``,
``rate`` (of learning) and ``steps``. Trains one device, writes where its weights came to, and prints the seconds of
processor time. Steps are driven by hand, on tensors: Opacus's own loader puts a batch together example by example.
"""

import json
import sys
import warnings
from time import process_time
from typing import Any

import numpy as np
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CONVOLVED = 16 * 4 * 4


def mlp() -> nn.Sequential:
    layers = nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)
    return nn.Sequential(nn.Flatten(), *layers)


def lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(CONVOLVED, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


MODELS = {"mlp": mlp, "lenet": lenet}


def load(module: nn.Module, start: torch.Tensor) -> None:
    offset = 0
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(start[offset : offset + parameter.numel()].view_as(parameter))
            offset += parameter.numel()


def train(asked: dict[str, Any], x: torch.Tensor, y: torch.Tensor, start: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Seconds, and the weights in the end."""
    model = MODELS[asked["model"]]()
    load(model, start)
    loader = DataLoader(TensorDataset(x, y), batch_size=asked["batch_size"])
    module, optimizer, *rest = PrivacyEngine().make_private(
        module=model, optimizer=torch.optim.SGD(model.parameters(), asked["rate"]), data_loader=loader,
        criterion=nn.CrossEntropyLoss(), noise_multiplier=asked["noise"], max_grad_norm=asked["clip"],
        grad_sample_mode=asked["mode"],
    )  # fmt: skip
    criterion = rest[0] if len(rest) > 1 else nn.CrossEntropyLoss()
    share = asked["batch_size"] / len(y)
    begun = process_time()
    for _ in range(asked["steps"]):
        taken = (torch.rand(len(y)) < share).nonzero()[:, 0]
        optimizer.zero_grad()
        criterion(module(x[taken]), y[taken]).backward()
        optimizer.step()
    seconds = process_time() - begun
    return seconds, torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    data = np.load(sys.argv[1])
    x, y, starts = torch.from_numpy(data["x"]), torch.from_numpy(data["y"]), {m: data[m] for m in MODELS}
    for line in sys.stdin:
        asked = json.loads(line)
        seconds, end = train(asked, x, y, torch.from_numpy(starts[asked["model"]]))
        np.save(sys.argv[2], end.numpy())
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
