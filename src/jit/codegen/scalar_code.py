"""Op expressions as typed Python: `"{input} + {other}"` on float32 becomes `v1 + np.float32(0.5)`.

Numba promotes a float32 with a Python float to float64 and small integers to 64 bits. So every literal is written with
its type, and every result of integer arithmetic is cast back; the code then computes in the dtype that PyTorch does.
"""

import ast
import functools
import math
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir import dtypes
from ...ir.dtypes import DType
from . import halves
from .target import host_target
from .vector_math import FUNCTIONS

__all__ = ["Code", "Untranslatable", "cast", "is_half", "literal", "pointer_kind", "translate", "working"]

_NATIVE = {"bool": "u8", "u8": "u8", "i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64", "f32": "f32", "f64": "f64"}
# Stored in 16 bits, computed with in float32: a scalar of such a dtype is a float32 that the dtype can represent.
_HALVES = {"f16": "i16", "bf16": "i16"}


class Untranslatable(Exception):
    """An expression has no native form; the message says why."""


@dataclass(frozen=True)
class Code:
    """A scalar in a kernel: its text, which is a name, a literal, a call or in parentheses, and its dtype."""

    text: str
    dtype: DType
    value: bool | int | float | None = None  # where it is a literal


@dataclass
class Requirements:
    """What the text of a kernel calls: helpers by name, vector functions as (name, dtype), primitives of `bits`.

    `statements` come before the kernel as they are. Helpers in `typed` have one form per dtype, which their names say.
    `functions` are what else expressions may call here, with the dtypes that they take and give (a device's special
    functions). With `far`, what says of operands that they are far (of zero, or of what they are divided by) is put
    there; with `near`, none is, and functions are called that are right there only (see `buffered`).
    """

    helpers: set[str] = field(default_factory=set)
    vector: set[tuple[str, str]] = field(default_factory=set)
    bits: set[str] = field(default_factory=set)
    statements: list[str] = field(default_factory=list)
    typed: frozenset[str] = frozenset()
    functions: Mapping[str, Any] = field(default_factory=dict)
    far: list[str] | None = None
    near: bool = False


def pointer_kind(dtype: DType) -> str:
    """The pointer type of tensors of a dtype ("f32"; bools are bytes); Untranslatable where kernels have none."""
    kind = _NATIVE.get(dtype.short) or _HALVES.get(dtype.short)
    if kind is None:
        raise Untranslatable(f"{dtype.name} has no native kernels")
    return kind


def is_kernel_dtype(dtype: DType) -> bool:
    """Whether kernels compute with tensors of a dtype."""
    return dtype.short in _NATIVE or dtype.short in _HALVES


def is_half(dtype: DType) -> bool:
    """Whether a dtype is stored in 16 bits and computed with in float32."""
    return dtype.short in _HALVES


def working(dtype: DType) -> DType:
    """The dtype that elements of a dtype are computed with in."""
    return dtypes.float32 if is_half(dtype) else dtype


def literal(value: Any, dtype: DType) -> str:
    """A Python number as a typed literal."""
    if is_half(dtype):
        value, dtype = halves.rounded_half(float(value), dtype.short), dtypes.float32
    if dtype is dtypes.bool_:
        return str(bool(value))
    if dtype.kind == "f":
        number = float(value)
        if math.isnan(number):
            text = "np.nan"
        elif math.isinf(number):
            text = "np.inf" if number > 0 else "-np.inf"
        else:
            text = repr(number)
        if dtype is dtypes.float32:
            return f"np.float32({text})"
        return f"({text})" if text.startswith("-") else text
    if isinstance(value, float) and not math.isfinite(value):
        raise Untranslatable(f"{value} is no {dtype.name}")
    bits = 8 * dtype.itemsize
    number_int = int(value) & ((1 << bits) - 1)
    if dtype.kind == "i" and number_int >> (bits - 1):
        number_int -= 1 << bits
    text = str(number_int)
    if number_int == -(1 << 63):
        return f"({number_int + 1} - 1)"  # as a negated literal it would be unsigned for Numba
    if dtype is not dtypes.int64:
        return f"np.{dtype.name}({text})"
    return f"({text})" if text.startswith("-") else text


def cast(code: Code, dtype: DType, requirements: Requirements) -> Code:
    """The scalar converted to another dtype, as PyTorch's `to` does."""
    if code.dtype is dtype:
        return code
    pointer_kind(dtype)
    if is_half(code.dtype):
        return cast(Code(code.text, dtypes.float32, code.value), dtype, requirements)
    if is_half(dtype) and code.value is None and code.dtype.kind != "f":
        code = cast(code, dtypes.float32, requirements)
    if code.value is not None and not (isinstance(code.value, float) and dtype.kind != "f"):
        return Code(literal(code.value, dtype), dtype, code.value)
    function = f"as_{dtype.short}"
    requirements.helpers.add(function)
    return Code(f"{function}({code.text})", dtype)


_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_WRAPPING = {"+": "wrapping_sum", "-": "wrapping_difference", "*": "wrapping_product"}
# Names in op expressions -> helpers.
_HELPERS = {
    "maximum": "maximum", "minimum": "minimum", "max": "maximum", "min": "minimum", "absolute": "absolute",
    "abs": "absolute", "sign": "sign", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "rint",
    "rint": "rint", "sqrt": "square_root_of", "fmod": "fmod", "sum_step": "sum_step", "product_step": "product_step",
    "maximum_step": "maximum_step", "minimum_step": "minimum_step",
}  # fmt: skip


def _product_text(x: str, power: int) -> str:
    """x to a whole power from 1 as products, squares of squares where it is even."""
    if power == 1:
        return x
    if power % 2:
        return f"({_product_text(x, power - 1)} * {x})"
    half = _product_text(x, power // 2)
    return f"({half} * {half})"


# Up to this size, and down to its inverse, divisors have an inverse that stands for them.
_DIVISOR = 2.0**60
_NAN_AT_MINUS_INFINITY = ("gelu", "mish")
# Functions with a form for angles below a limit (NEAR_F32 and NEAR_F64 in `vector_math`).
_ANGLES, NEAR_ANGLE = ("sin", "cos", "tan", "cos", "tan"), 1048576.0
_DIVISIONS = {"floor_divide": "floor_divide", "remainder": "floor_remainder", "fmod": "fmod"}


@functools.lru_cache(maxsize=2048)
def _parse(expression: str) -> tuple[ast.expr, tuple[str, ...]]:
    """The expression with placeholders as names `_input`, and the placeholders."""
    text, names = "", []
    for before, name, _, _ in string.Formatter().parse(expression):
        text += before
        if name is not None:
            names.append(name)
            text += f"_{name}"
    return ast.parse(text.strip(), mode="eval").body, tuple(dict.fromkeys(names))


@dataclass
class _Translator:
    operands: dict[str, Code]
    attributes: dict[str, Any]
    compute: DType
    requirements: Requirements
    checks: list[str]

    def number(self, node: ast.expr) -> Code:
        """The node's value in the dtype of computation."""
        code = self.visit(node)
        return cast(code, self.compute, self.requirements)

    def condition(self, node: ast.expr) -> Code:
        return cast(self.visit(node), dtypes.bool_, self.requirements)

    def call(self, helper: str, *arguments: Code) -> Code:
        if helper in self.requirements.typed:
            helper = f"{helper}_{arguments[0].dtype.short}"
        self.requirements.helpers.add(helper)
        return Code(f"{helper}({', '.join(a.text for a in arguments)})", arguments[0].dtype)

    def visit(self, node: ast.expr) -> Code:
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return Code(literal(value, self.compute), self.compute)
            case ast.Name(id=name):
                return self.name(name.removeprefix("_"))
            case ast.UnaryOp(op=operator, operand=operand):
                return self.unary(operator, operand)
            case ast.BinOp(left=left, op=operator, right=right):
                return self.binary(operator, left, right)
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return self.compare(operator, left, right)
            case ast.BoolOp(op=operator, values=values):
                joined = (" & " if isinstance(operator, ast.And) else " | ").join(
                    self.condition(v).text for v in values
                )
                return Code(f"({joined})", dtypes.bool_)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.select(test, body, orelse)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self.function(name, arguments)
        raise Untranslatable(f"no native form for {ast.unparse(node)}")

    def name(self, name: str) -> Code:
        if name in self.operands:
            return self.operands[name]
        if name in self.attributes:
            value = self.attributes[name]
            if isinstance(value, (bool, int, float)):
                return Code(literal(value, self.compute), self.compute)
            raise Untranslatable(f"the attribute {name}={value!r} has no native form")
        if name in ("inf", "nan", "pi", "e"):
            return Code(literal(getattr(math, name), self.compute), self.compute)
        raise Untranslatable(f"unknown name {name} in an op's expression")

    def integer(self, text: str) -> Code:
        """The result of integer arithmetic, brought back to its own width."""
        if self.compute is dtypes.int64:
            return Code(f"({text})", self.compute)
        self.requirements.helpers.add(f"as_{self.compute.short}")
        return Code(f"as_{self.compute.short}({text})", self.compute)

    def unary(self, operator: ast.unaryop, operand: ast.expr) -> Code:
        if isinstance(operator, ast.Not) or (isinstance(operator, ast.Invert) and self.compute is dtypes.bool_):
            return Code(f"(not {self.condition(operand).text})", dtypes.bool_)
        value = self.number(operand)
        match operator:
            case ast.USub():
                return (
                    Code(f"(-{value.text})", self.compute)
                    if self.compute.kind == "f"
                    else self.integer(f"-{value.text}")
                )
            case ast.Invert():
                return self.integer(f"~{value.text}")
        return value

    def binary(self, operator: ast.operator, left: ast.expr, right: ast.expr) -> Code:
        if isinstance(operator, (ast.FloorDiv, ast.Mod)):
            return self.division("floor_divide" if isinstance(operator, ast.FloorDiv) else "remainder", left, right)
        if isinstance(operator, ast.Pow):
            return self.function("pow", [left, right])
        symbol = _OPERATORS.get(type(operator))
        if symbol is None:
            raise Untranslatable(f"no native form for the operator {type(operator).__name__}")
        if symbol in "&|^":
            a, b = self.visit(left), self.visit(right)
            if a.dtype is dtypes.bool_ and b.dtype is dtypes.bool_:
                return Code(f"({a.text} {symbol} {b.text})", dtypes.bool_)
        a, b = self.number(left), self.number(right)
        if self.compute is dtypes.bool_:
            # Sums of bools are "or", products "and", as in numpy.
            symbol = {"+": "|", "*": "&"}.get(symbol, symbol)
            if symbol not in "&|^":
                raise Untranslatable(f"no native form for {symbol} on bools")
            return Code(f"({a.text} {symbol} {b.text})", dtypes.bool_)
        if self.compute.kind == "f":
            if symbol == "/" and (inverse := self.inverse(b)) is not None:
                return self.call("quotient_of", a, b, inverse)
            return Code(f"({a.text} {symbol} {b.text})", self.compute)
        if self.compute is dtypes.int64 and symbol in _WRAPPING:
            return self.call(_WRAPPING[symbol], a, b)
        return self.integer(f"{a.text} {symbol} {b.text}")

    def inverse(self, divisor: Code) -> Code | None:
        """The nearest inverse of a literal divisor where quotients are to be computed with it."""
        if self.requirements.functions or not isinstance(divisor.value, (int, float)) or not host_target().fused:
            return None
        kind = np.float32 if self.compute is dtypes.float32 else np.float64
        number = float(kind(divisor.value))
        if not 1 / _DIVISOR <= abs(number) <= _DIVISOR or math.frexp(number)[0] in (0.5, -0.5):
            return None  # quotients by powers of two are products anyway
        return Code(literal(float(kind(1) / kind(number)), self.compute), self.compute)

    def compare(self, operator: ast.cmpop, left: ast.expr, right: ast.expr) -> Code:
        a, b = self.visit(left), self.visit(right)
        if self.compute is dtypes.bool_ or (a.dtype is dtypes.bool_ and b.dtype is dtypes.bool_):
            a, b = (cast(cast(x, dtypes.bool_, self.requirements), dtypes.uint8, self.requirements) for x in (a, b))
        else:
            a, b = (cast(x, self.compute, self.requirements) for x in (a, b))
        return Code(f"({a.text} {_COMPARISONS[type(operator)]} {b.text})", dtypes.bool_)

    def select(self, test: ast.expr, body: ast.expr, orelse: ast.expr) -> Code:
        condition, a, b = self.condition(test), self.number(body), self.number(orelse)
        self.requirements.bits.add("select")
        text = f"select({condition.text}, {a.text}, {b.text})"
        if self.compute.kind in "iu" and self.compute is not dtypes.int64:
            self.requirements.helpers.add(f"as_{self.compute.short}")
            text = f"as_{self.compute.short}({text})"
        return Code(text, self.compute)

    def division(self, name: str, left: ast.expr, right: ast.expr) -> Code:
        a, b = self.number(left), self.number(right)
        if self.compute is dtypes.bool_:
            raise Untranslatable(f"{name} of bools has no native form")
        if self.compute.kind in "iu":
            # A zero divisor sets the kernel's status; the quotient is then computed by 1, and dropped.
            self.checks.append(f"{b.text} == 0")
            self.requirements.bits.add("select")
            guarded = self.integer(f"select({b.text} == 0, {literal(1, self.compute)}, {b.text})")
            b = guarded
        if self.compute.kind == "f" and (self.requirements.near or self.requirements.far is not None):
            return self.near_division(name, a, b)
        return self.call(_DIVISIONS[name], a, b)

    def near_division(self, name: str, a: Code, b: Code) -> Code:
        """A division for a block of which all elements are near, and the question whether they are."""
        function = f"near_{_DIVISIONS[name]}"
        for imported in (function, *(["is_near"] if self.requirements.far is not None else [])):
            statement = f"from ingot.jit.codegen.near_division import {imported}"
            if statement not in self.requirements.statements:
                self.requirements.statements.append(statement)
        if self.requirements.far is not None:
            self.requirements.far.append(f"not is_near({a.text}, {b.text})")
        # Where that is asked the result is not used; a call of the C library would stay there.
        return Code(f"{function}({a.text}, {b.text})", self.compute)

    def near_angle(self, name: str, x: Code) -> str:
        """The name of a function of an angle for such a block."""
        if self.requirements.far is not None:
            self.requirements.bits.add("magnitude")
            self.requirements.far.append(f"magnitude({x.text}) >= {literal(NEAR_ANGLE, self.compute)}")
        return f"{name}_near" if self.requirements.near or self.requirements.far is not None else name

    def small_power(self, base: Code, exponent: Code) -> Code | None:
        """A float to a small whole power, 1/2 or -1/2 as products, a root and a quotient; None for other exponents."""
        x = base.text
        if self.compute.kind != "f" or not x.isidentifier():
            return None
        if exponent.text == literal(0.5, self.compute):
            # The root's -0 and NaN for -0 and -inf are PyTorch's and numpy's for an exponent that is a number.
            return self.call("square_root_of", base)
        one = literal(1, self.compute)
        if exponent.text == literal(-0.5, self.compute):
            # The power of -0 is inf, and that of -inf is 0.
            self.requirements.bits.add("select")
            zero, lowest = (literal(v, self.compute) for v in (0.0, -math.inf))
            root = self.call("square_root_of", Code(f"({x} + {zero})", self.compute))
            return Code(f"select({x} == {lowest}, {zero}, {one} / {root.text})", self.compute)
        narrow = self.compute is dtypes.float32
        powers = (*range(2, 9), *range(-1, -9, -1)) if narrow else (*range(2, 7), -1)
        power = next((p for p in powers if exponent.text == literal(p, self.compute)), None)
        match power:
            case None:
                return None
            case -1:
                return Code(f"({one} / {x})", self.compute)
            case 2 | 3 | 4:
                return Code(_product_text(x, power), self.compute)
        if not narrow:
            return Code(_product_text(x, power), self.compute)
        # More products than four would come to more than two units, but for float64's digits.
        wide = _product_text(f"np.float64({x})", abs(power))
        return Code(f"np.float32({wide if power > 0 else f'1.0 / {wide}'})", self.compute)

    def function(self, name: str, arguments: list[ast.expr]) -> Code:
        if name in ("select", "where"):
            return self.select(*arguments)
        if name in _DIVISIONS:
            return self.division(name, *arguments)
        if name in ("isinf", "isfinite", "isnan"):
            value = self.visit(arguments[0])
            if value.dtype is dtypes.bool_:
                value = cast(value, dtypes.uint8, self.requirements)
            if name == "isnan":
                return Code(f"({value.text} != {value.text})", dtypes.bool_)
            helper = {"isinf": "is_infinite", "isfinite": "is_finite"}[name]
            return Code(self.call(helper, value).text, dtypes.bool_)
        if (special := self.requirements.functions.get(name)) is not None:
            given = [cast(self.visit(a), special.takes or self.compute, self.requirements) for a in arguments]
            return Code(self.call(special.name or name, *given).text, special.gives or self.compute)
        values = [self.number(a) for a in arguments]
        if name == "softplus" and len(values) == 1:
            # The vector function takes beta and the threshold above which x is its own softplus.
            values += [
                Code(literal(1, self.compute), self.compute),
                Code(literal(math.inf, self.compute), self.compute),
            ]
        if name == "pow" and (power := self.small_power(*values)) is not None:
            return power
        if name == "pow" and self.compute.kind in "iu":
            # PyTorch refuses negative integer powers; the kernel reports them.
            if self.compute.kind == "i":
                self.checks.append(f"{values[1].text} < 0")
            self.requirements.helpers |= {"integer_power", "as_i64"}
            wide = ", ".join(cast(v, dtypes.int64, self.requirements).text for v in values)
            return self.integer(f"integer_power({wide})")
        if self.compute is dtypes.bool_:
            if name in ("maximum", "minimum"):
                return Code(f"({values[0].text} {'|' if name == 'maximum' else '&'} {values[1].text})", dtypes.bool_)
            if name in ("absolute", "abs", "sign"):
                return values[0]
            raise Untranslatable(f"{name} of bools has no native form")
        if name in _HELPERS and not (name == "sqrt" and self.compute.kind != "f"):
            return self.call(_HELPERS[name], *values)
        variants = FUNCTIONS.get(name)
        if variants is not None and self.compute.short in variants:
            form = self.near_angle(name, values[0]) if name in _ANGLES else name
            self.requirements.vector.add((form, self.compute.short))
            text = ", ".join(v.text for v in values)
            if variants[self.compute.short].arity != len(values):
                raise Untranslatable(f"{name} takes {variants[self.compute.short].arity} arguments")
            call = f"{form}_{self.compute.short}({text})"
            if name in _NAN_AT_MINUS_INFINITY:
                # The vector function gives the limit, 0; the product of -inf and 0 that defines it is NaN.
                self.requirements.bits.add("select")
                lowest, nan = literal(-math.inf, self.compute), literal(math.nan, self.compute)
                call = f"select({values[0].text} == {lowest}, {nan}, {call})"
            return Code(call, self.compute)
        if name == "rsqrt" and self.compute.kind == "f":
            root = self.call("square_root_of", values[0])
            return Code(f"({literal(1, self.compute)} / {root.text})", self.compute)
        raise Untranslatable(f"the function {name} has no native form for {self.compute.name}")


def translate(
    expression: str,
    operands: dict[str, Code],
    attributes: dict[str, Any],
    compute: DType | None,
    result: DType,
    requirements: Requirements,
    checks: list[str],
) -> Code:
    """An op's expression over scalars, in dtype `result`.

    `compute` is the dtype in which it computes; None: each operand keeps its own, and literals take the first one's.
    `checks` collects conditions that must be false: a zero divisor, a negative power.
    """
    tree, _ = _parse(expression)
    if compute is None:
        compute = next(iter(operands.values())).dtype if operands else result
    compute = working(compute)
    pointer_kind(compute)
    translator = _Translator(operands, attributes, compute, requirements, checks)
    code = translator.visit(tree)
    return cast(code, result, requirements)
