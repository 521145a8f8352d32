"""What the op families share: promotion and broadcasting of operand types, and arguments for samples."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dims import Dim, DimExpr, dim_max
from ..dtypes import DType, bool_, complex128, default_dtype, float64, from_numpy, int64, result_dtype, scalar_dtype
from ..sizes import Sizes
from ..types import BoolType, ComplexType, FloatType, IntType, TensorType, Type
from ._op import F

__all__ = [
    "array_dtype", "broadcast_types", "cast", "conjugating", "describe", "dim_of", "dim_value", "double", "floating",
    "ints", "is_at_most", "largest", "normalise_dim", "normalise_dims", "promoted", "promoted_array_dtype", "randoms",
    "register_special", "require_broadcast", "require_tensor", "same_device", "scalar_type_dtype", "shape_text",
    "special", "sum_to",
]  # fmt: skip


def scalar_type_dtype(type: Type) -> DType:
    """The dtype that a scalar IR type stands for in promotion."""
    match type:
        case BoolType():
            return bool_
        case IntType():
            return int64
        case FloatType():
            return default_dtype()
        case ComplexType():
            return (
                complex128
                if default_dtype() is float64
                else result_dtype([default_dtype()], scalars=[scalar_dtype(1j)])
            )
    raise TypeError(f"expected a tensor or a number, given {type}")


def require_tensor(name: str, argument: str, type: Any) -> TensorType:
    """The type, if it is a tensor's; TypeError otherwise."""
    if not isinstance(type, TensorType):
        raise TypeError(f"{name}(): argument '{argument}' must be Tensor, not {type}")
    return type


def promoted(types: tuple[Any, ...]) -> DType:
    """The dtype that operands of these types are promoted to."""
    dimensioned: list[DType] = []
    zero_dim: list[DType] = []
    scalars: list[DType] = []
    for type in types:
        if isinstance(type, TensorType):
            (dimensioned if type.shape else zero_dim).append(type.dtype)
        elif type is not None:
            scalars.append(scalar_type_dtype(type))
    return result_dtype(dimensioned, zero_dim, scalars)


def broadcast_types(sizes: Sizes, name: str, types: tuple[Any, ...], dtype: DType | None = None) -> TensorType:
    """The tensor type of an elementwise operation over operands of these types."""
    tensors = [t for t in types if isinstance(t, TensorType)]
    if not tensors:
        raise TypeError(f"{name}(): expected at least one Tensor, given {', '.join(str(t) for t in types)}")
    devices = {t.device for t in tensors if t.shape} or {tensors[0].device}
    if len(devices) > 1:
        raise RuntimeError(f"{name}: expected all tensors on one device, given {' and '.join(sorted(devices))}")
    shape = tensors[0].shape
    for t in tensors[1:]:
        if t.shape != shape:
            shape = sizes.broadcast_shapes(*(t.shape for t in tensors), name=name)
            break
    return TensorType(promoted(types) if dtype is None else dtype, shape, devices.pop())


def floating(dtype: DType) -> DType:
    """The dtype in which a function of reals is computed: itself if floating or complex, else the default."""
    return dtype if dtype.category >= 2 else default_dtype()


def array_dtype(value: Any) -> DType:
    """The dtype of an array or Python scalar."""
    return from_numpy(value.dtype) if hasattr(value, "dtype") else scalar_dtype(value)


def promoted_array_dtype(values: tuple[Any, ...]) -> DType:
    """The dtype that arrays and Python scalars are promoted to."""
    dimensioned: list[DType] = []
    zero_dim: list[DType] = []
    scalars: list[DType] = []
    for value in values:
        if hasattr(value, "dtype"):
            (dimensioned if value.ndim else zero_dim).append(from_numpy(value.dtype))
        elif value is not None:
            scalars.append(scalar_dtype(value))
    return result_dtype(dimensioned, zero_dim, scalars)


def cast(xp: Any, value: Any, dtype: DType) -> Any:
    """An array or scalar as an array of `dtype` (the same array where it has it already); a negative int wraps."""
    if hasattr(value, "dtype"):
        return value.astype(dtype.numpy, copy=False)
    if dtype.kind == "u" and value.__class__ is int and value < 0:
        return xp.asarray(value).astype(dtype.numpy)
    return xp.asarray(value, dtype.numpy)


def describe(types: tuple[Any, ...]) -> str:
    """Types for an error message."""
    return ", ".join(str(t) for t in types)


def normalise_dim(name: str, dim: int, rank: int) -> int:
    """A dimension in [0, rank); IndexError where it is out of range. A rank of 0 counts as 1, as in PyTorch."""
    extent = max(rank, 1)
    if not -extent <= dim < extent:
        raise IndexError(
            f"{name}: Dimension out of range (expected to be in range of [{-extent}, {extent - 1}], but got {dim})"
        )
    return dim + extent if dim < 0 else dim


def normalise_dims(name: str, dims: tuple[int, ...] | int | None, rank: int) -> tuple[int, ...]:
    """Dimensions in [0, rank), all of them for None or (); RuntimeError for one given twice."""
    if dims is None or dims == ():
        return tuple(range(rank))
    if isinstance(dims, int):
        dims = (dims,)
    result = tuple(normalise_dim(name, d, rank) for d in dims)
    if len(set(result)) != len(result):
        raise RuntimeError(f"{name}: a dimension appears twice in dim={dims}")
    return result if rank else ()


def shape_text(shape: tuple[Dim, ...]) -> str:
    """A shape as errors show it."""
    return f"[{', '.join(map(str, shape))}]"


def same_device(name: str, types: tuple[Any, ...]) -> str:
    """The device of tensors that must share one (a rank-0 tensor may be on any); RuntimeError otherwise."""
    devices = list(dict.fromkeys(t.device for t in types if isinstance(t, TensorType) and t.shape))
    if len(devices) > 1:
        raise RuntimeError(f"{name}: expected all tensors on one device, given {' and '.join(devices)}")
    return devices[0] if devices else next(t.device for t in types if isinstance(t, TensorType))


def dim_value(name: str, argument: str, type: Any) -> Dim:
    """The size that an int operand's type carries; TypeError where the operand is no int or its size is unknown."""
    if not isinstance(type, IntType):
        raise TypeError(f"{name}(): argument '{argument}' must be int, not {type}")
    if type.value is None:
        raise TypeError(f"{name}(): '{argument}' is an int without a size; bind it with Builder.as_dim first")
    return type.value


def dim_of(value: Any) -> Dim:
    """The size that an int operand stands for in a rule: itself, or what the type of a graph value says."""
    if isinstance(value, (int, DimExpr)):
        return value
    size = value.builder.resolve(value.value.type).value
    assert isinstance(size, (int, DimExpr))
    return size


def require_broadcast(sizes: Sizes, type: TensorType, shape: tuple[Dim, ...], message: str) -> None:
    """RuntimeError(message) where a tensor does not broadcast to a shape that is given."""
    if type.rank > len(shape):
        raise RuntimeError(message)
    for size, target in zip(type.shape[::-1], shape[::-1], strict=False):
        size, target = sizes.resolve(size), sizes.resolve(target)
        if size in (1, target):
            continue
        hint, target_hint = sizes.hint(size), sizes.hint(target)
        if hint == 1 != target_hint:
            sizes.equal(size, 1, message)
        elif hint is None or target_hint is None:
            sizes.equal(sizes.broadcast(size, target, message), target, message)
        else:
            sizes.equal(size, target, message)


def is_at_most(a: Dim, b: Dim) -> bool:
    """Whether a <= b is seen to hold for all sizes; False where it is not known."""
    difference = b - a
    return difference >= 0 if isinstance(difference, int) else dim_max(difference, 0) == difference


def conjugating(rule: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """A rule that multiplies by derivatives f'(x), made right for complex numbers: those need conj(f'(x)).

    The gradient of a complex z is dL/d(re z) + i dL/d(im z), as in PyTorch, so that steps against it descend.
    """

    def vjp(context: Any, gradient: Any, *operands: Any, **attributes: Any) -> tuple[Any, ...]:
        if gradient.dtype.kind != "c":
            return rule(context, gradient, *operands, **attributes)
        found = rule(context, F.conj(gradient), *operands, **attributes)
        return tuple(None if g is None else F.conj(g) for g in found)

    return vjp


def sum_to(gradient: Any, like: Any) -> Any:
    """The gradient summed over the dimensions along which `like` was broadcast; None for a scalar operand.

    Of a complex gradient a real operand gets the real part.
    """
    if not hasattr(like, "shape"):
        return None
    if gradient.dtype.kind == "c" and like.dtype.kind != "c":
        gradient = F.real(gradient)
    return gradient if tuple(gradient.shape) == tuple(like.shape) else F.sum_to_size(gradient, tuple(like.shape))


# Functions of arrays of other modules than numpy's, by the arrays' type: `register_special`.
_SPECIAL: dict[type, Any] = {}


def register_special(array_type: type, functions: Any) -> None:
    """Say what has `erf`, `erfc` and `gammaln` (scipy's names) for arrays of a GPU."""
    _SPECIAL[array_type] = functions


def special(name: str, function: Callable[[float], float]) -> Callable[[Any], Any]:
    """A function of Python's math for arrays, in double precision; of an array that is not empty."""
    by_element = np.vectorize(function, otypes=[float])

    def compute(x: Any) -> Any:
        functions = _SPECIAL.get(type(x))
        return by_element(x) if functions is None else getattr(functions, name)(double(x))

    return compute


def largest(x: Any, axis: Any, keepdims: bool, least: float) -> Any:
    """The maxima of an array, and `least` where there are no elements or none is larger."""
    if isinstance(x, np.ndarray) or not x.size:
        host = x if isinstance(x, np.ndarray) else np.empty(x.shape, x.dtype)
        found = np.max(host, axis=axis, keepdims=keepdims, initial=least)
        return found if host is x else x.sum(axis=axis, keepdims=keepdims) + x.dtype.type(least)
    return np.maximum(np.max(x, axis=axis, keepdims=keepdims), x.dtype.type(least))


def double(x: Any) -> Any:
    """An array of float64, of the module of the array; of a number, numpy's."""
    return x.astype(np.float64, copy=False) if hasattr(x, "__cuda_array_interface__") else np.asarray(x, np.float64)


_GENERATOR_SEED = 20240607


def randoms(*shape: int, dtype: str = "float32", seed: int = 0, low: float = -2.0, high: float = 2.0) -> Any:
    """A reproducible array of floats in [low, high) for samples."""
    generator = np.random.default_rng([_GENERATOR_SEED, seed, *shape])
    return np.asarray(low + (high - low) * generator.random(shape), dtype)


def ints(*shape: int, dtype: str = "int64", seed: int = 0, low: int = -5, high: int = 6) -> Any:
    """A reproducible array of integers in [low, high) for samples."""
    return np.asarray(np.random.default_rng([_GENERATOR_SEED, seed, *shape]).integers(low, high, shape), dtype)
