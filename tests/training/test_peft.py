"""Adapters that ``peft`` puts into a transformer: the methods know their factors."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from fogline import Task, simulate
from fogline.algorithms import make
from fogline.algorithms.trained import with_trained
from fogline.data import Examples, from_clients

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")


def model() -> nn.Module:
    """A small randomly initialised transformer."""
    config = transformers.LlamaConfig(
        vocab_size=13, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    lora = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    return peft.get_peft_model(transformers.LlamaForCausalLM(config), lora)


@pytest.mark.parametrize(("name", "factors"), [("fedit", "AB"), ("ffalora", "B")])
def test_a_transformer_with_adapters_of_peft_trains_them_alone(name: str, factors: str) -> None:
    rng = np.random.default_rng(0)
    parts = {f"c{i}": Examples({"input_ids": (x := rng.integers(0, 13, (8, 6)))}, x) for i in range(3)}
    task = Task(model, from_clients("lines", parts, classes=13, test=parts["c0"]), loss="model", class_axis=-1)
    start = task.initial(0).arrays()
    local = {"learning_rate": 0.5, "steps": 2, "batch_size": 4}
    done = simulate(task, name, rounds=1, local=local, engine="loop", processes=0, progress=False).params
    moved = {key for key, array in done.arrays().items() if not np.array_equal(array, start[key])}
    assert moved
    assert moved <= {key for key in start if any(f".lora_{factor}." in key for factor in factors)}
    assert sum(f".lora_{factors[-1]}." in key for key in moved) == 2
    with pytest.raises(ValueError, match=r"is not of an adapter of fogline.adapt"):
        with_trained(task, make("fedexlora"))
