"""All random streams of a program at once: seeded, kept and put back."""

import random
from typing import Any

import numpy as np

from ..ir.random_state import default_generator

__all__ = ["random_state", "restore_random_state", "seed_everything"]


def seed_everything(seed: int) -> int:
    """Seed Ingot's generator, numpy's and Python's; returns the seed."""
    default_generator.manual_seed(seed)
    np.random.seed(seed % (1 << 32))
    random.seed(seed)
    return seed


def random_state() -> dict[str, Any]:
    """Where the three streams are, as what `ingot.save` can write."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "ingot": default_generator.get_state(),
        "numpy": (kind, keys, position, has_gauss, cached),
        "python": random.getstate(),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Go back to where `random_state` was called."""
    default_generator.set_state(state["ingot"])
    np.random.set_state(state["numpy"])
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
