"""GPUs, as `torch.cuda`: this version computes on the CPU, says so, and lets programs that ask first go on.

>>> ingot.device("cuda" if ingot.cuda.is_available() else "cpu")
device(type='cpu')
"""

from typing import Any, NoReturn

from .. import amp

__all__ = [
    "amp", "current_device", "device_count", "empty_cache", "get_device_name", "is_available", "is_initialized",
    "manual_seed", "manual_seed_all", "max_memory_allocated", "memory_allocated", "set_device", "synchronize",
]  # fmt: skip


def is_available() -> bool:
    """Whether tensors can live on a GPU: not in this version."""
    return False


def is_initialized() -> bool:
    """Whether a GPU is in use."""
    return False


def device_count() -> int:
    """How many GPUs there are to use."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing where there is no GPU, as in PyTorch."""


def manual_seed_all(seed: int) -> None:
    """Nothing where there is no GPU, as in PyTorch."""


def empty_cache() -> None:
    """Nothing where there is no GPU, as in PyTorch."""


def memory_allocated(device: Any = None) -> int:
    """Bytes of GPU memory that tensors take: 0."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes of GPU memory that tensors took: 0."""
    return 0


def _no_gpu(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError(
        "no GPU can be used: this version of Ingot computes on the CPU; ask ingot.cuda.is_available() before"
    )


current_device = set_device = synchronize = get_device_name = _no_gpu
