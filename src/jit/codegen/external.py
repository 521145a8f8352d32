"""Kernels that are compiled once, as modules of their own, and called by other kernels as external symbols.

What many kernels share (the micro-kernel, the loop nests of GEMM and convolution) is generated as a source whose
`@kernel` functions other sources call: compiled, a call is a call of the symbol, which linking resolves; in plain
Python it is a call of the same source run as Python. A kernel hands its epilogue to a shared loop nest as an address.
"""

import ast
import inspect
import linecache
from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

_I64 = ir.IntType(64)


def lower(
    function: Callable[..., Any], parameters: tuple[str, ...], emit: Callable[[Any, Any], Any], *, returns: bool = False
) -> None:
    """Let compiled code call `function` with 64-bit integers: `emit(builder, arguments)` writes the instructions."""
    signature = (types.int64 if returns else types.void)(*[types.int64] * len(parameters))

    @type_callable(function)  # type: ignore[untyped-decorator]
    def typing(context: Any) -> Any:
        def typer(*arguments: Any) -> Any:
            return signature

        # Numba matches calls with the typer's parameters.
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        typer.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(parameter, kind) for parameter in parameters]
        )
        return typer

    @lower_builtin(function, *signature.args)  # type: ignore[untyped-decorator, no-untyped-call]
    def lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = emit(builder, arguments)
        return value if returns else context.get_dummy_value()


def _symbol(module: ir.Module, name: str, arity: int, returns: bool) -> ir.Function:
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    return ir.Function(module, ir.FunctionType(_I64 if returns else ir.VoidType(), [_I64] * arity), name)


def lower_external(function: Callable[..., Any], parameters: tuple[str, ...], *, returns: bool = False) -> None:
    """Let compiled code call `function` as the external symbol of its name."""

    def emit(builder: Any, arguments: Any) -> Any:
        return builder.call(_symbol(builder.module, function.__name__, len(parameters), returns), arguments)

    lower(function, parameters, emit, returns=returns)


@cache
def load(source: str) -> dict[str, Callable[..., Any]]:
    """The `@kernel` functions of a source: Python functions, which compiled code calls as external symbols.

    The source must be compiled and linked too. It is self-contained: it imports what it uses.
    """
    entries = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Name) and d.id == "kernel" for d in node.decorator_list)
    ]
    filename = f"<ingot {entries[0].name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    space: dict[str, Any] = dict.fromkeys(("kernel", "body"), lambda function: function)
    # Written by this package only; nothing in it comes from a user or a file.
    exec(compile(source, filename, "exec"), space)
    functions = {}
    for node in entries:
        function = functions[node.name] = space[node.name]
        returns = any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(node))
        lower_external(function, tuple(a.arg for a in node.args.args), returns=returns)
    return functions


# What the store function of a kernel is called with: the table of the kernel, the address of the finished tile, the
# address of the offsets of its rows in the result, the batch (or group), and the part of the result that it covers.
STORE_PARAMETERS = ("p", "tile", "offsets", "batch", "first_row", "first_column", "rows", "columns")


def address_of(function: Callable[..., Any]) -> Callable[[], Any]:
    """A function that gives compiled code the address of a kernel, for `call_store` and `call_tile`.

    The kernel is a `@kernel` function of the same source, or an external one; in Python its address is itself.
    """
    name, arity = function.__name__, len(inspect.signature(function).parameters)

    def address() -> Any:
        return function

    @type_callable(address)  # type: ignore[untyped-decorator]
    def typing(context: Any) -> Any:
        return lambda: types.int64

    @lower_builtin(address)  # type: ignore[untyped-decorator, no-untyped-call]
    def lowering(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(_symbol(builder.module, name, arity, False), _I64)

    return address


def indirect(parameters: tuple[str, ...]) -> Callable[..., None]:
    """A function `(address, *parameters)` that calls the kernel at an address."""

    def call(address: Any, *arguments: int) -> None:
        address(*arguments)

    def emit(builder: Any, arguments: Any) -> None:
        address, *rest = arguments
        function_type = ir.FunctionType(ir.VoidType(), [_I64] * len(rest))
        builder.call(builder.inttoptr(address, function_type.as_pointer()), rest)

    lower(call, ("address", *parameters), emit)
    return call


call_store = indirect(STORE_PARAMETERS)
