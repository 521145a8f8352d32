"""GPUs, as `torch.cuda`: tensors and ops on them by cupy, or by numpy with the same rules where none is at hand.

Without a GPU, programs that ask first go on, and `ingot.cuda.simulate()` (or INGOT_CUDA=simulator) lets numpy stand in
for one: see docs/gpu.md.

>>> ingot.device("cuda" if ingot.cuda.is_available() else "cpu")
device(type='cpu')
"""

from typing import Any

from .. import amp
from ..eager.device import as_device
from ..eager.legacy import CUDA_TENSOR_TYPES as _types
from ..ir.random_state import default_generator
from .backends import HostFallbackWarning, Simulator, backend, current_backend, host_ops, simulate, unavailable_reason
from .errors import AcceleratorError, GpuUnavailable, OutOfMemoryError
from .memory import (
    empty_cache,
    max_memory_allocated,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_reserved,
    memory_stats,
    memory_summary,
    reset_peak_memory_stats,
)
from .streams import Event, Stream, current_stream, default_stream, set_stream, stream

__all__ = [
    "AcceleratorError", "Event", "GpuUnavailable", "HostFallbackWarning", "OutOfMemoryError", "Simulator", "Stream",
    "amp", "current_device", "current_stream", "default_stream", "device", "device_count", "device_of", "empty_cache",
    "get_arch_list", "get_device_capability", "get_device_name", "get_device_properties", "get_rng_state", "host_ops",
    "init", "initial_seed", "ipc_collect", "is_available", "is_bf16_supported", "is_initialized", "manual_seed",
    "manual_seed_all", "max_memory_allocated", "max_memory_reserved", "mem_get_info", "memory_allocated",
    "memory_reserved", "memory_stats", "memory_summary", "reset_peak_memory_stats", "seed", "seed_all", "set_device",
    "set_rng_state", "set_stream", "simulate", "stream", "synchronize", "unavailable_reason",
]  # fmt: skip


globals().update(_types)


def is_available() -> bool:
    """Whether tensors can live on a GPU; `unavailable_reason()` says why not."""
    return current_backend() is not None


def is_initialized() -> bool:
    """Whether a GPU is in use."""
    from ..eager import modes

    return modes.devices


def init() -> None:
    """Begin to use GPUs, as the first tensor on one does; GpuUnavailable (a RuntimeError) where there is none."""
    backend()


def device_count() -> int:
    """How many GPUs there are to use."""
    found = current_backend()
    return 0 if found is None else found.count()


def _index(value: Any) -> int:
    place = as_device("cuda" if value is None else value)
    if place.index is None:
        raise ValueError(f"Expected a cuda device, but got: {place}")
    return place.index


def current_device() -> int:
    """The number of the GPU that "cuda" means in this thread."""
    return backend().current()


def set_device(device: Any) -> None:
    """Let "cuda" mean a GPU in this thread; nothing for a negative number."""
    if isinstance(device, int) and device < 0:
        return
    backend().set_current(_index(device))


class device:
    """A context in which "cuda" means a GPU.

    >>> with ingot.cuda.simulate(devices=2), ingot.cuda.device(1):
    ...     ingot.ones(1, device="cuda")
    tensor([1.], device='cuda:1')
    """

    def __init__(self, device: Any) -> None:
        self.idx = -1 if device is None or (isinstance(device, int) and device < 0) else _index(device)
        self._contexts: list[Any] = []

    def __enter__(self) -> "device":
        context = backend().on(self.idx) if self.idx >= 0 else None
        if context is not None:
            context.__enter__()
        self._contexts.append(context)
        return self

    def __exit__(self, *exception: Any) -> None:
        context = self._contexts.pop()
        if context is not None:
            context.__exit__(*exception)


class device_of(device):
    """A context in which "cuda" means the GPU of a tensor; nothing for a tensor on the CPU."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.device.index)


def synchronize(device: Any = None) -> None:
    """Wait until a GPU has done all that it was given; errors that it reports show here."""
    backend().synchronize(_index(device))


# -- what it is --------------------------------------------------------------------------------------------------------


class _Properties:
    """What a GPU is: name, major, minor, total_memory, multi_processor_count, ..."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"_CudaDeviceProperties({shown})"


def get_device_properties(device: Any = None) -> Any:
    """What a GPU is: an object with name, major, minor, total_memory, multi_processor_count and so on."""
    return _Properties(backend().properties(_index(device)))


def get_device_name(device: Any = None) -> str:
    """The name of a GPU."""
    return str(get_device_properties(device).name)


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a GPU, as (8, 0)."""
    found = get_device_properties(device)
    return found.major, found.minor


def get_arch_list() -> list[str]:
    """The architectures that kernels are tested for; empty where there is no GPU."""
    return ["sm_75", "sm_80", "sm_90"] if is_available() else []


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether tensors of bfloat16 can be computed with on the current GPU."""
    return is_available() and (including_emulation or get_device_capability() >= (8, 0))


def ipc_collect() -> None:
    """Nothing: memory of a GPU is not shared between processes."""


# -- random numbers ----------------------------------------------------------------------------------------------------
# One stream for all devices: a program draws the same numbers wherever it runs.


def manual_seed(seed: int) -> None:
    """Restart the generator of the GPU, which is that of the CPU; nothing where there is no GPU, as in PyTorch."""
    if is_available():
        default_generator.manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """Restart the generator of all GPUs; nothing where there is none."""
    manual_seed(seed)


def seed() -> None:
    """Restart the generator from the system's entropy."""
    if is_available():
        default_generator.seed()


def seed_all() -> None:
    """Restart the generator from the system's entropy."""
    seed()


def initial_seed() -> int:
    """The seed that the generator was last restarted from."""
    return default_generator.initial_seed()


def get_rng_state(device: Any = "cuda") -> Any:
    """Where the generator is, as a uint8 tensor on the CPU."""
    from ..eager.random import get_rng_state

    return get_rng_state()


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Put the generator where `get_rng_state` saw it."""
    from ..eager.random import set_rng_state

    set_rng_state(new_state)
