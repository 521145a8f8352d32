"""How much memory of a GPU is in use."""

from typing import Any

from ..eager.device import as_device
from .backends import backend, current_backend
from .errors import size_text

__all__ = [
    "empty_cache", "max_memory_allocated", "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_reserved",
    "memory_stats", "memory_summary", "reset_peak_memory_stats",
]  # fmt: skip


def _memory(device: Any, what: str) -> int:
    """A number of bytes; 0 where there is no GPU, as in PyTorch."""
    found = current_backend()
    if found is None:
        return 0
    index = as_device("cuda" if device is None else device).index
    assert index is not None
    return found.memory(index)[what]


def memory_allocated(device: Any = None) -> int:
    """Bytes of GPU memory that tensors take; 0 where there is no GPU.

    >>> ingot.cuda.memory_allocated()
    0
    """
    return _memory(device, "allocated")


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes of GPU memory that tensors took at once, since the start or `reset_peak_memory_stats`."""
    return _memory(device, "peak_allocated")


def memory_reserved(device: Any = None) -> int:
    """Bytes of GPU memory that the process holds: what tensors take, and what is kept to be used again."""
    return _memory(device, "reserved")


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes of GPU memory that the process held at once."""
    return _memory(device, "peak_reserved")


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the most bytes from here on."""
    index = as_device("cuda" if device is None else device).index
    assert index is not None
    backend().reset_peak(index)


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes of a GPU's memory that are free, and how many there are."""
    index = as_device("cuda" if device is None else device).index
    assert index is not None
    found = backend().memory(index)
    return found["free"], found["total"]


def memory_stats(device: Any = None) -> dict[str, int]:
    """Numbers of bytes by PyTorch's names."""
    index = as_device("cuda" if device is None else device).index
    assert index is not None
    found = backend().memory(index)
    return {
        "allocated_bytes.all.current": found["allocated"],
        "allocated_bytes.all.peak": found["peak_allocated"],
        "reserved_bytes.all.current": found["reserved"],
        "reserved_bytes.all.peak": found["peak_reserved"],
    }


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The numbers of bytes as text."""
    return "\n".join(f"{name:32s}{size_text(count):>14s}" for name, count in memory_stats(device).items())


def empty_cache() -> None:
    """Give memory that no tensor takes back to the GPU; nothing where there is none, as in PyTorch."""
    found = current_backend()
    if found is not None:
        found.trim()
