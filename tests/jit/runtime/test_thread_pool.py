"""The thread pool: every iteration runs exactly once, whatever threads, forks, signals and shutdown do meanwhile."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from ingot.jit.runtime import pool, pool_code
from ingot.jit.runtime.loader import emit_object, load_object
from ingot.jit.runtime.objects import object_symbols

RANGE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)

KERNELS = """
declare void @ingot_parallel_for(i64, i64, i64, i64, i64)

; Adds 1 to p[lo], ..., p[hi - 1], one atomic step each: lost and repeated iterations both show.
define void @increment(i64 %p, i64 %lo, i64 %hi) {
entry:
  %base = inttoptr i64 %p to ptr
  br label %test
test:
  %i = phi i64 [ %lo, %entry ], [ %following, %body ]
  %more = icmp slt i64 %i, %hi
  br i1 %more, label %body, label %done
body:
  %at = getelementptr i64, ptr %base, i64 %i
  %old = atomicrmw add ptr %at, i64 1 monotonic
  %following = add i64 %i, 1
  br label %test
done:
  ret void
}

; Notes its range: p[0] counts, then come pairs of lo and hi.
define void @note(i64 %p, i64 %lo, i64 %hi) {
  %base = inttoptr i64 %p to ptr
  %k = atomicrmw add ptr %base, i64 1 seq_cst
  %twice = mul i64 %k, 2
  %lo_index = add i64 %twice, 1
  %hi_index = add i64 %twice, 2
  %lo_at = getelementptr i64, ptr %base, i64 %lo_index
  %hi_at = getelementptr i64, ptr %base, i64 %hi_index
  store i64 %lo, ptr %lo_at
  store i64 %hi, ptr %hi_at
  ret void
}

; p: pool, address of increment, address of counters, n. For each of its iterations, a loop over all counters.
define void @nested(i64 %p, i64 %lo, i64 %hi) {
entry:
  %base = inttoptr i64 %p to ptr
  %pool = load i64, ptr %base
  %function_at = getelementptr i64, ptr %base, i64 1
  %function = load i64, ptr %function_at
  %counters_at = getelementptr i64, ptr %base, i64 2
  %counters = load i64, ptr %counters_at
  %n_at = getelementptr i64, ptr %base, i64 3
  %n = load i64, ptr %n_at
  br label %test
test:
  %i = phi i64 [ %lo, %entry ], [ %following, %body ]
  %more = icmp slt i64 %i, %hi
  br i1 %more, label %body, label %done
body:
  call void @ingot_parallel_for(i64 %pool, i64 %function, i64 %counters, i64 %n, i64 1)
  %following = add i64 %i, 1
  br label %test
done:
  ret void
}

; Calls parallel_for %times times in a row, as a driver with many kernels does.
define void @many(i64 %pool, i64 %function, i64 %p, i64 %n, i64 %times) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %loop ]
  call void @ingot_parallel_for(i64 %pool, i64 %function, i64 %p, i64 %n, i64 1)
  %following = add i64 %i, 1
  %more = icmp slt i64 %following, %times
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""
NAMES = ["increment", "note", "nested", "many"]


@pytest.fixture(scope="module")
def address() -> dict[str, int]:
    return load_object(emit_object(KERNELS, cpu="", features="", keep=NAMES), NAMES)


@pytest.fixture(autouse=True)
def restore_thread_count() -> Iterator[None]:
    before = pool.get_num_threads()
    yield
    pool.set_num_threads(before)


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ingot-worker")]


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def ranges(address: dict[str, int], n: int, grain: int, at: int | None = None) -> list[tuple[int, int]]:
    notes = np.zeros(1 + 2 * 5000, np.int64)
    code = pool._code()
    code.parallel_for(pool.pool_address() if at is None else at, address["note"], notes.ctypes.data, n, grain)
    return sorted((int(lo), int(hi)) for lo, hi in notes[1 : 1 + 2 * notes[0]].reshape(-1, 2))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("grain", [1, 3, 64, 5000])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 97, 128, 1009, 10_007, 2**40 + 1])
def test_ranges_make_up_the_whole(address: dict[str, int], n: int, grain: int, threads: int) -> None:
    pool.set_num_threads(threads)
    parts = ranges(address, n, grain)
    assert [lo for lo, _ in parts] == [0, *(hi for _, hi in parts[:-1])][: len(parts)]
    assert (parts[-1][1] if parts else 0) == n
    assert all(lo % grain == 0 for lo, _ in parts)
    assert all(hi - lo >= grain for lo, hi in parts) or len(parts) == 1
    assert len(parts) == min(n, 1) if threads == 1 or n < 2 * grain else len(parts) == min(n // grain, 4 * threads)
    # Balanced to within one grain, besides the rest that the last one takes.
    sizes = [(hi - lo) // grain for lo, hi in parts]
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_odd_arguments(address: dict[str, int]) -> None:
    pool.set_num_threads(2)
    assert ranges(address, -5, 1) == []
    assert ranges(address, -(2**63), 1) == []
    assert len(ranges(address, 100, 0)) == len(ranges(address, 100, -7)) == 8
    assert ranges(address, 100, 2**62) == [(0, 100)]
    assert ranges(address, 2**63 - 1, 2**62)[-1][1] == 2**63 - 1
    assert ranges(address, 100, 1, at=0) == [(0, 100)]


def test_threads_work_at_the_same_time() -> None:
    pool.set_num_threads(3)
    together = threading.Barrier(3, timeout=20)
    seen = set()

    @RANGE
    def meet(_: int, lo: int, __: int) -> None:
        if lo < 3:
            seen.add(threading.get_ident())
            together.wait()

    for _ in range(20):
        pool.parallel_for(ctypes.cast(meet, ctypes.c_void_p).value or 0, 0, 3, 1)
    assert not together.broken
    assert threading.get_ident() in seen
    assert len(seen) == 3


def test_sleeping_workers_wake_up() -> None:
    pool.set_num_threads(2)
    together = threading.Barrier(2, timeout=20)
    meet = RANGE(lambda p, lo, hi: together.wait() and None)
    for pause in (0.0, 0.001, 0.02, 0.0001, 0.03):
        time.sleep(pause)
        pool.parallel_for(ctypes.cast(meet, ctypes.c_void_p).value or 0, 0, 2, 1)
    assert not together.broken


def test_a_caller_that_is_done_sleeps_until_the_others_are() -> None:
    pool.set_num_threads(2)
    caller = threading.get_ident()
    started = threading.Event()
    finished: list[int] = []
    waits: list[bool] = []

    @RANGE
    def unbalanced(_: int, lo: int, __: int) -> None:
        if threading.get_ident() == caller:
            started.wait(20)
        else:
            started.set()
            waits.append(wait_until(lambda: pool._field(pool_code.STATE).value & pool_code.WAITING != 0))
            finished.append(lo)

    for round_ in range(5):
        started.clear()
        pool.parallel_for(ctypes.cast(unbalanced, ctypes.c_void_p).value or 0, 0, 2, 1)
        assert len(finished) == round_ + 1
    assert all(waits), "the caller burnt its time waiting"
    assert pool._field(pool_code.STATE).value == 0


def test_results_do_not_depend_on_the_thread_count(address: dict[str, int]) -> None:
    for threads in (1, 2, 3, 8, 1):
        pool.set_num_threads(threads)
        counters = np.zeros(1009, np.int64)
        for grain in (1, 10, 2000):
            pool.parallel_for(address["increment"], counters.ctypes.data, counters.size, grain)
        assert (counters == 3).all()


def test_a_million_launches_lose_nothing(address: dict[str, int]) -> None:
    pool.set_num_threads(3)
    counters = np.zeros(5, np.int64)
    many = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(address["many"])
    many(pool.pool_address(), address["increment"], counters.ctypes.data, counters.size, 300_000)
    assert counters.tolist() == [300_000] * 5


def test_nested_loops_run_in_their_threads(address: dict[str, int]) -> None:
    pool.set_num_threads(3)
    counters = np.zeros(101, np.int64)
    table = np.array([pool.pool_address(), address["increment"], counters.ctypes.data, counters.size], np.int64)
    pool.parallel_for(address["nested"], table.ctypes.data, 50, 1)
    assert (counters == 50).all()


def hammer(address: dict[str, int], rounds: int, counters: np.ndarray) -> None:
    many = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(address["many"])
    for _ in range(rounds):
        many(pool.pool_address(), address["increment"], counters.ctypes.data, counters.size, 20)


def test_concurrent_callers(address: dict[str, int]) -> None:
    pool.set_num_threads(3)
    arrays = [np.zeros(37, np.int64) for _ in range(5)]
    callers = [threading.Thread(target=hammer, args=(address, 200, counters)) for counters in arrays]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert all((counters == 200 * 20).all() for counters in arrays)


def test_the_thread_count_changes_while_others_run(address: dict[str, int]) -> None:
    arrays = [np.zeros(37, np.int64) for _ in range(3)]
    changed = threading.Event()

    def call(counters: np.ndarray) -> None:
        hammer(address, 100, counters)
        assert changed.wait(60)  # the rest runs after at least one change
        hammer(address, 400, counters)

    callers = [threading.Thread(target=call, args=(counters,)) for counters in arrays]
    for caller in callers:
        caller.start()
    changes = 0
    while not changes or any(caller.is_alive() for caller in callers):
        pool.set_num_threads(1 + changes % 5)
        changes += 1
        changed.set()
    assert all((counters == 500 * 20).all() for counters in arrays)


def test_workers_come_and_go() -> None:
    pool.pool_address()
    for threads in (4, 2, 6, 1):
        pool.set_num_threads(threads)
        assert pool.get_num_threads() == threads
        assert wait_until(lambda expected=threads - 1: len(workers()) == expected)
    assert all(thread.daemon for thread in workers())


def test_the_address_stays_the_same() -> None:
    first = pool.pool_address()
    pool.set_num_threads(3)
    assert pool.pool_address() == first
    assert first % 128 == 0


@pytest.mark.parametrize(("given", "error"), [(0, ValueError), (-1, ValueError), (1025, ValueError)])
def test_numbers_of_threads_that_make_no_sense(given: int, error: type[Exception]) -> None:
    before = pool.get_num_threads()
    with pytest.raises(error, match=rf"from 1 to 1024, got {given}"):
        pool.set_num_threads(given)
    assert pool.get_num_threads() == before


@pytest.mark.parametrize("given", [2.0, "2", None, True, [2]])
def test_what_is_not_a_number_of_threads(given: object) -> None:
    with pytest.raises(TypeError, match=f"expected an int, got {type(given).__name__}"):
        pool.set_num_threads(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["0", "-2", "two", "1.5", "9999", "²"])
def test_an_environment_variable_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("INGOT_NUM_THREADS", text)
    with pytest.raises(ValueError, match="INGOT_NUM_THREADS="):
        pool._default_threads.__wrapped__()


@pytest.mark.parametrize(("text", "expected"), [("3", 3), (" 7 ", 7)])
def test_the_environment_variable(monkeypatch: pytest.MonkeyPatch, text: str, expected: int) -> None:
    monkeypatch.setenv("INGOT_NUM_THREADS", text)
    assert pool._default_threads.__wrapped__() == expected


@pytest.mark.parametrize(
    ("architecture", "triple"),
    [
        ("x86_64", "x86_64-unknown-linux-gnu"),
        ("x86_64", "x86_64-pc-windows-msvc-elf"),
        ("aarch64", "aarch64-unknown-linux-gnu"),
        ("aarch64", "arm64-apple-macosx11.0.0"),
    ],
)
def test_the_code_compiles_for_other_machines_and_needs_nothing(architecture: str, triple: str) -> None:
    text = pool_code.pool_module(architecture)
    symbols = object_symbols(emit_object(text, cpu="", features="", triple=triple, opt=0, keep=pool_code.ENTRY_POINTS))
    assert symbols.undefined == set()
    assert symbols.defined == set(pool_code.ENTRY_POINTS)
    # An architecture without a spin hint still has correct code.
    assert "asm sideeffect" in pool_code.pool_module("riscv64")


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="POSIX signals")
def test_signals_do_not_disturb_sleeping_workers() -> None:
    pool.set_num_threads(3)
    pool.pool_address()
    received = []
    before = signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
    try:
        for _ in range(30):
            for thread in workers():
                if thread.ident is not None:
                    signal.pthread_kill(thread.ident, signal.SIGUSR1)
            time.sleep(0.001)
        together = threading.Barrier(3, timeout=20)
        meet = RANGE(lambda p, lo, hi: together.wait() and None)
        pool.parallel_for(ctypes.cast(meet, ctypes.c_void_p).value or 0, 0, 3, 1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received
    assert not together.broken


# What follows ends, forks or interrupts a process, so it gets one of its own.
PRELUDE = f"""
import atexit, ctypes, os, signal, sys, threading, time
import numpy as np
from ingot.jit.runtime import pool
from ingot.jit.runtime.loader import emit_object, load_object
KERNELS = '''{KERNELS}'''
NAMES = {NAMES}
address = load_object(emit_object(KERNELS, cpu="", features="", keep=NAMES), NAMES)
many = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(address["many"])
RANGE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)

def check(rounds=200):
    counters = np.zeros(37, np.int64)
    many(pool.pool_address(), address["increment"], counters.ctypes.data, counters.size, rounds)
    assert (counters == rounds).all(), counters

def check_together(count):
    together = threading.Barrier(count, timeout=20)
    meet = RANGE(lambda p, lo, hi: together.wait() and None)
    pool.parallel_for(ctypes.cast(meet, ctypes.c_void_p).value, 0, count, 1)
    assert not together.broken
"""


def run(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PRELUDE + code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "INGOT_NUM_THREADS": "3", **environment},
    )
    assert result.returncode == 0, f"exit status {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_fork_while_other_threads_run_loops() -> None:
    code = """
check_together(3)
stop = []
def hammer():
    while not stop:
        check(50)
hammers = [threading.Thread(target=hammer) for _ in range(2)]
for thread in hammers: thread.start()
for i in range(8):
    stale = pool.pool_address()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            # A program that still has the address works, and asking again revives the workers.
            counters = np.zeros(37, np.int64)
            many(stale, address["increment"], counters.ctypes.data, counters.size, 10)
            assert (counters == 10).all()
            check()
            if i % 2:
                check_together(3)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0, i
stop.append(1)
for thread in hammers: thread.join()
check_together(3)
print("parent lives")
"""
    assert run(code) == "parent lives\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_ends_normally() -> None:
    code = """
check()
pid = os.fork()
check()
check_together(3)
if pid == 0:
    sys.exit(0)  # with atexit and the interpreter's teardown
assert os.waitpid(pid, 0)[1] == 0
print("both ended")
"""
    assert run(code) == "both ended\n"


def test_shutdown_while_daemon_threads_run_loops() -> None:
    code = """
def hammer():
    while True:
        check(50)
for _ in range(3):
    threading.Thread(target=hammer, daemon=True).start()
time.sleep(0.05)
sys.exit(0)
"""
    run(code)


def test_loops_at_exit_run_after_the_pool_has_ended() -> None:
    code = """
atexit.unregister(pool._shut_down)
atexit.register(lambda: (check(), print("ran at exit", flush=True)))
atexit.register(pool._shut_down)
check_together(3)
"""
    assert run(code) == "ran at exit\n"


def test_a_pool_first_used_at_exit() -> None:
    code = """
atexit.unregister(pool._shut_down)
atexit.register(lambda: (check(), print("ran at exit", flush=True)))
atexit.register(pool._shut_down)
"""
    assert run(code) == "ran at exit\n"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_keyboard_interrupts_end_loops_and_leave_the_pool_working() -> None:
    code = """
signal.signal(signal.SIGINT, signal.default_int_handler)
check()
for i in range(10):
    timer = threading.Timer(0.01 + 0.003 * i, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        while True:
            check(20)
            pool.set_num_threads(2 + i % 3)
    except KeyboardInterrupt:
        pass
    timer.join()
pool.set_num_threads(3)
check_together(3)
print("works")
"""
    assert run(code) == "works\n"


def test_importing_loads_neither_numba_nor_llvm_and_running_never_loads_numba() -> None:
    code = """
import sys
from ingot.jit import runtime
assert "llvmlite" not in sys.modules and "numba" not in sys.modules
assert not [t for t in __import__("threading").enumerate() if t.name.startswith("ingot")]
runtime.pool.parallel_for_address(), runtime.pool.pool_address()
assert "numba" not in sys.modules
print(runtime.pool.get_num_threads())
"""
    environment = {**os.environ, "INGOT_NUM_THREADS": "3"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert result.stdout == "3\n", result.stderr
