"""The same bits as elements of another type."""

from typing import Any

import numpy as np

from ..dtypes import DType
from ..sizes import Sizes
from ..types import TensorType
from ._common import ints, randoms, require_tensor
from ._op import Custom, ErrorSample, Sample, define


def _infer(sizes: Sizes, input: Any, *, dtype: DType) -> TensorType:
    input = require_tensor("bitcast", "input", input)
    old, new = input.dtype.itemsize, dtype.itemsize
    if old == new:
        return TensorType(dtype, input.shape, input.device)
    if input.rank == 0:
        raise RuntimeError(f"bitcast: {input} has no dimension whose size could change for elements of {new} bytes")
    last = input.shape[-1]
    if new < old:
        return TensorType(dtype, (*input.shape[:-1], last * (old // new)), input.device)
    ratio = new // old
    if isinstance(last, int) and last % ratio:
        raise RuntimeError(f"bitcast: the last size, {last}, must be divisible by {ratio} for elements of {new} bytes")
    sizes.equal(last % ratio, 0, f"bitcast: the last size must be divisible by {ratio}")
    return TensorType(dtype, (*input.shape[:-1], last // ratio), input.device)


def _evaluate(xp: Any, input: Any, *, dtype: DType) -> Any:
    flat = xp.ascontiguousarray(input).reshape(input.shape)
    ratio_up, ratio_down = dtype.itemsize // flat.dtype.itemsize, flat.dtype.itemsize // dtype.itemsize
    if flat.size == 0:
        last = flat.shape[-1] if flat.ndim else 0
        last = last // ratio_up if ratio_up > 1 else last * max(ratio_down, 1)
        return xp.zeros((*flat.shape[:-1], last), dtype.numpy)
    if dtype.numpy == np.bool_:
        return flat.view(np.uint8) != 0  # a bool of another byte than 0 or 1 is none that NumPy knows
    return flat.view(dtype.numpy)


BITCAST = define(
    "bitcast(input: Tensor, *, dtype: dtype)",
    "The bits of the elements read as elements of another type; the last size changes where theirs does.",
    infer=_infer,
    evaluate=_evaluate,
    lower=Custom("bitcast"),
    samples=lambda: [
        Sample((randoms(3, 4),), {"dtype": "int32"}, differentiable=False),
        Sample((randoms(3, 4),), {"dtype": "uint8"}, differentiable=False),
        Sample((ints(2, 6),), {"dtype": "float64"}, differentiable=False),
        Sample((randoms(0, 2),), {"dtype": "float64"}, differentiable=False),
        Sample((randoms(),), {"dtype": "int32"}, differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3),), RuntimeError, "divisible by 2", {"dtype": "float64"}),
        ErrorSample((randoms(),), RuntimeError, "no dimension", {"dtype": "uint8"}),
    ],
)
