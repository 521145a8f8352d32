"""Running forms, differences, integrals, covariance, and elements of the flat tensor in PyTorch's call forms."""

from typing import Any

from .families import with_out
from .functions import call as _call
from .ordering import Located, _axis
from .tensor import Tensor

__all__ = ["FUNCTIONS", "METHODS"]

FUNCTIONS = (
    "corrcoef", "cov", "cummax", "cummin", "cumulative_trapezoid", "diff", "gradient", "put", "take", "trapezoid",
    "trapz",
)  # fmt: skip
METHODS = ("corrcoef", "cov", "cummax", "cummin", "diff", "put", "take")
INPLACE = ("put",)

# -- running forms and differences -------------------------------------------------------------------------------------


def cummax(input: Tensor, dim: int) -> Located:
    """The largest element so far along a dimension, and where it is.

    >>> ingot.cummax(ingot.tensor([1., 3., 2.]), 0).values
    tensor([1., 3., 3.])
    """
    return Located(*_call("cummax", input, dim))


def cummin(input: Tensor, dim: int) -> Located:
    """The smallest element so far along a dimension, and where it is.

    >>> ingot.cummin(ingot.tensor([3., 1., 2.]), 0).values
    tensor([3., 1., 1.])
    """
    return Located(*_call("cummin", input, dim))


def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The differences of neighbours along a dimension, taken n times.

    >>> ingot.diff(ingot.tensor([1, 3, 6]))
    tensor([2, 3])
    """
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    axis = _axis("diff", input, dim)
    parts = [p for p in (prepend, input, append) if p is not None]
    value = _call("cat", parts, axis) if len(parts) > 1 else input
    for _ in range(n):
        size = value.shape[axis]
        later, earlier = _call("slice", value, 1, size, dim=axis), _call("slice", value, 0, max(size - 1, 0), dim=axis)
        value = _call("ne" if input.dtype.category == 0 else "sub", later, earlier)
    return value if n else _call("clone", value)  # type: ignore[no-any-return]


def _steps(y: Tensor, x: Tensor | None, dx: Any, dim: int) -> Tensor:
    """The area of each trapezoid between neighbours along a dimension."""
    axis = _axis("trapezoid", y, dim)
    size = y.shape[axis]
    pairs = _call("add", _call("slice", y, 1, size, dim=axis), _call("slice", y, 0, max(size - 1, 0), dim=axis))
    if x is None:
        return _call("mul", pairs, 0.5 * dx)  # type: ignore[no-any-return]
    if x.ndim == 1:
        if x.shape[0] != size:
            raise RuntimeError(
                f"trapezoid: There must be one `x` value for each sample point, given {x.shape[0]} for {size}"
            )
        x = _call("reshape", x, *(size if d == axis else 1 for d in range(y.ndim)))
        return _call("mul", _call("mul", pairs, diff(x, dim=axis)), 0.5)  # type: ignore[no-any-return]
    return _call("mul", _call("mul", pairs, diff(x, dim=dim)), 0.5)  # type: ignore[no-any-return]


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integral along a dimension by the trapezoidal rule, at points `x` or spacing `dx`.

    >>> ingot.trapezoid(ingot.tensor([1., 2., 3.]))
    tensor(4.)
    """
    return _call("sum", _steps(y, x, dx, dim), dim)  # type: ignore[no-any-return]


def trapz(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """Another name of `trapezoid`.

    >>> ingot.trapz(ingot.tensor([1., 2., 3.]))
    tensor(4.)
    """
    return trapezoid(y, x, dx=dx, dim=dim)


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The running integral along a dimension by the trapezoidal rule.

    >>> ingot.cumulative_trapezoid(ingot.tensor([1., 2., 3.]))
    tensor([1.5000, 4.0000])
    """
    return _call("cumsum", _steps(y, x, dx, dim), dim)  # type: ignore[no-any-return]


def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """Estimates of the derivative along dimensions by central differences, one-sided at the edges.

    >>> ingot.gradient(ingot.tensor([1., 4., 9.]))
    (tensor([3., 4., 5.]),)
    """
    if edge_order != 1:
        raise RuntimeError(f"gradient: only edge_order=1 is supported, given {edge_order}")
    dims = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    axes = [_axis("gradient", input, d) for d in dims]
    spacings = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(axes)
    if len(spacings) != len(axes):
        raise RuntimeError(
            f"gradient expected spacing to be unspecified, a scalar or one per dim, given {len(spacings)}"
        )
    return tuple(_slope(input, axis, step) for axis, step in zip(axes, spacings, strict=True))


def _slope(input: Tensor, axis: int, step: Any) -> Tensor:
    size = input.shape[axis]
    if size < 2:
        raise RuntimeError("gradient expected each dimension size to be at least edge_order+1")

    def part(tensor: Tensor, start: int, stop: int) -> Any:
        return _call("slice", tensor, start, stop, dim=axis if tensor is input else 0)

    def wide(tensor: Tensor) -> Any:
        return _call("reshape", tensor, *(-1 if d == axis else 1 for d in range(input.ndim)))

    first = _call("sub", part(input, 1, 2), part(input, 0, 1))
    last = _call("sub", part(input, size - 1, size), part(input, size - 2, size - 1))
    if isinstance(step, Tensor) and step.ndim:
        if step.shape[0] != size:
            raise RuntimeError(f"gradient expected spacing to have one coordinate per element, given {step.shape[0]}")
        gaps = diff(step)
        before, after = wide(part(gaps, 0, size - 2)), wide(part(gaps, 1, size - 1))
        edges = wide(part(gaps, 0, 1)), wide(part(gaps, size - 2, size - 1))
        low, middle, high = part(input, 0, size - 2), part(input, 1, size - 1), part(input, 2, size)
        both = before + after
        inner = -low * (after / (before * both)) + middle * ((after - before) / (before * after))
        inner = inner + high * (before / (after * both))
        return _call("cat", (_call("div", first, edges[0]), inner, _call("div", last, edges[1])), axis)  # type: ignore[no-any-return]
    inner = _call("div", _call("sub", part(input, 2, size), part(input, 0, size - 2)), 2)
    return _call("div", _call("cat", [_call("div", first, 1), inner, _call("div", last, 1)], axis), step)  # type: ignore[no-any-return]


def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariance matrix of variables in rows.

    >>> ingot.cov(ingot.tensor([[1., 2., 3.], [3., 2., 1.]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    if input.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim}")
    rows = _call("reshape", input, 1, -1) if input.ndim < 2 else input
    weights = None
    for given in (fweights, aweights):
        if given is not None:
            weights = given if weights is None else _call("mul", weights, given)
    if weights is None:
        count: Any = rows.shape[1]
        mean = _call("mean", rows, 1, True)
        norm: Any = max(count - correction, 0)
    else:
        count = _call("sum", weights)
        mean = _call("div", _call("sum", _call("mul", rows, weights), 1, True), count)
        norm = count - correction
        if aweights is not None and correction:
            norm = count - correction * _call("sum", _call("mul", weights, aweights)) / count
    centred = _call("sub", rows, mean)
    weighted = centred if weights is None else _call("mul", centred, weights)
    other = _call("conj", centred) if input.dtype.is_complex else centred
    result = _call("div", _call("matmul", weighted, _call("transpose", other, 0, 1)), norm)
    return result if input.ndim == 2 else _call("reshape", result, ())  # type: ignore[no-any-return]


def corrcoef(input: Tensor) -> Tensor:
    """The matrix of correlation coefficients of variables in rows.

    >>> ingot.corrcoef(ingot.tensor([[1., 2., 3.], [3., 2., 1.]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    covariance = cov(input)
    if not covariance.ndim:
        return _call("div", covariance, covariance)  # type: ignore[no-any-return]
    spread = _call("sqrt", _call("diagonal", covariance))
    scaled = _call("div", _call("div", covariance, _call("unsqueeze", spread, 1)), spread)
    return _call("clamp", scaled, -1.0, 1.0)  # type: ignore[no-any-return]


# -- elements of the flat tensor ---------------------------------------------------------------------------------------


def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements of the flattened tensor at indices; the result has the indices' shape.

    >>> ingot.take(ingot.tensor([[1, 2], [3, 4]]), ingot.tensor([0, 3]))
    tensor([1, 4])
    """
    if index.dtype.name != "int64":
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype.name}")
    return _call("index", _call("reshape", input, -1), (index,), spec=("tensor",))  # type: ignore[no-any-return]


def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """The tensor with elements of `source` written (or added) at indices of the flattened tensor.

    >>> ingot.put(ingot.zeros(2, 2), ingot.tensor([1, 2]), ingot.tensor([5., 6.]))
    tensor([[0., 5.],
            [6., 0.]])
    """
    if index.dtype.name != "int64":
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index.dtype.name}")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got {input.dtype.name} and "
            f"{source.dtype.name}"
        )
    if index.shape.numel() != source.shape.numel():
        raise RuntimeError(
            f"put_(): Expected source and index to have the same number of elements, but got {source.shape.numel()} "
            f"and {index.shape.numel()}"
        )
    flat, values = _call("reshape", input, -1), _call("reshape", source, -1)
    where = _call("reshape", index, -1)
    written = _call("index_put", flat, (where,), values, spec=("tensor",), accumulate=accumulate)
    return _call("reshape", written, *input.shape) if input.ndim else _call("reshape", written, ())  # type: ignore[no-any-return]


for _name in FUNCTIONS:
    globals()[_name] = with_out(globals()[_name])
