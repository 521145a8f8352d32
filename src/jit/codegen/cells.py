"""Memory of run-time objects: headers of lists and dicts, their elements, and the characters of strings.

Each kind of access has its own type for LLVM's alias analysis, because no element lies where a header does: so the
length and the address of a list stay in registers while a loop writes its elements.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

__all__ = [
    "cell", "cell_f64", "cell_u8", "char", "head", "set_cell", "set_cell_f64", "set_cell_u8", "set_char", "set_head",
]  # fmt: skip


def _tag(module: ir.Module, name: str) -> Any:
    root = module.add_metadata(["ingot objects"])
    kind = module.add_metadata([name, root, ir.Constant(ir.IntType(64), 0)])
    return module.add_metadata([kind, kind, ir.Constant(ir.IntType(64), 0)])


def _accessors(
    name: str, tag: str, ctype: Any, numba_type: Any, llvm_type: ir.Type, what: str
) -> tuple[Callable[[int, int], Any], Callable[[int, int, Any], None]]:
    size = ctypes.sizeof(ctype)
    widens = isinstance(llvm_type, ir.IntType) and llvm_type.width < 64

    def read(address: int, index: int) -> Any:
        return ctype.from_address(int(address) + size * int(index)).value

    def write(address: int, index: int, value: Any) -> None:
        ctype.from_address(int(address) + size * int(index)).value = value

    read.__name__ = read.__qualname__ = name
    read.__doc__ = f"Read {what} number `index` at an address."
    write.__name__ = write.__qualname__ = f"set_{name}"
    write.__doc__ = f"Write {what} number `index` at an address."

    def place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, index = (
            context.cast(builder, value, given, types.int64)
            for value, given in zip(arguments[:2], signature.args[:2], strict=True)
        )
        return builder.gep(builder.inttoptr(address, llvm_type.as_pointer()), [index])

    @type_callable(read)  # type: ignore[untyped-decorator]
    def read_typing(context: Any) -> Any:
        return lambda address, index: numba_type

    @lower_builtin(read, types.Integer, types.Integer)  # type: ignore[untyped-decorator]
    def read_lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(place(context, builder, signature, arguments))
        value.set_metadata("tbaa", _tag(builder.module, tag))
        return builder.zext(value, ir.IntType(64)) if widens else value

    @type_callable(write)  # type: ignore[untyped-decorator]
    def write_typing(context: Any) -> Any:
        return lambda address, index, value: types.void

    @lower_builtin(write, types.Integer, types.Integer, types.Any)  # type: ignore[untyped-decorator]
    def write_lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = context.cast(builder, arguments[2], signature.args[2], numba_type)
        if widens:
            value = builder.trunc(value, llvm_type)
        stored = builder.store(value, place(context, builder, signature, arguments))
        stored.set_metadata("tbaa", _tag(builder.module, tag))
        return context.get_dummy_value()

    return read, write


head, set_head = _accessors("head", "header", ctypes.c_int64, types.int64, ir.IntType(64), "header slot")
cell, set_cell = _accessors("cell", "integer", ctypes.c_int64, types.int64, ir.IntType(64), "integer element")
cell_f64, set_cell_f64 = _accessors("cell_f64", "float", ctypes.c_double, types.float64, ir.DoubleType(), "float")
cell_u8, set_cell_u8 = _accessors("cell_u8", "byte", ctypes.c_uint8, types.int64, ir.IntType(8), "byte")
char, set_char = _accessors("char", "character", ctypes.c_uint32, types.int64, ir.IntType(32), "character")
