"""Small functions of tensors in PyTorch's call forms, in-place methods of ops, and facts about dtypes."""

import builtins
import math
from typing import Any, NamedTuple

import numpy as np

from ..ir.dtypes import DType, as_dtype, default_dtype, limits, promote, result_dtype, scalar_dtype
from ..ir.ops._op import all_ops
from .families import with_out
from .functions import call as _call
from .methods import inplace_of
from .placement import beside
from .return_types import result_text
from .tensor import Tensor, wrap

__all__ = ["ALIASES", "FUNCTIONS", "METHODS", "install_inplace"]

FUNCTIONS = (
    "can_cast", "diag_embed", "diagflat", "dist", "dsplit", "finfo", "float_power", "frexp", "hsplit",
    "igamma", "igammac", "iinfo", "index_put", "is_nonzero", "is_same_size", "is_signed", "ldexp",
    "masked_scatter", "mvlgamma", "polygamma", "promote_types", "renorm", "result_type",
    "row_stack", "select_scatter", "slice_scatter", "split_with_sizes",
    "vsplit",
)  # fmt: skip
METHODS = (
    "diag_embed", "diagflat", "dist", "dsplit", "float_power", "frexp", "hsplit", "igamma", "igammac", "is_nonzero",
    "ldexp", "mvlgamma", "renorm", "select_scatter", "slice_scatter", "split_with_sizes", "vsplit",
)  # fmt: skip
INPLACE = ("ldexp", "mvlgamma", "renorm", "igamma", "igammac")
ALIASES = {"fix": "trunc", "arctan2": "atan2"}
_INPLACE_OPS = (
    "addmm", "atan2", "copysign", "cumprod", "cumsum", "eq", "ge", "gt", "le", "logical_and", "logical_not",
    "logical_or", "logical_xor", "lt", "ne", "sgn", "xlogy", "trunc",
)  # fmt: skip

# Methods that PyTorch has as functions, too, beside those of one tensor.
_INPLACE_FUNCTIONS = (
    "addmv", "clamp", "clamp_max", "clamp_min", "clip", "detach", "fill", "gcd", "index_put", "lcm", "ldexp", "xlogy",
    "zero", "fix",
)  # fmt: skip


# -- dtypes ------------------------------------------------------------------------------------------------------------


class finfo:
    """The limits of a floating-point dtype: bits, eps, max, min, tiny, smallest_normal, resolution.

    >>> ingot.finfo(ingot.float32).eps
    1.1920928955078125e-07
    """

    def __init__(self, type: Any = None) -> None:
        dtype = default_dtype() if type is None else as_dtype(type)
        if dtype.category < 2:
            raise TypeError(f"finfo() requires a floating point input type. Use iinfo to handle {dtype!r}")
        info = limits(dtype)
        self.dtype = dtype.name
        self.bits = int(info.bits)
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = float(str(info.resolution))  # a power of ten, which half precision rounds

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """The limits of an integer dtype: bits, max, min.

    >>> ingot.iinfo(ingot.int8).max
    127
    """

    def __init__(self, type: Any) -> None:
        dtype = as_dtype(type)
        if dtype.category != 1:
            raise TypeError(f"iinfo() requires an integer input type. Use finfo to handle {dtype!r}")
        info = np.iinfo(dtype.numpy)
        self.dtype, self.bits, self.max, self.min = dtype.name, int(info.bits), int(info.max), int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


def promote_types(type1: DType, type2: DType) -> DType:
    """The smallest dtype that both promote to.

    >>> ingot.promote_types(ingot.uint8, ingot.int8)
    ingot.int16
    """
    return promote(as_dtype(type1), as_dtype(type2))


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype of an operation on two tensors or numbers.

    >>> ingot.result_type(ingot.tensor([1, 2]), 1.0)
    ingot.float32
    """
    values = (tensor1, tensor2)
    return result_dtype(
        [v.dtype for v in values if isinstance(v, Tensor) and v.ndim],
        [v.dtype for v in values if isinstance(v, Tensor) and not v.ndim],
        [scalar_dtype(v) for v in values if not isinstance(v, Tensor)],
    )


def can_cast(from_: DType, to: DType) -> bool:
    """Whether a dtype may become another by promotion: never from a higher kind to a lower.

    >>> ingot.can_cast(ingot.float32, ingot.int64)
    False
    """
    source, target = as_dtype(from_), as_dtype(to)
    unsigned = source.is_signed and not target.is_signed and target.category == 1 and source.category == 1
    return source.category <= target.category and not unsigned


def is_signed(input: Tensor) -> bool:
    """Whether the dtype holds negative numbers.

    >>> ingot.is_signed(ingot.tensor([1]))
    True
    """
    return input.dtype.is_signed


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero.

    >>> ingot.is_nonzero(ingot.tensor([0.]))
    False
    """
    if input.shape.numel() != 1:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous" if 0 in input.shape else
                           "Boolean value of Tensor with more than one value is ambiguous")  # fmt: skip
    return bool(input)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape.

    >>> ingot.is_same_size(ingot.ones(2), ingot.ones(3))
    False
    """
    return tuple(input.shape) == tuple(other.shape)


# -- shapes ------------------------------------------------------------------------------------------------------------


@beside
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Vectors along the last dimension as diagonals of matrices.

    >>> ingot.diag_embed(ingot.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    size = input.shape[-1] + abs(offset)
    rank = input.ndim + 1
    for d in (dim1, dim2):
        if not -rank <= d < rank:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {d})")
    first, second = dim1 % rank, dim2 % rank
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    shape: list[Any] = list(input.shape[:-1])
    for d in sorted((first, second)):
        shape.insert(d, size)
    return _call("diagonal_scatter", _call("full", shape, 0, dtype=input.dtype), input, offset, first, second)  # type: ignore[no-any-return]


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """All elements as the diagonal of a matrix.

    >>> ingot.diagflat(ingot.tensor([[1], [2]]))
    tensor([[1, 0],
            [0, 2]])
    """
    return diag_embed(_call("reshape", input, -1), offset)


def row_stack(tensors: Any) -> Tensor:
    """Tensors one above the other: `vstack`.

    >>> ingot.row_stack([ingot.tensor([1]), ingot.tensor([2])])
    tensor([[1],
            [2]])
    """
    from .shapes import vstack

    return vstack(tensors)


def _split_along(name: str, input: Tensor, sections: Any, dim: int, rank: int) -> Any:
    from .shapes import tensor_split

    if input.ndim < rank:
        raise RuntimeError(f"torch.{name} requires a tensor with at least {rank} dimension, but got {input.ndim}")
    if isinstance(sections, int) and (sections <= 0 or input.shape[dim] % sections):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
            f"{input.shape[dim]} is not divisible by the split_size {sections}!"
        )
    return tensor_split(input, sections, dim)


def hsplit(input: Tensor, indices_or_sections: Any) -> Any:
    """Parts along the second dimension (the only one of a vector).

    >>> ingot.hsplit(ingot.tensor([1, 2, 3, 4]), 2)
    (tensor([1, 2]), tensor([3, 4]))
    """
    return _split_along("hsplit", input, indices_or_sections, 0 if input.ndim == 1 else 1, 1)


def vsplit(input: Tensor, indices_or_sections: Any) -> Any:
    """Parts along the first dimension.

    >>> ingot.vsplit(ingot.tensor([[1], [2]]), 2)[1]
    tensor([[2]])
    """
    return _split_along("vsplit", input, indices_or_sections, 0, 2)


def dsplit(input: Tensor, indices_or_sections: Any) -> Any:
    """Parts along the third dimension.

    >>> ingot.dsplit(ingot.ones(1, 1, 2), 2)[0].shape
    ingot.Size([1, 1, 1])
    """
    return _split_along("dsplit", input, indices_or_sections, 2, 3)


def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> Any:
    """Parts of given sizes along a dimension.

    >>> ingot.split_with_sizes(ingot.tensor([1, 2, 3]), [1, 2])[1]
    tensor([2, 3])
    """
    from .shapes import split

    return split(input, list(split_sizes), dim)


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with the slice at `index` along `dim` replaced.

    >>> ingot.select_scatter(ingot.zeros(2, 2), ingot.ones(2), 0, 1)
    tensor([[0., 0.],
            [1., 1.]])
    """
    return _call("select_scatter", input, src, index, dim=dim)  # type: ignore[no-any-return]


def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy with the slice start:end:step along `dim` replaced.

    >>> ingot.slice_scatter(ingot.zeros(3), ingot.ones(2), 0, 1)
    tensor([0., 1., 1.])
    """
    return _call("slice_scatter", input, src, start, end, dim=dim, step=step)  # type: ignore[no-any-return]


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The tensor with the elements under the mask replaced by those of `source` in order.

    >>> ingot.masked_scatter(ingot.zeros(2), ingot.tensor([False, True]), ingot.ones(1))
    tensor([0., 1.])
    """
    return input.masked_scatter(mask, source)


def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """The tensor with `values` written (or added) at `input[indices]`.

    >>> ingot.index_put(ingot.zeros(3), (ingot.tensor([1]),), ingot.tensor([5.]))
    tensor([0., 5., 0.])
    """
    return input.index_put(indices, values, accumulate)


# -- numbers -----------------------------------------------------------------------------------------------------------


def float_power(input: Any, exponent: Any) -> Tensor:
    """Elementwise power in double precision.

    >>> ingot.float_power(ingot.tensor([2, 3]), 2)
    tensor([4., 9.], dtype=ingot.float64)
    """
    given = [v for v in (input, exponent) if isinstance(v, Tensor)]
    is_complex = any(v.dtype.is_complex for v in given)
    dtype = as_dtype("complex128" if is_complex else "float64")
    base, power = (_call("cast", v, dtype=dtype) if isinstance(v, Tensor) else v for v in (input, exponent))
    return _call("pow", base, power)  # type: ignore[no-any-return]


def _float_power_(self: Tensor, exponent: Any) -> Tensor:
    """In-place version of `float_power`; RuntimeError unless the tensor is in 64 bits already."""
    kinds = [self.dtype, exponent.dtype if isinstance(exponent, Tensor) else scalar_dtype(exponent)]
    wanted = "complex128" if any(k.is_complex for k in kinds) else "float64"
    if self.dtype.name != wanted:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {self.dtype.name} but the operation's result requires dtype "
            f"{wanted}"
        )
    return inplace_of("float_power_", float_power)(self, exponent)  # type: ignore[no-any-return]


def _of_reals(method: Any) -> Any:
    """`abs_` for real tensors: the absolute values of complex numbers are real, and do not fit."""

    def abs_(self: Tensor) -> Tensor:
        if self.dtype.is_complex:
            raise RuntimeError("In-place abs is not supported for complex tensors.")
        return method(self)  # type: ignore[no-any-return]

    abs_.__doc__ = method.__doc__
    return abs_


def _sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """The sum over the dimensions along which `size` was broadcast to the tensor's shape."""
    sizes = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
    # What is summed is summed as `sum` does, which adds up integers in 64 bits.
    if self.dtype.category < 2 and (not sizes or sizes != tuple(self.shape)):
        self = _call("cast", self, dtype="int64")
    return _call("sum_to_size", self, sizes)  # type: ignore[no-any-return]


def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """Elementwise input * 2**other.

    >>> ingot.ldexp(ingot.tensor([1.]), ingot.tensor([3]))
    tensor([8.])
    """
    _require_tensors("ldexp", input)
    return _call("mul", input, _call("pow", 2.0, other))  # type: ignore[no-any-return]


class Parts(NamedTuple):
    """What `frexp` finds."""

    mantissa: Any
    exponent: Any

    def __repr__(self) -> str:
        return result_text("frexp", self)


def frexp(input: Tensor) -> Parts:
    """Elementwise mantissas in [0.5, 1) and int32 exponents of 2.

    >>> ingot.frexp(ingot.tensor([6.]))
    ingot.return_types.frexp(
    mantissa=tensor([0.7500]),
    exponent=tensor([3], dtype=ingot.int32))
    """
    if not input.dtype.is_floating_point:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    _, exponents = np.frexp(input._array)
    exponent = wrap(exponents.astype(np.int32))
    return Parts(
        _call("cast", _call("mul", input, _call("pow", 2.0, _call("neg", exponent))), dtype=input.dtype), exponent
    )


def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma.

    >>> ingot.polygamma(1, ingot.tensor([1.]))
    tensor([1.6449])
    """
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return _call("digamma", input) if n == 0 else _call("polygamma", input, order=n)  # type: ignore[no-any-return]


def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p.

    >>> ingot.mvlgamma(ingot.tensor([2.]), 1)
    tensor([0.])
    """
    if p < 1:
        raise RuntimeError(f"mvlgamma: p has to be greater than or equal to 1, given {p}")
    total: Any = p * (p - 1) / 4 * math.log(math.pi)
    for k in builtins.range(p):
        total = _call("add", _call("lgamma", _call("sub", input, k / 2)), total)
    return total  # type: ignore[no-any-return]


def _require_tensors(name: str, *operands: Any) -> None:
    for position, value in enumerate(operands):
        if not isinstance(value, Tensor):
            what = "other" if position else "input"
            raise TypeError(
                f"{name}(): argument '{what}' (position {position + 1}) must be Tensor, not {type(value).__name__}"
            )


def igamma(input: Tensor, other: Tensor) -> Tensor:
    """The regularised lower incomplete gamma function: `special.gammainc`.

    >>> ingot.igamma(ingot.tensor([1.]), ingot.tensor([1.]))
    tensor([0.6321])
    """
    _require_tensors("igamma", input, other)
    return _call("gammainc", input, other)  # type: ignore[no-any-return]


def igammac(input: Tensor, other: Tensor) -> Tensor:
    """The regularised upper incomplete gamma function: `special.gammaincc`.

    >>> ingot.igammac(ingot.tensor([1.]), ingot.tensor([1.]))
    tensor([0.3679])
    """
    _require_tensors("igammac", input, other)
    return _call("gammaincc", input, other)  # type: ignore[no-any-return]


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference of two tensors.

    >>> ingot.dist(ingot.tensor([3., 4.]), ingot.zeros(2))
    tensor(5.)
    """
    return _call("vector_norm", _call("sub", input, other), p)  # type: ignore[no-any-return]


def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """The slices along `dim` scaled down where their p-norm is above `maxnorm`.

    >>> ingot.renorm(ingot.tensor([[3., 4.], [0., 1.]]), 2, 0, 1.0)
    tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]])
    """
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    if isinstance(p, complex) or p <= 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, given p={p}")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if not -input.ndim <= dim < input.ndim:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-input.ndim}, {input.ndim - 1}], but got {dim})"
        )
    axis = dim % input.ndim
    dims = tuple(d for d in builtins.range(input.ndim) if d != axis)
    norms = _call("vector_norm", input, p, dims, True)
    scale = _call("where", _call("gt", norms, maxnorm), _call("div", maxnorm, _call("add", norms, 1e-7)), 1.0)
    return _call("mul", input, scale)  # type: ignore[no-any-return]


def install_inplace(namespace: dict[str, Any]) -> None:
    """The methods `name_` of ops that have none of their own, and `name_` of one tensor as functions too."""
    for name in _INPLACE_OPS:
        if not hasattr(Tensor, f"{name}_"):
            setattr(Tensor, f"{name}_", inplace_of(f"{name}_", getattr(Tensor, name)))
    further = {"arctan2_": "atan2_", "fix_": "trunc_", "greater_": "gt_", "greater_equal_": "ge_", "less_": "lt_",
               "less_equal_": "le_", "not_equal_": "ne_"}  # fmt: skip
    for alias, name in further.items():
        setattr(Tensor, alias, getattr(Tensor, name))
    Tensor.abs_ = Tensor.absolute_ = _of_reals(Tensor.abs_)  # type: ignore[method-assign,assignment]
    Tensor.__rdiv__ = Tensor.__rtruediv__  # type: ignore[method-assign,assignment,attr-defined]
    _sum_to_size.__ingot_op__ = Tensor.sum_to_size.__ingot_op__  # type: ignore[attr-defined]
    Tensor.sum_to_size = _sum_to_size  # type: ignore[method-assign,assignment]
    Tensor.fix = Tensor.trunc  # type: ignore[method-assign,assignment]
    Tensor.polygamma = lambda self, n: polygamma(n, self)  # type: ignore[method-assign,assignment,arg-type]
    Tensor.polygamma_ = inplace_of("polygamma_", Tensor.polygamma)  # type: ignore[method-assign,assignment]
    Tensor.float_power_ = _float_power_  # type: ignore[method-assign,assignment]
    Tensor.swapdims_ = Tensor.swapaxes_  # type: ignore[method-assign,assignment]
    for name in _INPLACE_FUNCTIONS:
        namespace[f"{name}_"] = getattr(Tensor, f"{name}_")
    for op in all_ops():
        if op.inplace and "" in op.namespaces and len(op.schema.operands) == 1:
            for name in (op.schema.name, *op.aliases):
                namespace[f"{name}_"] = getattr(Tensor, f"{name}_")


for _name in FUNCTIONS:
    if _name not in ("finfo", "iinfo"):
        globals()[_name] = with_out(globals()[_name])
