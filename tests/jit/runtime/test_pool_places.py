"""Where the pool's threads run: on CPUs of their own where there are any, and pinned to none."""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from ingot.jit.runtime import pool, pool_code

RANGE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
MASK = ctypes.c_uint64 * 16

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells and sets where threads run")


class Machine:
    """A stand-in for the system's functions: which CPU each thread is on, and which it may use."""

    def __init__(self, allowed: set[int]) -> None:
        self.allowed = allowed
        self.masks: dict[int, set[int]] = {}
        self.places: dict[int, int] = {}
        self.calls: list[tuple[int, set[int]]] = []
        self.broken = False
        kinds = ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.POINTER(MASK)
        self.functions = (
            ctypes.CFUNCTYPE(ctypes.c_int)(self.getcpu),
            ctypes.CFUNCTYPE(*kinds)(self.getaffinity),
            ctypes.CFUNCTYPE(*kinds)(self.setaffinity),
        )

    def getcpu(self) -> int:
        return self.places.get(threading.get_native_id(), 0)

    def getaffinity(self, thread: int, size: int, mask: "ctypes._Pointer[ctypes.Array[ctypes.c_uint64]]") -> int:
        assert size == ctypes.sizeof(MASK)
        if self.broken:
            return -1
        allowed = self.masks.get(thread or threading.get_native_id(), self.allowed)
        for word in range(16):
            mask[0][word] = sum(1 << (cpu % 64) for cpu in allowed if cpu // 64 == word)
        return 0

    def setaffinity(self, thread: int, size: int, mask: "ctypes._Pointer[ctypes.Array[ctypes.c_uint64]]") -> int:
        assert size == ctypes.sizeof(MASK)
        thread = thread or threading.get_native_id()
        cpus = {64 * word + bit for word in range(16) for bit in range(64) if mask[0][word] >> bit & 1}
        self.calls.append((thread, cpus))
        self.masks[thread] = cpus
        if self.places.get(thread, 0) not in cpus:
            self.places[thread] = min(cpus)
        return 0

    def install(self) -> None:
        fields = pool_code.GETAFFINITY, pool_code.SETAFFINITY
        for field, function in zip(fields, self.functions[1:], strict=True):
            pool._field(field).value = ctypes.cast(function, ctypes.c_void_p).value or 0
        pool._field(pool_code.GETCPU).value = ctypes.cast(self.functions[0], ctypes.c_void_p).value or 0


@pytest.fixture(autouse=True)
def pool_as_it_was() -> Iterator[None]:
    before = pool.get_num_threads()
    yield
    pool.set_num_threads(1)
    for worker in tuple(pool._leaving):  # none may meet the functions of the next test
        worker.thread.join(20)
    pool.set_num_threads(before)


def everybody() -> None:
    """A job that both threads of two have to take part in."""
    together = threading.Barrier(2, timeout=20)
    meet = RANGE(lambda p, lo, hi: together.wait() and None)
    pool.parallel_for(ctypes.cast(meet, ctypes.c_void_p).value or 0, 0, 2, 1)


def two_threads(*, spinning: bool) -> int:
    """Two threads; the worker's number."""
    pool.set_num_threads(2)
    pool.pool_address()
    (worker,) = pool._workers
    # So long that it spins for the whole test, or not at all.
    pool._field(pool_code.SPINS).value = 1 << 40 if spinning else 0
    everybody()
    asleep = pool._field(pool_code.SLOTS + pool_code.SLOT_SIZE * worker.slot + pool_code.SLEEPING)
    while not spinning and not asleep.value:
        time.sleep(0.001)
    return worker.thread.native_id or 0


def stop_spinning() -> None:
    pool._field(pool_code.SPINS).value = 0


def test_a_worker_on_its_callers_cpu_moves_and_is_not_pinned() -> None:
    worker = two_threads(spinning=True)
    machine = Machine({0, 1, 70, 500})
    machine.places = {threading.get_native_id(): 70, worker: 70}
    machine.install()
    everybody()
    stop_spinning()
    assert machine.calls == [(worker, {0, 1, 500}), (worker, {0, 1, 70, 500})]
    assert machine.places[worker] == 0


def test_a_worker_on_another_cpu_stays() -> None:
    worker = two_threads(spinning=True)
    machine = Machine({0, 1, 2})
    machine.places = {threading.get_native_id(): 1, worker: 2}
    machine.install()
    for _ in range(3):
        everybody()
    stop_spinning()
    assert machine.calls == []


def test_a_sleeping_worker_wakes_on_another_cpu_and_is_not_pinned() -> None:
    worker = two_threads(spinning=False)
    machine = Machine({3, 5})
    machine.places = {threading.get_native_id(): 3, worker: 3}
    machine.install()
    everybody()
    assert machine.calls == [(worker, {5}), (worker, {3, 5})]
    assert machine.places[worker] == 5


@pytest.mark.parametrize("spinning", [True, False])
def test_where_there_is_one_cpu_nothing_is_done(*, spinning: bool) -> None:
    worker = two_threads(spinning=spinning)
    machine = Machine({9})
    machine.places = {threading.get_native_id(): 9, worker: 9}
    machine.install()
    everybody()
    stop_spinning()
    assert machine.calls == []


@pytest.mark.parametrize("spinning", [True, False])
def test_a_system_that_does_not_tell_is_left_alone(*, spinning: bool) -> None:
    worker = two_threads(spinning=spinning)
    machine = Machine({0, 1})
    machine.places = {threading.get_native_id(): 1, worker: 1}
    machine.broken = True
    machine.install()
    everybody()
    stop_spinning()
    assert machine.calls == []


@pytest.mark.parametrize("cpu", [448, 1023, -1])
def test_cpus_beyond_the_noted_ones(cpu: int) -> None:
    worker = two_threads(spinning=True)
    machine = Machine({0, 1})
    machine.places = {threading.get_native_id(): cpu, worker: cpu}
    machine.install()
    everybody()
    stop_spinning()
    assert machine.calls == []


@pytest.mark.parametrize("pause", [0.0, 0.005])
def test_workers_may_use_the_cpus_of_the_process(pause: float) -> None:
    pool.set_num_threads(2)
    for _ in range(20):
        time.sleep(pause)
        everybody()
    (worker,) = pool._workers
    assert os.sched_getaffinity(worker.thread.native_id or 0) == os.sched_getaffinity(0)


def test_a_worker_that_the_user_pinned_stays_pinned() -> None:
    pool.set_num_threads(2)
    everybody()
    (worker,) = pool._workers
    thread, (cpu, *_) = worker.thread.native_id or 0, os.sched_getaffinity(0)
    os.sched_setaffinity(thread, {cpu})
    for pause in (0.0, 0.005, 0.0, 0.01):
        time.sleep(pause)
        everybody()
    assert os.sched_getaffinity(thread) == {cpu}


def test_more_threads_than_cpus_are_left_where_they_are() -> None:
    pool.set_num_threads(len(os.sched_getaffinity(0)) + 1)
    pool.pool_address()
    assert pool._field(pool_code.GETCPU).value == 0
