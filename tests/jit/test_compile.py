"""Compilation: generated source to one object, through Numba's private parts, with a cache."""

import ctypes
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import add_square, kitchen
from ingot.ir.records import replace
from ingot.jit.codegen import numba_internals
from ingot.jit.codegen.compile import CpuTarget, compile_module, compiling_allowed, emit, no_compile
from ingot.jit.codegen.module import GeneratedModule, KernelSource
from ingot.jit.codegen.numba_internals import check_version, compile_source, entry_points, run_source
from ingot.jit.errors import CompileError
from ingot.jit.runtime.arena import Arena
from ingot.jit.runtime.loader import load_object
from ingot.jit.runtime.objects import ObjectError, object_symbols
from ingot.jit.runtime.pool import pool_address
from ingot.jit.runtime.static_library import pack_objects, unpack_objects


@pytest.fixture
def cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compiled(source: str, **options: Any) -> dict[str, Callable[..., Any]]:
    """The entry points of a source, as C functions."""
    made = compile_source("test", source, **options)
    names = [entry.name for entry in made.entries]
    addresses = load_object(emit(made.modules, CpuTarget(), names), names)
    return {
        entry.name: ctypes.CFUNCTYPE(ctypes.c_int64 if entry.returns else None, *[ctypes.c_int64] * entry.arity)(
            addresses[entry.name]
        )
        for entry in made.entries
    }


def test_the_numba_that_is_installed_is_one_that_was_tested() -> None:
    # When this fails, Numba has moved on: run all of tests/jit with the new version, look at what numba_internals
    # relies on, then add the version to TESTED_NUMBA (and to pyproject.toml).
    check_version()
    with pytest.raises(CompileError, match=r"needs Numba 0\.68, but 0\.99\.1 is installed"):
        check_version("0.99.1")


def test_the_private_parts_of_numba_are_where_they_were() -> None:
    from numba.core import codegen, compiler, cpu, registry, typed_passes, untyped_passes

    assert callable(compiler.compile_extra)
    for name in ("_optimize_functions", "_optimize_final_module", "add_linking_library", "add_ir_module", "finalize"):
        assert callable(getattr(codegen.AOTCodeLibrary, name)), name
    assert codegen.AOTCPUCodegen._library_class is codegen.AOTCodeLibrary
    for name in ("subtarget", "insert_user_function", "get_function", "declare_function", "call_conv"):
        assert hasattr(cpu.CPUContext, name), name
    assert hasattr(registry.cpu_target.target_context, "_defns")
    flags = compiler.Flags()
    for name in ("no_cpython_wrapper", "no_cfunc_wrapper", "no_compile", "nrt", "error_model", "fastmath", "noalias"):
        assert hasattr(flags, name), name
    assert all(hasattr(m, p.__name__) for m, p in ((typed_passes, typed_passes.NativeLowering),
                                                   (untyped_passes, untyped_passes.ReconstructSSA)))  # fmt: skip


ENTRIES = """
def helper(a):
    return a * 2

@body
def inner(x, n, value):
    for i in range(n):
        x[i] = value

@kernel
def fill(p, lo, hi):
    inner(pointer_i64(slot_i64(p, 0)), hi, helper(lo))

@kernel
def answer(a, b):
    if a > b:
        return helper(a)
    return max(min(a, b, 7), -5)
"""


class TestEntries:
    def test_entry_points_are_read_without_compiling(self) -> None:
        fill, answer = entry_points(ENTRIES)
        assert (fill.name, fill.arity, fill.returns) == ("fill", 3, False)
        assert (answer.name, answer.arity, answer.returns) == ("answer", 2, True)

    def test_compiled_and_plain_do_the_same(self) -> None:
        table, data = np.zeros(1, np.int64), np.zeros(5, np.int64)
        table[0] = data.ctypes.data
        for functions in (compiled(ENTRIES), run_source("plain", ENTRIES, {})):
            data[:] = 0
            functions["fill"](table.ctypes.data, 21, 4)
            assert data.tolist() == [42, 42, 42, 42, 0]
            assert [functions["answer"](a, b) for a, b in ((9, 3), (1, 2), (-9, 2), (8, 9))] == [18, 1, -5, 7]

    def test_bodies_promise_that_pointers_do_not_overlap(self) -> None:
        assert "noalias" in "".join(compile_source("test", ENTRIES).modules)

    def test_tracebacks_of_plain_runs_show_the_source(self) -> None:
        import linecache

        run_source("shown", "@kernel\ndef k(p, lo, hi):\n    raise_here = 1 // 0\n", {})
        assert linecache.getline("<ingot shown>", 3) == "    raise_here = 1 // 0\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@kernel\ndef k(p, lo, hi):\n    x = lo + 'a'\n", "Numba"),
        ("@kernel\ndef k(p, lo, hi):\n    unknown_function(lo)\n", "unknown_function"),
        ("@kernel\ndef k(p):\n    if p:\n        return 1.5\n    return 2.5\n", "returns float64, expected an int"),
        ("def not_an_entry(p):\n    return p\n", "no function decorated with @kernel"),
        ("@kernel\ndef k(p, lo, hi):\n    a = np.zeros(hi)\n    a[0] = 1.0\n", "k"),
    ],
)
def test_sources_that_do_not_compile(source: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        compile_source("k", source)


def test_helpers_are_shared_only_where_they_are_equal() -> None:
    def source(constant: int, factor: str) -> str:
        return (
            f"C = {constant}\nF = {factor}\ndef deep(a):\n    return a + C\ndef helper(a):\n    return deep(a) * F\n"
            "@kernel\ndef k(a):\n    return int(helper(a))\n"
        )

    variants = [(1, "2"), (1, "3"), (5, "2"), (1, "2.5"), (1, "2")]
    assert [compiled(source(*v))["k"](10) for v in variants] == [22, 33, 30, 27, 22]


def test_extremes_of_floats_follow_python() -> None:
    source = (
        "@kernel\ndef k(p):\n    a, b = slot_f64(p, 0), slot_f64(p, 1)\n"
        "    set_slot_f64(p, 2, min(a, b))\n    set_slot_f64(p, 3, max(a, b))\n"
    )
    function = compiled(source)["k"]
    for a, b in ((1.0, 2.0), (math.nan, 1.0), (1.0, math.nan), (0.0, -0.0), (math.inf, -math.inf)):
        table = np.array([a, b, 0, 0], np.float64)
        function(table.ctypes.data)
        assert [repr(v) for v in table[2:].tolist()] == [repr(min(a, b)), repr(max(a, b))]


class TestLaunch:
    SOURCE = """
@kernel
def count(p, lo, hi):
    x = pointer_i64(slot_i64(p, 0))
    for i in range(lo, hi):
        x[i] += 1

@kernel
def run(p, n, grain, pool):
    launch(count, p, n, grain, pool)
    return 0
"""

    @pytest.mark.parametrize(("n", "grain"), [(0, 1), (1, 1), (1000, 1), (1000, 999), (1000, 0), (1000, -3), (-5, 1)])
    def test_every_index_is_visited_once(self, n: int, grain: int) -> None:
        data = np.zeros(1000, np.int64)
        table = np.array([data.ctypes.data], np.int64)
        for run in (RUN["run"], run_source("launch", self.SOURCE, {})["run"]):
            data[:] = 0
            run(table.ctypes.data, n, grain, pool_address())
            assert data[: max(n, 0)].tolist() == [1] * max(n, 0) and not data[max(n, 0) :].any()


def _compiled_launch() -> dict[str, Callable[..., Any]]:
    head, driver = TestLaunch.SOURCE.split("@kernel\ndef run")
    kernels = compile_source("count", head)
    made = compile_source("run", "@kernel\ndef run" + driver, kernels=kernels.entries)
    target = CpuTarget()
    parts = [emit(m.modules, target, [e.name for e in m.entries]) for m in (kernels, made)]
    address = load_object(pack_objects(parts), ["run"])["run"]
    return {"run": ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 4)(address)}


RUN = _compiled_launch()

MEMORY = """
@kernel
def use(arena, n):
    if n < 0:
        return arena_allocate(arena, n)
    a, b, c = arena_allocate(arena, n), arena_allocate(arena, n), arena_allocate(arena, n)
    if a % 64 or b % 64 or c % 64:
        return -1
    fill_bytes(a, 7, n)
    copy_bytes(b, a, n)
    arena_release(arena, a)
    x = pointer_u8(b)
    total = 0
    for i in range(n):
        total += int(x[i])
        x[i] = i % 100
    move_bytes(b + 1, b, n - 1)
    total = total * 1000 + (int(x[n - 1]) if n else 0)
    arena_release(arena, c)
    arena_release(arena, 0)
    fill_bytes(b, 1, -5)
    return total
"""


class TestMemory:
    @pytest.mark.parametrize("n", [0, 1, 64, 1001])
    def test_arena_and_memory_functions(self, n: int) -> None:
        for use in (compiled(MEMORY)["use"], run_source("memory", MEMORY, {})["use"]):
            with Arena() as arena:
                expected = 7 * n * 1000 + (0 if n < 2 else (n - 2) % 100)
                assert use(arena, n) == expected
                # One block is left, and the arena's end frees it.
                assert ctypes.c_int64.from_address(arena).value != 0
            assert ctypes.c_int64.from_address(arena).value == 0

    def test_impossible_requests_give_no_address(self) -> None:
        for use in (compiled(MEMORY)["use"], run_source("memory", MEMORY, {})["use"]):
            with Arena() as arena:
                assert use(arena, -1) == 0


class TestModules:
    def test_an_object_defines_its_driver_and_needs_only_the_runtime(self, cache_directory: Path) -> None:
        symbols = object_symbols(compile_module(add_square()).object)
        assert symbols.defined == {"drive_add_square", "add_square"}
        assert symbols.undefined == {"ingot_parallel_for"}
        assert object_symbols(compile_module(kitchen()).object).undefined <= {"malloc", "free"}

    def test_the_cache_has_kernels_and_objects(self, cache_directory: Path) -> None:
        first = compile_module(add_square())
        assert not first.cached and [r.cached for r in first.records] == [False, False]
        again = compile_module(add_square())
        assert again.cached and again.object == first.object and again.records == ()
        other_driver = add_square()
        other_driver = replace(other_driver, driver_source=other_driver.driver_source + "\nCHANGED = True\n")
        third = compile_module(other_driver)
        assert not third.cached and [r.cached for r in third.records] == [True, False]
        commented = replace(other_driver, driver_source="# line 7 of the user's file\n" + other_driver.driver_source)
        assert compile_module(commented).cached

    def test_keys_cover_flags_and_cpu(self, cache_directory: Path) -> None:
        compile_module(add_square())
        strict = add_square()
        strict = replace(strict, kernels=[KernelSource("add_square", strict.kernels[0].source, frozenset())])
        assert not compile_module(strict).cached
        older = CpuTarget(cpu="x86-64", features="", triple=CpuTarget().triple)
        assert not compile_module(add_square(), older).cached

    def test_no_compile_refuses_what_is_not_cached(self, cache_directory: Path) -> None:
        with no_compile():
            assert not compiling_allowed()
            with pytest.raises(CompileError, match=r"add_square would have to be compiled, which jit.no_compile\(\)"):
                compile_module(add_square())
        compile_module(add_square())
        with no_compile():
            assert compile_module(add_square()).cached
        assert compiling_allowed()

    def test_equal_kernels_compile_once(self, cache_directory: Path) -> None:
        module = add_square()
        module = replace(module, kernels=module.kernels * 3)
        assert [r.name for r in compile_module(module).records] == ["add_square", "drive_add_square"]

    @pytest.mark.parametrize("triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
    def test_other_cpus(self, cache_directory: Path, triple: str) -> None:
        target = CpuTarget(cpu="", features="", triple=triple)
        blob = compile_module(add_square(), target).object
        assert object_symbols(blob).architecture == triple.split("-")[0]
        assert target.label == f"{triple.split('-')[0]}-generic"

    def test_a_driver_that_the_source_does_not_define(self, cache_directory: Path) -> None:
        module = add_square()
        module = replace(module, driver="missing")
        with pytest.raises(CompileError, match="does not define missing"):
            compile_module(module)


def test_a_driver_that_raises_reports_a_status() -> None:
    source = "def drive_add_square(frame):\n    if frame == 0:\n        raise ValueError('no')\n    return 0\n"
    module: GeneratedModule = replace(add_square(), driver_source=source)
    address = load_object(compile_module(module, use_cache=False).object, ["drive_add_square"])["drive_add_square"]
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)
    assert function(1) == 0 and function(0) == -2


def test_few_modules_import_private_numba() -> None:
    root = Path(numba_internals.__file__).parents[2]
    users = {
        f"numba_{what}.py"
        for what in ("contexts", "direct", "expressions", "functions", "internals", "lowering", "statements")
    }
    private = [path.name for path in root.rglob("*.py") if path.name not in users and "numba.core" in path.read_text()]
    assert private == []


class TestStaticLibraries:
    @pytest.mark.parametrize("objects", [[], [b""], [b"odd"], [b"even", b"", b"three"]])
    def test_round_trip(self, objects: list[bytes]) -> None:
        assert unpack_objects(pack_objects(objects)) == objects

    def test_damage(self) -> None:
        library = pack_objects([b"first object", b"second"])
        for wrong in (b"", b"!<arch>", library[:-1], library[:40], library.replace(b"`\n", b"``"),
                      library.replace(b"12        `", b"-2        `"), library + b"rest"):  # fmt: skip
            with pytest.raises(ValueError, match=r"library|damaged|ends at"):
                unpack_objects(wrong)

    def test_libraries_of_nothing_or_of_several_kinds_are_not_loaded(self) -> None:
        blob = compile_module(add_square(), use_cache=False).object
        other = compile_module(add_square(), CpuTarget("", "", "aarch64-unknown-linux-gnu"), use_cache=False).object
        mixed = pack_objects([*unpack_objects(blob), *unpack_objects(other)])
        twice = pack_objects(unpack_objects(blob) * 2)
        for wrong, message in ((pack_objects([]), "0 kinds"), (mixed, "2 kinds"), (twice, "define the same symbol")):
            with pytest.raises(ObjectError, match=message):
                load_object(wrong, ["drive_add_square"])
