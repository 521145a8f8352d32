"""PyTorch's call forms that one op record does not cover, installed over the generated functions."""

from typing import Any

import numpy as np

from . import indexing, modes, reductions, shapes
from .blockwise import add_scaled
from .device import require_same_device
from .families import with_out
from .functions import call as _call
from .methods import METHODS, PROPERTIES, clone, inplace_of, write_out
from .reductions import max, min, norm, sort, std, std_mean, topk, var, var_mean
from .shapes import chunk, narrow, select, split, squeeze, unbind, where
from .tensor import Tensor

__all__ = [
    "add", "allclose", "chunk", "clamp_max", "clamp_min", "div", "equal", "install", "is_complex", "is_floating_point",
    "is_tensor", "max", "min", "mv", "narrow", "norm", "numel", "positive", "round", "rsub", "select", "sort", "split",
    "squeeze", "std", "std_mean", "sub", "topk", "unbind", "var", "var_mean", "where",
]  # fmt: skip

# -- arithmetic with alpha -----------------------------------------------------------------------------------------


def add(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Tensor:
    """Elementwise `input + alpha * other`.

    >>> ingot.add(ingot.tensor([1.0, 2.0]), 1, alpha=3)
    tensor([4., 5.])
    """
    result = _call("add", input, other if alpha == 1 else _scale(input, other, alpha))
    return result if out is None else write_out(out, result, "add")  # type: ignore[no-any-return]


def sub(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Tensor:
    """Elementwise `input - alpha * other`."""
    result = _call("sub", input, other if alpha == 1 else _scale(input, other, alpha))
    return result if out is None else write_out(out, result, "sub")  # type: ignore[no-any-return]


def _scale(input: Any, other: Any, alpha: Any) -> Any:
    """alpha * other, in the dtype that `input` and `other` have together: alpha does not take part in promotion."""
    if not isinstance(other, Tensor):
        return other * alpha
    if isinstance(alpha, float) and other.dtype.category < 2:
        dtype = input.dtype if isinstance(input, Tensor) else None
        if dtype is None or dtype.category < 2:
            raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
        other = _call("cast", other, dtype=dtype)
    scaled = _call("mul", other, alpha)
    return scaled if scaled.dtype is other.dtype else _call("cast", scaled, dtype=other.dtype)


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Tensor:
    """Elementwise quotient; `rounding_mode` "floor" rounds down, "trunc" toward 0, None divides truly."""
    if out is not None:
        return write_out(out, div(input, other, rounding_mode=rounding_mode), "div")  # type: ignore[no-any-return]
    if rounding_mode is None:
        return _call("div", input, other)  # type: ignore[no-any-return]
    if rounding_mode == "floor":
        return _call("floor_divide", input, other)  # type: ignore[no-any-return]
    if rounding_mode == "trunc":
        quotient = _call("trunc", _call("div", input, other))
        kinds = [x.dtype for x in (input, other) if isinstance(x, Tensor)]
        return quotient if any(k.category > 1 for k in kinds) else _call("cast", quotient, dtype=kinds[0])  # type: ignore[no-any-return]
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """Elementwise `other - alpha * input`."""
    if not isinstance(input, Tensor):
        raise TypeError(f"rsub(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return sub(other, input, alpha=alpha)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Elementwise rounding to the nearest, halves to even; `decimals` digits are kept after the point.

    >>> ingot.round(ingot.tensor([0.5, 1.5, 2.5]))
    tensor([0., 2., 2.])
    """
    if decimals == 0:
        return _call("round", input)  # type: ignore[no-any-return]
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"round: decimals need a floating-point tensor, given {input.dtype.name}")
    scale = 10.0 ** abs(decimals)
    if decimals > 0:
        return _call("div", _call("round", _call("mul", input, scale)), scale)  # type: ignore[no-any-return]
    return _call("mul", _call("round", _call("div", input, scale)), scale)  # type: ignore[no-any-return]


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Elementwise the larger of the element and `min`."""
    if isinstance(input, Tensor) and input.dtype.category == 0:
        return _call("maximum", input, min)  # type: ignore[no-any-return]
    return _call("clamp", input, min, None)  # type: ignore[no-any-return]


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Elementwise the smaller of the element and `max`."""
    if isinstance(input, Tensor) and input.dtype.category == 0:
        return _call("minimum", input, max)  # type: ignore[no-any-return]
    return _call("clamp", input, None, max)  # type: ignore[no-any-return]


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {vec.ndim}, {input.ndim}, {vec.ndim}")
    return _call("matmul", input, vec)  # type: ignore[no-any-return]


def _inplace(name: str) -> Any:
    plain = getattr(Tensor, f"__i{name}__")

    def method(self: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
        if alpha == 1:
            return plain(self, other)  # type: ignore[no-any-return]
        if isinstance(other, Tensor) and alpha.__class__ in (int, float) and not modes.active_modes:
            recorded = modes.state.grad_enabled and (self.requires_grad or other.requires_grad)
            if not recorded and add_scaled(self, other, alpha if name == "add" else -alpha):
                return self
        return plain(self, _scale(self, other, alpha))  # type: ignore[no-any-return]

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"In-place version of `{name}`; returns the tensor itself."
    return method


def _inplace_div() -> Any:
    plain = getattr(Tensor, "__itruediv__")  # noqa: B009  (made from the op record)
    rounded = inplace_of("div_", div)

    def method(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        return plain(self, other) if rounding_mode is None else rounded(self, other, rounding_mode=rounding_mode)

    method.__name__ = method.__qualname__ = "div_"
    method.__doc__ = "In-place version of `div`; returns the tensor itself."
    return method


# -- questions -----------------------------------------------------------------------------------------------------


def is_tensor(obj: Any) -> bool:
    """Whether the object is a tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether the elements are real floating-point numbers."""
    return input.dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """Whether the elements are complex numbers."""
    return input.dtype.is_complex


def numel(input: Tensor) -> int:
    """The number of elements of a tensor."""
    return input.shape.numel()


def positive(input: Tensor) -> Tensor:
    """The tensor itself; RuntimeError for bools."""
    return +input  # type: ignore[operator,no-any-return]


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements satisfy |input - other| <= atol + rtol * |other|."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.name} did not match {other.dtype.name}")
    require_same_device(input.device, other.device)
    return bool(np.allclose(input._array, other._array, rtol=rtol, atol=atol, equal_nan=equal_nan))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    if not isinstance(other, Tensor):
        raise TypeError(f"equal(): argument 'other' (position 2) must be Tensor, not {type(other).__name__}")
    require_same_device(input.device, other.device)
    return bool(np.array_equal(input._array, other._array))


def install(namespace: dict[str, Any]) -> None:
    """Put these functions into the public namespace and on Tensor, over the generated ones."""
    both: list[Any] = [add, sub, div, round, clamp_min, clamp_max, mv]
    both += [getattr(reductions, name) for name in reductions.__all__]
    both += [getattr(shapes, name) for name in shapes.__all__ if name not in _FUNCTIONS_ONLY]
    for function in both:
        name = function.__name__
        if hasattr(Tensor, name):
            function.__ingot_op__ = getattr(getattr(Tensor, name), "__ingot_op__", None)
        if name in _WITH_OUT:
            function = with_out(function)
        if name not in ("var_mean", "std_mean"):
            setattr(Tensor, name, function)
        namespace[name] = function
    for name in _FUNCTIONS_ONLY:
        function = getattr(shapes, name)
        namespace[name] = with_out(function) if name in _WITH_OUT else function
    for function in (is_tensor, is_floating_point, is_complex, numel, positive, allclose, equal, rsub, clone):
        namespace[function.__name__] = function
    Tensor.subtract = Tensor.sub  # type: ignore[method-assign,assignment]
    Tensor.divide = Tensor.true_divide = Tensor.div  # type: ignore[method-assign,assignment]
    namespace.update(subtract=sub, divide=div, true_divide=div)
    for name in ("add", "sub"):
        setattr(Tensor, f"{name}_", _inplace(name))
    for name, method in METHODS.items():
        if hasattr(getattr(Tensor, name, None), "__ingot_op__"):
            method.__ingot_op__ = getattr(Tensor, name).__ingot_op__
        setattr(Tensor, name, method)
    for name, descriptor in PROPERTIES.items():
        setattr(Tensor, name, descriptor)
    Tensor.div_ = Tensor.divide_ = Tensor.true_divide_ = _inplace_div()  # type: ignore[method-assign,assignment]
    for name in ("round", "clamp_min", "clamp_max", "index_fill", "index_copy"):
        setattr(Tensor, f"{name}_", inplace_of(f"{name}_", getattr(Tensor, name)))
    Tensor.allclose, Tensor.equal = allclose, equal  # type: ignore[method-assign,assignment]
    Tensor.where = lambda self, condition, other: where(condition, self, other)  # type: ignore[method-assign,assignment]
    for name, method in (("__getitem__", indexing.getitem), ("__setitem__", indexing.setitem)):
        setattr(Tensor, name, method)


_WITH_OUT = {
    "clamp_max", "clamp_min", "column_stack", "diag", "dstack", "hstack", "index_copy", "max", "min", "mv", "nonzero",
    "norm", "round", "sort", "std", "take_along_dim", "topk", "var", "vstack", "where",
}  # fmt: skip
# Of `shapes`: what PyTorch has as functions but not as methods (`where` is another function there).
_FUNCTIONS_ONLY = (
    "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_shapes", "broadcast_tensors", "column_stack", "dstack",
    "hstack", "vstack", "where",
)  # fmt: skip
