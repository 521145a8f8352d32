"""The thread pool: native workers hosted by Python daemon threads, and `parallel_for`, which native code calls.

A worker is a Python thread that sits in one foreign call for its whole life, so it holds no interpreter lock. The
pool's memory never moves and is never freed: its address is valid for as long as the process lives, whatever happens to
the workers (a fork takes them away, a new thread count adds or ends some, shutdown ends them), and with no workers
`parallel_for` simply runs everything in its caller.
"""

import atexit
import ctypes
import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from . import pool_code
from .blas import set_blas_threads
from .cpus import available_cpus
from .loader import provide_symbol
from .support import load_support
from .targets import host_architecture

# How long a worker spins for the next job before it sleeps. Waking a sleeper takes the caller 3 to 8 us, and the
# sleeper up to 40 us to arrive (on a virtual machine whose idle CPUs are halted), and one that wakes may find itself on
# its caller's core, where both take turns. Between the calls of a training loop Python takes some 100 us: 1 ms bridges
# that (3 to 6 % of a step, and fewer steps at half speed). Spinning for longer takes cores from somebody else.
SPIN_SECONDS = 1e-3
# More threads than this are a mistake in a configuration.
MAX_THREADS = 1024

_WORKER_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
_WAKE_SLOT_TYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_SPIN_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_int64)
_PARALLEL_FOR_TYPE = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)


class _Worker(NamedTuple):
    thread: threading.Thread
    slot: int


class _Code(NamedTuple):
    worker: Callable[[int, int], None]
    wake_slot: Callable[[int, int], int]
    spin: Callable[[int], None]
    parallel_for: Callable[[int, int, int, int, int], None]
    parallel_for_address: int


_lock = threading.RLock()
_workers: list[_Worker] = []
# Told to stop, perhaps not gone yet: their slots are not free.
_leaving: list[_Worker] = []
_requested: int | None = None
_finished = False
# Whether the block holds valid semaphores: once it does, workers may be using it.
_initialised = False
# The block's address while the pool is ready, else 0; `pool_address` reads it without the lock, native code the cell.
_ready = 0
_ready_cell = ctypes.c_int64(0)


def pool_address() -> int:
    """The address of the pool, for `parallel_for`; starts the workers if there are none yet, or none since a fork.

    Ask again before every call into native code: it costs next to nothing, and it revives the pool after a fork.
    """
    return _ready or _start()


def pool_cell() -> int:
    """Where native code finds what `pool_address` returned last, or 0 while the pool is to be started first."""
    return ctypes.addressof(_ready_cell)


def parallel_for_address() -> int:
    """The address of the C function `void parallel_for(int64 pool, int64 fn, int64 p, int64 n, int64 grain)`.

    It calls `fn`, a `void(int64 p, int64 lo, int64 hi)`, on disjoint ranges that make up [0, n), and returns when all
    are done. Ranges start at multiples of `grain` and are at least `grain` long (unless n is less). They may run on any
    thread of the pool, in any order. One range in the caller is all there is if n is less than two grains, if there is
    one thread, and if the pool is in use already: a nested loop, or one of another thread. `pool` may be 0: one range.
    """
    return _code().parallel_for_address


def parallel_for(fn: int, p: int, n: int, grain: int = 1) -> None:
    """Call the native range function at address `fn` on ranges that make up [0, n); see `parallel_for_address`."""
    _code().parallel_for(pool_address(), fn, p, n, grain)


def get_num_threads() -> int:
    """How many threads native code runs on, the caller's included.

    It is what `set_num_threads` was given, else `INGOT_NUM_THREADS`, else the number of CPUs that the process may use.
    """
    if _requested is not None:
        return _requested
    return _default_threads()


def set_num_threads(n: int) -> None:
    """Set how many threads native code runs on, the caller's included; loops that are running finish as they are.

    numpy's own products, which eager execution uses, are set to as many.

    Raises ValueError if `n` is not from 1 to 1024, and TypeError if it is not an integer.
    """
    global _requested
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"set_num_threads: expected an int, got {type(n).__name__}")
    if not 1 <= n <= MAX_THREADS:
        raise ValueError(f"set_num_threads: expected a number of threads from 1 to {MAX_THREADS}, got {n}")
    with _lock:
        _requested = n
        if _ready:
            _resize(n)
    set_blas_threads(n)


@functools.cache
def _default_threads() -> int:
    text = os.environ.get("INGOT_NUM_THREADS", "").strip()
    if not text:
        return min(available_cpus(), MAX_THREADS)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_THREADS):
        raise ValueError(f"INGOT_NUM_THREADS={text!r}: expected a number of threads from 1 to {MAX_THREADS}")
    return int(text)


@functools.cache
def _code() -> _Code:
    address = load_support(pool_code.pool_module(host_architecture()), pool_code.ENTRY_POINTS)
    return _Code(
        worker=_WORKER_TYPE(address["ingot_worker"]),
        wake_slot=_WAKE_SLOT_TYPE(address["ingot_wake_slot"]),
        spin=_SPIN_TYPE(address["ingot_spin"]),
        parallel_for=_PARALLEL_FOR_TYPE(address["ingot_parallel_for"]),
        parallel_for_address=address["ingot_parallel_for"],
    )


@functools.cache
def _block() -> int:
    """The address of the pool's memory, zeroed."""
    size = pool_code.SLOTS + MAX_THREADS * pool_code.SLOT_SIZE
    buffer = (ctypes.c_char * (size + pool_code.BLOCK_ALIGNMENT))()
    # Kept for ever: a worker may still look at it while the interpreter tears its modules down.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(buffer))
    return -(-ctypes.addressof(buffer) // pool_code.BLOCK_ALIGNMENT) * pool_code.BLOCK_ALIGNMENT


def _field(offset: int) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(_block() + offset)


def _slot_offset(slot: int) -> int:
    return pool_code.SLOTS + slot * pool_code.SLOT_SIZE


def _start() -> int:
    global _initialised, _ready
    with _lock:
        if not _ready:
            threads = get_num_threads()
            if not _initialised:
                slots = _field(pool_code.SLOT_COUNT).value
                ctypes.memset(_block(), 0, _slot_offset(slots))
                system = _semaphores()
                _field(pool_code.WAIT).value, _field(pool_code.POST).value = system.wait, system.post
                _field(pool_code.DONE).value = system.create(_block() + pool_code.DONE_SEMAPHORE)
                _initialised = True
            _resize(threads)
            _ready = _ready_cell.value = _block()
        return _ready


def _resize(threads: int) -> None:
    """Start or stop workers, so that there are `threads - 1`."""
    code = _code()
    oversubscribed = threads > available_cpus()
    # With fewer CPUs than threads, whoever spins keeps somebody from working.
    _field(pool_code.SPINS).value = 0 if oversubscribed else int(SPIN_SECONDS * _spins_per_second())
    # Nor is there a CPU for every thread. Without the first function the others are not called.
    getcpu, getaffinity, setaffinity = _placing_functions()
    _field(pool_code.GETAFFINITY).value, _field(pool_code.SETAFFINITY).value = getaffinity, setaffinity
    _field(pool_code.GETCPU).value = 0 if oversubscribed else getcpu
    while len(_workers) >= threads:
        worker = _workers[-1]
        # In both lists for a moment: an interrupt in between must not lose it.
        _leaving.append(worker)
        _workers.pop()
        _field(_slot_offset(worker.slot) + pool_code.STOP).value = 1
        code.wake_slot(_block(), _block() + _slot_offset(worker.slot))
    _field(pool_code.WORKERS).value = len(_workers)
    try:
        while len(_workers) < threads - 1 and not _finished:
            if not _start_worker(code):
                break
    finally:
        _field(pool_code.WORKERS).value = len(_workers)


def _start_worker(code: _Code) -> bool:
    """Start a worker in a free slot; False if there is none, or no more threads, or the interpreter is ending."""
    _leaving[:] = [worker for worker in _leaving if worker.thread.is_alive()]
    taken = {worker.slot for worker in (*_workers, *_leaving)}
    slot = next((i for i in range(MAX_THREADS) if i not in taken), None)
    if slot is None:
        return False
    offset = _slot_offset(slot)
    handle = _field(offset + pool_code.HANDLE)
    if not handle.value:
        handle.value = _semaphores().create(_block() + offset + pool_code.SEMAPHORE)
    _field(offset + pool_code.SLEEPING).value = 0
    _field(offset + pool_code.STOP).value = 0
    _field(offset + pool_code.THREAD).value = 0
    slots = _field(pool_code.SLOT_COUNT)
    slots.value = max(slots.value, slot + 1)
    thread = threading.Thread(
        target=code.worker, args=(_block(), _block() + offset), name=f"ingot-worker-{slot + 1}", daemon=True
    )
    worker = _Worker(thread, slot)
    # Listed before it starts: an interrupt in between must not lose it.
    _workers.append(worker)
    try:
        thread.start()
    except RuntimeError:
        _workers.remove(worker)
        return False
    _field(offset + pool_code.THREAD).value = thread.native_id or 0
    return True


@functools.cache
def _spins_per_second() -> float:
    # The hint takes from 1 to 140 cycles, depending on the CPU. The fastest of three: a thread switch only adds time.
    code = _code()
    rounds = 500
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        code.spin(rounds)
        best = min(best, time.perf_counter() - start)
    return rounds / max(best, 1e-7)


class _Semaphores(NamedTuple):
    """The addresses of the functions that wait for a semaphore and post it, and what makes one (with count 0).

    `create` gets the address of 64 bytes that the semaphore may use, and returns its handle.
    """

    wait: int
    post: int
    create: Callable[[int], int]


@functools.cache
def _semaphores() -> _Semaphores:
    """The operating system's semaphores.

    POSIX semaphores are what is tested; the branches for macOS (which has no unnamed POSIX semaphores) and Windows
    follow the systems' documentation.
    """
    if sys.platform == "win32":
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.CreateSemaphoreW.restype = ctypes.c_void_p
        kernel32.CreateSemaphoreW.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_void_p]
        wait, post = kernel32.WaitForSingleObject, kernel32.ReleaseSemaphore

        def create(_: int) -> int:
            return kernel32.CreateSemaphoreW(None, 0, 0x7FFFFFFF, None) or 0

    elif sys.platform == "darwin":
        system = ctypes.CDLL(None)
        system.dispatch_semaphore_create.restype = ctypes.c_void_p
        system.dispatch_semaphore_create.argtypes = [ctypes.c_long]
        wait, post = system.dispatch_semaphore_wait, system.dispatch_semaphore_signal

        def create(_: int) -> int:
            return system.dispatch_semaphore_create(0) or 0

    else:
        system = ctypes.CDLL(None)
        wait, post = system.sem_wait, system.sem_post

        def create(storage: int) -> int:
            return storage if system.sem_init(ctypes.c_void_p(storage), 0, 0) == 0 else 0

    def checked(storage: int) -> int:
        handle = create(storage)
        if not handle:
            raise OSError("thread pool: the operating system gave no semaphore")
        return handle

    return _Semaphores(_function_address(wait), _function_address(post), checked)


@functools.cache
def _placing_functions() -> tuple[int, int, int]:
    """The addresses of what tells a thread's CPU, and reads and sets affinity masks (see `pool_places`); 0 without."""
    if sys.platform != "linux":
        return 0, 0, 0
    system = ctypes.CDLL(None)
    try:
        functions = system.sched_getcpu, system.sched_getaffinity, system.sched_setaffinity
    except AttributeError:
        return 0, 0, 0
    getcpu, getaffinity, setaffinity = map(_function_address, functions)
    return getcpu, getaffinity, setaffinity


def _function_address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _after_fork_in_child() -> None:
    """Forget the workers, which stayed in the parent, and any loop that one of its other threads was running."""
    global _initialised, _ready
    _workers.clear()
    _leaving.clear()
    if _initialised:
        _initialised = False
        _ready = _ready_cell.value = 0
        # Until somebody asks for the pool again, its old address means "run in the caller".
        _field(pool_code.WORKERS).value = 0
    _lock.release()


def _shut_down() -> None:
    """End the workers before the interpreter goes; loops that run from now on run in their callers."""
    global _finished
    with _lock:
        _finished = True
        if not _initialised:
            return
        _resize(1)
        leaving = [worker.thread for worker in _leaving]
    deadline = time.monotonic() + 1.0
    for thread in leaving:
        # One that is in a long loop (of another daemon thread) is left to die with the process.
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


if hasattr(os, "register_at_fork"):
    # Held across the fork, so that the child never sees a half-started pool.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork_in_child)
atexit.register(_shut_down)
provide_symbol("ingot_parallel_for", parallel_for_address)
