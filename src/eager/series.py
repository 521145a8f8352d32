"""Running forms, differences, integrals, covariance, and elements of the flat tensor in PyTorch's call forms."""

from typing import Any

from ..ir.dtypes import default_dtype
from . import return_types
from .families import with_out
from .functions import call as _call
from .ordering import _axis
from .placement import beside
from .tensor import Tensor

__all__ = ["FUNCTIONS", "METHODS"]

FUNCTIONS = (
    "corrcoef", "cov", "cummax", "cummin", "cumulative_trapezoid", "diff", "gradient", "put", "take", "trapezoid",
    "trapz",
)  # fmt: skip
METHODS = ("corrcoef", "cov", "cummax", "cummin", "diff", "put", "take")
INPLACE = ("put",)

# -- running forms and differences -------------------------------------------------------------------------------------


def cummax(input: Tensor, dim: int) -> return_types.cummax:
    """The largest element so far along a dimension, and where it is.

    >>> ingot.cummax(ingot.tensor([1., 3., 2.]), 0).values
    tensor([1., 3., 3.])
    """
    return return_types.cummax(*_call("cummax", input, dim))


def cummin(input: Tensor, dim: int) -> return_types.cummin:
    """The smallest element so far along a dimension, and where it is.

    >>> ingot.cummin(ingot.tensor([3., 1., 2.]), 0).values
    tensor([3., 1., 1.])
    """
    return return_types.cummin(*_call("cummin", input, dim))


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
    if not n:
        return _call("clone", input)  # type: ignore[no-any-return]
    parts = [p for p in (prepend, input, append) if p is not None]
    value = _call("cat", parts, axis) if len(parts) > 1 else input
    for _ in range(n):
        size = value.shape[axis]
        later, earlier = _call("slice", value, 1, size, dim=axis), _call("slice", value, 0, max(size - 1, 0), dim=axis)
        value = _call("ne" if input.dtype.category == 0 else "sub", later, earlier)
    return value  # type: ignore[no-any-return]


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

    `spacing` is a distance, one per dimension, or tensors of coordinates; edges are of the order `edge_order`, 1 or 2.

    >>> ingot.gradient(ingot.tensor([1., 4., 9.]))
    (tensor([3., 4., 5.]),)
    """
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    dims = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    axes = [_axis("gradient", input, d) for d in dims]
    if len(set(axes)) != len(axes):
        raise RuntimeError(f"gradient: a dimension appears twice in dim={dim}")
    spacing = 1 if spacing is None else spacing
    spacings = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(axes)
    if len(spacings) != len(axes):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or a list of length equal to the number of "
            f"dims, {len(axes)}, but got one of length {len(spacings)}"
        )
    for axis, step in zip(axes, spacings, strict=True):
        if input.shape[axis] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1, given size "
                f"{input.shape[axis]} and edge_order={edge_order}"
            )
        if isinstance(step, Tensor) and tuple(step.shape) != (input.shape[axis],):
            raise RuntimeError(
                "torch.gradient expected the coordinates of a dimension to have its size, "
                f"{input.shape[axis]}, given {list(step.shape)}"
            )
    if input.dtype.category < 2:
        input = _call("cast", input, dtype=default_dtype())
    return tuple(_slope(input, axis, step, edge_order) for axis, step in zip(axes, spacings, strict=True))


@beside
def _slope(input: Tensor, axis: int, step: Any, edge_order: int) -> Tensor:
    """Three-point formulas (Fornberg, "Generation of finite difference formulas", 1988); two points at the edges."""
    size = int(input.shape[axis])

    def part(tensor: Tensor, start: int, stop: int) -> Any:
        return _call("slice", tensor, start, stop, dim=axis if tensor.ndim == input.ndim else 0)

    if isinstance(step, Tensor):
        distances: Any = _call("sub", _call("slice", step, 1, size, dim=0), _call("slice", step, 0, size - 1, dim=0))
        wide = _call("reshape", distances, *(size - 1 if d == axis else 1 for d in range(input.ndim)))
    else:
        wide = _call("full", [size - 1 if d == axis else 1 for d in range(input.ndim)], 1, dtype=input.dtype) * step
    before, after = part(wide, 0, size - 2), part(wide, 1, size - 1)
    whole = before + after
    inner = part(input, 2, size) * (before / (after * whole)) - part(input, 0, size - 2) * (after / (before * whole))
    inner = inner + part(input, 1, size - 1) * ((after - before) / (before * after))
    if edge_order == 1:
        first = (part(input, 1, 2) - part(input, 0, 1)) / part(wide, 0, 1)
        last = (part(input, size - 1, size) - part(input, size - 2, size - 1)) / part(wide, size - 2, size - 1)
    else:
        first = _edge([part(input, i, i + 1) for i in (0, 1, 2)], part(wide, 0, 1), part(wide, 1, 2))
        last = -_edge(
            [part(input, size - i, size - i + 1) for i in (1, 2, 3)],
            part(wide, size - 2, size - 1),
            part(wide, size - 3, size - 2),
        )
    return _call("cat", (first, inner, last), axis)  # type: ignore[no-any-return]


def _edge(values: list[Any], near: Any, far: Any) -> Any:
    """The derivative at the first of three points, `near` and `far` apart."""
    f0, f1, f2 = values
    whole = near + far
    return f1 * (whole / (near * far)) - f0 * ((near + whole) / (near * whole)) - f2 * (near / (far * whole))


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
    if input.dtype.name == "bool":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    if input.dtype.category < 2:
        input = _call("cast", input, dtype=default_dtype())
    rows = _call("reshape", input, 1, -1) if input.ndim < 2 else input
    _require_weights(fweights, aweights, int(rows.shape[1]))
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
    return _call("reshape", result, ()) if result.shape.numel() == 1 else result  # type: ignore[no-any-return]


def _require_weights(fweights: Tensor | None, aweights: Tensor | None, count: int) -> None:
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is None:
            continue
        if weights.ndim > 1:
            raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got {weights.ndim}")
        if (weights.dtype.category == 1) != (name == "fweights"):
            wanted = "integral" if name == "fweights" else "floating point"
            raise RuntimeError(
                f"cov(): expected {name} to have {wanted} dtype but got {name} with {weights.dtype.name}"
            )
        if weights.shape.numel() != count:
            raise RuntimeError(
                f"cov(): expected {name} to have the same numel as there are observations in the input but got "
                f"{weights.shape.numel()} != {count}"
            )
        if bool(_call("any", _call("lt", weights, 0)).item()):
            raise RuntimeError(f"cov(): {name} cannot be negative")


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
    if scaled.dtype.is_complex:
        parts = [_call("clamp", _call(part, scaled), -1.0, 1.0) for part in ("real", "imag")]
        return _call("complex", *parts)  # type: ignore[no-any-return]
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
