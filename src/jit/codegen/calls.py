"""What drivers call: kernels on the pool, the call's arena, and the C library's memory functions.

Each has a Numba form (a call or a few instructions) and a Python form that does the same on the same memory, so that a
driver runs un-jitted. The arena is a doubly linked list of `malloc`ed blocks: the handle is the address of one slot
that holds the first block; before a block lies a 64-byte header with the slots raw address, next and previous block.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

from ..runtime.arena import ARENA_HEADER, allocate, copy_memory, fill_memory, move_memory, release

__all__ = ["arena_allocate", "arena_release", "copy_bytes", "fill_bytes", "launch", "move_bytes"]

_I1, _I8, _I32, _I64, _VOID = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.VoidType()
_BYTES = _I8.as_pointer()
# Requests above this are mistakes (sizes multiplied from garbage), and adding the header to them must not overflow.
_LARGEST_REQUEST = 1 << 60


def launch(kernel: Callable[[int, int, int], None], p: int, n: int, grain: int, pool: int) -> None:
    """Run a range kernel over [0, n) on the pool, in ranges of at least `grain`; serially where that is one range."""
    if n > 0:
        kernel(p, 0, n)


def arena_allocate(arena: int, nbytes: int) -> int:
    """A 64-byte aligned address of `nbytes` bytes that are freed after the call; 0 when out of memory."""
    return allocate(arena, int(nbytes)) if 0 <= nbytes <= _LARGEST_REQUEST else 0


def arena_release(arena: int, address: int) -> None:
    """Free what `arena_allocate` gave before the call ends; address 0 is nothing."""
    if address:
        release(arena, address)


def copy_bytes(to: int, source: int, nbytes: int) -> None:
    """Copy bytes between regions that do not overlap."""
    if nbytes > 0:
        copy_memory(int(to), int(source), int(nbytes))  # numpy's integers are not ctypes'


def move_bytes(to: int, source: int, nbytes: int) -> None:
    """Copy bytes between regions that may overlap."""
    if nbytes > 0:
        move_memory(int(to), int(source), int(nbytes))


def fill_bytes(to: int, byte: int, nbytes: int) -> None:
    """Set every byte of a region."""
    if nbytes > 0:
        fill_memory(int(to), int(byte), int(nbytes))


def declare(module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    """The external function `name` in a module, declared on first use."""
    existing = module.globals.get(name)
    return existing if existing is not None else ir.Function(module, ir.FunctionType(result, arguments), name)


def _i64(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    return [
        context.cast(builder, value, given, types.int64) for value, given in zip(arguments, signature.args, strict=True)
    ]


Lowering = Callable[[Any, list[Any]], Any]


def _native(function: Callable[..., Any], result: Any, arity: int) -> Callable[[Lowering], Lowering]:
    """Register the lowering of a function of `arity` integers; it gets the builder and 64-bit values."""
    names = ["a", "b", "c", "d"][:arity]
    typers: dict[int, Callable[..., Any]] = {2: lambda a, b: result, 3: lambda a, b, c: result}

    def register(lowering: Lowering) -> Lowering:
        @type_callable(function)  # type: ignore[untyped-decorator]
        def typing(context: Any) -> Any:
            return typers[len(names)]

        @lower_builtin(function, *[types.Integer] * arity)  # type: ignore[untyped-decorator]
        def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = lowering(builder, _i64(context, builder, signature, arguments))
            return context.get_dummy_value() if result is types.void else value

        return lowering

    return register


def _memory_function(function: Callable[..., Any], name: str, middle: ir.Type) -> None:
    @_native(function, types.void, 3)
    def lower(builder: Any, arguments: list[Any]) -> Any:
        external = declare(builder.module, name, _BYTES, [_BYTES, middle, _I64])
        to, second, count = arguments
        second = builder.inttoptr(second, _BYTES) if middle is _BYTES else builder.trunc(second, middle)
        # A negative count means an empty region, not one of 2**64 bytes.
        count = builder.select(builder.icmp_signed(">", count, _I64(0)), count, _I64(0))
        builder.call(external, [builder.inttoptr(to, _BYTES), second, count])


_memory_function(copy_bytes, "memcpy", _BYTES)
_memory_function(move_bytes, "memmove", _BYTES)
_memory_function(fill_bytes, "memset", _I32)


def _helper(module: ir.Module, name: str, result: ir.Type, arity: int, build: Callable[[Any, Any], None]) -> Any:
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    function = ir.Function(module, ir.FunctionType(result, [_I64] * arity), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    build(ir.IRBuilder(function.append_basic_block("entry")), function)
    return function


def _slot(builder: Any, table: Any, index: int) -> Any:
    return builder.gep(builder.inttoptr(table, _I64.as_pointer()), [_I64(index)])


def _build_allocate(builder: Any, function: Any) -> None:
    arena, nbytes = function.args
    malloc = declare(builder.module, "malloc", _BYTES, [_I64])
    with builder.if_then(builder.icmp_unsigned(">", nbytes, _I64(_LARGEST_REQUEST)), likely=False):
        builder.ret(_I64(0))
    raw = builder.ptrtoint(builder.call(malloc, [builder.add(nbytes, _I64(2 * ARENA_HEADER))]), _I64)
    with builder.if_then(builder.icmp_signed("==", raw, _I64(0)), likely=False):
        builder.ret(_I64(0))
    block = builder.and_(builder.add(raw, _I64(2 * ARENA_HEADER - 1)), _I64(-ARENA_HEADER))
    header = builder.sub(block, _I64(ARENA_HEADER))
    first = builder.load(_slot(builder, arena, 0))
    builder.store(raw, _slot(builder, header, 0))
    builder.store(first, _slot(builder, header, 1))
    builder.store(_I64(0), _slot(builder, header, 2))
    with builder.if_then(builder.icmp_signed("!=", first, _I64(0))):
        builder.store(block, _slot(builder, builder.sub(first, _I64(ARENA_HEADER)), 2))
    builder.store(block, _slot(builder, arena, 0))
    builder.ret(block)


def _build_release(builder: Any, function: Any) -> None:
    arena, block = function.args
    free = declare(builder.module, "free", _VOID, [_BYTES])
    with builder.if_then(builder.icmp_signed("==", block, _I64(0))):
        builder.ret_void()
    header = builder.sub(block, _I64(ARENA_HEADER))
    raw, following, previous = (builder.load(_slot(builder, header, index)) for index in range(3))
    is_first = builder.icmp_signed("==", previous, _I64(0))
    # Where the address of the next block is kept: in the previous block's header, or in the handle.
    link = builder.select(is_first, arena, builder.add(builder.sub(previous, _I64(ARENA_HEADER)), _I64(8)))
    builder.store(following, _slot(builder, link, 0))
    with builder.if_then(builder.icmp_signed("!=", following, _I64(0))):
        builder.store(previous, _slot(builder, builder.sub(following, _I64(ARENA_HEADER)), 2))
    builder.call(free, [builder.inttoptr(raw, _BYTES)])
    builder.ret_void()


@_native(arena_allocate, types.int64, 2)
def _lower_allocate(builder: Any, arguments: list[Any]) -> Any:
    helper = _helper(builder.module, "arena_allocate", _I64, 2, _build_allocate)
    return builder.call(helper, arguments)


@_native(arena_release, types.void, 2)
def _lower_release(builder: Any, arguments: list[Any]) -> Any:
    helper = _helper(builder.module, "arena_release", _VOID, 2, _build_release)
    return builder.call(helper, arguments)
