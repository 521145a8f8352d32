"""The vector functions against wider arithmetic and stored exact values: accuracy, special values, vectorisation.

INGOT_EXHAUSTIVE=1 tests every float32 (minutes per function); otherwise every 4001st bit pattern and all special
values.
"""

import functools
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from ingot.jit.codegen import bits
from ingot.jit.codegen.vector_math import FUNCTIONS, JIT_OPTIONS, Function, primitives, source

DTYPES = {"f32": np.float32, "f64": np.float64}
NUMBA_TYPES = {"f32": numba.types.float32, "f64": numba.types.float64}
PRECISION = {"f32": (23, -126), "f64": (52, -1022)}
STEP = 4001
# These call the C library for each element.
SCALAR = {("fmod", "f32"), ("fmod", "f64"), ("remainder", "f32"), ("remainder", "f64"), ("lgamma", "f64")}
# Their roots are not at special points: near them the error is bounded as that of a number near 1.
IRRATIONAL_ROOTS = {"lgamma", "digamma"}

Array = np.ndarray[Any, Any]

UNARY = sorted((f.name, f.dtype) for by in FUNCTIONS.values() for f in by.values() if f.arity == 1)
ALL = sorted((f.name, f.dtype) for by in FUNCTIONS.values() for f in by.values())

SPECIAL: dict[str, Array] = {
    dtype: np.array(
        [
            *(s * v for s in (1, -1) for v in (0.0, np.inf, 0.5, 1, 1.5, 2, 2.5, 3, 1e-3, 10, 89, 100, 710, 750, 1e10)),
            *(
                s * v
                for s in (1, -1)
                for v in (
                    kind(np.finfo(kind).smallest_subnormal),
                    kind(np.finfo(kind).smallest_subnormal) * kind(12345),
                    np.finfo(kind).smallest_normal,
                    np.finfo(kind).max,
                    np.nextafter(kind(1), kind(2)),
                    np.nextafter(kind(1), kind(0)),
                    np.nextafter(kind(2), kind(0)),
                )
            ),
            np.nan,
        ],
        dtype=kind,
    )
    for dtype, kind in DTYPES.items()
}


@functools.cache
def _namespace(dtype: str, jit: bool) -> dict[str, Any]:
    return {}


def _pasted(name: str, dtype: str, jit: bool) -> Callable[..., Any]:
    """The function, built from the text that the code generator pastes."""
    space = _namespace(dtype, jit)
    imports = f"import numpy as np\nfrom ingot.jit.codegen.bits import select, {', '.join(primitives(name, dtype))}"
    exec(imports.rstrip(", "), space)
    for part, text in source(name, dtype):
        if part not in space:
            exec(text, space)
            if jit and text.startswith("def "):
                # The flag that the code generator sets.
                space[part] = numba.njit(fastmath={"contract"}, **JIT_OPTIONS)(space[part])
    return space[f"{name}_{dtype}"]


@functools.cache
def _compiled(name: str, dtype: str) -> Any:
    function = _pasted(name, dtype, True)
    arity = FUNCTIONS[name][dtype].arity
    arguments = [f"x{i}" for i in range(arity)]
    elements = ", ".join(f"{a}[i]" for a in arguments)
    header = f"def loop({', '.join(arguments)}, out, size):"
    text = f"{header}\n    for i in range(size):\n        out[i] = function({elements})"
    space = {"function": function}
    exec(text, space)
    loop = numba.njit(error_model="numpy", fastmath={"contract"})(space["loop"])
    array = numba.types.Array(NUMBA_TYPES[dtype], 1, "C")
    loop.compile(numba.types.void(*[array] * (arity + 1), numba.types.uint64))
    return loop


def evaluate(name: str, dtype: str, *arguments: Array) -> Array:
    """The compiled function over arrays."""
    kept = [np.ascontiguousarray(a, dtype=DTYPES[dtype]) for a in arguments]
    copies = [a.copy() for a in kept]
    out = np.empty_like(kept[0])
    _compiled(name, dtype)(*kept, out, np.uint64(out.size))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(kept, copies, strict=True))
    return out


def ulps(got: Array, exact: Array, dtype: str, least: float = 0.0) -> Array:
    """Errors in units in the last place of the exact result, infinite where a special value or a zero's sign is wrong.

    `exact` is in a wider type. Where rounding the exact result overflows, infinity is right.
    """
    digits, lowest = PRECISION[dtype]
    with np.errstate(all="ignore"):
        rounded = exact.astype(DTYPES[dtype])
        size = np.maximum(np.abs(exact), least)
        exponent = np.frexp(np.where(np.isfinite(size) & (size > 0), size, 1))[1] - 1
        unit = np.ldexp(exact.dtype.type(1), np.maximum(exponent, lowest) - digits)
        error = np.abs(got.astype(exact.dtype) - exact) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    error = np.where(np.isfinite(error), error, np.where(same, 0, np.inf))
    error = np.where(same & np.isinf(rounded), 0, error)
    wrong_sign = (got == 0) & (exact == 0) & (np.signbit(got) != np.signbit(exact))
    return np.where(wrong_sign, np.inf, error)


# References in a wider type: each is right to much less than a unit of the narrower one.


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _mish(x: Array) -> Array:
    e = np.exp(np.minimum(x, 60))
    return np.where(x > 60, x, np.maximum(x, -20000) * (e * (e + 2) / (e * (e + 2) + 2)))


def _gelu_tanh(x: Array) -> Array:
    kind = x.dtype.type
    a = np.clip(x, -100, 100)
    u = np.sqrt(2 / _pi(kind)) * (a + kind(44715) / kind(1000000) * a**3)
    return np.where(np.isneginf(x), np.nan, np.maximum(x, -100) * _sigmoid(2 * u))


def _sinc(x: Array) -> Array:
    nearest = np.rint(x)
    sine = np.sin(np.pi * (x - nearest)) * np.where(np.fmod(nearest, 2) == 0, 1, -1)
    return np.where(x == 0, 1, sine / (np.pi * np.where(x == 0, 1, x)))


def _pi(kind: Any) -> Any:
    return np.arctan2(kind(0), kind(-1))


REFERENCES: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "cbrt": np.cbrt, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "floor": np.floor,
    "ceil": np.ceil, "trunc": np.trunc, "round": np.rint, "sigmoid": _sigmoid, "mish": _mish, "gelu_tanh": _gelu_tanh,
    "log_sigmoid": lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    "silu": lambda x: np.where(np.isneginf(x), np.nan, np.maximum(x, -20000) * _sigmoid(x)),
}  # fmt: skip


def reference(name: str) -> Callable[[Array], Array]:
    """The function on float64 (or longer) arrays."""
    if name in REFERENCES:
        return REFERENCES[name]
    special = pytest.importorskip("scipy.special")
    return {
        "erf": special.erf,
        "erfc": special.erfc,
        "gelu": lambda x: np.maximum(x, -1000) * special.ndtr(x),
        # scipy loses the sign of zero, and has -inf at -inf, where C has +inf.
        "erfinv": lambda x: np.where(x == 0, x, special.erfinv(x)),
        "lgamma": lambda x: np.where(np.isinf(x), np.inf, special.gammaln(x)),
        "digamma": special.digamma,
        "sinc": _sinc,
        "ndtr": special.ndtr,
        # scipy has NaN at infinity and loses the sign of zero.
        "i0": lambda x: np.where(np.isinf(x), np.inf, special.i0(x)),
        "i0e": special.i0e,
        "i1": lambda x: np.where(np.isinf(x) | (x == 0), x, special.i1(x)),
        "i1e": lambda x: np.where(x == 0, x, special.i1e(x)),
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, d in UNARY if d == "f32"])
def test_float32_accuracy(name: str) -> None:
    exact_function = reference(name)
    # scipy takes a microsecond for an inverse error function.
    step = 16 * STEP if name == "erfinv" else STEP
    patterns = np.arange(0, 1 << 32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([patterns, SPECIAL["f32"]])
    with np.errstate(all="ignore"):
        exact = exact_function(x.astype(np.float64))
    error = ulps(evaluate(name, "f32", x), exact, "f32", 1.0 if name in IRRATIONAL_ROOTS else 0.0)
    worst = int(np.argmax(error))
    assert error[worst] <= FUNCTIONS[name]["f32"].max_ulp, f"{name}({x[worst]!r}): {error[worst]} ulp"


def worst_float32(name: str, first: int, last: int) -> tuple[float, float]:
    """The largest error in ulp over float32 bit patterns, against the float64 function, and where it is."""
    single, double = _pasted(name, "f32", True), _pasted(name, "f64", True)
    least = 1.0 if name in IRRATIONAL_ROOTS else 0.0

    @numba.njit(error_model="numpy")
    def errors(start: Any, out: Any) -> None:
        for i in range(out.size):
            x = bits.bits_to_float_f32(start + i)
            got, exact = single(x), double(np.float64(x))
            # The unit of the exact value: its power of two, no less than that of the smallest normal number.
            size = max(abs(exact), least, 2.0**-126)
            power = bits.bits_to_float_f64(bits.float_to_bits_f64(size) & 0x7FF0000000000000)
            error = abs(np.float64(got) - exact) / power * 8388608.0
            rounded = np.float32(exact)
            same = (got == rounded) | ((got != got) & (exact != exact))
            # Comparisons with NaN are false, so that an unexpected NaN stays.
            out[i] = bits.select(same & ~(error < 1e9), 0.0, bits.select(error < 1e9, error, np.inf))

    out = np.empty(1 << 18)
    worst, at = 0.0, 0
    for start in range(first, last, out.size):
        errors(start, out)
        i = int(np.argmax(out))
        if out[i] > worst:
            worst, at = float(out[i]), start + i
    return worst, float(bits.bits_to_float_f32(at))


@pytest.mark.skipif(os.environ.get("INGOT_EXHAUSTIVE") != "1", reason="takes half a minute per function")
@pytest.mark.parametrize("name", [n for n, d in UNARY if d == "f32" and "f64" in FUNCTIONS[n]])
def test_every_float32(name: str) -> None:
    worst, at = worst_float32(name, 0, 1 << 32)
    assert worst <= FUNCTIONS[name]["f32"].max_ulp, f"{name}({at!r}): {worst} ulp"


@pytest.mark.parametrize("name", [n for n, d in UNARY if d == "f64" and n in REFERENCES])
def test_float64_accuracy(name: str) -> None:
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is no wider than float64 here")
    random = np.random.default_rng(7)
    x = np.concatenate(
        [
            random.integers(0, 2**64, 50000, dtype=np.uint64).view(np.float64),
            *(random.uniform(-limit, limit, 20000) for limit in (1, 2, 20, 800)),
            SPECIAL["f64"],
        ]
    )
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x.astype(np.longdouble))
    error = ulps(evaluate(name, "f64", x), exact, "f64")
    worst = int(np.argmax(error))
    assert error[worst] <= FUNCTIONS[name]["f64"].max_ulp, f"{name}({x[worst]!r}): {error[worst]} ulp"


@functools.cache
def stored() -> dict[str, list[list[float]]]:
    """Rows of arguments, value, and what it lacks in ulp, written by benchmarks/vector_math_reference.py."""
    rows: dict[str, list[list[float]]] = {}
    for line in Path(__file__).with_name("vector_math_reference.txt").read_text().splitlines():
        name, *numbers, rest = line.split()
        rows.setdefault(name, []).append([*map(float.fromhex, numbers), float(rest)])
    return rows


def test_exact_values_are_stored_for_every_float64_function() -> None:
    exact = {"sqrt", "floor", "ceil", "trunc", "round", "fmod", "remainder", "softplus"}
    assert set(stored()) == {n for n, d in ALL if d == "f64"} - exact


@pytest.mark.parametrize("name", sorted({n for n, d in ALL if d == "f64"} & set(stored())))
def test_float64_functions_match_exact_values(name: str) -> None:
    rows = np.array(stored()[name])
    *arguments, value, rest = rows.T
    got = evaluate(name, "f64", *arguments)
    exponent = np.maximum(np.frexp(value)[1] - 1, -1022) - 52
    # The difference of neighbours is exact.
    error = np.abs(np.ldexp(got - value, -exponent) - rest)
    if name in IRRATIONAL_ROOTS:
        error = np.ldexp(error, np.minimum(exponent + 52, 0))
    worst = int(np.argmax(error))
    at = [float(a[worst]) for a in arguments]
    assert error[worst] <= FUNCTIONS[name]["f64"].max_ulp, f"{name}{at}: {error[worst]} ulp"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "numpy_name"), [("pow", "power"), ("atan2", "arctan2"), ("fmod", "fmod")])
def test_special_pairs_follow_c99(name: str, numpy_name: str, dtype: str) -> None:
    x, y = np.array(list(itertools.product(SPECIAL[dtype], repeat=2)), dtype=DTYPES[dtype]).T
    with np.errstate(all="ignore"):
        exact = getattr(np, numpy_name)(x.astype(np.longdouble), y.astype(np.longdouble))
    error = ulps(evaluate(name, dtype, x, y), exact, dtype)
    # Beyond half of the long double's range its own results overflow or vanish, as the narrow ones do.
    worst = int(np.argmax(error))
    assert error[worst] <= FUNCTIONS[name][dtype].max_ulp, f"{name}({x[worst]!r}, {y[worst]!r}): {error[worst]} ulp"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "numpy_name"), [("pow", "power"), ("atan2", "arctan2"), ("fmod", "fmod")])
def test_binary_accuracy(name: str, numpy_name: str, dtype: str) -> None:
    random = np.random.default_rng(11)
    kind = DTYPES[dtype]
    x = np.exp(random.uniform(-20, 20, 40000)).astype(kind)
    y = (random.normal(0, 1, 40000) * np.exp(random.uniform(-3, 3, 40000))).astype(kind)
    x = np.concatenate([x, np.linspace(0.5, 2, 9999, dtype=kind)])
    y = np.concatenate([y, np.linspace(-150, 150, 9999, dtype=kind)])
    with np.errstate(all="ignore"):
        exact = getattr(np, numpy_name)(x.astype(np.longdouble), y.astype(np.longdouble))
    error = ulps(evaluate(name, dtype, x, y), exact, dtype)
    bound = FUNCTIONS[name][dtype].max_ulp
    if np.finfo(np.longdouble).nmant < 63 and dtype == "f64":
        bound += 1
    worst = int(np.argmax(error))
    assert error[worst] <= bound, f"{name}({x[worst]!r}, {y[worst]!r}): {error[worst]} ulp"


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_whole_numbers_are_exact(dtype: str) -> None:
    base, exponent = np.meshgrid(np.arange(-9.0, 10.0), np.arange(0.0, 7.0))
    got = evaluate("pow", dtype, base.ravel(), exponent.ravel())
    assert np.array_equal(got, (base**exponent).ravel().astype(DTYPES[dtype]))
    powers = np.arange(-120.0, 120.0)
    for name, base_value in (("log2", 2.0), ("log10", 10.0)):
        whole = powers if name == "log2" else np.arange(0.0, 10.0)
        assert np.array_equal(evaluate(name, dtype, base_value**whole), whole.astype(DTYPES[dtype]))
    assert np.array_equal(evaluate("exp2", dtype, powers), 2.0**powers)
    assert np.array_equal(evaluate("cbrt", dtype, np.arange(-20.0, 21.0) ** 3), np.arange(-20.0, 21.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_remainder_has_the_sign_of_the_divisor(dtype: str) -> None:
    x = np.array([7, -7, 7, -7, 6, -6, 0.5, -0.5, 5, 5, np.inf, 3, np.nan])
    y = np.array([3, 3, -3, -3, 3, 3, 2, 2, np.inf, -np.inf, 2, 0, 1])
    expected = np.array([1, 2, -2, -1, 0, 0, 0.5, 1.5, 5, -np.inf, np.nan, np.nan, np.nan])
    assert np.array_equal(evaluate("remainder", dtype, x, y), expected.astype(DTYPES[dtype]), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("beta", "threshold"), [(1.0, 20.0), (0.5, 3.0), (3.0, 20.0)])
def test_softplus(beta: float, threshold: float, dtype: str) -> None:
    x = np.concatenate([np.linspace(-800, 100, 4001), np.linspace(-5, 5, 4001), SPECIAL[dtype]]).astype(DTYPES[dtype])
    with np.errstate(all="ignore"):
        wide = x.astype(np.longdouble)
        rounded = (x * DTYPES[dtype](beta)).astype(np.longdouble)  # exact but for beta = 3
        smooth = (np.maximum(rounded, 0) + np.log1p(np.exp(-np.abs(rounded)))) / beta
        exact = np.where(rounded > threshold, wide, smooth)
    got = evaluate("softplus", dtype, x, np.full_like(x, beta), np.full_like(x, threshold))
    assert ulps(got, exact, dtype).max() <= FUNCTIONS["softplus"][dtype].max_ulp


@pytest.mark.parametrize(("name", "dtype"), ALL)
def test_unjitted_functions_agree(name: str, dtype: str) -> None:
    function: Function = FUNCTIONS[name][dtype]
    kind = DTYPES[dtype]
    random = np.random.default_rng(3)
    x = np.concatenate([SPECIAL[dtype], random.normal(0, 3, 20).astype(kind)])
    rest = [random.permutation(np.abs(x)) + kind(0.25) for _ in range(function.arity - 1)]
    compiled = evaluate(name, dtype, x, *rest)
    pasted = _pasted(name, dtype, False)
    with np.errstate(all="ignore"):
        plain = [pasted(*(kind(v) for v in values)) for values in zip(x, *rest, strict=True)]
        direct = [function.function(*(kind(v) for v in values)) for values in zip(x, *rest, strict=True)]
    assert all(isinstance(v, kind) for v in plain)
    assert np.array_equal(plain, direct, equal_nan=True)
    # Where there are fused multiply-adds, compiled code rounds less often.
    least = 1.0 if name in IRRATIONAL_ROOTS else 0.0
    assert ulps(np.array(plain), compiled.astype(np.longdouble), dtype, least).max() <= 2 * function.max_ulp + 1


@pytest.mark.parametrize(("name", "dtype"), ALL)
def test_loops_vectorise(name: str, dtype: str) -> None:
    (text,) = _compiled(name, dtype).inspect_llvm().values()
    vectors = re.findall(r"<\d+ x (?:float|double)>", text)
    calls = set(re.findall(r"call (?:fast |contract )*(?:float|double|i64) @([a-z]\w*)\(", text))
    if (name, dtype) in SCALAR:
        assert vectors or calls
    else:
        assert vectors, f"{name}_{dtype} stays scalar"
        assert not calls, f"{name}_{dtype} calls {calls}"


def test_sources_are_complete_and_ordered() -> None:
    for name, dtype in ALL:
        known: set[str] = set(primitives(name, dtype)) | {"np"}
        for part, text in source(name, dtype):
            code = compile(text, part, "exec")
            inner = [c for c in code.co_consts if hasattr(c, "co_names")]
            used = set(itertools.chain.from_iterable(c.co_names for c in inner if not c.co_name.startswith("<")))
            builtin = {"range", "float32", "float64", "inf", "nan"}
            assert used <= known | builtin, f"{part} uses {used - known - builtin} before it is defined"
            known.add(part)
        assert part == f"{name}_{dtype}"


def test_constants_and_helpers_have_one_meaning() -> None:
    texts: dict[str, str] = {}
    for name, dtype in ALL:
        for part, text in source(name, dtype):
            assert texts.setdefault(part, text) == text
            assert part.endswith(("_f32", "_f64", "_F32", "_F64")), part
