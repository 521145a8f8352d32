"""Objects are emitted by several threads at a time, outside llvmlite's lock, and come out the same."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from ingot.jit.codegen.compile import CpuTarget
from ingot.jit.codegen.emission import emit, without_lock
from ingot.jit.codegen.numba_internals import compile_source

SOURCE = """
from ingot.jit.codegen.primitives import pointer_f32, slot_i64


@kernel
def scaled_{n}(p, lo, hi):
    x, y = pointer_f32(slot_i64(p, 0)), pointer_f32(slot_i64(p, 1))
    for i in range(lo, hi):
        y[i] = x[i] * {n} + y[i]
"""


@pytest.fixture(scope="module")
def compiled():
    return [compile_source(f"scaled_{n}", SOURCE.format(n=n)) for n in range(2, 5)]


def test_threads_emit_what_one_thread_emits(compiled):
    target = CpuTarget()

    def objects(part):
        return emit(part.modules, target, [reference.name for reference in part.entries])

    expected = [objects(part) for part in compiled]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(objects, compiled * 8))
    assert found == expected * 8


def test_levels_of_effort_differ_in_code_and_not_in_symbols(compiled):
    part, target = compiled[0], CpuTarget()
    objects = [emit(part.modules, target, ["scaled_2"], level) for level in (0, 3)]
    assert objects[0] != objects[1]
    assert all(b"scaled_2" in blob for blob in objects)


def test_llvmlite_keeps_its_functions_where_the_lock_is_left_out():
    """Where this fails llvmlite has moved: emission still works, one kernel at a time, until `without_lock` follows."""
    ffi = pytest.importorskip("llvmlite.binding.ffi", reason="part of llvmlite")
    for name in ("LLVMPY_RunNewModulePassManager", "LLVMPY_TargetMachineEmitToMemory"):
        locked = getattr(ffi.lib, name)
        assert without_lock(locked) is not locked, name
        assert without_lock(locked).argtypes == locked.argtypes
    assert without_lock(len) is len
