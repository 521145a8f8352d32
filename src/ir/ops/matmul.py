"""Products of matrices and contractions: matmul, linear, addmm, outer, einsum."""

from typing import Any

import numpy as np

from ..dims import Dim
from ..dtypes import bool_
from ..sizes import Sizes
from ..types import TensorType
from ._common import (
    broadcast_types,
    conjugating,
    ints,
    promoted_array_dtype,
    randoms,
    require_broadcast,
    require_tensor,
    same_device,
    shape_text,
    sum_to,
)
from ._derive import derived_vjp
from ._op import Custom, Decompose, ErrorSample, F, Sample, VjpContext, define

_PUBLIC = ("", "method")


def require_one_dtype(name: str, types: tuple[TensorType, ...]) -> None:
    """RuntimeError where tensors to be multiplied differ in dtype: there is no promotion in matrix products."""
    if types[0].dtype is bool_:
        raise RuntimeError(f"{name}: bool tensors are not supported, given {' and '.join(str(t) for t in types)}")
    if any(t.dtype is not types[0].dtype for t in types):
        raise RuntimeError(
            f"{name}: expected tensors of one dtype, given {' and '.join(str(t) for t in types)}; convert one of them"
        )


def _infer_matmul(sizes: Sizes, input: Any, other: Any) -> TensorType:
    a, b = require_tensor("matmul", "input", input), require_tensor("matmul", "other", other)
    if a.rank == 0 or b.rank == 0:
        raise RuntimeError(f"matmul: both arguments need at least 1 dimension, given {a} @ {b}")
    require_one_dtype("matmul", (a, b))
    inner, other_inner = a.shape[-1], b.shape[-2] if b.rank > 1 else b.shape[0]
    sizes.equal(inner, other_inner, f"matmul: inner dimensions differ: {a} @ {b} ({inner} != {other_inner})")
    batch = sizes.broadcast_shapes(a.shape[:-2], b.shape[:-2], name="matmul")
    shape = (*batch, *(a.shape[-2:-1] if a.rank > 1 else ()), *(b.shape[-1:] if b.rank > 1 else ()))
    return TensorType(a.dtype, shape, same_device("matmul", (a, b)))


def multiply(xp: Any, a: Any, b: Any) -> Any:
    """a @ b by numpy, with half precision accumulated in single precision and batches of rows as one product."""
    dtype = a.dtype
    if dtype == np.float16:
        a, b = a.astype(np.float32), b.astype(np.float32)
    with np.errstate(all="ignore"):
        if a.ndim > 2 and b.ndim == 2:
            rows = a.reshape(int(np.prod(a.shape[:-1])), a.shape[-1])
            value = (rows @ b).reshape(*a.shape[:-1], b.shape[-1])
        else:
            value = xp.matmul(a, b)
    return xp.asarray(value, dtype)


def _transposed(x: Any) -> Any:
    return F.transpose(x, -2, -1)


@conjugating
def _matmul_vjp(c: VjpContext, g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    if a.ndim == 1 and b.ndim == 1:
        return F.mul(g, b) if c.needs[0] else None, F.mul(g, a) if c.needs[1] else None
    # Vectors are matrices with one row or column.
    left = F.unsqueeze(a, 0) if a.ndim == 1 else a
    right = F.unsqueeze(b, 1) if b.ndim == 1 else b
    if a.ndim == 1:
        g = F.unsqueeze(g, -2)
    if b.ndim == 1:
        g = F.unsqueeze(g, -1)
    for_a = for_b = None
    if c.needs[0]:
        for_a = F.matmul(g, _transposed(right))
        if a.ndim == 1:
            for_a = F.squeeze(for_a, -2)
        for_a = sum_to(for_a, a)
    if c.needs[1]:
        if right.ndim == 2 and left.ndim > 2:
            # One product over all rows rather than a sum of one per matrix.
            for_b = F.matmul(_transposed(_rows(left)), _rows(g))
        else:
            for_b = F.matmul(_transposed(left), g)
        if b.ndim == 1:
            for_b = F.squeeze(for_b, -1)
        for_b = sum_to(for_b, b)
    return for_a, for_b


def _rows(x: Any) -> Any:
    return F.flatten(x, 0, -2)


MATMUL = define(
    "matmul(input: Tensor, other: Tensor)",
    "The matrix product; vectors are one row or column, and leading dimensions are batches that broadcast.\n\n"
    ">>> ingot.matmul(ingot.tensor([[1., 2.]]), ingot.tensor([3., 4.]))\ntensor([11.])",
    infer=_infer_matmul,
    evaluate=lambda xp, input, other: multiply(xp, input, other),
    vjp=_matmul_vjp,
    lower=Custom("matmul"),
    public=_PUBLIC,
    dunders=("__matmul__", "__rmatmul__"),
    samples=lambda: [
        Sample((randoms(3, 5), randoms(5, 2, seed=1))),
        Sample((randoms(5), randoms(5, seed=1))),
        Sample((randoms(5), randoms(5, 2, seed=1))),
        Sample((randoms(3, 5), randoms(5, seed=1))),
        Sample((randoms(2, 3, 5), randoms(5, 4, seed=1))),
        Sample((randoms(2, 1, 3, 5), randoms(4, 5, 2, seed=1))),
        Sample((randoms(3), randoms(2, 3, 4, seed=1))),
        Sample((randoms(2, 3, 4), randoms(4, seed=1))),
        Sample((randoms(3, 0), randoms(0, 2))),
        Sample((randoms(0, 3), randoms(3, 2))),
        Sample((ints(2, 3), ints(3, 2)), differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(4, 3), randoms(4, 5)), RuntimeError, r"f32\[4, 3\] @ f32\[4, 5\] \(3 != 4\)"),
        ErrorSample((randoms(), randoms(3)), RuntimeError, "at least 1 dimension"),
        ErrorSample((randoms(2, 3, 4), randoms(3, 4, 2)), RuntimeError, "broadcast"),
        ErrorSample((randoms(3, 3), randoms(3, 3, dtype="float64")), RuntimeError, "one dtype"),
        ErrorSample((randoms(3, 3), 2.0), TypeError, "must be Tensor"),
    ],
)


def _infer_linear(sizes: Sizes, input: Any, weight: Any, bias: Any) -> TensorType:
    x, w = require_tensor("linear", "input", input), require_tensor("linear", "weight", weight)
    if x.rank == 0 or w.rank not in (1, 2):
        raise RuntimeError(f"linear: expected an input of rank 1 or more and a weight of rank 2, given {x} and {w}")
    require_one_dtype("linear", (x, w) if bias is None else (x, w, require_tensor("linear", "bias", bias)))
    sizes.equal(
        x.shape[-1], w.shape[-1], f"linear: the input has {x.shape[-1]} features, the weight {w.shape[-1]}: {x}, {w}"
    )
    shape = (*x.shape[:-1], *w.shape[:-1])
    if bias is not None:
        message = f"linear: expected a bias of shape {shape_text(w.shape[:-1])}, given {bias}"
        require_broadcast(sizes, bias, shape[-1:], message)
    return TensorType(x.dtype, shape, same_device("linear", (x, w, bias)))


def _evaluate_linear(xp: Any, input: Any, weight: Any, bias: Any) -> Any:
    value = multiply(xp, input, weight.T)
    if bias is None:
        return value
    with np.errstate(all="ignore"):
        return xp.asarray(value + bias, value.dtype)


@conjugating
def _linear_vjp(c: VjpContext, g: Any, input: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any]:
    if weight.ndim == 1:
        return (
            F.mul(F.unsqueeze(g, -1), weight) if c.needs[0] else None,
            sum_to(F.mul(F.unsqueeze(g, -1), input), weight) if c.needs[1] else None,
            sum_to(g, bias) if bias is not None and c.needs[2] else None,
        )
    for_weight = None
    if c.needs[1]:
        rows, columns = (F.unsqueeze(v, 0) if v.ndim == 1 else _rows(v) if v.ndim > 2 else v for v in (g, input))
        for_weight = F.matmul(_transposed(rows), columns)
    return (
        F.matmul(g, weight) if c.needs[0] else None,
        for_weight,
        sum_to(g, bias) if bias is not None and c.needs[2] else None,
    )


LINEAR = define(
    "linear(input: Tensor, weight: Tensor, bias: Tensor | None = None)",
    "input @ weight.T + bias; weight is [out_features, in_features].\n\n"
    ">>> ingot.nn.functional.linear(ingot.tensor([1., 2.]), ingot.tensor([[1., 1.], [0., 3.]]))\n"
    "tensor([3., 6.])",
    infer=_infer_linear,
    evaluate=_evaluate_linear,
    vjp=_linear_vjp,
    lower=Custom("linear"),
    public=("functional",),
    samples=lambda: [
        Sample((randoms(3, 5), randoms(2, 5, seed=1), randoms(2, seed=2))),
        Sample((randoms(3, 5), randoms(2, 5, seed=1))),
        Sample((randoms(5), randoms(2, 5, seed=1), randoms(2, seed=2))),
        Sample((randoms(2, 3, 5), randoms(4, 5, seed=1), randoms(4, seed=2))),
        Sample((randoms(3, 5), randoms(5, seed=1))),
        Sample((randoms(0, 5), randoms(2, 5, seed=1), randoms(2, seed=2))),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 5), randoms(2, 4)), RuntimeError, "input has 5 features, the weight 4"),
        ErrorSample((randoms(3, 5), randoms(2, 5), randoms(3)), RuntimeError, r"bias of shape \[2\]"),
        ErrorSample((randoms(3, 5), randoms(2, 5, dtype="float64")), RuntimeError, "one dtype"),
    ],
)


# -- sums of products --------------------------------------------------------------------------------------------------


def _infer_addmm(sizes: Sizes, input: Any, mat1: Any, mat2: Any, *, beta: Any, alpha: Any) -> TensorType:
    types = tuple(require_tensor("addmm", n, t) for n, t in (("input", input), ("mat1", mat1), ("mat2", mat2)))
    require_one_dtype("addmm", types)
    product = _matrices(sizes, "addmm", types[1], types[2])
    message = f"addmm: {types[0]} does not broadcast to the product's shape {shape_text(product)}"
    require_broadcast(sizes, types[0], product, message)
    return TensorType(types[0].dtype, product, same_device("addmm", types))


def _matrices(sizes: Sizes, name: str, a: TensorType, b: TensorType) -> tuple[Dim, ...]:
    if a.rank != 2 or b.rank != 2:
        raise RuntimeError(f"{name}: expected matrices (rank 2), given {a} and {b}")
    sizes.equal(a.shape[1], b.shape[0], f"{name}: inner dimensions differ: {a} @ {b} ({a.shape[1]} != {b.shape[0]})")
    return (a.shape[0], b.shape[1])


def _evaluate_addmm(xp: Any, input: Any, mat1: Any, mat2: Any, *, beta: Any, alpha: Any) -> Any:
    product = multiply(xp, mat1, mat2)
    with np.errstate(all="ignore"):
        if alpha != 1:
            product = product * product.dtype.type(alpha)
        # beta 0 ignores the input, NaN in it included
        return product if beta == 0 else xp.asarray(product + input * input.dtype.type(beta), input.dtype)


def _decompose_addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any, alpha: Any) -> Any:
    product = F.matmul(mat1, mat2)
    ignored = beta == 0
    if product.dtype.kind in "iu":  # factors of integers lose their fractions
        alpha, beta = int(alpha), int(beta)
    if alpha != 1:
        product = F.mul(product, alpha)
    if ignored:
        return product
    return F.add(product, input if beta == 1 else F.mul(input, beta))


ADDMM = define(
    "addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: number = 1, alpha: number = 1)",
    "beta * input + alpha * (mat1 @ mat2), the input broadcast to the product.\n\n"
    ">>> ingot.addmm(ingot.tensor([10., 20.]), ingot.tensor([[1., 2.]]), ingot.tensor([[1., 0.], [0., 1.]]))\n"
    "tensor([[11., 22.]])",
    infer=_infer_addmm,
    evaluate=_evaluate_addmm,
    vjp=derived_vjp(_decompose_addmm),
    lower=Decompose(_decompose_addmm),
    public=_PUBLIC,
    samples=lambda: [
        Sample((randoms(3, 2), randoms(3, 5, seed=1), randoms(5, 2, seed=2))),
        Sample((randoms(2), randoms(3, 5, seed=1), randoms(5, 2, seed=2)), {"beta": 0.5, "alpha": -2.0}),
        Sample((randoms(3, 1), randoms(3, 5, seed=1), randoms(5, 2, seed=2)), {"beta": 0}),
        Sample((ints(3, 2), ints(3, 5), ints(5, 2)), {"beta": 0.5, "alpha": 2.5}, differentiable=False),
    ],
    errors=lambda: [
        ErrorSample((randoms(3, 2), randoms(3, 5), randoms(4, 2)), RuntimeError, "inner dimensions differ"),
        ErrorSample((randoms(3, 3), randoms(3, 5), randoms(5, 2)), RuntimeError, "does not broadcast"),
        ErrorSample((randoms(3), randoms(3), randoms(5, 2)), RuntimeError, "rank 2"),
    ],
)


def _strict(name: str, doc: str, rank: int) -> None:
    """A product of operands of one rank only: the same as matmul, which accepts more."""

    def infer(sizes: Sizes, input: Any, other: Any) -> TensorType:
        a, b = require_tensor(name, "input", input), require_tensor(name, "other", other)
        if a.rank != rank or b.rank != rank:
            raise RuntimeError(f"{name}: expected two tensors of rank {rank}, given {a} and {b}")
        require_one_dtype(name, (a, b))
        if rank == 3:
            sizes.equal(a.shape[0], b.shape[0], f"{name}: batch sizes differ: {a} and {b}")
        inner = b.shape[-2] if rank > 1 else b.shape[0]
        sizes.equal(a.shape[-1], inner, f"{name}: inner dimensions differ: {a} @ {b} ({a.shape[-1]} != {inner})")
        return _infer_matmul(sizes, a, b)

    def decompose(input: Any, other: Any) -> Any:
        return F.matmul(input, other)

    samples = {
        1: ((5,), (5,)),
        2: ((3, 5), (5, 2)),
        3: ((2, 3, 5), (2, 5, 4)),
    }[rank]
    define(
        f"{name}(input: Tensor, {'tensor' if rank == 1 else 'mat2'}: Tensor)",
        doc,
        infer=infer,
        evaluate=lambda xp, input, other: multiply(xp, input, other),
        vjp=_matmul_vjp,
        lower=Decompose(decompose),
        public=_PUBLIC,
        samples=lambda: [Sample((randoms(*samples[0]), randoms(*samples[1], seed=1)))],
        errors=lambda: [
            ErrorSample((randoms(*samples[0]), randoms(*([7] * rank))), RuntimeError, "differ"),
            ErrorSample((randoms(*samples[0]), randoms(*([5] * (rank + 1)))), RuntimeError, f"rank {rank}"),
        ],
    )


_strict(
    "dot",
    "The dot product of two vectors.\n\n>>> ingot.dot(ingot.tensor([1., 2.]), ingot.tensor([3., 4.]))\ntensor(11.)",
    1,
)
_strict(
    "mm",
    "The product of two matrices.\n\n"
    ">>> ingot.mm(ingot.tensor([[1., 2.]]), ingot.tensor([[3.], [4.]]))\n"
    "tensor([[11.]])",
    2,
)
_strict(
    "bmm",
    "The products of two batches of matrices.\n\n"
    ">>> ingot.bmm(ingot.ones(2, 1, 3), ingot.ones(2, 3, 1)).shape\n"
    "ingot.Size([2, 1, 1])",
    3,
)


def _infer_outer(sizes: Sizes, input: Any, vec2: Any) -> TensorType:
    a, b = require_tensor("outer", "input", input), require_tensor("outer", "vec2", vec2)
    if a.rank != 1 or b.rank != 1:
        raise RuntimeError(f"outer: expected two tensors of rank 1, given {a} and {b}")
    column = TensorType(a.dtype, (a.shape[0], 1), a.device)
    return broadcast_types(sizes, "outer", (column, b))


def _evaluate_outer(xp: Any, input: Any, vec2: Any) -> Any:
    dtype = promoted_array_dtype((input, vec2)).numpy
    with np.errstate(all="ignore"):
        return xp.multiply.outer(input.astype(dtype), vec2.astype(dtype))


def _decompose_outer(input: Any, vec2: Any) -> Any:
    return F.mul(F.unsqueeze(input, 1), vec2)


OUTER = define(
    "outer(input: Tensor, vec2: Tensor)",
    "The matrix of the products of each element of one vector with each of the other.\n\n"
    ">>> ingot.outer(ingot.tensor([1, 2]), ingot.tensor([10, 20]))\n"
    "tensor([[10, 20],\n"
    "        [20, 40]])",
    infer=_infer_outer,
    evaluate=_evaluate_outer,
    vjp=derived_vjp(_decompose_outer),
    lower=Decompose(_decompose_outer),
    public=_PUBLIC,
    aliases=("ger",),
    samples=lambda: [Sample((randoms(3), randoms(5, seed=1))), Sample((randoms(0), randoms(2)))],
    errors=lambda: [ErrorSample((randoms(3, 1), randoms(5)), RuntimeError, "rank 1")],
)
