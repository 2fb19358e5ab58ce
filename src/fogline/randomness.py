"""The generators that all code of a process shares (``random``, NumPy's, PyTorch's): seeded, and given back."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """What is drawn inside comes from the seed (>= 0), whatever was drawn before; outside, nothing has been drawn.

    PyTorch is not imported for it. Where the code inside is the first to import it, it is seeded then.
    """
    kept, late = _states(), _SeedsTorch(seed)
    _seed(seed)
    if kept[2] is None:
        sys.meta_path.insert(0, late)
    try:
        yield
    finally:
        if late in sys.meta_path:
            sys.meta_path.remove(late)
        _restore(kept)


def derived(*numbers: int) -> int:
    """One seed, of 63 bits, from several numbers >= 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def fingerprint() -> tuple[object, ...]:
    """Differs after something was drawn."""
    own, numpy, torch, _ = _states()
    key = numpy["state"]
    drawn = None if torch is None else torch.numpy().tobytes()
    return own, key["key"].tobytes(), key["pos"], numpy["has_gauss"], drawn


def _torch() -> Any:
    """PyTorch, if anybody has imported it: data and jobs do without."""
    return sys.modules.get("torch")


def _states() -> tuple[Any, Any, Any, Any]:
    torch = _torch()
    numpy: Any = np.random.get_state(legacy=False)
    if torch is None:
        return random.getstate(), numpy, None, None
    chips = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return random.getstate(), numpy, torch.default_generator.get_state(), chips


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF])
    if _torch() is not None:
        _seed_torch(seed)


def _seed_torch(seed: int) -> None:
    torch = _torch()
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _restore(kept: tuple[Any, Any, Any, Any]) -> None:
    own, numpy, whole, chips = kept
    random.setstate(own)
    np.random.set_state(numpy)
    torch = _torch()
    if whole is not None:
        torch.default_generator.set_state(whole)
    elif torch is not None:
        torch.default_generator.seed()  # As PyTorch begins: by what the machine draws.
    if chips is not None:
        torch.cuda.set_rng_state_all(chips)


class _SeedsTorch(MetaPathFinder, Loader):
    """Seeds PyTorch as it is imported: it begins with a seed that the machine draws."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._loader: Loader | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Stands in for the loader of PyTorch, and of nothing else."""
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torch")
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader does."""
        assert self._loader is not None
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the loader does; then the seed."""
        assert self._loader is not None
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _seed_torch(self._seed)
