"""What stands in for Python's `math` and for exchanges within a warp where kernels run in the simulator.

Numba's `math` computes in the type of its operand and never raises; Python's raises and gives float64. The simulator
has no warps: an exchange goes through memory that the threads of the running block share, with a barrier on both sides.
"""

import ast
import math as python_math
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ....ir.ops._op import get_op

__all__ = ["NAMES", "of_numpy_floats"]

# The simulator runs one block at a time.
_EXCHANGE: list[Any] = [None] * 1024
cuda: Any = None  # kernels see the front end's own
exchange = _EXCHANGE


def _same_type(function: Callable[..., float]) -> Callable[..., Any]:
    """A function of Python's on numpy scalars, with NaN where that raises."""

    def call(*arguments: Any) -> Any:
        kind = type(arguments[0]) if isinstance(arguments[0], np.floating) else np.float64
        try:
            return kind(function(*(float(a) for a in arguments)))
        except (ValueError, OverflowError):
            return kind(python_math.inf if function is python_math.lgamma else python_math.nan)

    return call


def _of_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """numpy's function; a Python float is a float64."""

    def call(*arguments: Any) -> Any:
        given = [np.float64(a) if type(a) in (int, float) else a for a in arguments]
        return function(*given)

    return call


_MATH = SimpleNamespace(
    pi=python_math.pi,
    e=python_math.e,
    inf=python_math.inf,
    nan=python_math.nan,
    **{name: _of_numpy(getattr(np, name)) for name in (
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sqrt",
        "floor", "ceil", "trunc", "fabs", "fmod", "copysign", "isnan", "isinf",
    )},
    **{name: _of_numpy(getattr(np, "arc" + name[1:])) for name in (
        "asin", "acos", "atan", "atan2", "asinh", "acosh", "atanh",
    )},
    pow=_of_numpy(np.power),
    ldexp=lambda x, exponent: np.ldexp(x, int(exponent)),
    **{name: _same_type(getattr(python_math, name)) for name in ("erf", "erfc", "lgamma", "gamma")},
)  # fmt: skip


def _inverse_erf(x: Any) -> Any:
    """By Newton's method in float64, from the approximation of S. Winitzki (2008)."""
    wide = np.float64(x)
    if not -1 < wide < 1:
        return type(x)(wide * np.inf if abs(wide) == 1 else np.nan)
    log = np.log1p(-wide * wide)
    first = 2 / (np.pi * 0.147) + log / 2
    y = np.copysign(np.sqrt(np.sqrt(first * first - log / 0.147) - first), wide)
    for _ in range(4):
        y -= (python_math.erf(y) - wide) / (2 / np.sqrt(np.pi) * np.exp(-y * y))
    return type(x)(y)


def _of_record(name: str) -> Callable[[Any], Any]:
    """What an op's record computes, of one number."""
    return lambda x: type(x)(get_op(name).run(np, (np.asarray([x]),), {})[0])


_LIBDEVICE = SimpleNamespace(
    float_as_int=lambda x: np.float32(x).view(np.int32),
    double_as_longlong=lambda x: np.float64(x).view(np.int64),
    int_as_float=lambda bits: np.int32(bits).view(np.float32),
    longlong_as_double=lambda bits: np.int64(bits).view(np.float64),
    erfcx=_of_record("erfcx"),
    normcdfinv=_of_record("ndtri"),
    **{name: _of_record(f"bessel_{name}") for name in ("j0", "j1", "y0", "y1")},
    **{f"{name}{suffix}": function for suffix in ("", "f") for name, function in {
        "rint": np.rint, "exp2": np.exp2, "cbrt": np.cbrt, "erfinv": _inverse_erf,
        "rsqrt": lambda x: type(x)(1) / np.sqrt(x), "nextafter": np.nextafter,
    }.items()},
)  # fmt: skip


def shuffle_down(value, offset):  # type: ignore[no-untyped-def]  # its globals are the kernel's
    """The value of the thread `offset` places further in the warp of 32; a thread's own where there is none."""
    me = cuda.threadIdx.x + cuda.blockDim.x * cuda.threadIdx.y
    exchange[me] = value
    cuda.syncthreads()
    other = me + offset
    if me % 32 + offset < 32 and other < cuda.blockDim.x * cuda.blockDim.y:
        value = exchange[other]
    cuda.syncthreads()
    return value


_SHARED: WeakKeyDictionary[Any, dict[int, Any]] = WeakKeyDictionary()
_SHARED_LOCK = threading.Lock()


def shared_array(block: Any, shape: Any, dtype: Any) -> Any:
    """The array that a line of the kernel shares within the running block, whose `cuda.shared` is `block`.

    The simulator's own `cuda.shared.array` gives two threads an array each where both come to it first.
    """
    line = sys._getframe(1).f_lineno
    with _SHARED_LOCK:
        arrays = _SHARED.setdefault(block, {})
        if line not in arrays:
            arrays[line] = np.empty(shape, {"boolean": "bool"}.get(str(dtype), str(dtype)))
        return arrays[line]


class _Floats(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, float):
            return node
        kind = ast.Attribute(ast.Name("np", ast.Load()), "float64", ast.Load())
        return ast.copy_location(ast.Call(kind, [node], []), node)


def of_numpy_floats(source: str) -> ast.Module:
    """A kernel's module with numpy's float64 for Python's floats, which raise where they are divided by zero."""
    return ast.fix_missing_locations(_Floats().visit(ast.parse(source)))


NAMES: dict[str, Any] = {
    "shared_array": shared_array,
    "math": _MATH,
    "libdevice": _LIBDEVICE,
    "shuffle_down": shuffle_down,
    "exchange": _EXCHANGE,
}
