"""Memory of native code: addresses that are right, scratch memory that is never shared, results that never overlap."""

import gc
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from ingot.jit.runtime import memory
from ingot.jit.runtime.memory import ArrayRecycler, Workspace, address_of

BASE = np.arange(3 * 5 * 7, dtype=np.float32).reshape(3, 5, 7)


class Labelled(np.ndarray):
    """A subclass, as numpy.memmap is one."""


@pytest.mark.parametrize(
    "array",
    [
        BASE,
        BASE.T,
        BASE[1:, ::-2, 3:],
        BASE[:0],
        np.zeros(()),
        np.zeros((0, 4), np.int8),
        np.broadcast_to(np.float64(1.0), (2, 3)),
        np.frombuffer(b"read only bytes!", np.uint8)[3:],
        BASE.view(Labelled),
        np.zeros(2, dtype=[("a", "i1"), ("b", "f8")])["b"],
    ],
)
def test_address_of(array: np.ndarray) -> None:
    assert address_of(array) == array.ctypes.data


def test_the_layout_is_known_here_and_the_slow_way_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.ARRAY_LAYOUT_KNOWN
    fast = address_of(BASE[1:])
    monkeypatch.setattr(memory, "ARRAY_LAYOUT_KNOWN", False)
    assert address_of(BASE[1:]) == fast


def test_another_layout_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ARRAY_NDIM_OFFSET", memory.ARRAY_FLAGS_OFFSET)
    assert not memory._layout_is_known()
    monkeypatch.undo()
    monkeypatch.setattr(memory, "ARRAY_SHAPE_OFFSET", memory.ARRAY_STRIDES_OFFSET)
    assert not memory._layout_is_known()


@pytest.mark.parametrize("value", [[1.0], 1.0, None, memoryview(b"x"), np.float32(1)])
def test_the_address_of_what_is_not_an_array(value: object) -> None:
    with pytest.raises(TypeError, match=f"expected a numpy array, got {type(value).__name__}"):
        address_of(value)  # type: ignore[arg-type]


def test_a_workspace_hands_out_aligned_memory_and_the_same_again() -> None:
    workspace = Workspace()
    block = workspace.acquire(1000)
    assert block.address % 64 == 0 and block.capacity >= 1000
    workspace.release(block)
    again = workspace.acquire(700)
    assert again.address == block.address
    larger = workspace.acquire(1_000_000)
    assert larger.capacity >= 1_000_000
    workspace.release(again)
    workspace.release(larger)
    assert workspace.acquire(999_999).address == larger.address


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 4097, 10_000_019])
def test_all_of_a_block_can_be_written(nbytes: int) -> None:
    block = Workspace().acquire(nbytes)
    view = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * block.capacity).from_address(block.address))
    view[:] = 0xA5
    assert block.capacity >= nbytes
    assert (view == 0xA5).all()


def test_a_nested_call_gets_other_memory() -> None:
    workspace = Workspace()
    outer, inner = workspace.acquire(500), workspace.acquire(500)
    assert abs(outer.address - inner.address) >= min(outer.capacity, inner.capacity)


def test_a_small_block_grows_once() -> None:
    workspace = Workspace()
    for nbytes in (10, 100_000, 10, 100_000):
        workspace.release(workspace.acquire(nbytes))
    assert [block.capacity >= 100_000 for block in workspace._free] == [True]


def test_trim_frees_what_is_not_borrowed() -> None:
    workspace = Workspace()
    borrowed, idle = workspace.acquire(100), workspace.acquire(100)
    memory_of_idle = weakref.ref(idle._memory)
    workspace.release(idle)
    del idle
    workspace.trim()
    assert memory_of_idle() is None
    workspace.release(borrowed)
    assert workspace.acquire(100) is borrowed


def run_in_threads(work: Callable[[int], None], count: int = 4) -> None:
    failures: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_threads_never_share_a_block() -> None:
    workspace = Workspace()
    held: set[int] = set()

    def borrow(_: int) -> None:
        for i in range(2000):
            block = workspace.acquire(64 + i % 3 * 1000)
            assert block.address not in held
            held.add(block.address)
            held.remove(block.address)
            workspace.release(block)

    run_in_threads(borrow)
    assert 1 <= len(workspace._free) <= 4


F32 = np.dtype(np.float32)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (1000,), (7, 11, 13)])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "?", "c16"])
@pytest.mark.parametrize("smallest", [0, 1 << 30])
def test_recycled_arrays_are_ordinary_arrays(shape: tuple[int, ...], dtype: str, smallest: int) -> None:
    array = ArrayRecycler(smallest=smallest).empty(shape, np.dtype(dtype))
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
    assert type(array) is np.ndarray
    if smallest == 0:
        assert address_of(array) % 64 == 0
    array[...] = 1
    assert (array == 1).all()


def test_memory_of_a_dead_array_is_used_again() -> None:
    recycler = ArrayRecycler(smallest=0)
    array = recycler.empty((100, 100), F32)
    where = address_of(array)
    del array
    assert address_of(recycler.empty((100, 99), F32)) == where
    other = recycler.empty((9999,), F32)
    assert address_of(other) == where


@pytest.mark.parametrize(
    "keep",
    [
        lambda a: a[3:5],
        lambda a: a.T[1:][::2],
        lambda a: a.reshape(-1).view(np.int32)[10:20].reshape(2, 5),
        memoryview,
        lambda a: np.asarray(memoryview(a))[2:],
        lambda a: a.view(Labelled)[1:],
        lambda a: a.base,
        lambda a: iter(a),
        lambda a: np.from_dlpack(a),
        lambda a: a.data.cast("B")[5:],
    ],
)
def test_anything_that_still_sees_the_memory_keeps_it(keep: Callable[[np.ndarray], object]) -> None:
    recycler = ArrayRecycler(smallest=0)
    array = recycler.empty((20, 20), F32)
    where = address_of(array)
    view = keep(array)
    del array
    others = [recycler.empty((20, 20), F32) for _ in range(5)]
    assert where not in [address_of(other) for other in others]
    del view, others
    gc.collect()
    assert where in [address_of(array) for array in [recycler.empty((20, 20), F32) for _ in range(6)]]


def test_live_results_never_overlap() -> None:
    recycler = ArrayRecycler(smallest=0, limit=100_000)
    random = np.random.default_rng(0)
    alive: list[tuple[int, np.ndarray]] = []
    for i in range(3000):
        if alive and random.random() < 0.5:
            label, array = alive.pop(int(random.integers(len(alive))))
            assert (array == label).all()
        array = recycler.empty((int(random.integers(1, 60)), 17), F32)
        array[...] = i
        alive.append((i, array))
        if len(alive) > 40:
            alive.pop(0)
    assert all((array == label).all() for label, array in alive)


def test_threads_never_get_the_same_result_memory() -> None:
    recycler = ArrayRecycler(smallest=0)

    def work(label: int) -> None:
        previous = recycler.empty((50, 50), F32)
        previous[...] = label
        for _ in range(1500):
            array = recycler.empty((50, 50), F32)
            array[...] = label
            assert (previous == label).all()
            previous = array

    run_in_threads(work)
    assert recycler._remembered <= recycler.limit


def test_the_limit_bounds_what_is_remembered() -> None:
    recycler = ArrayRecycler(smallest=0, limit=10_000)
    alive = [recycler.empty((250 + i,), F32) for i in range(50)]
    assert recycler._remembered <= 10_000
    assert sum(size * len(bases) for size, bases in recycler._bases.items()) == recycler._remembered
    large = recycler.empty((10_000,), F32)
    memory_of_large = weakref.ref(large.base)
    del large
    assert memory_of_large() is None
    assert len(alive) == 50


def test_trim_forgets_everything_and_live_arrays_stay() -> None:
    recycler = ArrayRecycler(smallest=0)
    alive, dead = recycler.empty((100,), F32), recycler.empty((100,), F32)
    alive[...] = 7
    memory_of_dead = weakref.ref(dead.base)
    del dead
    assert memory_of_dead() is not None
    recycler.trim()
    assert memory_of_dead() is None
    assert (alive == 7).all() and (recycler._remembered, recycler._bases) == (0, {})


def test_without_reference_counts_nothing_is_recycled() -> None:
    recycler = ArrayRecycler(smallest=0)
    recycler._enabled = False
    array = recycler.empty((100,), F32)
    assert address_of(array) % 64 == 0
    assert recycler._bases == {}


def test_when_memory_runs_out_the_idle_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    recycler = ArrayRecycler(smallest=0)
    recycler.empty((100,), F32)
    empty, calls = np.empty, []

    def scarce(*arguments: object, **options: object) -> np.ndarray:
        calls.append(arguments)
        if len(calls) == 1:
            raise MemoryError
        assert recycler._remembered == 0
        return empty(*arguments, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(memory.np, "empty", scarce)
    assert recycler.empty((5000,), F32).shape == (5000,)
    assert len(calls) == 2


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 1000, 2**20, 2**20 + 1, 2**33 - 1])
def test_size_classes_waste_little(nbytes: int) -> None:
    rounded = memory._rounded(nbytes)
    assert rounded % 64 == 0 and nbytes <= rounded <= max(nbytes * 1.13, nbytes + 64)
    assert memory._rounded(rounded) == rounded
