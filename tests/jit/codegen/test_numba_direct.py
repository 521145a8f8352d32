"""One walk over generated source computes what Python does, and what Numba's own way computes."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ingot.jit.codegen import numba_internals
from ingot.jit.codegen.compile import CpuTarget
from ingot.jit.codegen.emission import emit
from ingot.jit.codegen.numba_direct import Indirect
from ingot.jit.codegen.numba_internals import compile_source, run_source
from ingot.jit.errors import CompileError
from ingot.jit.runtime.loader import load_object

SOURCE = """
from ingot.jit.codegen.helpers import as_i64
from ingot.jit.codegen.primitives import pointer_f32, pointer_i8, pointer_i64

SCALES = (np.float32(2.0), np.float32(0.5))
LIMIT = 7

def pair(a, b):
    return a + b, a * b

def chosen(a):
    if a > 0:
        return 1
    return 2.5

@body
def doubled(x, y, n):
    for i in range(n):
        y[i] = x[i] * SCALES[0] + np.float32(1)

@kernel
def paths(n, m):
    # A variable is an int on one way and a float on the other; another one exists on one way only.
    x = n
    if m > 3:
        x = n * 0.5
        only = 3
    if m > 3:
        x = x + only
    return as_i64(x * 4)

@kernel
def loops(n, m):
    found, last = 0, -1
    while True:
        found += 1
        if found > n:
            break
        if found % 2 == 0:
            continue
        for last in range(found, m, 2):
            if last == 9:
                break
            for k in range(3, 0, -1):
                found += k == last
        else_ = found if last > 0 else -found
        found = max(found, else_, 0)
    return found * 100 + last

@kernel
def conditions(a, b):
    both = a > 0 and b // max(a, 1) > 1
    either = a < 0 or not b == 3
    chain = 0 < a <= b < LIMIT
    number = 8 if both else 4.0 if either else 2
    return as_i64(number) + chain * 16 + (not both) * 32

@kernel
def tuples(a, b):
    (c, d), e = pair(a, b), b
    c, d = d, c
    first = pair(c, 1)[0]
    x, _ = pair(0.5 * c, d)
    return first + as_i64(x * 2) + pair(e, d)[1] + as_i64(chosen(a) * 2)

@kernel
def memory(x, y, n):
    doubled(pointer_f32(x), pointer_f32(y), n)
    small, wide = pointer_i8(x), pointer_i64(y)
    if n > 2:
        small[0] += 100
        small[0] += 100
        wide[1] = small[0] - small[1] * 2
        wide[1] //= 3

@kernel
def swapped(n, m):
    old, new = n, m
    for i in range(m % 5):
        old, new = new, old + i
    return old * 1000 + new
"""
CASES = [(n, m) for n in (-3, 0, 1, 2, 5, 12) for m in (-1, 0, 3, 4, 6, 13)]


def made(direct: bool, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., Any]]:
    if not direct:

        def refuse(*_: Any) -> Any:
            raise Indirect("not here")

        monkeypatch.setattr(numba_internals, "_compile_directly", refuse)
    compiled = compile_source("direct", SOURCE)
    names = [reference.name for reference in compiled.entries]
    addresses = load_object(emit(compiled.modules, CpuTarget(), names), names)
    return {
        reference.name: ctypes.CFUNCTYPE(
            ctypes.c_int64 if reference.returns else None, *[ctypes.c_int64] * reference.arity
        )(addresses[reference.name])
        for reference in compiled.entries
    }


@pytest.mark.parametrize("direct", [True, False])
def test_results_are_pythons(direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, python = made(direct, monkeypatch), run_source("direct", SOURCE, {})
    for name in ("paths", "loops", "conditions", "tuples", "swapped"):
        for case in CASES:
            assert compiled[name](*case) == python[name](*case), (name, case)
    for n in (0, 1, 4, 17):
        x = np.arange(1, n + 3, dtype=np.float32) * np.float32(np.pi)
        results = []
        for run in (compiled["memory"], python["memory"]):
            a, b = x.copy(), np.zeros(n + 4, np.float32)
            with np.errstate(over="ignore"):
                run(a.ctypes.data, b.ctypes.data, n)
            results.append((a.tobytes(), b.tobytes()))
        assert results[0] == results[1]


def test_generated_code_is_written_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("Numba was asked")

    monkeypatch.setattr(numba_internals, "_add_entry", fail)
    assert len(compile_source("direct", SOURCE).modules) == 1


@pytest.mark.parametrize(
    "body",
    [
        "return a ** b",  # what may raise
        "return [a, b][0]",
        "x = 0\n    for i, j in ((a, b), (b, a)):\n        x += i * 2 + j\n    return x",
    ],
)
def test_the_rest_is_left_to_numba(body: str) -> None:
    source = f"@kernel\ndef k(a, b):\n    {body}\n"
    try:
        compiled = compile_source("k", source)
    except CompileError as error:
        # Its words, not ours.
        assert "Numba" in str(error)
        return
    address = load_object(emit(compiled.modules, CpuTarget(), ["k"]), ["k"])["k"]
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(address)
    assert function(3, 4) == run_source("k", source, {})["k"](3, 4)


def test_a_name_that_is_nowhere_is_an_error_of_numba() -> None:
    with pytest.raises(CompileError, match="nowhere"):
        compile_source("k", "@kernel\ndef k(a):\n    return a + nowhere\n")


def test_an_entry_that_is_simplified_twice_computes_the_same() -> None:
    source = "@kernel\ndef k(a, b):\n    return a * 10 + b\n\n@kernel\ndef nothing(a):\n    pass\n"
    compiled = compile_source("k", source, twice=True)
    addresses = load_object(emit(compiled.modules, CpuTarget(), ["k", "nothing"]), ["k", "nothing"])
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(addresses["k"])(3, 4) == 34
    ctypes.CFUNCTYPE(None, ctypes.c_int64)(addresses["nothing"])(1)


def test_ranges_of_a_known_length_have_it_whatever_they_begin_with() -> None:
    """`range(a, a + 32)` has 32 rounds for LLVM, too: what it computes is one number, without a loop."""
    loop = "    for i in range(a, a + 32):\n        found += i * b\n"
    source = f"@kernel\ndef k(a, b):\n    found = 0\n{loop}    return found\n"
    compiled = compile_source("k", source)
    assert any("icmp slt i64 %" in text and ", 32" in text for text in compiled.modules)
    address = load_object(emit(compiled.modules, CpuTarget(), ["k"]), ["k"])["k"]
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(address)
    for a, b in ((0, 1), (-40, 3), (2**63 - 33, 0)):
        assert function(a, b) == sum(i * b for i in range(a, a + 32))
