"""Conversions of Python numbers, functions of Python's `math`, and ways between numbers and tensors."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dims import product
from ..dtypes import DType, scalar_dtype
from ..sizes import Sizes
from ..types import BoolType, ComplexType, FloatType, IntType, ScalarType, StrType, TensorType, Type
from ._common import ints, randoms, require_tensor, scalar_type_dtype
from ._op import Custom, Decompose, ErrorSample, F, Op, Sample, ScalarExpression, define
from .scalar import LARGE, MAY_RAISE, PURE, pairs, rank_of, unary

# -- conversion --------------------------------------------------------------------------------------------------------


def _infer_to_bool(sizes: Sizes, value: Any) -> BoolType:
    if not isinstance(value, (ScalarType, StrType)):
        raise TypeError(f"bool(): expected a number or string, given {value}")
    return BoolType()


TO_BOOL = unary("to_bool", "bool(value).", _infer_to_bool, bool, "{0} != 0", (0, 3, 0.0, math.nan, True, 0j, "", "a"))


def _infer_to_int(sizes: Sizes, value: Any) -> Type:
    if isinstance(value, ComplexType) or not isinstance(value, (ScalarType, StrType)):
        raise TypeError(f"int(): expected a real number or a string, given {value}")
    return value if isinstance(value, IntType) else IntType()


TO_INT = unary(
    "to_int",
    "int(value): toward 0.",
    _infer_to_int,
    int,
    "int({0})",
    (2.9, -2.9, True, 5, " 42 ", 1e18),
    (
        (math.nan, ValueError, "NaN"),
        (math.inf, OverflowError, "infinity"),
        (1e19, OverflowError, "64 bits"),
        (1j, TypeError, "real number"),
        ("x", ValueError, "invalid literal"),
    ),
    traits=MAY_RAISE,
)


def _infer_to_float(sizes: Sizes, value: Any) -> FloatType:
    if isinstance(value, ComplexType) or not isinstance(value, (ScalarType, StrType)):
        raise TypeError(f"float(): expected a real number or a string, given {value}")
    return FloatType()


TO_FLOAT = unary(
    "to_float",
    "float(value).",
    _infer_to_float,
    float,
    "float({0})",
    (2, True, 2.5, "1e3", "nan", LARGE),
    ((1j, TypeError, "real number"), ("x", ValueError, "could not convert")),
)


def _infer_to_complex(sizes: Sizes, value: Any) -> ComplexType:
    rank_of("complex()", value)
    return ComplexType()


TO_COMPLEX = unary("to_complex", "complex(value).", _infer_to_complex, complex, "complex({0})", (2, 2.5, True, 1j))


def _infer_to_str(sizes: Sizes, value: Any) -> StrType:
    if not isinstance(value, (ScalarType, StrType)):
        raise TypeError(f"str(): expected a number or string, given {value}")
    return StrType()


TO_STR = unary("to_str", "str(value).", _infer_to_str, str, "str({0})", (2, -0.5, True, 1e100, "a", 1j))


# -- functions of `math` -----------------------------------------------------------------------------------------------


def _infer_real(name: str, result: type[Type]) -> Callable[..., Type]:
    def infer(sizes: Sizes, *values: Any) -> Type:
        for value in values:
            if rank_of(f"math.{name}()", value) > 2:
                raise TypeError(f"math.{name}(): must be real number, given {value}")
        return result()

    return infer


def _math(
    name: str,
    samples: tuple[Any, ...],
    errors: tuple[tuple[Any, type[Exception], str], ...] = (),
    *,
    total: bool = False,
) -> Op:
    """A function of Python's `math` of one number; `total` where every float has a value."""
    return unary(
        name,
        f"math.{name}(value).",
        _infer_real(name, FloatType),
        getattr(math, name),
        f"math.{name}({{0}})",
        samples,
        (*errors, (1j, TypeError, "real number")),
        traits=PURE if total else MAY_RAISE,
    )


for _name in ("sqrt", "log", "log2", "log10"):
    _math(_name, (0.25, 2, 4.5, math.inf, True), ((-1.0, ValueError, "domain|NaN"),))
_math("log1p", (0.5, -0.5, 0, math.inf), ((-1.0, ValueError, "domain|NaN"),))
for _name in ("exp", "expm1", "sinh", "cosh"):
    _math(_name, (0.5, -1, 0, -math.inf if _name.startswith("exp") else 2.0), ((1e4, OverflowError, "range"),))
for _name in ("sin", "cos", "tan"):
    _math(_name, (0.5, -1, 0, math.nan), ((math.inf, ValueError, "domain|NaN"),))
for _name in ("asin", "acos"):
    _math(_name, (0.5, -1, 0), ((1.5, ValueError, "domain|NaN"),))
_math("atanh", (0.5, 0), ((1.0, ValueError, "domain|NaN"),))
_math("acosh", (1, 2.5), ((0.5, ValueError, "domain|NaN"),))
for _name in ("atan", "tanh", "asinh", "erf", "erfc", "fabs"):
    _math(_name, (0.5, -1, 0, math.inf), total=True)


def _rounding(name: str, doc: str, function: Callable[[Any], int]) -> Op:
    def infer(sizes: Sizes, value: Any) -> Type:
        if rank_of(f"{name}()", value) > 2:
            raise TypeError(f"{name}(): must be real number, given {value}")
        return value if isinstance(value, IntType) else IntType()

    return unary(
        name,
        doc,
        infer,
        function,
        f"int(math.{name}({{0}}))" if name != "round" else "int(round({0}))",
        (2.5, -2.5, 3.7, 4, True, -0.0),
        ((math.nan, ValueError, "domain|NaN"), (math.inf, OverflowError, "infinity"), (1e30, OverflowError, "64 bits")),
        traits=MAY_RAISE,
    )


FLOOR = _rounding("floor", "The largest int that is not above the number.", math.floor)
CEIL = _rounding("ceil", "The smallest int that is not below the number.", math.ceil)
TRUNC = _rounding("trunc", "The number rounded toward 0, as an int.", math.trunc)
ROUND = _rounding("round", "The nearest int, the even one of two equally near.", round)


def _classify(name: str) -> Op:
    return unary(
        name,
        f"math.{name}(value).",
        _infer_real(name, BoolType),
        getattr(math, name),
        f"math.{name}({{0}})",
        (0.5, math.nan, -math.inf, 3),
        ((1j, TypeError, "real number"),),
    )


ISNAN = _classify("isnan")
ISINF = _classify("isinf")
ISFINITE = _classify("isfinite")


def _math_pair(name: str, *examples: tuple[Any, Any], fails: tuple[Any, Any] | None = None) -> Op:
    return define(
        f"{name}(left: Scalar, right: Scalar)",
        f"math.{name}(left, right).",
        name=f"scalar.{name}",
        infer=_infer_real(name, FloatType),
        evaluate=lambda xp, left, right: getattr(math, name)(left, right),
        lower=ScalarExpression(f"math.{name}({{0}}, {{1}})"),
        traits=PURE if fails is None else MAY_RAISE,
        samples=pairs(*examples),
        errors=lambda: [
            ErrorSample((1j, 1), TypeError, "real number"),
            *([ErrorSample(fails, ValueError, "domain|NaN")] if fails else []),
        ],
    )


_math_pair("atan2", (1.0, -2.0), (0, -1), (3, 4.5))
_math_pair("hypot", (3.0, 4), (0, 0))
_math_pair("copysign", (3, -0.0), (-2.5, 1))
_math_pair("fmod", (7.5, -2), (-7, 3), fails=(1.0, 0.0))


# -- between tensors and numbers ---------------------------------------------------------------------------------------


def _infer_item(sizes: Sizes, input: Any) -> Type:
    input = require_tensor("item", "input", input)
    count = product(input.shape)
    sizes.equal(count, 1, f"a Tensor with {count} elements cannot be converted to Scalar")
    kinds: dict[str, type[Type]] = {"b": BoolType, "i": IntType, "u": IntType, "f": FloatType, "c": ComplexType}
    return kinds[input.dtype.kind]()


ITEM = define(
    "item(input: Tensor)",
    "The only element of a tensor as a Python number: bool, int, float or complex by its dtype.",
    infer=_infer_item,
    evaluate=lambda xp, input: input.item(),
    lower=Custom("item"),
    samples=lambda: [
        Sample((randoms(),), differentiable=False),
        Sample((randoms(1, 1, dtype="float64"),), differentiable=False),
        Sample((ints(1, dtype="uint8", low=0),), differentiable=False),
        Sample((ints(1) > 0,), differentiable=False),
    ],
    errors=lambda: [ErrorSample((randoms(2),), RuntimeError, "2 elements"), ErrorSample((1.5,), TypeError, "Tensor")],
)


def _infer_scalar_tensor(sizes: Sizes, value: Any, *, dtype: DType | None) -> TensorType:
    if not isinstance(value, ScalarType):
        raise TypeError(f"scalar_tensor(): argument 'value' must be Number, not {value}")
    return TensorType(dtype or scalar_type_dtype(value), ())


def _evaluate_scalar_tensor(xp: Any, value: Any, *, dtype: DType | None) -> Any:
    with np.errstate(all="ignore"):
        return xp.asarray(value).astype((dtype or scalar_dtype(value)).numpy)


SCALAR_TENSOR = define(
    "scalar_tensor(value: Scalar, *, dtype: dtype | None = None)",
    "A number as a tensor of rank 0; the dtype is that of the number's kind unless given.",
    infer=_infer_scalar_tensor,
    evaluate=_evaluate_scalar_tensor,
    lower=Decompose(lambda value, *, dtype: F.full((), value, dtype=dtype)),
    samples=lambda: [
        Sample((1.5,), differentiable=False),
        Sample((3,), {"dtype": "float32"}, differentiable=False),
        Sample((True,), differentiable=False),
    ],
    errors=lambda: [ErrorSample(("a",), TypeError, "must be Number")],
)
