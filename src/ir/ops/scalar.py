"""Arithmetic, bits and comparison of Python numbers and strings in scripted programs: `scalar.add` and so on.

They do what Python does, except that an int has 64 bits: a result that needs more raises OverflowError.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from ..dims import Dim, dim_max, dim_min
from ..sizes import Sizes
from ..types import BoolType, ComplexType, FloatType, IntType, ScalarType, StrType, Type
from ._common import is_at_most
from ._op import ErrorSample, Op, Sample, ScalarExpression, Trait, define

PURE = (Trait.PURE,)
MAY_RAISE = (Trait.EFFECT,)  # division, domains of functions: not to be moved before a check
_LONGEST = 200  # characters of a size expression that is carried on in types


# -- types -------------------------------------------------------------------------------------------------------------

_RANKS: dict[type[Type], int] = {BoolType: 0, IntType: 1, FloatType: 2, ComplexType: 3}


def rank_of(name: str, type: Any) -> int:
    rank = _RANKS.get(type.__class__)
    if rank is None:
        raise TypeError(f"{name}: expected numbers, given {type}")
    return rank


def _number(rank: int) -> ScalarType:
    return (BoolType(), IntType(), FloatType(), ComplexType())[rank]


def _fits(value: int) -> bool:
    return -(1 << 63) <= value < 1 << 63


def checked(value: Any) -> Any:
    """The value, if it is no int of more than 64 bits; OverflowError otherwise."""
    if isinstance(value, int) and not _fits(value):
        raise OverflowError("an integer of a compiled program does not fit in 64 bits")
    return value


def _int(value: Dim | None) -> IntType:
    """The type of an int whose size expression is known, where that is worth carrying on."""
    if isinstance(value, int):
        return IntType(value if _fits(value) else None)
    return IntType(value if value is not None and len(str(value)) <= _LONGEST else None)


def _value(type: Any) -> Dim | None:
    return type.value if isinstance(type, IntType) else None


def _known(sizes: Sizes, left: Any, right: Any) -> tuple[Dim, Dim] | None:
    a, b = _value(left), _value(right)
    return None if a is None or b is None else (sizes.resolve(a), sizes.resolve(b))


def _positive(sizes: Sizes, divisor: Dim) -> bool:
    """Whether a divisor is nonzero, for an expression with a symbol as a condition of the graph."""
    if isinstance(divisor, int):
        return divisor != 0
    hint = sizes.hint(divisor)
    if hint is None or hint < 1:
        return is_at_most(1, divisor)
    if not is_at_most(1, divisor):
        sizes.equal(dim_min(divisor, 1), 1, f"the divisor {divisor} was above 0 when the graph was made")
    return True


# -- arithmetic --------------------------------------------------------------------------------------------------------


def _arithmetic(
    name: str,
    symbol: str,
    function: Callable[[Any, Any], Any],
    expression: str,
    *,
    sizes_too: Callable[[Sizes, Dim, Dim], Dim | None] = lambda sizes, a, b: None,
    lowest: int = 1,
    highest: int = 3,
    strings: bool = False,
    traits: tuple[str, ...] = PURE,
    samples: Callable[[], list[Sample]],
    errors: Callable[[], list[ErrorSample]] = list,
) -> Op:
    """An operator of two numbers. The result has the higher type, but at least that of rank `lowest`."""

    def infer(sizes: Sizes, left: Any, right: Any) -> Type:
        if strings and isinstance(left, StrType) and isinstance(right, StrType):
            return StrType()
        rank = max(rank_of(f"unsupported operands for {symbol}", t) for t in (left, right))
        if rank > highest:
            raise TypeError(f"unsupported operands for {symbol}: {left} and {right}")
        result = _number(max(rank, lowest))
        known = _known(sizes, left, right) if isinstance(result, IntType) else None
        if known is None:
            return result
        try:
            return _int(sizes_too(sizes, *known))
        except ValueError:  # the expression would be too complex to carry on
            return result

    return define(
        f"{name}(left: Scalar, right: Scalar)",
        f"left {symbol} right, as Python computes it.",
        name=f"scalar.{name}",
        infer=infer,
        evaluate=lambda xp, left, right: checked(function(left, right)),
        lower=ScalarExpression(expression),
        traits=traits,
        samples=samples,
        errors=lambda: [ErrorSample((1, None), TypeError, "unsupported operands"), *errors()],
    )


def pairs(*pairs: tuple[Any, Any]) -> Callable[[], list[Sample]]:
    return lambda: [Sample(pair) for pair in pairs]


def _overflow(*pairs: tuple[int, int]) -> Callable[[], list[ErrorSample]]:
    return lambda: [ErrorSample(pair, OverflowError, "64 bits") for pair in pairs]


LARGE = (1 << 63) - 1
_NUMBERS = ((7, -3), (2.5, 4), (-1, 0.25), (True, 5), (True, True), (1 + 2j, 3), (LARGE, -1))
_DIVISIONS = ((7, 2), (-7, 2), (7, -2), (7.5, -2), (-0.0, 3.0), (True, 2), (math.inf, 2.0))


def _by_zero(*extra: tuple[Any, Any]) -> Callable[[], list[ErrorSample]]:
    return lambda: [
        ErrorSample(pair, ZeroDivisionError, "zero|modulo") for pair in ((1, 0), (1.5, 0.0), (2, 0.0), *extra)
    ]


ADD = _arithmetic(
    "add",
    "+",
    operator.add,
    "{0} + {1}",
    sizes_too=lambda sizes, a, b: a + b,
    strings=True,
    samples=pairs(*_NUMBERS, ("a", "b")),
    errors=lambda: [*_overflow((LARGE, 1))(), ErrorSample(("a", 1), TypeError, "expected numbers")],
)
SUB = _arithmetic(
    "sub",
    "-",
    operator.sub,
    "{0} - {1}",
    sizes_too=lambda sizes, a, b: a - b,
    samples=pairs(*_NUMBERS[:-1]),
    errors=_overflow((-LARGE, 2)),
)
MUL = _arithmetic(
    "mul",
    "*",
    operator.mul,
    "{0} * {1}",
    sizes_too=lambda sizes, a, b: a * b,
    samples=pairs(*_NUMBERS),
    errors=_overflow((1 << 32, 1 << 31)),
)
TRUEDIV = _arithmetic(
    "truediv",
    "/",
    operator.truediv,
    "{0} / {1}",
    lowest=2,
    traits=MAY_RAISE,
    samples=pairs(*_DIVISIONS, (1 + 2j, 2)),
    errors=_by_zero(),
)
FLOORDIV = _arithmetic(
    "floordiv",
    "//",
    operator.floordiv,
    "{0} // {1}",
    sizes_too=lambda sizes, a, b: a // b if _positive(sizes, b) else None,
    highest=2,
    traits=MAY_RAISE,
    samples=pairs(*_DIVISIONS),
    errors=_by_zero((True, False)),
)
MOD = _arithmetic(
    "mod",
    "%",
    operator.mod,
    "{0} % {1}",
    sizes_too=lambda sizes, a, b: a % b if _positive(sizes, b) else None,
    highest=2,
    traits=MAY_RAISE,
    samples=pairs(*_DIVISIONS[:-1]),
    errors=_by_zero(),
)


def _infer_pow(sizes: Sizes, left: Any, right: Any) -> Type:
    rank = max(rank_of("unsupported operands for **", t) for t in (left, right))
    if rank > 1:
        return _number(rank)
    base, exponent = _value(left), _value(right)
    if isinstance(exponent, int):
        if exponent < 0:
            return FloatType()
        if base is not None and exponent <= 8:
            return _int(math.prod([sizes.resolve(base)] * exponent, start=1))
    return IntType()


def power(left: Any, right: Any) -> Any:
    """left ** right; ValueError where Python's own result is complex though neither operand is."""
    if isinstance(left, int) and isinstance(right, int) and right > 64 and abs(left) > 1:
        raise OverflowError("an integer of a compiled program does not fit in 64 bits")
    value = left**right
    if isinstance(value, complex) and not isinstance(left, complex) and not isinstance(right, complex):
        raise ValueError(f"{left} ** {right} is complex; make an operand complex to compute it")
    return int(value) if isinstance(value, bool) else checked(value)


POW = define(
    "pow(left: Scalar, right: Scalar)",
    "left ** right. An int to a power that is an int known only at run time is an int, and that power must not be "
    "negative; to a negative constant power it is a float.",
    name="scalar.pow",
    infer=_infer_pow,
    evaluate=lambda xp, left, right: power(left, right),
    lower=ScalarExpression("{0} ** {1}"),
    traits=MAY_RAISE,
    samples=pairs((2, 10), (-3, 3), (2, -1), (2.0, 0.5), (4, 0.5), (True, 3), (0, 0), (1j, 2)),
    errors=lambda: [
        *_overflow((2, 63), (10, 1 << 40))(),
        ErrorSample((0.0, -1.0), ZeroDivisionError, "0.0"),
        ErrorSample((-8.0, 0.5), ValueError, "complex"),
        ErrorSample(("a", 2), TypeError, "expected numbers"),
    ],
)


def _extreme(name: str, function: Callable[[Any, Any], Any], symbol: str, dims: Callable[[Dim, Dim], Dim]) -> Op:
    def infer(sizes: Sizes, left: Any, right: Any) -> Type:
        rank = max(rank_of(f"{name}()", t) for t in (left, right))
        if rank > 2:
            raise TypeError(f"{name}(): complex numbers have no order, given {left} and {right}")
        known = _known(sizes, left, right)
        return _number(rank) if rank != 1 or known is None else _int(dims(*known))

    def evaluate(xp: Any, left: Any, right: Any) -> Any:
        value = function(left, right)
        return type(left + right)(value) if type(left) is not type(right) else value

    return define(
        f"{name}(left: Scalar, right: Scalar)",
        f"Python's {name}(left, right), as the higher type of the two.",
        name=f"scalar.{name}",
        infer=infer,
        evaluate=evaluate,
        lower=ScalarExpression(f"({{1}} if {{1}} {symbol} {{0}} else {{0}})"),
        samples=pairs((3, 5), (3, -5), (2.5, 2), (2, 2.5), (True, 0), (True, False)),
        errors=lambda: [ErrorSample((1j, 1), TypeError, "order"), ErrorSample((1, "a"), TypeError, "numbers")],
    )


MIN = _extreme("min", min, "<", dim_min)
MAX = _extreme("max", max, ">", dim_max)


# -- bits --------------------------------------------------------------------------------------------------------------


def _bits(name: str, symbol: str, function: Callable[[Any, Any], Any]) -> Op:
    def infer(sizes: Sizes, left: Any, right: Any) -> Type:
        rank = max(rank_of(f"unsupported operands for {symbol}", t) for t in (left, right))
        if rank > 1:
            raise TypeError(f"unsupported operands for {symbol}: {left} and {right}")
        return _number(rank)

    return define(
        f"{name}(left: Scalar, right: Scalar)",
        f"left {symbol} right of bools (a bool) or ints.",
        name=f"scalar.{name}",
        infer=infer,
        evaluate=lambda xp, left, right: function(left, right),
        lower=ScalarExpression(f"{{0}} {symbol} {{1}}"),
        samples=pairs((6, 3), (-1, 5), (True, False), (True, 2)),
        errors=lambda: [ErrorSample((1.5, 1), TypeError, "unsupported operands")],
    )


AND = _bits("and_", "&", operator.and_)
OR = _bits("or_", "|", operator.or_)
XOR = _bits("xor", "^", operator.xor)


def _shift(name: str, symbol: str) -> Op:
    def evaluate(xp: Any, left: int, right: int) -> int:
        if right < 0:
            raise ValueError("negative shift count")
        if symbol == ">>":
            return int(left) >> min(right, 63)
        if right > 63 and left:
            raise OverflowError("an integer of a compiled program does not fit in 64 bits")
        return int(checked(int(left) << min(right, 63)))

    def infer(sizes: Sizes, left: Any, right: Any) -> Type:
        if max(rank_of(f"unsupported operands for {symbol}", t) for t in (left, right)) > 1:
            raise TypeError(f"unsupported operands for {symbol}: {left} and {right}")
        return IntType()

    return define(
        f"{name}(left: Scalar, right: Scalar)",
        f"left {symbol} right of ints.",
        name=f"scalar.{name}",
        infer=infer,
        evaluate=evaluate,
        lower=ScalarExpression(f"{{0}} {symbol} {{1}}"),
        traits=MAY_RAISE,
        samples=pairs((5, 2), (-5, 1), (True, 3), (0, 70), (1, 0)),
        errors=lambda: [
            ErrorSample((1, -1), ValueError, "negative shift"),
            ErrorSample((1.5, 1), TypeError, "unsupported operands"),
            *([ErrorSample((1, 63), OverflowError, "64 bits")] if symbol == "<<" else []),
        ],
    )


LSHIFT = _shift("lshift", "<<")
RSHIFT = _shift("rshift", ">>")


# -- comparison and truth ----------------------------------------------------------------------------------------------


def _comparison(name: str, symbol: str, function: Callable[[Any, Any], bool]) -> Op:
    ordered = name not in ("eq", "ne")

    def infer(sizes: Sizes, left: Any, right: Any) -> BoolType:
        for type in (left, right):
            if not isinstance(type, (ScalarType, StrType)):
                raise TypeError(f"{symbol}: expected numbers or strings, given {type}")
        mixed = isinstance(left, StrType) != isinstance(right, StrType)
        if ordered and (mixed or isinstance(left, ComplexType) or isinstance(right, ComplexType)):
            raise TypeError(f"'{symbol}' not supported between {left} and {right}")
        return BoolType()

    return define(
        f"{name}(left: Scalar, right: Scalar)",
        f"left {symbol} right of numbers or strings.",
        name=f"scalar.{name}",
        infer=infer,
        evaluate=lambda xp, left, right: bool(function(left, right)),
        lower=ScalarExpression(f"{{0}} {symbol} {{1}}"),
        samples=pairs((1, 2), (2, 2.0), (True, 1), (math.nan, math.nan), ("a", "b"), ("a", "a"), (LARGE, float(LARGE))),
        errors=lambda: [
            ErrorSample((1, None), TypeError, "expected numbers or strings"),
            *([ErrorSample((1, "a"), TypeError, "not supported")] if ordered else []),
        ],
    )


EQ = _comparison("eq", "==", operator.eq)
NE = _comparison("ne", "!=", operator.ne)
LT = _comparison("lt", "<", operator.lt)
LE = _comparison("le", "<=", operator.le)
GT = _comparison("gt", ">", operator.gt)
GE = _comparison("ge", ">=", operator.ge)


def unary(
    name: str,
    doc: str,
    infer: Callable[[Sizes, Any], Type],
    function: Callable[[Any], Any],
    expression: str,
    samples: tuple[Any, ...],
    errors: tuple[tuple[Any, type[Exception], str], ...] = (),
    traits: tuple[str, ...] = PURE,
) -> Op:
    return define(
        f"{name}(value: Scalar)",
        doc,
        name=f"scalar.{name}",
        infer=infer,
        evaluate=lambda xp, value: checked(function(value)),
        lower=ScalarExpression(expression),
        traits=traits,
        samples=lambda: [Sample((value,)) for value in samples],
        errors=lambda: [ErrorSample((value,), exception, match) for value, exception, match in errors],
    )


def _infer_not(sizes: Sizes, value: Any) -> BoolType:
    rank_of("not", value)
    return BoolType()


NOT = unary("not_", "Python's not of a number.", _infer_not, operator.not_, "not {0}", (True, False, 0, 2.5))


def _infer_neg(sizes: Sizes, value: Any) -> Type:
    known = _value(value)
    return (
        _number(max(rank_of("unsupported operand for -", value), 1)) if known is None else _int(-sizes.resolve(known))
    )


NEG = unary(
    "neg",
    "-value.",
    _infer_neg,
    operator.neg,
    "-{0}",
    (3, -2.5, True, 1j, 0),
    ((-LARGE - 1, OverflowError, "64 bits"), ("a", TypeError, "expected numbers")),
)


def _infer_abs(sizes: Sizes, value: Any) -> Type:
    rank = rank_of("abs()", value)
    known = _value(value)
    if known is not None:
        known = sizes.resolve(known)
        if is_at_most(0, known):
            return _int(known)
        return _int(abs(known)) if isinstance(known, int) else IntType()
    return _number(2 if rank == 3 else max(rank, 1))


ABS = unary(
    "abs",
    "abs(value).",
    _infer_abs,
    abs,
    "abs({0})",
    (3, -2.5, True, 3 + 4j, -7),
    ((-LARGE - 1, OverflowError, "64 bits"), ("a", TypeError, "expected numbers")),
)
