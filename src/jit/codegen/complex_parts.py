"""Operations on complex tensors as operations on their real and imaginary parts, which have kernels.

A complex number in memory is a pair of reals, so that `view_as_real` and `view_as_complex` are other names for the same
memory. What one rule takes apart and the next would put together again is remembered, and only parts are computed.
"""

from collections.abc import Callable
from typing import Any

from ...ir.core import Instruction, Value
from ...ir.dtypes import DType, complex64, float32, float64
from ...ir.ops._op import Decompose, F, View
from ...ir.rewrite import Rewriter, Rules, rule
from ...ir.types import ComplexType, TensorType

__all__ = ["ALIASES", "parts_rules"]

ALIASES = ("view_as_real", "view_as_complex")

Parts = tuple[Any, Any]


def _is_complex(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "is_complex", False) or isinstance(value, complex)


def _real_dtype(dtype: DType) -> DType:
    return float32 if dtype is complex64 else float64


class _Apart:
    """Takes complex values apart, and remembers the parts of those it made."""

    def __init__(self) -> None:
        self.known: dict[Value, Parts] = {}

    def parts(self, x: Any, dtype: DType | None = None) -> Parts:
        """The parts of an operand, computed in a dtype; no imaginary part (None) of a real one."""
        if isinstance(x, complex):
            return x.real, x.imag
        if not hasattr(x, "value") or not hasattr(x, "shape"):
            return x, None
        if not x.dtype.is_complex:
            return self.cast(x, dtype), None
        if x.value not in self.known:
            pairs = F.view_as_real(x)
            self.known[x.value] = F.select(pairs, 0, dim=x.ndim), F.select(pairs, 1, dim=x.ndim)
        real, imaginary = self.known[x.value]
        return self.cast(real, dtype), self.cast(imaginary, dtype)

    @staticmethod
    def cast(x: Any, dtype: DType | None) -> Any:
        return x if dtype is None or x.dtype is dtype else F.cast(x, dtype=dtype)

    def whole(self, real: Any, imaginary: Any) -> Any:
        """The complex tensor of two parts of one shape."""
        made = F.view_as_complex(F.stack((real, imaginary), real.ndim))
        self.known[made.value] = real, imaginary
        return made


def _add(a: Parts, b: Parts, alpha: Any = 1, *, minus: bool = False) -> Parts:
    if alpha != 1:
        b = F.mul(b[0], alpha), None if b[1] is None else F.mul(b[1], alpha)
    join = F.sub if minus else F.add
    if b[1] is None:
        return join(a[0], b[0]), a[1]
    return join(a[0], b[0]), (F.neg(b[1]) if minus else b[1]) if a[1] is None else join(a[1], b[1])


def _mul(a: Parts, b: Parts) -> Parts:
    if a[1] is None:
        a, b = b, a
    if b[1] is None:
        return F.mul(a[0], b[0]), F.mul(a[1], b[0])
    return (
        F.sub(F.mul(a[0], b[0]), F.mul(a[1], b[1])),
        F.add(F.mul(a[0], b[1]), F.mul(a[1], b[0])),
    )


def _matmul(a: Parts, b: Parts) -> Parts:
    if b[1] is None:
        return F.matmul(a[0], b[0]), F.matmul(a[1], b[0])
    if a[1] is None:
        return F.matmul(a[0], b[0]), F.matmul(a[0], b[1])
    return (
        F.sub(F.matmul(a[0], b[0]), F.matmul(a[1], b[1])),
        F.add(F.matmul(a[0], b[1]), F.matmul(a[1], b[0])),
    )


def _div(a: Parts, b: Parts) -> Parts:
    """Smith's quotient ("Algorithm 116", 1962), which divides the divisor's smaller part by the larger."""
    if b[1] is None:
        return F.div(a[0], b[0]), F.div(a[1], b[0])
    is_first = F.ge(F.abs(b[0]), F.abs(b[1]))
    large, small = F.where(is_first, b[0], b[1]), F.where(is_first, b[1], b[0])
    ratio = F.where(F.eq(large, 0), 0.0, F.div(small, large))
    scale = F.reciprocal(F.add(large, F.mul(small, ratio)))
    if a[1] is None:
        real, imaginary = F.where(is_first, a[0], F.mul(a[0], ratio)), F.where(is_first, F.mul(a[0], ratio), a[0])
        return F.mul(real, scale), F.neg(F.mul(imaginary, scale))
    real = F.where(is_first, F.add(a[0], F.mul(a[1], ratio)), F.add(F.mul(a[0], ratio), a[1]))
    imaginary = F.where(is_first, F.sub(a[1], F.mul(a[0], ratio)), F.sub(F.mul(a[1], ratio), a[0]))
    return F.mul(real, scale), F.mul(imaginary, scale)


def _exp(a: Parts) -> Parts:
    size = F.exp(a[0])
    is_zero, is_real = F.eq(size, 0), F.eq(a[1], 0)
    real = F.where(F.logical_or(is_zero, is_real), size, F.mul(size, F.cos(a[1])))
    return real, F.where(is_zero, 0.0, F.where(is_real, a[1], F.mul(size, F.sin(a[1]))))


_UNARY: dict[str, Callable[[Parts], Parts]] = {
    "neg": lambda a: (F.neg(a[0]), F.neg(a[1])),
    "conj": lambda a: (a[0], F.neg(a[1])),
    "square": lambda a: _mul(a, a),
    "exp": _exp,
}
_BINARY: dict[str, Callable[..., Parts]] = {
    "add": lambda a, b, alpha=1: _add(a, b, alpha),
    "sub": lambda a, b, alpha=1: _add(a, b, alpha, minus=True),
    "mul": lambda a, b: _mul(a, b),
    "div": lambda a, b, rounding_mode=None: _div(a, b),
}
_TO_REAL: dict[str, Callable[[Parts], Any]] = {
    "real": lambda a: a[0],
    "imag": lambda a: a[1],
    "abs": lambda a: F.hypot(a[0], a[1]),
    "angle": lambda a: F.atan2(a[1], a[0]),
}
# Made of products and of what only moves elements, which holds for complex numbers, too.
_COMPOSITES = ("einsum", "mm", "bmm", "dot", "outer", "addmm")
# Elements only move, or are added up.
_EACH = ("sum", "mean", "index_select", "gather", "where", "pad", "clone")


def parts_rules() -> Rules:
    """The rules of one rewrite, which share what they know of the parts of values."""
    apart = _Apart()

    def expected(instruction: Instruction) -> TensorType:
        result = instruction.results[0].type
        assert isinstance(result, TensorType)
        return result

    def is_for(instruction: Instruction) -> bool:
        """Whether one result is a tensor, and an operand or the result complex, but none a Python number not known."""
        types = [v.type for v in (*instruction.inputs, *instruction.results)]
        if len(instruction.results) != 1 or not isinstance(types[-1], TensorType):
            return False
        if any(isinstance(v.type, ComplexType) and not _is_literal(v) for v in instruction.inputs):
            return False
        return any(isinstance(t, TensorType) and t.dtype.is_complex for t in types)

    def finished(result: TensorType, real: Any, imaginary: Any) -> Any:
        dtype = _real_dtype(result.dtype)
        real, imaginary = apart.cast(real, dtype), apart.cast(imaginary, dtype)
        if tuple(imaginary.shape) != tuple(result.shape):
            imaginary = F.expand(imaginary, result.shape)
        if tuple(real.shape) != tuple(result.shape):
            real = F.expand(real, result.shape)
        return apart.whole(real, imaginary)

    @rule("complex -> parts", *_UNARY)
    def unary(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        if not is_for(instruction):
            return None
        name, result = instruction.op.name, expected(instruction)
        return rewriter.call(lambda x: finished(result, *_UNARY[name](apart.parts(x))), instruction)

    @rule("complex and complex -> parts", *_BINARY)
    def binary(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        if not is_for(instruction):
            return None
        name, result = instruction.op.name, expected(instruction)
        dtype = _real_dtype(result.dtype)

        def expand(a: Any, b: Any, **attributes: Any) -> Any:
            return finished(result, *_BINARY[name](apart.parts(a, dtype), apart.parts(b, dtype), **attributes))

        if _is_complex(instruction.attributes.get("alpha", 1)):
            return None
        return rewriter.call(expand, instruction)

    @rule("parts of complex -> real", *_TO_REAL)
    def to_real(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        if not is_for(instruction):
            return None
        name = instruction.op.name
        return rewriter.call(lambda x: _TO_REAL[name](apart.parts(x)), instruction)

    @rule("pair -> complex", "complex", "polar")
    def pair(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        result = expected(instruction)

        def expand(a: Any, b: Any) -> Any:
            if instruction.op.name == "polar":
                a, b = F.mul(a, F.cos(b)), F.mul(a, F.sin(b))
            return finished(result, a, b)

        return rewriter.call(expand, instruction)

    @rule("cast to complex -> casts of parts", "cast")
    def cast(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        if not is_for(instruction) or not expected(instruction).dtype.is_complex:
            return None
        result = expected(instruction)

        def expand(x: Any, **_: Any) -> Any:
            real, imaginary = apart.parts(x, _real_dtype(result.dtype))
            return finished(result, real, _zeros(real) if imaginary is None else imaginary)

        return rewriter.call(expand, instruction)

    @rule("complex product -> products of parts", "matmul")
    def product(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        if not is_for(instruction):
            return None
        result = expected(instruction)
        dtype = _real_dtype(result.dtype)
        return rewriter.call(
            lambda a, b: finished(result, *_matmul(apart.parts(a, dtype), apart.parts(b, dtype))), instruction
        )

    @rule("composite of complex -> its decomposition", *_COMPOSITES)
    def composite(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        lowering = instruction.op.lower
        if not is_for(instruction) or not isinstance(lowering, Decompose):
            return None
        return rewriter.call(lowering.function, instruction)

    @rule("elements of complex -> of parts", when=lambda op: isinstance(op.lower, View) or op.name in _EACH)
    def each(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        if not is_for(instruction) or instruction.op.name in (*_TO_REAL, *_UNARY):
            return None
        op, result = instruction.op, expected(instruction)
        attributes = dict(instruction.attributes)
        if not result.dtype.is_complex or attributes.get("dtype") is not None:
            return None
        attributes.pop("dtype", None)

        def expand(*operands: Any, **_: Any) -> Any:
            made = []
            for place in (0, 1):
                own = [_part(apart, x, place) for x in operands]
                made.append(getattr(F, op.name)(*own, **attributes))
            return finished(result, *made)

        return rewriter.call(expand, instruction)

    @rule("complex pieces -> pieces of parts", "cat", "stack")
    def joined(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
        if not is_for(instruction) or not all(_is_complex(v.type) for v in instruction.inputs):
            return None
        result = expected(instruction)
        if any(v.type.dtype is not result.dtype for v in instruction.inputs if isinstance(v.type, TensorType)):
            return None

        def expand(tensors: Any, **attributes: Any) -> Any:
            join = getattr(F, instruction.op.name)
            pairs = [apart.parts(x) for x in tensors]
            real, imaginary = (join(tuple(p[k] for p in pairs), **attributes) for k in (0, 1))
            return finished(result, real, imaginary)

        return rewriter.call(expand, instruction)

    return unary + binary + to_real + pair + cast + product + composite + each + joined


def _part(apart: _Apart, x: Any, place: int) -> Any:
    """One part of an operand; the imaginary one of a real operand of floats is 0, conditions and places stay."""
    if isinstance(x, complex):
        return (x.real, x.imag)[place]
    if not _is_complex(x):
        if place and (isinstance(x, float) or getattr(getattr(x, "dtype", None), "is_floating_point", False)):
            return 0.0 if isinstance(x, float) else _zeros(x)
        return x
    return apart.parts(x)[place]


def _zeros(x: Any) -> Any:
    return F.full(tuple(x.shape), 0.0, dtype=x.dtype)


def _is_literal(value: Value) -> bool:
    return value.instruction is not None and value.instruction.op.name == "constant"
