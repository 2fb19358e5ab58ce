"""The same model in fewer bits, and what it loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fogline.inference.golden import check
from fogline.inference.runtimes.choose import open_runtime
from fogline.training.torch import TorchTask
from tests.inference.cases import TASKS, finder, made, right_answer, trained


@pytest.mark.parametrize("name", ["mlp", "lenet", "regression", "char_lstm", "small_transformer", "pair"])
def test_variants_lose_what_their_card_says(name: str, tmp_path: Path) -> None:
    task = TASKS[name]()
    version = made(task, tmp_path, variants=("int8", "fp16"))
    assert [variant.name for variant in version.card.variants] == ["int8", "fp16"]
    assert not version.notes
    test, meaning = task.data.test, task.data.meaning
    assert test is not None
    right = right_answer(task, trained(task), test.x)
    for variant in version.card.variants:
        runtime = open_runtime(version.card, finder(version), only=f"onnx/{variant.name}").runtime
        check(version.card, runtime, finder(version))
        given = runtime.run({"input": test.x})["output"]
        if task.classifies:
            assert variant.agreement == pytest.approx((given.argmax(-1) == right.argmax(-1)).mean(), abs=0.03)
            accuracy = (given.argmax(-1) == test.y).mean()
            assert variant.metrics["accuracy"] == pytest.approx(accuracy, abs=0.03)
        else:
            assert variant.agreement == pytest.approx(1 - np.square(given - right).sum() / right.var() / len(right))
            truth = test.y[:, None] * meaning.target_scale + meaning.target_offset
            assert variant.metrics["rmse"] == pytest.approx(np.sqrt(np.square(given - truth).mean()), rel=1e-3)
        assert variant.agreement > 0.9
        assert variant.tolerance < 0.5
    whole = version.card.assets()["weights"].size
    sizes = {variant.name: variant.graph.size for variant in version.card.variants}
    if isinstance(task, TorchTask) and name in ("lenet", "mlp"):
        assert sizes["fp16"] < 0.75 * whole
        assert sizes["int8"] < sizes["fp16"] or name == "mlp"


def test_variants_are_the_same_files_again(tmp_path: Path) -> None:
    cards = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        cards.append(made(TASKS["lenet"](), tmp_path / place, variants=("int8", "fp16")).card)
    assert cards[0].variants == cards[1].variants
