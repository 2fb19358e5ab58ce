"""PyTorch kept to one thread."""

from __future__ import annotations

import sys

import pytest
import torch

from fogline.training.torch_threads import torch_on_one_thread


def test_pytorch_has_as_many_threads_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch_on_one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_it_does_not_import_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    with torch_on_one_thread():
        assert "torch" not in sys.modules
