"""What a graph goes through before kernels are made: composites without a kernel are decomposed, products simplified.

A bias becomes an addition of its own, which fusion then puts into the epilogue of the product like any other operation.
Products of integers, for which there is no micro-kernel, become sums of elementwise products.
"""

from typing import Any

from ...ir.core import Graph, Instruction, Value
from ...ir.dtypes import float32, float64
from ...ir.ops._op import Decompose, F
from ...ir.passes.decompose import decompose
from ...ir.rewrite import Rewriter, rewrite, rule
from ...ir.types import TensorType
from .elements import expression_of

__all__ = ["prepare"]


def prepare(graph: Graph) -> Graph:
    """The graph in the form that is lowered; the given one is not changed."""
    graph = decompose(graph, keep)
    return decompose(rewrite(graph, _RULES), keep)


def keep(instruction: Instruction) -> bool:
    """Whether a composite op stays whole because it has a kernel of its own."""
    return not isinstance(instruction.op.lower, Decompose) or expression_of(instruction) is not None


def _is_native_product(instruction: Instruction) -> bool:
    result = instruction.results[0].type
    return isinstance(result, TensorType) and result.dtype in (float32, float64)


def _sum_of_products(a: Any, b: Any) -> Any:
    """A matrix product as elementwise products, summed over the depth."""
    dtype = a.dtype
    if a.ndim == 1 and b.ndim == 1:
        return F.sum(F.mul(a, b), dtype=dtype)
    left = F.unsqueeze(a, 0) if a.ndim == 1 else a
    right = F.unsqueeze(b, 1) if b.ndim == 1 else b
    product = F.sum(F.mul(F.unsqueeze(left, -1), F.unsqueeze(right, -3)), (-2,), dtype=dtype)
    if a.ndim == 1:
        return F.squeeze(product, -2)
    return F.squeeze(product, -1) if b.ndim == 1 else product


@rule("linear -> product + bias", "linear")
def _linear(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    _, weight, bias = instruction.operands
    assert weight is not None and isinstance(weight.type, TensorType)
    is_native = _is_native_product(instruction)
    if is_native and bias is None:
        return None

    def expand(input: Any, weight: Any, bias: Any) -> Any:
        if is_native:
            product = F.linear(input, weight)
        else:
            product = _sum_of_products(input, F.transpose(weight, 0, 1) if weight.ndim == 2 else weight)
        return product if bias is None else F.add(product, bias)

    return rewriter.call(expand, instruction)


@rule("product of integers -> sum", "matmul")
def _matmul(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    if _is_native_product(instruction):
        return None
    return rewriter.call(_sum_of_products, instruction)


_RULES = _linear + _matmul
