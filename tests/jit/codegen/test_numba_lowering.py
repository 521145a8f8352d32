"""What generated code is lowered to computes what Python does: divisions, ranges, comparisons, variables in loops."""

import ctypes
import operator
from collections.abc import Callable
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from ingot.jit.codegen.compile import CpuTarget
from ingot.jit.codegen.emission import emit
from ingot.jit.codegen.numba_internals import compile_source, run_source
from ingot.jit.codegen.numba_lowering import operator_signature
from ingot.jit.runtime.loader import load_object
from numba.core import registry, types

SOURCE = """
from ingot.jit.codegen.primitives import pointer_f64, pointer_i64, slot_i64

@kernel
def divide(a, b):
    return a // b

@kernel
def rest(a, b):
    return a % b

@kernel
def constants(a, which):
    if which == 0:
        return a // 8
    if which == 1:
        return a % 8
    if which == 2:
        return a // 7
    if which == 3:
        return a % 7
    if which == 4:
        return a // -3
    return a % -3

@kernel
def total(start, stop, step):
    found = 0
    for i in range(start, stop, step):
        found = found * 3 + i
    return found

@kernel
def nested(n, m):
    last, count, x = -1, 0, n
    for i in range(n):
        for j in range(i, m):
            count += 1
            if j % 2 == 0:
                last = j
                x = last * 2
            else:
                x = x + 1
        if count > 50:
            break
    y = x
    while y > 10:
        previous = y
        y = y // 2
        if previous % 3 == 0:
            y -= 1
    return last * 1000 + count * 10 + y

@kernel
def compare(p, unused):
    x = pointer_f64(p)
    a, b = x[0], x[1]
    bits = 0
    if a < b:
        bits += 1
    if a <= b:
        bits += 2
    if a > b:
        bits += 4
    if a >= b:
        bits += 8
    if a == b:
        bits += 16
    if a != b:
        bits += 32
    return bits
"""
LEAST = -(1 << 63)


@pytest.fixture(scope="module", params=[1, 2])
def compiled(request: pytest.FixtureRequest) -> dict[str, Callable[..., int]]:
    """The functions of the source as machine code, at each level of LLVM that kernels use."""
    made = compile_source("lowered", SOURCE)
    names = [entry.name for entry in made.entries]
    addresses = load_object(emit(made.modules, CpuTarget(), names, request.param), names)
    return {
        entry.name: ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * entry.arity)(addresses[entry.name])
        for entry in made.entries
    }


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return run_source("lowered", SOURCE, {})


def test_divisions_round_down(compiled: dict[str, Callable[..., int]]) -> None:
    numbers = [0, 1, -1, 2, -2, 7, -7, 8, -8, 9, -9, 55, -56, (1 << 63) - 1, LEAST]
    for a in numbers:
        for b in numbers:
            undefined = b == 0 or (a == LEAST and b == -1)
            assert compiled["divide"](a, b) == (0 if undefined else a // b), (a, b)
            assert compiled["rest"](a, b) == (0 if undefined else a % b), (a, b)
        expected = [a // 8, a % 8, a // 7, a % 7, a // -3, a % -3]
        assert [compiled["constants"](a, which) for which in range(6)] == expected, a


def test_ranges(compiled: dict[str, Callable[..., int]], plain: dict[str, Any]) -> None:
    for start in (-5, 0, 3):
        for stop in (-7, 0, 3, 4, 11):
            for step in (-4, -1, 1, 2, 5):
                assert compiled["total"](start, stop, step) == plain["total"](start, stop, step), (start, stop, step)
    assert compiled["total"](0, 5, 0) == 0  # the driver has raised before; here it must not trap


def test_variables_in_loops(compiled: dict[str, Callable[..., int]], plain: dict[str, Any]) -> None:
    for n in range(12):
        for m in range(12):
            assert compiled["nested"](n, m) == plain["nested"](n, m), (n, m)


@pytest.mark.parametrize("a", [1.0, 2.0, -0.0, np.nan, np.inf])
@pytest.mark.parametrize("b", [1.0, 0.0, np.nan, -np.inf])
def test_comparisons_with_nan(compiled: dict[str, Callable[..., int]], a: float, b: float) -> None:
    data = np.array([a, b])
    expected = [a < b, a <= b, a > b, a >= b, a == b, a != b]
    assert compiled["compare"](data.ctypes.data, 0) == sum(1 << i for i, holds in enumerate(expected) if holds)


@pytest.mark.parametrize("kind", [types.int64, types.float32, types.float64])
def test_signatures_of_operators_are_those_of_numba(kind: types.Type) -> None:
    context = registry.cpu_target.typing_context
    context.refresh()
    arithmetic = ("add", "sub", "mul", "truediv", "floordiv", "mod", "and_", "or_", "xor")
    names = (*arithmetic, "lt", "le", "gt", "ge", "eq", "ne")
    known = {name: operator_signature(getattr(operator, name), (kind, kind)) for name in names}
    for name, signature in known.items():
        if signature is not None:
            found = context.resolve_function_type(getattr(operator, name), (kind, kind), {})
            assert (signature.return_type, signature.args) == (found.return_type, found.args), name
    assert sum(signature is not None for signature in known.values()) == (14 if kind is types.int64 else 10)
    assert operator_signature(operator.add, (types.int64, types.float64)) is None


def test_kernels_written_on_different_lines_are_one_kernel() -> None:
    weight = ingot.ones(5, 3)
    functions = [
        lambda x: (x @ weight + 1.0).relu(),
        lambda x: (x @ weight + 1.0).relu(),
    ]
    sources = [
        jit.trace(f, (ingot.ones(4, 5),), check_trace=False, on_bake="ignore").kernel_source() for f in functions
    ]
    names = [[line for line in source.splitlines() if line.startswith("def k_")] for source in sources]
    assert names[0] == names[1] and names[0]
    assert sources[0] != sources[1]  # comments say where
