"""Ops without an operator of ONNX's, written in ops that have one, before the graph is exported."""

import math
from collections.abc import Callable
from typing import Any

from ..ir import dtypes
from ..ir.core import Graph, Instruction, Value
from ..ir.dims import dim_max, dim_min
from ..ir.dtypes import DType
from ..ir.ops._op import F
from ..ir.passes.decompose import as_inferred
from ..ir.rewrite import Rewriter, rewrite, rule
from ..ir.types import TensorType
from .errors import OnnxError

__all__ = ["COMPOSITES", "expand_composites"]

COMPOSITES: dict[str, Callable[..., Any]] = {}
_LOG2, _LOG10 = math.log(2.0), math.log(10.0)


def expand_composites(graph: Graph) -> Graph:
    """The graph with every op of `COMPOSITES` replaced by what it is made of."""

    @rule("op -> ops that ONNX has", when=lambda op: op.name in COMPOSITES)
    def expand(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        if any(isinstance(v.type, TensorType) and v.type.dtype.is_complex for v in instruction.inputs):
            return None  # ONNX has no arithmetic of complex numbers
        values = rewriter.call(COMPOSITES[instruction.op.name], instruction)
        return [as_inferred(rewriter, v, r.type) for v, r in zip(values, instruction.results, strict=True)]

    return rewrite(graph, expand)


def _op(*names: str) -> Callable[[Any], Any]:
    def register(function: Any) -> Any:
        for name in names:
            COMPOSITES[name] = function
        return function

    return register


def _float(x: Any) -> Any:
    """The operand of a function whose result is a float."""
    return x if x.dtype.is_floating_point else F.cast(x, dtype=dtypes.float32)


def _is_zero(x: Any) -> Any:
    return F.eq(x, 0.0)


def _full(value: float, like: Any, dtype: DType | None = None) -> Any:
    return F.full((), value, dtype=dtype or like.dtype)


def _truncated(x: Any) -> Any:
    return F.mul(F.sign(x), F.floor(F.abs(x))) if x.dtype.is_floating_point else F.mul(x, 1)


# -- functions of one operand ------------------------------------------------------------------------------------------

COMPOSITES.update(
    {
        "exp2": lambda x: F.exp(F.mul(_float(x), _LOG2)),
        # exp(x) - 1 loses all digits near 0; this is the same, and does not.
        "expm1": lambda x: F.mul(F.mul(F.exp(F.mul(_float(x), 0.5)), F.sinh(F.mul(_float(x), 0.5))), 2.0),
        "log2": lambda x: F.mul(F.log(_float(x)), 1.0 / _LOG2),
        "log10": lambda x: F.mul(F.log(_float(x)), 1.0 / _LOG10),
        "erfc": lambda x: F.sub(1.0, F.erf(_float(x))),
        "trunc": _truncated,
        "frac": lambda x: F.sub(x, _truncated(x)),
        "isfinite": lambda x: F.lt(F.abs(_float(x)), math.inf),
        "isposinf": lambda x: F.eq(_float(x), math.inf),
        "isneginf": lambda x: F.eq(_float(x), -math.inf),
        "logsigmoid": lambda x: F.sub(F.minimum(x, _full(0.0, x)), F.log(F.add(F.exp(F.neg(F.abs(x))), 1.0))),
        "hardshrink": lambda x, *, lambd: F.where(F.le(F.abs(x), lambd), _full(0, x), x),
        "softshrink": lambda x, *, lambd: F.mul(F.sign(x), F.relu(F.sub(F.abs(x), lambd))),
        "threshold": lambda x, *, threshold, value: F.where(F.le(x, threshold), _full(value, x), x),
        "ndtr": lambda x: F.mul(F.add(F.erf(F.mul(_float(x), 0.5**0.5)), 1.0), 0.5),
        "entr": lambda x: F.where(
            F.lt(_float(x), 0.0),
            _full(-math.inf, _float(x)),
            F.where(_is_zero(x), _full(0, _float(x)), F.neg(F.mul(_float(x), F.log(_float(x))))),
        ),
        "deg2rad": lambda x: F.mul(_float(x), math.pi / 180),
        "rad2deg": lambda x: F.mul(_float(x), 180 / math.pi),
        "signbit": lambda x: _signbit(x),
        "conj": lambda x: F.mul(x, 1),
        "real": lambda x: F.mul(x, 1),
        "sgn": lambda x: F.sign(x),
    }
)


@_op("log1p")
def _log1p(x: Any) -> Any:
    x = _float(x)
    # log(1 + x) = 2 atanh(x / (2 + x)), which keeps all digits near 0.
    near = F.mul(F.atanh(F.div(x, F.add(x, 2.0))), 2.0)
    return F.where(F.lt(F.abs(x), 0.5), near, F.log(F.add(x, 1.0)))


@_op("sinc")
def _sinc(x: Any) -> Any:
    x = F.mul(_float(x), math.pi)
    return F.where(_is_zero(x), _full(1, x), F.div(F.sin(x), x))


def _signbit(x: Any) -> Any:
    if not x.dtype.is_floating_point:
        return F.lt(x, 0)
    negative_zero = F.logical_and(_is_zero(x), F.lt(F.reciprocal(x), 0.0))
    return F.logical_or(F.lt(x, 0.0), negative_zero)


@_op("logit")
def _logit(x: Any, *, eps: float | None = None) -> Any:
    x = _float(x)
    x = x if eps is None else F.clamp(x, eps, 1 - eps)
    return F.log(F.div(x, F.sub(1.0, x)))


# -- functions of two operands -----------------------------------------------------------------------------------------


def _promoted(a: Any, b: Any) -> tuple[Any, Any]:
    """Both operands as tensors; a Python number takes the dtype of the tensor beside it."""
    a_is, b_is = hasattr(a, "dtype"), hasattr(b, "dtype")
    return (a if a_is else _full(a, b)), (b if b_is else _full(b, a))


def _nan_ignored(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(a: Any, b: Any) -> Any:
        a, b = _promoted(a, b)
        if not (a.dtype.is_floating_point or b.dtype.is_floating_point):
            return function(a, b)
        a_missing, b_missing = F.ne(a, a), F.ne(b, b)
        return F.where(a_missing, b, F.where(b_missing, a, function(a, b)))

    return compute


def _log_sum(exp: Callable[[Any], Any], log: Callable[[Any], Any]) -> Callable[..., Any]:
    def compute(a: Any, b: Any) -> Any:
        a, b = _promoted(a, b)
        most = F.maximum(a, b)
        # Two equal infinities have no difference.
        gap = F.where(F.eq(a, b), _full(0, most), F.neg(F.abs(F.sub(a, b))))
        return F.add(most, log(F.add(exp(gap), 1.0)))

    return compute


def _guarded(function: Callable[[Any], Any]) -> Callable[..., Any]:
    """x * function(y), which is 0 where x is 0, unless y is NaN."""

    def compute(x: Any, y: Any) -> Any:
        x, y = _promoted(x, y)
        x, y = _float(x), _float(y)
        result = F.mul(x, function(y))
        return F.where(F.logical_and(_is_zero(x), F.eq(y, y)), _full(0, result), result)

    return compute


@_op("atan2")
def _atan2(y: Any, x: Any) -> Any:
    y, x = _promoted(y, x)
    y, x = _float(y), _float(x)
    infinite = F.logical_and(F.eq(F.abs(y), math.inf), F.eq(F.abs(x), math.inf))
    # Infinities have the directions of ones; a quotient 0 / 0 has that of the sign of x.
    ratio = F.where(infinite, F.mul(F.sign(y), F.sign(x)), F.div(y, x))
    angle = F.where(F.logical_and(_is_zero(y), _is_zero(x)), F.mul(y, 1.0), F.atan(ratio))
    half_turn = F.where(_signbit(y), _full(-math.pi, ratio), _full(math.pi, ratio))
    turned = F.where(_is_zero(y), half_turn, F.add(angle, half_turn))
    return F.where(_signbit(x), turned, angle)


def _copysign(a: Any, b: Any) -> Any:
    a, b = _promoted(a, b)
    size = F.abs(_float(a))
    return F.where(_signbit(b), F.neg(size), size)


def _heaviside(x: Any, values: Any) -> Any:
    return F.where(F.eq(x, 0), values, F.where(F.ne(x, x), x, F.cast(F.gt(x, 0), dtype=x.dtype)))


def _is_close(a: Any, b: Any, *, rtol: float, atol: float, equal_nan: bool) -> Any:
    near = F.le(F.abs(F.sub(a, b)), F.add(F.mul(F.abs(b), rtol), atol))
    result = F.logical_or(F.eq(a, b), F.logical_and(near, F.lt(F.abs(_float(b)), math.inf)))
    return F.logical_or(result, F.logical_and(F.ne(a, a), F.ne(b, b))) if equal_nan else result


def _shifted(up: bool) -> Callable[..., Any]:
    def compute(x: Any, y: Any) -> Any:
        x, y = _promoted(x, y)
        factor = F.cast(F.pow(_full(2, x, dtypes.int64), F.cast(y, dtype=dtypes.int64)), dtype=x.dtype)
        return F.mul(x, factor) if up else F.floor_divide(x, factor)

    return compute


COMPOSITES.update(
    {
        "fmax": _nan_ignored(F.maximum),
        "fmin": _nan_ignored(F.minimum),
        "logaddexp": _log_sum(F.exp, F.log),
        "logaddexp2": _log_sum(lambda x: F.exp(F.mul(x, _LOG2)), lambda x: F.mul(F.log(x), 1.0 / _LOG2)),
        "hypot": lambda a, b: F.sqrt(F.add(*(F.mul(x, x) for x in _promoted(a, b)))),
        "xlogy": _guarded(F.log),
        "xlog1py": _guarded(_log1p),
        "copysign": _copysign,
        "heaviside": _heaviside,
        "isclose": _is_close,
        "bitwise_left_shift": _shifted(True),
        "bitwise_right_shift": _shifted(False),
        "lerp": lambda a, b, weight: F.add(a, F.mul(weight, F.sub(b, a))),
        "addcmul": lambda x, a, b, *, value: F.add(x, F.mul(F.mul(a, b), value)),
        "addcdiv": lambda x, a, b, *, value: F.add(x, F.mul(F.div(a, b), value)),
    }
)


# -- order and positions -----------------------------------------------------------------------------------------------


def _extreme(reduce: Any, position: Any) -> Callable[..., Any]:
    def compute(x: Any, *, dim: int, keepdim: bool) -> tuple[Any, Any]:
        return reduce(x, (dim,), keepdim), position(x, dim, keepdim)

    return compute


def _places(x: Any, dim: int) -> Any:
    """The positions along a dimension, in a shape that broadcasts with `x`."""
    axis = dim % x.ndim
    return F.reshape(F.arange(0, x.shape[axis], 1), (-1, *(1,) * (x.ndim - 1 - axis)))


@_op("slice_scatter")
def _slice_scatter(x: Any, src: Any, start: Any, stop: Any, *, dim: int, step: int) -> Any:
    size = x.shape[dim % x.ndim]
    first: Any
    last: Any
    if isinstance(size, int):
        first, last, _ = slice(start, stop, step).indices(size)
    elif all(v is None or (isinstance(v, int) and v >= 0) for v in (start, stop)):
        first, last = start or 0, size if stop is None else dim_min(stop, size)
    else:
        raise OnnxError("slice_scatter from the end of a dimension that varies has no rule")
    places = _places(x, dim)
    offset = F.sub(places, first)
    chosen = F.logical_and(F.ge(offset, 0), F.lt(places, last))
    if step != 1:
        chosen = F.logical_and(chosen, F.eq(F.remainder(offset, step), 0))
    if src.shape[dim % x.ndim] == 0:
        return F.mul(x, 1)
    source = F.remainder(F.floor_divide(F.reshape(offset, (-1,)), step), src.shape[dim % x.ndim])
    return F.where(chosen, F.index_select(src, dim, source), x)


@_op("select_scatter")
def _select_scatter(x: Any, src: Any, index: Any, *, dim: int) -> Any:
    size = x.shape[dim % x.ndim]
    index = index + size if isinstance(index, int) and index < 0 else index
    return F.where(F.eq(_places(x, dim), index), F.unsqueeze(src, dim % x.ndim), x)


@_op("diagonal")
def _diagonal(x: Any, *, offset: int, dim1: int, dim2: int) -> Any:
    one, two = dim1 % x.ndim, dim2 % x.ndim
    rest = [d for d in range(x.ndim) if d not in (one, two)]
    rows, columns = x.shape[one], x.shape[two]
    count = dim_max(dim_min(rows - max(-offset, 0), columns - max(offset, 0)), 0)
    flat = F.reshape(F.permute(x, (*rest, one, two)), (*(x.shape[d] for d in rest), rows * columns))
    steps = F.arange(0, count, 1)
    place = F.add(F.mul(F.add(steps, max(-offset, 0)), columns), F.add(steps, max(offset, 0)))
    return F.index_select(flat, len(rest), place)


@_op("roll")
def _roll(x: Any, *, shifts: tuple[int, ...], dims: tuple[int, ...] | None) -> Any:
    if not dims:
        return F.reshape(_roll(F.reshape(x, (-1,)), shifts=shifts, dims=(0,)), tuple(x.shape))
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[dim % x.ndim]
        x = F.index_select(x, dim, F.remainder(F.sub(F.arange(0, size, 1), shift), size))
    return x


@_op("repeat_interleave")
def _repeat_interleave(x: Any, repeats: Any, *, dim: int) -> Any:
    axis = dim % x.ndim
    sizes = list(x.shape)
    wide = F.expand(F.unsqueeze(x, axis + 1), (*sizes[: axis + 1], repeats, *sizes[axis + 1 :]))
    return F.reshape(wide, (*sizes[:axis], sizes[axis] * repeats, *sizes[axis + 1 :]))


@_op("unfold")
def _unfold(x: Any, *, dimension: int, size: int, step: int) -> Any:
    if x.ndim == 0:
        return F.reshape(x, (size,))
    axis = dimension % x.ndim
    count = (x.shape[axis] - size) // step + 1
    starts = F.unsqueeze(F.mul(F.arange(0, count, 1), step), 1)
    places = F.reshape(F.add(starts, F.arange(0, size, 1)), (-1,))
    sizes = list(x.shape)
    windows = F.reshape(F.index_select(x, axis, places), (*sizes[:axis], count, size, *sizes[axis + 1 :]))
    order = [d for d in range(x.ndim + 1) if d != axis + 1]
    return F.permute(windows, (*order, axis + 1))


@_op("isin")
def _isin(elements: Any, tests: Any, *, invert: bool = False, **_: Any) -> Any:
    elements, tests = _promoted(elements, tests)
    found = F.any(F.eq(F.unsqueeze(elements, elements.ndim), F.reshape(tests, (-1,))), (elements.ndim,), False)
    return F.logical_not(found) if invert else found


@_op("searchsorted")
def _search_sorted(sequence: Any, values: Any, sorter: Any = None, *, right: bool = False, **options: Any) -> Any:
    sequence, values = _promoted(sequence, values)
    if sorter is not None:
        sequence = F.gather(sequence, sequence.ndim - 1, sorter)
    right = right or options.get("side") == "right"
    compare = F.le if right else F.lt
    rows = F.unsqueeze(sequence, sequence.ndim - 1) if sequence.ndim > 1 else sequence
    below = compare(rows, F.unsqueeze(values, values.ndim))
    dtype = dtypes.int32 if options.get("out_int32") else dtypes.int64
    return F.cast(F.sum(F.cast(below, dtype=dtypes.int64), (-1,), False), dtype=dtype)


@_op("index_add")
def _index_add(x: Any, index: Any, source: Any, *, dim: int, alpha: Any) -> Any:
    axis = dim % max(x.ndim, 1)
    if x.ndim == 0:
        raise OnnxError("index_add into a tensor of no dimensions has no rule")
    shaped = F.reshape(index, (-1, *(1,) * (x.ndim - 1 - axis)))
    source = source if alpha == 1 else F.mul(source, alpha)
    return F.scatter_add(x, axis, F.expand(shaped, tuple(source.shape)), source)


COMPOSITES.update({"max_dim": _extreme(F.amax, F.argmax), "min_dim": _extreme(F.amin, F.argmin)})
