"""Entering a driver: checks the arrays and builds its frame in native code, and keeps what a call needs between calls.

A frame is a table of 8-byte slots: a header of eight, then one slot per argument and result (see `codegen.module`). One
native function, compiled once per process, is the entry of all programs: it turns the array objects among the arguments
into addresses of their elements, calls the driver, and copies what the driver wrote (error details and results) to
memory of the call, since the frame itself is on the stack.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence

from .arena import ARENA_HEADER
from .call import MAX_ARGUMENTS, native_entry
from .host import callback_address
from .memory import ARRAY_DATA_OFFSET, ARRAY_FLAGS_OFFSET, ARRAY_LAYOUT_KNOWN
from .support import filled, load_support

__all__ = ["HEADER", "STATUS_COPY_NEEDED", "CallState", "enter"]

HEADER = 8
# An argument is not C-contiguous, or not aligned: the caller passes a copy.
STATUS_COPY_NEEDED = -1000
# NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED (numpy's ndarraytypes.h)
_FLAGS = 0x0001 | 0x0100
# Slots of the call's memory: the descriptor's address, two details of an error; then copies of the results' slots.
_RESULTS = 3

# The descriptor: the driver's address, the number of slots, the first result slot, how many arguments are arrays, and
# the positions of their slots.
_ENTER = """
define i64 @ingot_enter(ptr %slots) {
entry:
  %call_at = getelementptr i64, ptr %slots, i64 7
  %call = load ptr, ptr %call_at, align 8
  %descriptor = load ptr, ptr %call, align 8
  %driver = load ptr, ptr %descriptor, align 8
  %count_at = getelementptr i64, ptr %descriptor, i64 1
  %count = load i64, ptr %count_at, align 8
  %first_at = getelementptr i64, ptr %descriptor, i64 2
  %first = load i64, ptr %first_at, align 8
  %arrays_at = getelementptr i64, ptr %descriptor, i64 3
  %arrays = load i64, ptr %arrays_at, align 8
  br label %next_array
next_array:
  %i = phi i64 [ 0, %entry ], [ %i_next, %store ]
  %more_arrays = icmp slt i64 %i, %arrays
  br i1 %more_arrays, label %array, label %run
array:
  %position_index = add i64 %i, 4
  %position_at = getelementptr i64, ptr %descriptor, i64 %position_index
  %position = load i64, ptr %position_at, align 8
  %slot = getelementptr i64, ptr %slots, i64 %position
  %object = load ptr, ptr %slot, align 8
  %flags_at = getelementptr i8, ptr %object, i64 $FLAGS_OFFSET
  %flags = load i32, ptr %flags_at, align 4
  %wanted = and i32 %flags, $FLAGS
  %good = icmp eq i32 %wanted, $FLAGS
  br i1 %good, label %store, label %copy_needed
store:
  %data_at = getelementptr i8, ptr %object, i64 $DATA_OFFSET
  %data = load i64, ptr %data_at, align 8
  store i64 %data, ptr %slot, align 8
  %i_next = add i64 %i, 1
  br label %next_array
copy_needed:
  ret i64 $COPY_NEEDED
run:
  %slots_address = ptrtoint ptr %slots to i64
  %status = call i64 %driver(i64 %slots_address)
  %detail_from = getelementptr i64, ptr %slots, i64 4
  %detail_to = getelementptr i64, ptr %call, i64 1
  %detail = load <2 x i64>, ptr %detail_from, align 8
  store <2 x i64> %detail, ptr %detail_to, align 8
  br label %next_result
next_result:
  %k = phi i64 [ %first, %run ], [ %k_next, %result ]
  %more_results = icmp slt i64 %k, %count
  br i1 %more_results, label %result, label %done
result:
  %from = getelementptr i64, ptr %slots, i64 %k
  %value = load i64, ptr %from, align 8
  %offset = sub i64 %k, %first
  %to_index = add i64 %offset, 3
  %to = getelementptr i64, ptr %call, i64 %to_index
  store i64 %value, ptr %to, align 8
  %k_next = add i64 %k, 1
  br label %next_result
done:
  ret i64 %status
}

; `arena.clear` as native code: a call may leave thousands of blocks, one per element of a list.
declare void @free(ptr)

define void @ingot_clear(ptr %arena) {
entry:
  %first = load ptr, ptr %arena, align 8
  store ptr null, ptr %arena, align 8
  br label %test
test:
  %block = phi ptr [ %first, %entry ], [ %following, %one ]
  %empty = icmp eq ptr %block, null
  br i1 %empty, label %done, label %one
one:
  %header = getelementptr i8, ptr %block, i64 -$HEADER
  %raw = load ptr, ptr %header, align 8
  %following_at = getelementptr i8, ptr %header, i64 8
  %following = load ptr, ptr %following_at, align 8
  call void @free(ptr %raw)
  br label %test
done:
  ret void
}
"""


@functools.cache
def _support() -> dict[str, int]:
    text = filled(
        _ENTER,
        FLAGS_OFFSET=ARRAY_FLAGS_OFFSET,
        DATA_OFFSET=ARRAY_DATA_OFFSET,
        FLAGS=_FLAGS,
        COPY_NEEDED=STATUS_COPY_NEEDED,
        HEADER=ARENA_HEADER,
    )
    return load_support(text, ["ingot_enter", "ingot_clear"])


@functools.cache
def _clear() -> Callable[[int], None]:
    """The native `ingot_clear`, called with the interpreter lock held: letting go of it would cost more."""
    return ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_support()["ingot_clear"])


class CallState:
    """Memory that one call in progress needs: scratch slots, copies of its results, and the handle of its arena.

    `scratch`, `call` and `arena` are addresses. A state belongs to one call at a time.
    """

    __slots__ = ("_memory", "arena", "call", "n_results", "scratch")

    def __init__(self, descriptor: int, n_results: int, scratch_slots: int) -> None:
        self._memory = (ctypes.c_int64 * (_RESULTS + n_results + 1 + scratch_slots))()
        self.call = ctypes.addressof(self._memory)
        self._memory[0] = descriptor
        self.n_results = n_results
        self.arena = self.call + 8 * (_RESULTS + n_results)
        self.scratch = self.arena + 8

    def details(self) -> tuple[int, int]:
        """The two integers that a failing driver left."""
        return self._memory[1], self._memory[2]

    def results(self) -> list[int]:
        """The result slots as they were after the call, as integers."""
        return self._memory[_RESULTS : _RESULTS + self.n_results]

    def clear_arena(self) -> None:
        """Free what the driver allocated."""
        _clear()(self.arena)

    def store_outcome(self, frame: "ctypes.Array[ctypes.c_int64]", first_result: int) -> None:
        """Do what the native entry does after the driver, for a frame that was run in Python."""
        self._memory[1], self._memory[2] = frame[4], frame[5]
        for index in range(self.n_results):
            self._memory[_RESULTS + index] = frame[first_result + index]


class Descriptor:
    """What the native entry knows about a program: its driver, its numbers of slots, which arguments are arrays; and
    the function that drivers ask (see `runtime.host`)."""

    def __init__(self, driver: int, n_slots: int, first_result: int, arrays: Sequence[int]) -> None:
        slots = (driver, n_slots, first_result, len(arrays), *arrays, callback_address())
        self._memory = (ctypes.c_int64 * len(slots))(*slots)
        self.address = ctypes.addressof(self._memory)


def enter(argument_kinds: str, result_kinds: str) -> Callable[..., int] | None:
    """The Python function that enters a driver: `(header..., arguments..., results...) -> status`, one value per slot.

    A letter per slot: an argument is `a` an array, `i` an int or `f` a float; a result is `p` an array to fill, or `i`.
    The header's last slot is a state's `call`. None where arrays cannot be read natively or there are too many slots:
    the caller then builds frames itself and calls the driver through `call_driver`.
    """
    kinds = "i" * HEADER + argument_kinds + result_kinds
    if not ARRAY_LAYOUT_KNOWN or len(kinds) > MAX_ARGUMENTS:
        return None
    return native_entry(_support()["ingot_enter"], kinds)


def call_driver(driver: int, frame: int) -> int:
    """Call a driver on the frame at an address, with the interpreter lock released."""
    status: int = _driver_type(driver)(frame)
    return status


_driver_type = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
