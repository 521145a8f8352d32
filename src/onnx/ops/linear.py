"""Matrix products."""

from typing import Any

from ...ir.ops._op import F
from ..registry import op


@op("MatMul")
def matmul(node: Any, a: Any, b: Any) -> Any:
    return F.matmul(a, b)


@op("Gemm")
def gemm(node: Any, a: Any, b: Any, c: Any = None) -> Any:
    """alpha * a @ b + beta * c; the common form, with alpha and beta 1, is a linear layer."""
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    a = F.transpose(a, 0, 1) if node.attribute("transA", 0) else a
    transposed = node.attribute("transB", 0)
    floating = a.dtype.is_floating_point
    if transposed and floating and alpha == 1 and beta == 1 and c is not None and c.ndim == 1 and _same(c, b):
        return F.linear(a, b, c)
    result = F.matmul(a, F.transpose(b, 0, 1) if transposed else b)
    if alpha != 1:
        result = F.mul(result, alpha if floating else int(alpha))
    if c is None:
        return result
    return F.add(result, c if beta == 1 else F.mul(c, beta if floating else int(beta)))


def _same(bias: Any, weight: Any) -> bool:
    """Whether the bias has one element per row of the weight, so that it is not broadcast."""
    return bool(bias.shape[0] == weight.shape[0])


@op("Einsum")
def einsum(node: Any, *inputs: Any) -> Any:
    return F.einsum(node.attribute("equation").replace(" ", ""), inputs)


@op("Det")
def determinant(node: Any, x: Any) -> Any:
    """The determinant by elimination with pivoting (Golub and Van Loan, Matrix Computations, section 3.4)."""
    size = node.fix(x.shape[-1])
    if size > 256:
        raise node.error(f"Det: matrices of more than 256 rows are not supported, given {size}")
    result = None
    for k in range(size):
        # The row with the largest element in column k is swapped with row k, which turns the sign.
        column = F.select(F.slice(x, k, size, dim=-2), k, dim=-1)
        pivot = F.argmax(F.abs(column), -1, True)
        rows = F.slice(x, k, size, dim=-2)
        count = size - k
        index = F.expand(F.unsqueeze(pivot, -1), (*tuple(x.shape)[:-2], 1, size))
        top = F.gather(rows, rows.ndim - 2, index)
        first = F.slice(rows, 0, 1, dim=-2)
        rows = F.scatter(rows, rows.ndim - 2, index, first)
        value = F.select(F.select(top, 0, dim=-2), k, dim=-1)
        moved = F.squeeze(F.ne(pivot, 0), (-1,))
        signed = F.where(moved, F.neg(value), value)
        result = signed if result is None else F.mul(result, signed)
        if count > 1:
            rest = F.slice(rows, 1, count, dim=-2)
            safe = F.where(F.eq(value, 0), F.add(F.mul(value, 0), 1), value)
            factor = F.div(F.slice(rest, k, k + 1, dim=-1), F.unsqueeze(F.unsqueeze(safe, -1), -1))
            x = F.cat((F.slice(x, 0, k, dim=-2), top, F.sub(rest, F.mul(factor, top))), x.ndim - 2)
    return result
