"""What code generation hands to compilation: readable Python sources and the layout of the tables they read.

A generated module has range kernels and one driver. The driver has C ABI `int64 driver(int64 frame)`; `frame` is the
address of a table of 8-byte slots, laid out as `FRAME_*` below and then one slot per argument and result:

- slots `FRAME_HEADER ...`: the arguments in order: a tensor's data address (C-contiguous unless the module says
  otherwise), an int or bool as int64, a float as float64;
- then the results in order. A tensor whose sizes are known at the call (all symbols are argument sizes): the address of
  the caller's output array, one slot. A tensor with run-time sizes: the driver writes an address in the call's arena
  and then its sizes, 1 + rank slots. A scalar: the driver writes it, one slot. A list: see `ResultSpec`, one slot. What
  is an argument or a constant: one slot that nobody reads.

The plan table (read-only, made once per set of argument sizes) holds the values of `sizes`, then the byte offsets of
`buffers` in the workspace, then the addresses of `constants`. So the driver computes nothing that the sizes decide.

Sources run in a namespace that holds `np`, `math`, everything public in `primitives`, `bits` and `calls`, and these
decorators, which mean nothing when the source runs un-jitted:

- `@kernel`: an entry point with C ABI. All parameters are int64; it returns nothing (a range kernel), or an int64.
- `@body`: a function inlined into its callers, whose pointer arguments do not overlap (`noalias`).
- no decorator: a function inlined into its callers, whose pointers may overlap (vector math, helpers).

In the driver's source the names of all kernels (every `@kernel` function of every `KernelSource`) are bound:
`name(p, lo, hi)` calls one directly, and `launch(name, p, n, grain, pool)` runs a range kernel over [0, n) on the pool,
or serially where n is less than two grains. Memory: `arena_allocate(arena, nbytes)` gives a 64-byte aligned address, or
0 when out of memory (return STATUS_OUT_OF_MEMORY then); it is freed after the call, or by `arena_release(arena,
address)`. `copy_bytes(to, from, n)`, `move_bytes(to, from, n)` and `fill_bytes(to, byte, n)` are the C library's.
"""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.dims import Dim, Guard
from ...ir.location import Location
from ...ir.records import field, record
from ...ir.types import Type

if TYPE_CHECKING:
    from ...ir.core import Graph

__all__ = [
    "ArgumentSpec", "Buffer", "ErrorSite", "FRAME_ARENA", "FRAME_DETAIL", "FRAME_GENERATOR", "FRAME_HEADER",
    "FRAME_PLAN", "FRAME_POOL", "FRAME_SCRATCH", "FRAME_WORKSPACE", "GeneratedModule", "KernelSource", "PLAIN",
    "ResultSpec", "STATUS_INTERNAL", "STATUS_OK", "STATUS_OUT_OF_MEMORY", "without_comments",
]  # fmt: skip

FRAME_PLAN = 0  # address of the plan table
FRAME_WORKSPACE = 1  # base address of the workspace, 64-byte aligned
FRAME_POOL = 2  # the pool's address, passed on to `launch`
FRAME_ARENA = 3  # handle of the call's arena: memory whose size is known at run time only
FRAME_GENERATOR = 4  # at the start, the address of the random generator's state
FRAME_DETAIL = 4  # two slots: where an error ends the call, integers for its message
FRAME_SCRATCH = 6  # address of scratch slots, where the driver builds kernels' parameter tables
# Slot 7 belongs to the caller (see runtime/frame.py).
FRAME_HEADER = 8

PLAIN = 1  # the level of code whose loops are what they should be: written in vectors, or run a few times
STATUS_OK = 0  # statuses from 1 on are positions in `errors`, plus one
STATUS_OUT_OF_MEMORY = -1
STATUS_INTERPRET = -3  # only the interpreter can go on, from the start: nothing that the caller sees has happened
STATUS_INTERNAL = -2  # compiled code raised a Python exception, which generated code never should


def without_comments(source: str) -> str:
    """Generated source without its lines of comment: they name the user's lines, and no code depends on them."""
    return re.sub(r"^\s*#.*\n", "", source, flags=re.MULTILINE)


@record
class KernelSource:
    """A range kernel `def name(p, lo, hi)`, self-contained with the functions it calls (vector math, bodies).

    `name` ends in a hash of the source, so that equal kernels (the layers of one model) are one kernel.
    `flags` are the fast-math flags that it may be compiled with, `level` is how hard LLVM tries: `PLAIN`, 2 or 3. Its
    third level takes a third more time than the second, and is for short rows that are to be unrolled.
    """

    name: str
    source: str
    flags: frozenset[str] = frozenset({"contract"})
    bytes_moved: Dim | None = None
    flops: Dim | None = None
    title: str = ""  # what it computes, for explain(): "add, mul, tanh (model.py:12)"
    level: int = 2


@record
class Buffer:
    """A region of the workspace: its size and the interval of driver positions in which it is live (inclusive)."""

    nbytes: Dim
    first: int
    last: int
    name: str = ""


@record
class ArgumentSpec:
    """An argument: its IR type; `written` where the driver may update the caller's array in place."""

    name: str
    type: Type
    written: bool = False


@record
class ResultSpec:
    """A result: its IR type, and where its storage comes from.

    kind: "output" (the caller allocates), "argument" (it is argument `index` itself, updated in place or returned),
    "runtime" (the driver allocates in the arena and writes sizes), "scalar", "constant" (constant `index`), "list" (a
    string or container: the driver writes its slots, which `jit.memory_form` reads).
    """

    type: Type
    kind: str
    index: int = 0


@record
class ErrorSite:
    """An error status (its position + 1): the exception to raise and the user's line.

    `message` may hold `{0}` and `{1}`, filled from the detail slots, and `{text}` or `{text!r}`, filled with the string
    (address and number of characters) that they hold. `{key:i}`, `{key:b}`, `{key:f}` or `{key:s}` alone is the int,
    bool, float or string in the detail slots, as the exception's argument. `{args:...}` has the exception's arguments,
    read from the slots at the address in the first detail slot: letters as for keys, `n` for None, tuples in
    parentheses. `{host}` alone is the exception that a request to Python raised.
    """

    exception: str
    message: str
    location: Location | None = None


@record
class GeneratedModule:
    """Sources and layout of one compiled graph; see the module docstring."""

    name: str
    graph: "Graph"
    driver: str  # name of the driver function
    driver_source: str
    kernels: list[KernelSource]
    arguments: list[ArgumentSpec]
    results: list[ResultSpec]
    sizes: list[Dim]
    buffers: list[Buffer]
    constants: list[np.ndarray[Any, Any]]
    guards: list[Guard] = field(default_factory=list)
    errors: list[ErrorSite] = field(default_factory=list)
    scratch_slots: int = 64
    uses_arena: bool = False
    may_interpret: bool = False  # whether it may return STATUS_INTERPRET
    report: list[str] = field(default_factory=list)  # fusion decisions, for explain()
