"""Generated functions straight to LLVM IR: one walk over their syntax, in which each value has a type when it is made.

A source is one LLVM module: its entry points, and what they call, inlined. Variables are values where their use lies
behind their one assignment, and slots on the stack else, which LLVM makes values of. What the walk does not know, it
leaves to Numba (`Indirect`): `numba_internals` compiles the whole source there, and reports what is wrong with it.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llvmlite import ir
from llvmlite.ir import Argument
from numba import types
from numba.core import callconv, errors

from .numba_expressions import Expressions, Indirect, Typed, resolved
from .numba_statements import Again, Variables, Writer
from .source import KernelReference

__all__ = ["Indirect", "QuietConvention", "Unit"]


class QuietConvention(callconv.CPUCallConv):  # type: ignore[misc]
    """How functions are called that cannot raise: what may is left to Numba."""

    def return_user_exc(self, *arguments: Any, **keywords: Any) -> None:
        raise Indirect("a primitive that may raise")

    def return_status_propagate(self, *arguments: Any, **keywords: Any) -> None:
        raise Indirect("a primitive that may raise")


# How calls of primitives are typed and written, by function, argument types and context.
_calls: dict[tuple[Any, ...], tuple[Any, Any]] = {}
_kinds: dict[int, tuple[Any, Any]] = {}
_MOST_CALLS = 10_000


class Unit:
    """One LLVM module of generated functions.

    `space` is the source's namespace; `is_function` tells its own functions there, and `extremum` what Python's `min`
    and `max` are in it, and what writes them.
    """

    def __init__(
        self,
        name: str,
        context: Any,
        tree: ast.Module,
        space: Mapping[str, Any],
        is_function: Callable[[Any], bool],
        extremum: tuple[type, Callable[..., Any]],
        flags: Sequence[str],
    ) -> None:
        self.context, self.typing = context, context.typing_context
        self.space = space
        self.module = context.create_module(name)
        self.flags = tuple(flags)
        self.trees = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.is_function = is_function
        self._extremum_type, self.extremum = extremum
        self._made: dict[tuple[str, tuple[Any, ...]], tuple[Any, Any] | None] = {}

    def text(self) -> str:
        """The module's text."""
        return str(self.module)

    def is_extremum(self, value: Any) -> bool:
        """Whether a name of the source means Python's `min` or `max`."""
        return isinstance(value, self._extremum_type)

    def type_of(self, value: Any) -> Any:
        """Numba's type of a Python object."""
        if callable(value):
            known = _kinds.get(id(value))
            if known is None:
                known = _kinds[id(value)] = (value, self._type_of(value))
            return known[1]
        return self._type_of(value)

    def _type_of(self, value: Any) -> Any:
        try:
            return self.typing.resolve_value_type(value)
        except (errors.NumbaError, ValueError) as error:
            raise Indirect(str(error)) from error

    def unified(self, a: Any, b: Any) -> Any:
        """The type that values of two types have in common."""
        if a is b or a == b:
            return a
        kind = self.typing.unify_types(a, b)
        if not isinstance(kind, (types.Number, types.Boolean)):
            raise Indirect(f"{a} or {b}")
        return kind

    def call(
        self,
        writer: Expressions,
        kind: Any,
        function: Any,
        arguments: Sequence[Typed],
        literals: Mapping[int, int] | None = None,
    ) -> Typed:
        """A call of what Numba knows: `kind` is its type, or the operator itself."""
        given = tuple([t for t, _ in arguments])
        known_numbers = tuple((literals or {}).items())
        key: tuple[Any, ...] = (id(kind), given, self.flags)
        known = _calls.get(key) or _calls.get((*key, known_numbers))
        if known is None:
            if len(_calls) >= _MOST_CALLS:
                # Sources make primitives of their own.
                _calls.clear()
                _kinds.clear()
            signature = resolved(self.typing, kind, given)
            if signature is None and literals:
                key = (*key, known_numbers)
                exact = tuple([types.literal(literals[i]) if i in literals else t for i, t in enumerate(given)])
                signature = resolved(self.typing, kind, exact)
            if signature is None:
                raise Indirect(f"{function} of {given}")
            try:
                implementation = self.context.get_function(kind, signature)
            except NotImplementedError as error:
                raise Indirect(str(error)) from error
            # The type is kept, so that its identity stays its own.
            known = _calls[key] = (signature, implementation)
            _kinds.setdefault(id(kind), (kind, kind))
        signature, implementation = known
        values = [
            value
            if t is wanted or t == wanted or isinstance(wanted, types.Literal)
            else writer.cast((t, value), wanted)
            for (t, value), wanted in zip(arguments, signature.args, strict=True)
        ]
        return types.unliteral(signature.return_type), implementation(writer.builder, values)

    # -- functions -------------------------------------------------------------------------------------------------

    def callee(self, function: Any, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
        """The LLVM function for argument types, written at its first call, and the type of its result."""
        key = (function.python.__name__, arguments)
        if key not in self._made:
            tree = self.trees.get(key[0])
            if tree is None or len(tree.args.args) != len(arguments):
                raise Indirect(f"{key[0]} of {len(arguments)} arguments")
            self._made[key] = None
            kinds = [self.context.get_value_type(t) for t in arguments]
            name = f"{key[0]}.{len(self._made)}"
            made = ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), name)
            made.linkage = "internal"
            made.attributes.add("alwaysinline")
            result = self._write(tree, made, arguments, None)
            if function.kind == "body":
                for argument, kind in zip(made.args, arguments, strict=True):
                    if isinstance(kind, types.CPointer):
                        argument.add_attribute("captures(none)")
                        argument.add_attribute("noalias")
            self._made[key] = (made, result)
        found = self._made[key]
        if found is None:
            raise Indirect(f"{key[0]} calls itself")
        return found

    def entry(self, reference: KernelReference, *, twice: bool = False) -> None:
        """Write a function with a C entry point.

        `twice`: as a function of its own that the entry calls. LLVM simplifies it before it is inlined and after, so
        that loops whose lengths only the first time makes known are unrolled the second time.
        """
        made = written = reference.declare(self.module)
        if twice:
            written = ir.Function(self.module, reference.function_type, f"{reference.name}.code")
            written.linkage = "internal"
            builder = ir.IRBuilder(made.append_basic_block())
            value = builder.call(written, made.args)
            if reference.returns:
                builder.ret(value)
            else:
                builder.ret_void()
        self._write(self.trees[reference.name], written, (types.int64,) * reference.arity, reference)

    def _write(
        self, tree: ast.FunctionDef, made: Any, arguments: tuple[Any, ...], reference: KernelReference | None
    ) -> Any:
        if tree.args.vararg or tree.args.kwarg or tree.args.kwonlyargs or tree.args.defaults or tree.args.posonlyargs:
            raise Indirect("parameters that are not plain ones")
        known = Variables(tree)
        while True:
            try:
                return Writer(self, tree, made, arguments, reference, known).run()
            except Again:
                made.blocks.clear()
                made.scope = type(made.scope)()
                made.args = tuple(Argument(made, t) for t in made.function_type.args)
