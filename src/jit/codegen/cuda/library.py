"""The functions that kernels call on a device, as text: casts, choices, division, bits, and mathematics.

What CUDA's own library (libdevice) has is taken from there; the rest are the functions of the CPU path
(`codegen.vector_math`), over primitives of the same names. All are written so that they also run as plain Python on
numpy scalars, in the simulator. `T` stands for the constructor of the dtype that a name ends in.
"""

import ast
import re

from ....ir.random_state import MIX_MULTIPLIERS, MIX_SHIFTS, STEP, signed
from ...errors import Unsupported
from ..helpers import integer_power as _integer_power
from ..kernel_text import plain_source
from ..scalar_code import Requirements
from ..vector_math import primitives as vector_primitives
from ..vector_math import source as vector_source
from .special_functions import special_source

__all__ = ["TYPED", "device_functions"]

# Helpers whose text depends on the dtype, which their names then end in.
TYPED = frozenset({
    "sign", "floor_divide", "floor_remainder", "fmod", "absolute", "square_root_of", "rint", "nextafter",
})  # fmt: skip

_CASTS = {
    "as_f32": "np.float32(x)",
    "as_f64": "np.float64(x)",
    "as_i64": "np.int64(x)",
    "as_i32": "np.int32(np.int64(x))",
    "as_i16": "np.int16(np.int64(x))",
    "as_i8": "np.int8(np.int64(x))",
    "as_u8": "np.uint8(np.int64(x))",
    "as_bool": "x != 0",
    "as_f16": "np.float32(np.float16(x))",
}

_TEXTS: dict[str, str] = {
    **{name: f"def {name}(x):\n    return {text}" for name, text in _CASTS.items()},
    # NaN where either is NaN.
    "maximum": "def maximum(a, b):\n    return a if a > b or a != a else b",
    "minimum": "def minimum(a, b):\n    return a if a < b or a != a else b",
    "maximum_step": "def maximum_step(a, b):\n    return a if a > b or a != a else b",
    "minimum_step": "def minimum_step(a, b):\n    return a if a < b or a != a else b",
    "sum_step": "def sum_step(a, b):\n    return a + b",
    "product_step": "def product_step(a, b):\n    return a * b",
    "wrapping_sum": "def wrapping_sum(a, b):\n    return a + b",
    "wrapping_difference": "def wrapping_difference(a, b):\n    return a - b",
    "wrapping_product": "def wrapping_product(a, b):\n    return a * b",
    "select": "def select(condition, a, b):\n    return a if condition else b",
    "floor": "def floor(x):\n    return math.floor(x)",
    "ceil": "def ceil(x):\n    return math.ceil(x)",
    "trunc": "def trunc(x):\n    return math.trunc(x)",
    "is_infinite": "def is_infinite(x):\n    return (x == np.inf) | (x == -np.inf)",
    "is_finite": "def is_finite(x):\n    return x - x == 0",
    "integer_power": plain_source(_integer_power),
    # The primitives of vector mathematics.
    "float_to_bits_f32": "def float_to_bits_f32(x):\n    return np.int64(libdevice.float_as_int(x))",
    "float_to_bits_f64": "def float_to_bits_f64(x):\n    return libdevice.double_as_longlong(x)",
    "bits_to_float_f32": "def bits_to_float_f32(bits):\n    return libdevice.int_as_float(np.int32(np.int64(bits)))",
    "bits_to_float_f64": "def bits_to_float_f64(bits):\n    return libdevice.longlong_as_double(bits)",
    "power_of_two_f32": "def power_of_two_f32(exponent):\n    return bits_to_float_f32((exponent + 127) << 23)",
    "power_of_two_f64": "def power_of_two_f64(exponent):\n    return bits_to_float_f64((exponent + 1023) << 52)",
    "scaled": "def scaled(value, exponent):\n    return math.ldexp(value, np.int32(np.int64(exponent)))",
    "smaller": "def smaller(a, b):\n    return a if a < b else b",
    "larger": "def larger(a, b):\n    return a if a > b else b",
    "integer_to_f32": "def integer_to_f32(value):\n    return np.float32(value)",
    "integer_to_f64": "def integer_to_f64(value):\n    return np.float64(value)",
    "wrap_i64": "def wrap_i64(value):\n    return np.int64(value)",
    "shift_right_logical": """
def shift_right_logical(value, count):
    kept = (np.int64(1) << (63 - count)) - 1
    return ((np.int64(value) >> count) & (kept * 2 + 1)) if count > 0 else np.int64(value)
""",
    "mul_add": "def mul_add(a, b, c):\n    return a * b + c",
    "fma": "def fma(a, b, c):\n    return cuda.fma(a, b, c)",
    "horner": """
def horner(x, coefficients):
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value
""",
    "magnitude": "def magnitude(x):\n    return math.fabs(x)",
    # By hand, since NVVM does not take what libdevice has for it.
    "copy_sign": """
def copy_sign(size, sign):
    positive = math.fabs(size)
    negative = 1 / sign < 0 if sign == 0 else sign < 0
    return -positive if negative else positive
""",
    **{
        f"copy_sign_{short}": f"""
def copy_sign_{short}(size, sign):
    bits = (float_to_bits_{short}(size) & {mask}) | (float_to_bits_{short}(sign) & ~{mask})
    return bits_to_float_{short}(bits)
"""
        for short, mask in (("f32", 0x7FFFFFFF), ("f64", 0x7FFFFFFFFFFFFFFF))
    },
    "square_root": "def square_root(x):\n    return math.sqrt(x)",
    "round_down": "def round_down(x):\n    return math.floor(x)",
    "round_up": "def round_up(x):\n    return math.ceil(x)",
    "round_to_zero": "def round_to_zero(x):\n    return math.trunc(x)",
    "round_to_even": """
def round_to_even(x):
    low = math.floor(x)
    rest = x - low
    is_even = math.floor(low * 0.5) * 2 == low
    return low if rest < 0.5 or (rest == 0.5 and is_even) else math.ceil(x)
""",
    "c_lgamma": "def c_lgamma(x):\n    return math.lgamma(x)",
    "division_rest": "def division_rest(x, y):\n    return math.fmod(x, y)",
    # 16 bits: float16 is a type of the device, bfloat16 the upper half of a float32.
    "from_bf16": "def from_bf16(bits):\n    return bits_to_float_f32((np.int64(bits) & 0xFFFF) << 16)",
    "to_bf16": """
def to_bf16(x):
    bits = float_to_bits_f32(x) & 0xFFFFFFFF
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.int16(rounded if x == x else (bits >> 16) | 0x40)
""",
    "as_bf16": "def as_bf16(x):\n    return from_bf16(to_bf16(np.float32(x)))",
    # SplitMix64, as in `codegen.random_stream`.
    "random_word": f"""
def random_word(start, index):
    z = np.int64(start) + np.int64(index) * np.int64({signed(STEP)})
    z = (z ^ shift_right_logical(z, {MIX_SHIFTS[0]})) * np.int64({signed(MIX_MULTIPLIERS[0])})
    z = (z ^ shift_right_logical(z, {MIX_SHIFTS[1]})) * np.int64({signed(MIX_MULTIPLIERS[1])})
    return z ^ shift_right_logical(z, {MIX_SHIFTS[2]})
""",
    "shuffle_down": "def shuffle_down(value, offset):\n    return cuda.shfl_down_sync(0xFFFFFFFF, value, offset)",
}

_FLOATS: dict[str, str] = {
    "absolute": "def absolute_D(x):\n    return math.fabs(x)",
    "square_root_of": "def square_root_of_D(x):\n    return math.sqrt(x)",
    "sign": "def sign_D(x):\n    return T(1) if x > 0 else (T(-1) if x < 0 else T(0))",
    "rint": "def rint_D(x):\n    return libdevice.rint_(x)",
    "fmod": "def fmod_D(a, b):\n    return math.fmod(a, b)",
    "nextafter": "def nextafter_D(a, b):\n    return libdevice.nextafter_(a, b)",
    "floor_remainder": """
def floor_remainder_D(a, b):
    rest = math.fmod(a, b)
    shifted = rest + b if (rest < 0) != (b < 0) else rest
    return shifted if rest != 0 else copy_sign_D(rest, b)
""",
    "floor_divide": """
def floor_divide_D(a, b):
    rest = math.fmod(a, b)
    quotient = (a - rest) / b
    quotient = quotient - T(1) if rest != 0 and (rest < 0) != (b < 0) else quotient
    low = math.floor(quotient)
    low = low + T(1) if quotient - low > 0.5 else low
    near = low if quotient != 0 else copy_sign_D(T(0), a / b)
    return near if b != 0 else a / b
""",
}
_INTEGERS: dict[str, str] = {
    "absolute": "def absolute_D(x):\n    return T(-x) if x < 0 else x",
    "sign": "def sign_D(x):\n    return T(1) if x > 0 else (T(-1) if x < 0 else T(0))",
    "floor_divide": "def floor_divide_D(a, b):\n    return T(a // b)",
    "floor_remainder": "def floor_remainder_D(a, b):\n    return T(a % b)",
    "fmod": """
def fmod_D(a, b):
    rest = a % b
    return T(rest - b if rest != 0 and (a < 0) != (b < 0) else rest)
""",
}
_NUMPY_NAMES = {
    "f32": "float32",
    "f64": "float64",
    "i64": "int64",
    "i32": "int32",
    "i16": "int16",
    "i8": "int8",
    "u8": "uint8",
}

# Vector functions that libdevice has, by the text that computes them.
_LIBDEVICE = {
    name: f"math.{name}(x)"
    for name in (
        "exp", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
        "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "sqrt",
    )
} | {
    "exp2": "libdevice.exp2_(x)",
    "erfinv": "libdevice.erfinv_(x)",
    "cbrt": "libdevice.cbrt_(x)",
    "lgamma": "math.lgamma(x)",
    "floor": "math.floor(x)",
    "ceil": "math.ceil(x)",
    "trunc": "math.trunc(x)",
    "round": "libdevice.rint_(x)",
    "rsqrt": "libdevice.rsqrt_(x)",
    "sigmoid": "T(1) / (T(1) + math.exp(-x))",
    "gelu": "T(0.5) * x * math.erfc(x * T(-0.7071067811865476))",
    "silu": "x / (T(1) + math.exp(-x))",
}  # fmt: skip


def _text(name: str) -> str | None:
    """The definition of a helper or primitive."""
    if name in _TEXTS:
        return _TEXTS[name].strip("\n")
    stem, _, short = name.rpartition("_")
    table = _FLOATS if short in ("f32", "f64") else _INTEGERS
    if stem in TYPED and stem in table and short in _NUMPY_NAMES:
        return _with_type(table[stem], short)
    return special_source(name)


def _with_type(text: str, short: str) -> str:
    text = re.sub(r"\bT\(", f"np.{_NUMPY_NAMES[short]}(", text)
    text = re.sub(r"\blibdevice\.(\w+)_\(", rf"libdevice.\1{'f' if short == 'f32' else ''}(", text)
    return re.sub(r"_D\b", f"_{short}", text).strip("\n")


def _without_docstring(text: str) -> ast.Module:
    tree = ast.parse(text)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return tree


def _called(text: str) -> list[str]:
    return [n.func.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]


def device_functions(requirements: Requirements) -> str:
    """The text of all functions that a kernel needs, and what these need, each before its callers."""
    found: dict[str, str] = {}
    constants: dict[str, str] = {}

    def add(name: str) -> None:
        text = _text(name)
        if text is None or name in found:
            return
        for inner in _called(text):
            if inner != name:
                add(inner)
        found[name] = f"@cuda.jit(device=True)\n{text}"

    def require(name: str) -> None:
        if _text(name) is None:
            raise Unsupported(f"{name} has no form on the GPU")
        add(name)

    for name in sorted(requirements.helpers | requirements.bits):
        require(name)
    for name, short in sorted(requirements.vector):
        entry = f"{name}_{short}"
        if name in _LIBDEVICE:
            body = _with_type(f"def {entry}(x):\n    return {_LIBDEVICE[name]}", short)
            found[entry] = f"@cuda.jit(device=True)\n{body}"
            continue
        if name in ("pow", "atan2", "fmod"):
            found[entry] = f"@cuda.jit(device=True)\ndef {entry}(x, y):\n    return math.{name}(x, y)"
            continue
        for primitive in sorted(vector_primitives(name, short)):
            require(primitive)
        for part, text in vector_source(name, short):
            if "def " in text:
                found[part] = f"@cuda.jit(device=True)\n{ast.unparse(_without_docstring(text))}"
            else:
                constants[part] = text
    parts = [*(["\n".join(constants.values())] if constants else []), *found.values()]
    return "".join(f"{part}\n\n\n" for part in parts)
