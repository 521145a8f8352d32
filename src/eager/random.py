"""Random tensors and the state of the generator."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..ir.dtypes import DType, as_dtype, complex128, default_dtype, float32, float64
from ..ir.ops._op import get_op
from ..ir.random_state import Generator, default_generator
from . import modes
from .creation import _sizes
from .device import CPU, as_device, default_device
from .dispatch import dispatch
from .memory_format import with_options
from .tensor import Tensor, wrap

__all__ = [
    "Generator", "default_generator", "drawing_from", "get_rng_state", "initial_seed", "manual_seed", "normal", "rand",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "seed", "set_rng_state",
]  # fmt: skip


def manual_seed(seed: int) -> Generator:
    """Restart the default generator from a seed, for results that repeat; returns the generator.

    >>> _ = ingot.manual_seed(0); a = ingot.rand(2)
    >>> _ = ingot.manual_seed(0); bool((a == ingot.rand(2)).all())
    True
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Restart the default generator from the system's entropy; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default generator was last restarted from."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """Where the default generator is, as a uint8 tensor."""
    return wrap(default_generator.get_state())


def set_rng_state(new_state: Tensor) -> None:
    """Put the default generator where `get_rng_state` saw it."""
    default_generator.set_state(new_state._array)


def _size(size: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size


@contextlib.contextmanager
def drawing_from(generator: Generator | None) -> Iterator[None]:
    """Let ops, which draw from the default generator, draw from `generator`: it lends that one its stream."""
    if generator is None or generator is default_generator:
        yield
        return
    state = default_generator.get_state()
    default_generator.set_state(generator.get_state())
    try:
        yield
        generator.set_state(default_generator.get_state())
    finally:
        default_generator.set_state(state)


Generator.placed = staticmethod(as_device)  # type: ignore[assignment]
default_generator.device = CPU


def _require_device_of(generator: Generator) -> None:
    """RuntimeError where a generator is not for the device that numbers are drawn on."""
    wanted, found = default_device().type, generator.device.type
    if wanted != found and generator is not default_generator:
        raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{found}'")


def _draw(name: str, operands: tuple[Any, ...], dtype: Any, generator: Generator | None, requires_grad: bool) -> Tensor:
    if modes.devices and generator is not None:
        _require_device_of(generator)
    with drawing_from(generator):
        result: Tensor = dispatch(get_op(name), operands, {"dtype": dtype})
    return result.requires_grad_() if requires_grad else result


def _reals_or_complex(
    name: str, size: tuple[Any, ...], dtype: DType, generator: Generator | None, requires_grad: bool
) -> Tensor:
    """Draws of a real dtype, or of a complex one from two of the parts' dtype; normal ones have variance 1 then too."""
    if not dtype.is_complex:
        return _draw(name, (size,), dtype, generator, requires_grad)
    part = float64 if dtype is complex128 else float32
    real, imaginary = (_draw(name, (size,), part, generator, False) for _ in range(2))
    op = get_op("complex")
    result: Tensor = dispatch(op, (real, imaginary), {})
    if name == "randn":
        result = dispatch(get_op("mul"), (result, math.sqrt(0.5)), {})
    return result.requires_grad_() if requires_grad else result


@with_options
def rand(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers uniform in [0, 1)."""
    element = default_dtype() if dtype is None else as_dtype(dtype)
    return _reals_or_complex("rand", _size(_sizes("rand", sizes, size)), element, generator, requires_grad)


@with_options
def randn(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from the standard normal distribution."""
    element = default_dtype() if dtype is None else as_dtype(dtype)
    return _reals_or_complex("randn", _size(_sizes("randn", sizes, size)), element, generator, requires_grad)


@with_options
def randint(
    low: int = 0,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers uniform in [low, high): `randint(high, size)` or `randint(low, high, size)`."""
    if size is None:
        low, high, size = 0, low, high
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"randint(): argument 'size' must be a tuple of ints, not {type(size).__name__}")
    return _draw("randint", (low, high, tuple(size)), as_dtype(dtype or "int64"), generator, requires_grad)


@with_options
def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """The integers 0 to n - 1 in random order."""
    return _draw("randperm", (n,), as_dtype(dtype or "int64"), generator, False)


@with_options
def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Numbers uniform in [0, 1) in the input's shape and dtype."""
    return rand(tuple(input.shape), dtype=dtype or input.dtype, requires_grad=requires_grad)


@with_options
def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Numbers from the standard normal distribution in the input's shape and dtype."""
    return randn(tuple(input.shape), dtype=dtype or input.dtype, requires_grad=requires_grad)


@with_options
def randint_like(
    input: Tensor,
    low: int,
    high: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers uniform in [low, high), or [0, low), in the input's shape."""
    if high is None:
        low, high = 0, low
    return randint(low, high, tuple(input.shape), dtype=dtype or input.dtype)


@with_options
def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from the normal distribution with this mean and standard deviation (numbers or tensors)."""
    tensors = [v for v in (mean, std) if isinstance(v, Tensor)]
    if isinstance(std, Tensor) and std.dtype.is_complex:
        raise RuntimeError("normal expects standard deviation to be non-complex")
    spread = std._array if isinstance(std, Tensor) else np.asarray(std)
    if spread.size and spread.min() < 0:
        raise RuntimeError("normal expects all elements of std >= 0.0")
    if size is None:
        if not tensors:
            raise TypeError("normal(): expected a size where mean and std are both numbers")
        size = np.broadcast_shapes(*(t._array.shape for t in tensors))
        dtype = tensors[0].dtype if dtype is None else dtype
    draws: Any = randn(tuple(size), generator=generator, dtype=dtype)
    result: Tensor = draws * std + mean
    return result.requires_grad_() if requires_grad else result
