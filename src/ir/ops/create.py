"""Ops that make tensors from sizes and numbers: full, arange, linspace, eye."""

import math
from typing import Any

import numpy as np

from ..dims import Dim, dim_max
from ..dtypes import DType, default_dtype, int64
from ..sizes import Sizes
from ..types import IntType, ScalarType, TensorType
from ._common import array_dtype, dim_of, dim_value, randoms, require_tensor, scalar_type_dtype, shape_text
from ._op import Custom, Decompose, ErrorSample, F, Sample, define


def size_dims(name: str, size: tuple[Any, ...]) -> tuple[Dim, ...]:
    """The shape that SIZE operands state; RuntimeError for a negative size."""
    shape = tuple(dim_value(name, "size", s) for s in size)
    for d in shape:
        if isinstance(d, int) and d < 0:
            raise RuntimeError(f"{name}: sizes must not be negative, given {shape_text(shape)}")
    return shape


def _infer_full(sizes: Sizes, size: tuple[Any, ...], fill_value: Any, *, dtype: DType | None) -> TensorType:
    if isinstance(fill_value, TensorType):
        if fill_value.shape:
            raise RuntimeError(f"full: expected a number to fill with, given a tensor {fill_value}")
        return TensorType(dtype or fill_value.dtype, size_dims("full", size))
    if not isinstance(fill_value, ScalarType):
        raise TypeError(f"full(): argument 'fill_value' must be Number, not {fill_value}")
    return TensorType(dtype or scalar_type_dtype(fill_value), size_dims("full", size))


def _evaluate_full(xp: Any, size: tuple[int, ...], fill_value: Any, *, dtype: DType | None) -> Any:
    dtype = dtype or array_dtype(fill_value)
    with np.errstate(all="ignore"):
        return xp.full(size, xp.asarray(fill_value).astype(dtype.numpy), dtype.numpy)


FULL = define(
    "full(size: Size, fill_value: Scalar, *, dtype: dtype | None = None)",
    "A tensor of that size with every element `fill_value`; the dtype follows the value unless given.\n\n"
    ">>> ingot.full((2, 3), 7)\ntensor([[7, 7, 7],\n        [7, 7, 7]])",
    infer=_infer_full,
    evaluate=_evaluate_full,
    vjp=lambda c, g, size, fill_value, *, dtype: (None, F.sum(g) if hasattr(fill_value, "shape") else None),
    lower=Custom("full"),
    samples=lambda: [
        Sample(((2, 3), 1.5), differentiable=False),
        Sample(((), 2), differentiable=False),
        Sample(((0, 4), True), differentiable=False),
        Sample(((3,), 2.7), {"dtype": "int32"}, differentiable=False),
        Sample(((3,), math.inf), {"dtype": "float16"}, differentiable=False),
    ],
    errors=lambda: [
        ErrorSample(((-1,), 0), RuntimeError, r"negative, given \[-1\]"),
        ErrorSample(((2.0,), 0), TypeError, "must be int"),
        ErrorSample(((2,), "x"), TypeError, "must be Number"),
    ],
)


def _infer_full_like(sizes: Sizes, input: Any, fill_value: Any, *, dtype: DType | None) -> TensorType:
    input = require_tensor("full_like", "input", input)
    if not isinstance(fill_value, ScalarType):
        raise TypeError(f"full_like(): argument 'fill_value' must be Number, not {fill_value}")
    return TensorType(dtype or input.dtype, input.shape, input.device)


FULL_LIKE = define(
    "full_like(input: Tensor, fill_value: Scalar, *, dtype: dtype | None = None)",
    "A tensor of the input's size and dtype with every element `fill_value`.",
    infer=_infer_full_like,
    evaluate=lambda xp, input, fill_value, *, dtype: _evaluate_full(
        xp, input.shape, fill_value, dtype=dtype or array_dtype(input)
    ),
    vjp=lambda c, g, input, fill_value, *, dtype: (None, None),
    lower=Decompose(
        lambda input, fill_value, *, dtype: F.full(tuple(input.shape), fill_value, dtype=dtype or input.dtype)
    ),
    samples=lambda: [
        Sample((randoms(2, 3), 1), differentiable=False),
        Sample((randoms(0), -2.5), {"dtype": "int8"}, differentiable=False),
    ],
    errors=lambda: [ErrorSample((2.0, 1), TypeError, "must be Tensor")],
)


# -- ranges ------------------------------------------------------------------------------------------------------------


def _range_dtype(types: tuple[Any, ...], dtype: DType | None) -> DType:
    for type in types:
        if not isinstance(type, ScalarType):
            raise TypeError(f"arange(): expected numbers, given {type}")
    if dtype is not None:
        return dtype
    return int64 if all(isinstance(t, IntType) for t in types) else default_dtype()


def _infer_arange(sizes: Sizes, start: Any, end: Any, step: Any, *, dtype: DType | None) -> TensorType:
    result = _range_dtype((start, end, step), dtype)
    values = [t.value if isinstance(t, IntType) else None for t in (start, end, step)]
    first, last, by = values
    if isinstance(by, int) and by == 0:
        raise RuntimeError("arange: step must be nonzero")
    if first is None or last is None or not isinstance(by, int):
        raise TypeError(
            f"arange: the number of elements from {start} to {end} by {step} is not known where the graph is made; "
            "use ints, with a constant step, or compute it from an integer range"
        )
    first, last = sizes.resolve(first), sizes.resolve(last)
    span = last - first if by > 0 else first - last
    if isinstance(span, int) and span < 0:
        raise RuntimeError(f"arange: the end {last} is on the wrong side of the start {first} for a step of {by}")
    if not isinstance(span, int):
        positive = dim_max(span, 0)
        if positive != span:
            sizes.equal(positive, span, f"arange: the end {last} must not be before the start {first}")
    return TensorType(result, ((span + (abs(by) - 1)) // abs(by),))


def _evaluate_arange(xp: Any, start: Any, end: Any, step: Any, *, dtype: DType | None) -> Any:
    if dtype is None:
        dtype = int64 if all(isinstance(v, int) for v in (start, end, step)) else default_dtype()
    return xp.arange(start, end, step).astype(dtype.numpy)


ARANGE = define(
    "arange(start: Int, end: Int, step: Int, *, dtype: dtype | None = None)",
    "The integers from `start` up to but not including `end` by `step`, as a tensor.\n\n"
    ">>> ingot.arange(2, 8, 3)\ntensor([2, 5])",
    infer=_infer_arange,
    evaluate=_evaluate_arange,
    lower=Custom("arange"),
    samples=lambda: [
        Sample((0, 5, 1)),
        Sample((7, 0, -3)),
        Sample((2, 9, 3), {"dtype": "float32"}),
        Sample((4, 4, 1)),
    ],
    errors=lambda: [
        ErrorSample((0, 5, 0), RuntimeError, "step must be nonzero"),
        ErrorSample((5, 0, 1), RuntimeError, "wrong side"),
        ErrorSample((0, "a", 1), TypeError, "expected numbers"),
    ],
)


def _infer_range_steps(sizes: Sizes, start: Any, step: Any, count: Any, *, dtype: DType) -> TensorType:
    for type in (start, step):
        if not isinstance(type, ScalarType):
            raise TypeError(f"arange(): expected numbers, given {type}")
    return TensorType(dtype, size_dims("arange", (count,)))


ARANGE_STEPS = define(
    "arange_steps(start: Scalar, step: Scalar, count: Int, *, dtype: dtype)",
    "`count` elements start + i * step, computed in 64 bits: what arange of floats becomes once its length is known.",
    infer=_infer_range_steps,
    evaluate=lambda xp, start, step, count, *, dtype: (start + xp.arange(count) * step).astype(dtype.numpy),
    lower=Custom("arange_steps"),
    samples=lambda: [
        Sample((0.5, 0.25, 5), {"dtype": "float32"}),
        Sample((3, -1.5, 2), {"dtype": "int64"}),
        Sample((0.0, 1.0, 0), {"dtype": "float64"}),
    ],
    errors=lambda: [ErrorSample((0.0, 1.0, -1), RuntimeError, "negative", {"dtype": "float32"})],
)


def _infer_linspace(sizes: Sizes, start: Any, end: Any, steps: Any, *, dtype: DType | None) -> TensorType:
    for type in (start, end):
        if not isinstance(type, ScalarType):
            raise TypeError(f"linspace(): expected numbers, given {type}")
    count = dim_value("linspace", "steps", steps)
    if isinstance(count, int) and count < 0:
        raise RuntimeError(f"linspace: number of steps must be non-negative, given {count}")
    return TensorType(dtype or default_dtype(), (count,))


def _evaluate_linspace(xp: Any, start: Any, end: Any, steps: int, *, dtype: DType | None) -> Any:
    dtype = dtype or default_dtype()
    values = xp.linspace(start, end, steps)
    return (xp.trunc(values) if dtype.category < 2 else values).astype(dtype.numpy)


LINSPACE = define(
    "linspace(start: Scalar, end: Scalar, steps: Int, *, dtype: dtype | None = None)",
    "`steps` numbers evenly spaced from `start` to `end`, both included.",
    infer=_infer_linspace,
    evaluate=_evaluate_linspace,
    lower=Custom("linspace"),
    samples=lambda: [
        Sample((0, 1, 5)),
        Sample((-2.5, 3, 7), {"dtype": "float64"}),
        Sample((1, 2, 1)),
        Sample((1, 2, 0)),
        Sample((0, 10, 4), {"dtype": "int64"}),
    ],
    errors=lambda: [ErrorSample((0, 1, -1), RuntimeError, "non-negative")],
)


def _infer_eye(sizes: Sizes, n: Any, m: Any, *, dtype: DType | None) -> TensorType:
    rows = size_dims("eye", (n,))[0]
    columns = rows if m is None else size_dims("eye", (m,))[0]
    return TensorType(dtype or default_dtype(), (rows, columns))


def _decompose_eye(n: Any, m: Any, *, dtype: DType | None) -> Any:
    rows, columns = dim_of(n), dim_of(n if m is None else m)
    equal = F.eq(F.unsqueeze(F.arange(0, rows, 1), 1), F.arange(0, columns, 1))
    return F.cast(equal, dtype=dtype or default_dtype())


EYE = define(
    "eye(n: Int, m: Int = None, *, dtype: dtype | None = None)",
    "The n by m (default n) matrix with ones on the diagonal and zeros elsewhere.",
    infer=_infer_eye,
    evaluate=lambda xp, n, m, *, dtype: xp.eye(n, m, dtype=(dtype or default_dtype()).numpy),
    lower=Decompose(_decompose_eye),
    samples=lambda: [Sample((3,)), Sample((2, 5), {"dtype": "int64"}), Sample((0,))],
    errors=lambda: [ErrorSample((-1,), RuntimeError, "negative")],
)
