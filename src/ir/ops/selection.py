"""Elementwise selection and conversion: where, masked_fill, clamp, cast, and combinations of three tensors."""

import math
from typing import Any

import numpy as np

from ..dtypes import DType, bool_, limits
from ..sizes import Sizes
from ..types import TensorType
from ._common import (
    array_dtype,
    broadcast_types,
    cast,
    floating,
    ints,
    promoted,
    promoted_array_dtype,
    randoms,
    require_tensor,
    sum_to,
)
from ._derive import derived_vjp
from ._op import Decompose, Elementwise, ErrorSample, F, Sample, VjpContext, define

_PUBLIC = ("", "method")


def _infer_where(sizes: Sizes, condition: Any, input: Any, other: Any) -> TensorType:
    condition = require_tensor("where", "condition", condition)
    if condition.dtype is not bool_:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype.name}"
        )
    return broadcast_types(sizes, "where", (condition, input, other), promoted((input, other)))


def _evaluate_where(xp: Any, condition: Any, input: Any, other: Any) -> Any:
    dtype = promoted_array_dtype((input, other))
    return xp.where(condition, cast(xp, input, dtype), cast(xp, other, dtype))


def _where_vjp(c: VjpContext, g: Any, condition: Any, input: Any, other: Any) -> tuple[Any, Any, Any]:
    return (
        None,
        sum_to(F.where(condition, g, 0.0), input) if c.needs[1] else None,
        sum_to(F.where(condition, 0.0, g), other) if c.needs[2] else None,
    )


WHERE = define(
    "where(condition: Tensor, input: Tensor | Scalar, other: Tensor | Scalar)",
    "Elements of `input` where the condition is true, of `other` elsewhere.",
    infer=_infer_where,
    evaluate=_evaluate_where,
    vjp=_where_vjp,
    lower=Elementwise("select({condition}, {input}, {other})"),
    samples=lambda: [
        Sample((ints(3, 4) > 0, randoms(3, 4), randoms(3, 4, seed=1))),
        Sample((ints(4) > 0, randoms(3, 1), 0.0)),
        Sample((ints(2, 1) > 0, 1.5, randoms(2, 3))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), randoms(3), randoms(3)), RuntimeError, "boolean"),
        ErrorSample((ints(3) > 0, randoms(4), randoms(3)), RuntimeError, "broadcast"),
    ],
)


def _infer_cast(sizes: Sizes, input: Any, *, dtype: DType) -> TensorType:
    input = require_tensor("cast", "input", input)
    return TensorType(dtype, input.shape, input.device)


def _evaluate_cast(xp: Any, input: Any, *, dtype: DType) -> Any:
    if input.dtype.kind == "c" and dtype.kind not in "cb":
        input = input.real
    with np.errstate(all="ignore"):
        return input.astype(dtype.numpy)


def _cast_vjp(c: VjpContext, g: Any, input: Any, *, dtype: DType) -> tuple[Any]:
    return (g if input.dtype is g.dtype else F.cast(g, dtype=input.dtype),)


CAST = define(
    "cast(input: Tensor, *, dtype: dtype)",
    "The tensor with another element type (`Tensor.to(dtype)`).",
    infer=_infer_cast,
    evaluate=_evaluate_cast,
    vjp=_cast_vjp,
    lower=Elementwise("{input}"),
    samples=lambda: [
        Sample((randoms(3, 4),), {"dtype": "float64"}),
        Sample((randoms(5) * 3,), {"dtype": "int32"}, differentiable=False),
        Sample((ints(5),), {"dtype": "bool"}, differentiable=False),
        Sample((ints(5) > 0,), {"dtype": "float32"}, differentiable=False),
    ],
    errors=lambda: [ErrorSample((1.5,), TypeError, "must be Tensor", {"dtype": "float32"})],
)


# -- masks and bounds --------------------------------------------------------------------------------------------------


def _infer_masked_fill(sizes: Sizes, input: Any, mask: Any, value: Any) -> TensorType:
    input, mask = require_tensor("masked_fill", "input", input), require_tensor("masked_fill", "mask", mask)
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_fill: expected a bool mask, given {mask}")
    if isinstance(value, TensorType) and value.rank:
        raise RuntimeError(f"masked_fill only supports a 0-dimensional value tensor, but got {value}")
    if promoted((input, value)).category > input.dtype.category and not (
        input.dtype is bool_ and not isinstance(value, TensorType)
    ):
        raise RuntimeError(f"masked_fill: value of type {value} cannot be converted to {input.dtype.name}")
    return broadcast_types(sizes, "masked_fill", (input, mask), input.dtype)


def _evaluate_masked_fill(xp: Any, input: Any, mask: Any, value: Any) -> Any:
    with np.errstate(all="ignore"):
        return xp.where(mask, xp.asarray(value).astype(input.dtype), input)


def _masked_fill_vjp(c: VjpContext, g: Any, input: Any, mask: Any, value: Any) -> tuple[Any, None, Any]:
    return (
        sum_to(F.where(mask, 0.0, g), input) if c.needs[0] else None,
        None,
        F.sum(F.where(mask, g, 0.0)) if hasattr(value, "shape") and c.needs[2] else None,
    )


MASKED_FILL = define(
    "masked_fill(input: Tensor, mask: Tensor, value: Tensor | Scalar)",
    "The input with elements replaced by one value where the mask is true; the dtype stays.\n\n"
    ">>> ingot.tensor([1., 2.]).masked_fill(ingot.tensor([True, False]), 0.)\n"
    "tensor([0., 2.])",
    infer=_infer_masked_fill,
    evaluate=_evaluate_masked_fill,
    vjp=_masked_fill_vjp,
    lower=Elementwise("select({mask}, {value}, {input})"),
    public=_PUBLIC,
    inplace=True,
    samples=lambda: [
        Sample((randoms(3, 4), ints(3, 4) > 0, -math.inf), differentiable=False),
        Sample((randoms(3, 1), ints(4) > 0, 2)),
        Sample((randoms(3, 4), ints(4) > 0, randoms())),
        Sample((ints(5), ints(5, seed=1) > 0, True), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), ints(3), 0.0), RuntimeError, "bool mask"),
        ErrorSample((ints(3), ints(3) > 0, 0.5), RuntimeError, "cannot be converted"),
        ErrorSample((randoms(3), ints(3) > 0, randoms(3)), RuntimeError, "0-dimensional"),
    ],
)


def _infer_clamp(sizes: Sizes, input: Any, min: Any, max: Any) -> TensorType:
    input = require_tensor("clamp", "input", input)
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    if input.dtype is bool_:
        raise RuntimeError(f"clamp: bool tensors are not supported, given {input}")
    present = tuple(t for t in (input, min, max) if t is not None)
    return broadcast_types(sizes, "clamp", present)


def _evaluate_clamp(xp: Any, input: Any, min: Any, max: Any) -> Any:
    dtype = promoted_array_dtype(tuple(v for v in (input, min, max) if v is not None))
    value = cast(xp, input, dtype)
    with np.errstate(all="ignore"):
        if min is not None:
            value = xp.maximum(value, cast(xp, min, dtype))
        if max is not None:
            value = xp.minimum(value, cast(xp, max, dtype))
    return xp.array(value, copy=True) if value is input else xp.asarray(value)


def _decompose_clamp(input: Any, min: Any, max: Any) -> Any:
    value = input
    if min is not None:
        value = F.maximum(value, min)
    return value if max is None else F.minimum(value, max)


def _clamp_vjp(c: VjpContext, g: Any, input: Any, min: Any, max: Any) -> tuple[Any, Any, Any]:
    """An element on a bound keeps its gradient; a bound that is a tensor gets that of the elements it replaced."""
    below = None if min is None else F.lt(input, min)
    above = None if max is None else F.gt(input, max)
    outside = below if above is None else above if below is None else F.logical_or(below, above)
    for_min = for_max = None
    if hasattr(min, "shape") and c.needs[1]:
        chosen = below if max is None else F.logical_and(below, F.lt(*_as_tensors(min, max, g)))
        for_min = sum_to(F.where(chosen, g, 0.0), min)
    if hasattr(max, "shape") and c.needs[2]:
        chosen = above if min is None else F.logical_or(above, F.lt(*_as_tensors(max, min, g)))
        for_max = sum_to(F.where(chosen, g, 0.0), max)
    return sum_to(F.where(outside, 0.0, g), input) if c.needs[0] else None, for_min, for_max


def _as_tensors(a: Any, b: Any, like: Any) -> tuple[Any, Any]:
    return a, b if hasattr(b, "shape") else F.full((), b, dtype=like.dtype)


CLAMP = define(
    "clamp(input: Tensor, min: Tensor | Scalar = None, max: Tensor | Scalar = None)",
    "The input cut off below `min` and above `max`, numbers or tensors; where they cross, `max` counts.\n\n"
    ">>> ingot.clamp(ingot.tensor([-2., 0.5, 3.]), 0, 1)\ntensor([0.0000, 0.5000, 1.0000])",
    infer=_infer_clamp,
    evaluate=_evaluate_clamp,
    vjp=_clamp_vjp,
    lower=Decompose(_decompose_clamp),
    public=_PUBLIC,
    inplace=True,
    aliases=("clip",),
    samples=lambda: [
        Sample((randoms(3, 5), -0.5, 1.25)),
        Sample((randoms(7),), {"max": 0.5}),
        Sample((randoms(3, 4), randoms(3, 1, seed=1), randoms(4, seed=2))),
        Sample((randoms(7), 1.0, -1.0)),
        Sample((ints(7), -2, 2), differentiable=False),
        Sample((ints(7), 0.5), differentiable=False),
        Sample((np.array([np.nan, 1.0], np.float32), 0.0, 0.5), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3),), RuntimeError, "At least one"),
        ErrorSample((ints(3) > 0, 0, 1), RuntimeError, "bool"),
        ErrorSample((randoms(3), randoms(4)), RuntimeError, "broadcast"),
    ],
)


# -- combinations ------------------------------------------------------------------------------------------------------


def _infer_lerp(sizes: Sizes, input: Any, end: Any, weight: Any) -> TensorType:
    input, end = require_tensor("lerp", "input", input), require_tensor("lerp", "end", end)
    tensors = (input, end, weight) if isinstance(weight, TensorType) else (input, end)
    if any(t.dtype is not input.dtype for t in tensors) or input.dtype.category < 2:
        raise RuntimeError(f"lerp: expected floating-point tensors of one dtype, given {input}, {end} and {weight}")
    return broadcast_types(sizes, "lerp", tensors, input.dtype)


def _evaluate_lerp(xp: Any, input: Any, end: Any, weight: Any) -> Any:
    weight = cast(xp, weight, array_dtype(input))
    with np.errstate(all="ignore"):
        return xp.asarray(input + weight * (end - input))


def _decompose_lerp(input: Any, end: Any, weight: Any) -> Any:
    return F.add(input, F.mul(F.sub(end, input), weight))


LERP = define(
    "lerp(input: Tensor, end: Tensor, weight: Tensor | Scalar)",
    "input + weight * (end - input).\n\n"
    ">>> ingot.lerp(ingot.tensor([0., 0.]), ingot.tensor([1., 2.]), 0.5)\n"
    "tensor([0.5000, 1.0000])",
    infer=_infer_lerp,
    evaluate=_evaluate_lerp,
    vjp=derived_vjp(_decompose_lerp),
    lower=Elementwise("{input} + {weight} * ({end} - {input})"),
    public=_PUBLIC,
    inplace=True,
    samples=lambda: [
        Sample((randoms(3, 4), randoms(3, 4, seed=1), 0.25)),
        Sample((randoms(3, 1), randoms(4, seed=1), randoms(3, 4, seed=2))),
    ],
    errors=lambda: [ErrorSample((ints(3), ints(3), 0.5), RuntimeError, "floating-point")],
)


def _fused(name: str, doc: str, combine: str, expression: str) -> None:
    """input + value * combine(tensor1, tensor2)."""

    def infer(sizes: Sizes, input: Any, tensor1: Any, tensor2: Any, *, value: Any) -> TensorType:
        types = tuple(
            require_tensor(name, what, t) for what, t in (("input", input), ("tensor1", tensor1), ("tensor2", tensor2))
        )
        dtype = promoted(types)
        if combine == "div" and dtype.category < 2:
            raise RuntimeError(f"{name}: expected floating-point tensors, given {input}, {tensor1} and {tensor2}")
        if isinstance(value, float) and dtype.category < 2:
            raise RuntimeError(f"{name}: the value {value} cannot scale tensors of {dtype.name}")
        return broadcast_types(sizes, name, types, dtype)

    def evaluate(xp: Any, input: Any, tensor1: Any, tensor2: Any, *, value: Any) -> Any:
        dtype = promoted_array_dtype((input, tensor1, tensor2))
        input, tensor1, tensor2 = (cast(xp, v, dtype) for v in (input, tensor1, tensor2))
        with np.errstate(all="ignore"):
            part = tensor1 * tensor2 if combine == "mul" else tensor1 / tensor2
            return xp.asarray(input + (part if value == 1 else part * dtype.numpy.type(value)))

    def decompose(input: Any, tensor1: Any, tensor2: Any, *, value: Any) -> Any:
        part = getattr(F, combine)(tensor1, tensor2)
        return F.add(input, part if value == 1 else F.mul(part, value))

    define(
        f"{name}(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: number = 1)",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=derived_vjp(decompose),
        lower=Elementwise(expression),
        public=_PUBLIC,
        inplace=True,
        samples=lambda: [
            Sample((randoms(3, 4), randoms(3, 4, seed=1), randoms(3, 4, seed=2, low=0.5))),
            Sample((randoms(3, 1), randoms(4, seed=1), randoms(4, seed=2, low=0.5)), {"value": -0.5}),
        ],
        errors=lambda: [ErrorSample((ints(3), ints(3), ints(3)), RuntimeError, name, {"value": 0.5})],
    )


_fused(
    "addcmul",
    "input + value * tensor1 * tensor2.\n\n"
    ">>> ingot.addcmul(ingot.tensor([1., 1.]), ingot.tensor([2., 3.]), ingot.tensor([4., 5.]), value=0.5)\n"
    "tensor([5.0000, 8.5000])",
    "mul",
    "{input} + {value} * ({tensor1} * {tensor2})",
)
_fused(
    "addcdiv",
    "input + value * tensor1 / tensor2.\n\n"
    ">>> ingot.addcdiv(ingot.tensor([1., 1.]), ingot.tensor([2., 3.]), ingot.tensor([4., 2.]))\n"
    "tensor([1.5000, 2.5000])",
    "div",
    "{input} + {value} * ({tensor1} / {tensor2})",
)


# -- special numbers ---------------------------------------------------------------------------------------------------


def _replacements(dtype: DType, nan: float | None, posinf: float | None, neginf: float | None) -> tuple[Any, Any, Any]:
    found = limits(dtype)
    return (
        0.0 if nan is None else nan,
        float(found.max) if posinf is None else posinf,
        float(found.min) if neginf is None else neginf,
    )


def _evaluate_nan_to_num(xp: Any, input: Any, **attributes: Any) -> Any:
    if input.dtype.kind not in "fV":
        return xp.array(input, copy=True)
    nan, posinf, neginf = _replacements(array_dtype(input), **attributes)
    with np.errstate(all="ignore"):
        wide = input.astype(np.float32) if input.dtype.kind == "V" else input  # of bfloat16 numpy knows no NaN
        return xp.asarray(xp.nan_to_num(wide, nan=nan, posinf=posinf, neginf=neginf), input.dtype)


def _decompose_nan_to_num(input: Any, **attributes: Any) -> Any:
    if input.dtype.category < 2:
        return F.clone(input)
    nan, posinf, neginf = _replacements(input.dtype, **attributes)
    value = F.where(F.ne(input, input), nan, input)
    return F.where(F.eq(input, math.inf), posinf, F.where(F.eq(input, -math.inf), neginf, value))


NAN_TO_NUM = define(
    "nan_to_num(input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None)",
    "The input with NaN replaced by `nan` (default 0) and infinities by the largest and smallest finite numbers.\n\n"
    '>>> ingot.nan_to_num(ingot.tensor([1., float("nan")]))\n'
    "tensor([1., 0.])",
    infer=lambda sizes, input, *, nan, posinf, neginf: require_tensor("nan_to_num", "input", input),
    evaluate=_evaluate_nan_to_num,
    vjp=lambda c, g, input, **_: (F.where(F.isfinite(input), g, 0.0),),
    lower=Decompose(_decompose_nan_to_num),
    public=_PUBLIC,
    inplace=True,
    samples=lambda: [
        Sample((randoms(3, 4),)),
        Sample((np.array([np.nan, np.inf, -np.inf, 1.5], np.float32),), differentiable=False),
        Sample((np.array([np.nan, np.inf, -np.inf], np.float32), 1.0, 2.0, -3.0), differentiable=False),
        Sample((ints(3),), differentiable=False),
    ],
    errors=lambda: [ErrorSample((1.5,), TypeError, "must be Tensor")],
)


def _infer_isclose(sizes: Sizes, input: Any, other: Any, *, rtol: float, atol: float, equal_nan: bool) -> TensorType:
    input, other = require_tensor("isclose", "input", input), require_tensor("isclose", "other", other)
    if input.dtype is not other.dtype:
        raise RuntimeError(f"isclose: expected tensors of one dtype, given {input} and {other}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: rtol and atol must not be negative, given {rtol} and {atol}")
    return broadcast_types(sizes, "isclose", (input, other), bool_)


def _evaluate_isclose(xp: Any, input: Any, other: Any, *, rtol: float, atol: float, equal_nan: bool) -> Any:
    with np.errstate(all="ignore"):
        return xp.asarray(xp.isclose(input, other, rtol, atol, equal_nan), np.bool_)


def _decompose_isclose(input: Any, other: Any, *, rtol: float, atol: float, equal_nan: bool) -> Any:
    same = F.eq(input, other)
    if equal_nan and input.dtype.category >= 2:
        same = F.logical_or(same, F.logical_and(F.isnan(input), F.isnan(other)))
    wide = floating(input.dtype)
    a, b = (v if v.dtype is wide else F.cast(v, dtype=wide) for v in (input, other))
    difference = F.abs(F.sub(a, b))
    near = F.logical_and(F.isfinite(difference), F.le(difference, F.add(F.mul(F.abs(b), rtol), atol)))
    return F.logical_or(same, near)


ISCLOSE = define(
    "isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False)",
    "Whether |input - other| <= atol + rtol * |other| for each pair of elements.\n\n"
    ">>> ingot.isclose(ingot.tensor([1., 2.]), ingot.tensor([1., 2.1]))\n"
    "tensor([ True, False])",
    infer=_infer_isclose,
    evaluate=_evaluate_isclose,
    lower=Decompose(_decompose_isclose),
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(3, 4), randoms(3, 4))),
        Sample((randoms(3, 4), randoms(4, seed=1), 0.5, 0.1)),
        Sample((np.array([np.nan, np.inf, np.inf]), np.array([np.nan, np.inf, 1.0])), {"equal_nan": True}),
        Sample((np.array([np.nan, np.inf, -np.inf]), np.array([np.nan, np.inf, np.inf]))),
        Sample((ints(5), ints(5, seed=1))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3), ints(3)), RuntimeError, "one dtype"),
        ErrorSample((randoms(3), randoms(3), -1.0), RuntimeError, "negative"),
    ],
)
