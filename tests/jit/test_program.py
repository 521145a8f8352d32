"""Programs: one native call per call, whatever the arguments, and the same answers un-jitted."""

import gc
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from handmade import GRAPH, add_square, kitchen
from ingot import ir
from ingot.jit.codegen.compile import compile_module
from ingot.jit.codegen.module import GeneratedModule
from ingot.jit.errors import JitError
from ingot.jit.plan import SizeBinding, pack_buffers
from ingot.jit.program import InterpreterProgram, Layout, NativeProgram, PythonProgram
from ingot.jit.raising import raise_at


def native(module: GeneratedModule, **options: Any) -> NativeProgram:
    return NativeProgram(Layout.of(module), compile_module(module).object, **options)


@pytest.fixture(scope="module")
def square() -> NativeProgram:
    return native(add_square())


@pytest.fixture(scope="module", params=["native", "python"])
def kitchen_program(request: pytest.FixtureRequest) -> NativeProgram | PythonProgram:
    return native(kitchen()) if request.param == "native" else PythonProgram(kitchen())


def vectors(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(n).astype(np.float32), generator.standard_normal(n).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 2, 13, 4096, 8191, 100_003])
def test_native_gives_what_the_reference_gives(square: NativeProgram, n: int) -> None:
    x, y = vectors(n)
    (result,) = square([x, y])
    (expected,) = InterpreterProgram(ir.parse(GRAPH))([x, y])
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_the_same_sources_run_unjitted() -> None:
    x, y = vectors(13)
    (result,) = PythonProgram(add_square())([x, y])
    np.testing.assert_allclose(result, x + y * y, rtol=1e-6, atol=1e-6)


def test_nan_and_infinity_pass_through(square: NativeProgram) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1.0, -0.0] * 7, np.float32)
    y = np.array([1.0, 2.0, np.inf, np.nan, 0.0] * 7, np.float32)
    with np.errstate(invalid="ignore"):
        expected = x + y * y
    np.testing.assert_array_equal(square([x, y])[0], expected)


def test_arrays_that_are_not_contiguous_are_copied(square: NativeProgram) -> None:
    x, y = vectors(60)
    reversed_x, strided_y = x[::-2], y[::2]
    np.testing.assert_allclose(square([reversed_x, strided_y])[0], reversed_x + strided_y**2, rtol=1e-6, atol=1e-6)


def test_arrays_that_are_not_aligned_are_copied(square: NativeProgram) -> None:
    memory = np.zeros(4 * 7 + 1, np.uint8)
    x = memory[1:].view(np.float32)
    x[:] = np.arange(7)
    assert not x.flags.aligned
    np.testing.assert_array_equal(square([x, np.ones(7, np.float32)])[0], np.arange(7) + 1)


def test_results_are_new_arrays(square: NativeProgram) -> None:
    x, y = vectors(16)
    first = square([x, y])[0]
    kept = first.copy()
    second = square([y, x])[0]
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


def test_sizes_that_contradict_each_other_are_refused(square: NativeProgram) -> None:
    with pytest.raises(RuntimeError, match=r"add_square: size 0 of y is 4, expected n = 3"):
        square([np.zeros(3, np.float32), np.zeros(4, np.float32)])


def test_a_new_size_makes_a_plan_and_old_plans_are_bounded(
    square: NativeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingot.jit.program.MAX_PLANS", 4)
    for n in range(1, 12):
        x, y = vectors(n)
        np.testing.assert_allclose(square([x, y])[0], x + y * y, rtol=1e-6, atol=1e-6)
    assert len(square._plans) <= 4


def test_threads_call_one_program_at_once(square: NativeProgram) -> None:
    failures: list[int] = []

    def work(seed: int) -> None:
        x, y = vectors(20_000 + seed, seed)
        expected = x + y * y
        for _ in range(50):
            if not np.allclose(square([x, y])[0], expected, rtol=1e-6, atol=1e-6):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_every_part_of_the_frame(kitchen_program: Callable[[list[Any]], list[Any]]) -> None:
    x = np.arange(5, dtype=np.float32)
    results = kitchen_program([x, 3, 2.0, True])
    np.testing.assert_array_equal(x, np.arange(5) * 2 + 0.5)
    assert results[0] is x
    np.testing.assert_array_equal(results[1], [0, 1, 4])
    assert results[2:5] == [6, 1.0, False]
    assert [type(r) for r in results[2:5]] == [int, float, bool]
    assert [list(item) for item in results[5]] == [[0, 1, 4], [0]]
    np.testing.assert_array_equal(results[6], [0.5])
    results[6][0] = 9.0
    assert kitchen_program([x, 0, 1.0, False])[6][0] == 0.5


def test_results_of_size_zero(kitchen_program: Callable[[list[Any]], list[Any]]) -> None:
    results = kitchen_program([np.zeros(0, np.float32), 0, 1.0, False])
    assert results[1].shape == (0,) and results[1].dtype == np.int64
    assert [item.shape for item in results[5]] == [(0,), (0,)]


def test_writes_reach_arguments_that_had_to_be_copied(kitchen_program: Callable[[list[Any]], list[Any]]) -> None:
    base = np.arange(10, dtype=np.float32)
    kitchen_program([base[::2], 1, 2.0, True])
    np.testing.assert_array_equal(base, [0.5, 1, 4.5, 3, 8.5, 5, 12.5, 7, 16.5, 9])


def test_a_read_only_argument_that_is_written_is_refused(kitchen_program: Callable[[list[Any]], list[Any]]) -> None:
    x = np.arange(4, dtype=np.float32)
    x.flags.writeable = False
    with pytest.raises(ValueError, match="argument x is written, but read-only"):
        kitchen_program([x, 1, 2.0, True])


def test_an_error_status_raises_the_users_exception_at_the_users_line(
    kitchen_program: Callable[[list[Any]], list[Any]],
) -> None:
    with pytest.raises(ValueError, match=r"^count is -3, and n is 4$") as caught:
        kitchen_program([np.zeros(4, np.float32), -3, 1.0, True])
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert (frames[-1].filename, frames[-1].lineno, frames[-1].name) == ("model.py", 12, "forward")


def test_out_of_memory_is_a_memory_error(kitchen_program: Callable[[list[Any]], list[Any]]) -> None:
    with pytest.raises(MemoryError, match="kitchen: out of memory"):
        kitchen_program([np.zeros(4, np.float32), 5000, 1.0, True])


def test_nothing_leaks_after_errors(kitchen_program: Any) -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="count"):
            kitchen_program([np.zeros(4, np.float32), -1, 1.0, True])
    if isinstance(kitchen_program, NativeProgram):
        assert len(kitchen_program._states) == 1
    gc.collect()
    assert kitchen_program([np.zeros(2, np.float32), 2, 1.0, True])[2] == 4


def test_programs_work_where_arrays_cannot_be_read_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingot.jit.runtime.frame.ARRAY_LAYOUT_KNOWN", False)
    program = native(kitchen())
    assert program._enter is None
    x = np.arange(6, dtype=np.float32)[::2]
    results = program([x, 2, 3.0, False])
    np.testing.assert_array_equal(x, [0.5, 6.5, 12.5])
    assert results[2:5] == [4, 1.5, True]
    with pytest.raises(ValueError, match="count is -7"):
        program([x, -7, 3.0, False])


def test_a_status_without_meaning_is_reported() -> None:
    module = kitchen()
    module.errors.clear()
    with pytest.raises(JitError, match="status 1, which means nothing"):
        PythonProgram(module)([np.zeros(1, np.float32), -1, 1.0, True])


class Refused(Exception):
    pass


def test_exceptions_of_the_program_itself_are_found_by_name() -> None:
    with pytest.raises(Refused, match="no"):
        raise_at("Refused", "no", None, {"Refused": Refused})
    with pytest.raises(RuntimeError, match="no"):
        raise_at("NoSuchException", "no", None)


class TestBinding:
    def bind(self, text: str, *arguments: Any) -> tuple[dict[str, int] | None, str]:
        return SizeBinding.of(ir.parse(text)).bind(arguments)

    def test_repeated_symbols_and_numbers(self) -> None:
        text = "graph @f(%x: f32[n, 3], %y: f32[m, n]) -> (f32[n, 3]) { return(%x) }"
        assert self.bind(text, np.zeros((2, 3)), np.zeros((5, 2)))[0] == {"n": 2, "m": 5}
        values, reason = self.bind(text, np.zeros((2, 4)), np.zeros((5, 2)))
        assert values is None and reason == "size 1 of x is 4, expected 3"
        values, reason = self.bind(text, np.zeros((2, 3)), np.zeros((5, 7)))
        assert values is None and reason == "size 1 of y is 7, expected n = 2"
        values, reason = self.bind(text, np.zeros(2), np.zeros((5, 7)))
        assert values is None and "1 dimensions, expected 2" in reason

    def test_expressions_are_checked_after_symbols(self) -> None:
        text = "graph @f(%x: f32[n*2], %y: f32[n]) -> (f32[n]) { return(%y) }"
        assert self.bind(text, np.zeros(6), np.zeros(3))[0] == {"n": 3}
        assert self.bind(text, np.zeros(7), np.zeros(3))[0] is None

    def test_guards(self) -> None:
        text = "graph @f(%x: f32[n], %y: f32[m]) -> (f32[n]) where (n*2 == m*3) { return(%x) }"
        assert self.bind(text, np.zeros(6), np.zeros(4))[0] == {"n": 6, "m": 4}
        values, reason = self.bind(text, np.zeros(6), np.zeros(5))
        assert values is None and "12 != 15" in reason


class TestPacking:
    @pytest.mark.parametrize("seed", range(20))
    def test_buffers_that_live_together_do_not_overlap(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        count = int(generator.integers(1, 40))
        sizes = [int(n) for n in generator.integers(0, 5000, count)]
        starts, lengths = generator.integers(0, 30, count), generator.integers(0, 10, count)
        intervals = [(int(a), int(a + d)) for a, d in zip(starts, lengths, strict=True)]
        offsets, total = pack_buffers(sizes, intervals)
        for i in range(count):
            assert offsets[i] % 64 == 0 and offsets[i] + sizes[i] <= total
            for j in range(i):
                if sizes[i] and sizes[j] and intervals[i][0] <= intervals[j][1] and intervals[j][0] <= intervals[i][1]:
                    assert offsets[i] + sizes[i] <= offsets[j] or offsets[j] + sizes[j] <= offsets[i]
        live = [
            sum(-(-sizes[i] // 64) * 64 for i in range(count) if intervals[i][0] <= t <= intervals[i][1])
            for t in range(45)
        ]
        assert max(live) <= total <= sum(-(-s // 64) * 64 for s in sizes)

    def test_a_chain_needs_two_buffers(self) -> None:
        _, total = pack_buffers([640] * 10, [(i, i + 1) for i in range(10)])
        assert total == 1280

    def test_nothing(self) -> None:
        assert pack_buffers([], []) == ([], 0)
