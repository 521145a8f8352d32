"""Expressions of generated code, typed and written as LLVM instructions in one go.

What a number, an operator or a primitive is, Numba's contexts say: types, signatures and lowerings are theirs. What is
left out is Numba's own way from source to instructions (byte code, its analysis, inference by constraints), which takes
four times as long for functions whose every expression has a type that is known when it is met.
"""

import ast
import builtins
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, errors

from .numba_lowering import direct_operator
from .source import KernelReference

if TYPE_CHECKING:
    from .numba_direct import Unit

__all__ = ["Expressions", "Indirect", "known_number"]

_I64, _BOOL = types.int64, types.boolean
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
    ast.BitXor: operator.xor, ast.LShift: operator.lshift, ast.RShift: operator.rshift,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert,
}  # fmt: skip
_FOLDED = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.LShift)

Typed = tuple[Any, Any]  # Numba's type of a value, and the value in LLVM


class Indirect(Exception):
    """Something that Numba itself is to compile, in its own way."""


def known_number(node: ast.AST) -> int | float | bool | None:
    """The number that an expression is without looking at anything; None for others."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            number = known_number(inner)
            return None if number is None else -number
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _FOLDED):
            a, b = known_number(left), known_number(right)
            if type(a) is int and type(b) is int and b >= 0:
                folded: int = _OPERATORS[type(op)](a, b)
                return folded
    return None


class Expressions:
    """Writes the expressions of one function; statements are `numba_direct`'s."""

    unit: "Unit"
    builder: Any
    kinds: dict[str, Any]  # the types of variables in slots
    slots: dict[str, Any]
    values: dict[str, Typed]
    local: frozenset[str]  # names that the function assigns

    # -- names -----------------------------------------------------------------------------------------------------

    def load(self, name: str) -> Typed:
        """A variable's value."""
        raise NotImplementedError

    def known(self, node: ast.AST) -> Any:
        """The Python object that a name stands for where no variable has it."""
        match node:
            case ast.Name(id=name) if name not in self.local:
                space = self.unit.space
                if name in space:
                    return space[name]
                if hasattr(builtins, name):
                    return getattr(builtins, name)
            case ast.Attribute(value=inner, attr=attribute):
                return getattr(self.known(inner), attribute)
        raise Indirect(ast.unparse(node))

    def constant(self, value: Any) -> Typed:
        """A number or a tuple of numbers that is known."""
        if isinstance(value, bool):
            return _BOOL, ir.Constant(ir.IntType(1), int(value))
        if type(value) is int:
            if not -(1 << 63) <= value < 1 << 63:
                raise Indirect(f"{value} needs more than 64 bits")
            return _I64, ir.Constant(ir.IntType(64), value)
        if type(value) is float:
            return types.float64, ir.Constant(ir.DoubleType(), value)
        kind = self.unit.type_of(value)
        if isinstance(value, tuple):
            kind = types.BaseTuple.from_types([types.unliteral(t) for t in kind.types])
        elif not isinstance(kind, types.Number):
            raise Indirect(f"a constant of type {kind}")
        return kind, self.unit.context.get_constant_generic(self.builder, kind, value)

    # -- expressions -----------------------------------------------------------------------------------------------

    def value(self, node: ast.AST) -> Typed:
        """The instructions of an expression."""
        number = known_number(node)
        if number is not None:
            return self.constant(number)
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise Indirect(type(node).__name__)
        typed: Typed = method(node)
        return typed

    def cast(self, typed: Typed, kind: Any) -> Any:
        """A value as another type."""
        if typed[0] is kind or typed[0] == kind:
            return typed[1]
        return self.unit.context.cast(self.builder, typed[1], typed[0], kind)

    def integer(self, node: ast.AST) -> Any:
        """An expression as an int64."""
        return self.cast(self.value(node), _I64)

    def _Name(self, node: ast.Name) -> Typed:
        return self.load(node.id) if node.id in self.local else self.constant(self.known(node))

    def _Attribute(self, node: ast.Attribute) -> Typed:
        return self.constant(self.known(node))

    def _BinOp(self, node: ast.BinOp) -> Typed:
        return self.binary(node.op, self.value(node.left), self.value(node.right))

    def binary(self, op: ast.AST, left: Typed, right: Typed) -> Typed:
        """An operator on two numbers."""
        function = _OPERATORS.get(type(op))
        if function is None:
            raise Indirect(type(op).__name__)
        emit = direct_operator(function, left[0], right[0])
        if emit is not None:
            return emit[0], emit[1](self.builder, left[1], right[1])
        return self.unit.call(self, function, function, [left, right])

    def _UnaryOp(self, node: ast.UnaryOp) -> Typed:
        if isinstance(node.op, ast.Not):
            return _BOOL, self.builder.not_(self.truth(self.value(node.operand)))
        function = _OPERATORS[type(node.op)]
        return self.unit.call(self, function, function, [self.value(node.operand)])

    def _Compare(self, node: ast.Compare) -> Typed:
        left = self.value(node.left)
        if len(node.ops) == 1:
            return self.binary(node.ops[0], left, self.value(node.comparators[0]))
        after = self.builder.append_basic_block()
        found = []
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.value(comparator)
            holds = self.truth(self.binary(op, left, right))
            left = right
            found.append((holds, self.builder.block))
            if len(found) < len(node.ops):
                following = self.builder.append_basic_block()
                self.builder.cbranch(holds, following, after)
                self.builder.position_at_end(following)
        return self._joined(after, found)

    def _BoolOp(self, node: ast.BoolOp) -> Typed:
        after = self.builder.append_basic_block()
        found = []
        for number, part in enumerate(node.values):
            kind, value = self.value(part)
            if kind != _BOOL:
                raise Indirect(f"and, or of {kind}")
            found.append((value, self.builder.block))
            if number + 1 < len(node.values):
                following = self.builder.append_basic_block()
                pair = (following, after) if isinstance(node.op, ast.And) else (after, following)
                self.builder.cbranch(value, *pair)
                self.builder.position_at_end(following)
        return self._joined(after, found)

    def _joined(self, after: Any, found: list[tuple[Any, Any]]) -> Typed:
        """A truth value that comes from several blocks."""
        self.builder.branch(after)
        self.builder.position_at_end(after)
        phi = self.builder.phi(ir.IntType(1))
        for value, block in found:
            phi.add_incoming(value, block)
        return _BOOL, phi

    def _IfExp(self, node: ast.IfExp) -> Typed:
        then, otherwise, after = (self.builder.append_basic_block() for _ in range(3))
        self.branch(node.test, then, otherwise)
        sides = []
        for block, part in ((then, node.body), (otherwise, node.orelse)):
            self.builder.position_at_end(block)
            typed = self.value(part)
            sides.append((typed, self.builder.block))
        kind = self.unit.unified(sides[0][0][0], sides[1][0][0])
        incoming = []
        for typed, block in sides:
            self.builder.position_at_end(block)
            value = self.cast(typed, kind)
            incoming.append((value, self.builder.block))
            self.builder.branch(after)
        self.builder.position_at_end(after)
        phi = self.builder.phi(incoming[0][0].type)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return kind, phi

    def _Tuple(self, node: ast.Tuple) -> Typed:
        parts = [self.value(element) for element in node.elts]
        kind = types.BaseTuple.from_types([t for t, _ in parts])
        return kind, self.unit.context.make_tuple(self.builder, kind, [v for _, v in parts])

    def _Subscript(self, node: ast.Subscript) -> Typed:
        kind, value = self.value(node.value)
        if isinstance(kind, types.CPointer):
            return kind.dtype, self.builder.load(self.place(kind, value, node.slice))
        index = known_number(node.slice)
        if isinstance(kind, types.BaseTuple) and type(index) is int and -len(kind) <= index < len(kind):
            return kind.types[index], self.builder.extract_value(value, index % len(kind))
        raise Indirect(f"an element of {kind}")

    def place(self, kind: Any, pointer: Any, index: ast.AST) -> Any:
        """Where an element of memory lies."""
        if not isinstance(kind, types.CPointer) or not isinstance(kind.dtype, types.Number):
            raise Indirect(f"an element of {kind}")
        number, value = self.value(index)
        if not isinstance(number, types.Integer):
            raise Indirect(f"an index of type {number}")
        return self.builder.gep(pointer, [self.cast((number, value), _I64)])

    # -- truth -----------------------------------------------------------------------------------------------------

    def truth(self, typed: Typed) -> Any:
        """Whether a number is not zero."""
        kind, value = typed
        if kind == _BOOL:
            return value
        if isinstance(kind, types.Integer):
            return self.builder.icmp_unsigned("!=", value, value.type(0))
        if isinstance(kind, types.Float):
            return self.builder.fcmp_unordered("!=", value, value.type(0.0))
        raise Indirect(f"the truth of {kind}")

    def branch(self, test: ast.AST, then: Any, otherwise: Any) -> None:
        """Go on in one block or the other."""
        builder = self.builder
        match test:
            case ast.Constant(value=bool() | int() as value):
                builder.branch(then if value else otherwise)
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                self.branch(inner, otherwise, then)
            case ast.BoolOp(op=op, values=parts):
                for part in parts[:-1]:
                    following = builder.append_basic_block()
                    if isinstance(op, ast.And):
                        self.branch(part, following, otherwise)
                    else:
                        self.branch(part, then, following)
                    builder.position_at_end(following)
                self.branch(parts[-1], then, otherwise)
            case _:
                builder.cbranch(self.truth(self.value(test)), then, otherwise)

    # -- calls -----------------------------------------------------------------------------------------------------

    def _Call(self, node: ast.Call) -> Typed:
        if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            raise Indirect("a call by name")
        function = self.known(node.func)
        if self.unit.is_function(function):
            return self._call_function(function, [self.value(a) for a in node.args])
        if isinstance(function, KernelReference):
            return self._call_kernel(function, [self.integer(a) for a in node.args])
        if self.unit.is_extremum(function):
            return self._extremum(function, [self.value(a) for a in node.args])
        literals = {i: n for i, a in enumerate(node.args) if type(n := known_number(a)) is int}
        arguments = [self._argument(a) for a in node.args]
        kind = self.unit.type_of(function)
        if isinstance(kind, types.NumberClass) and len(arguments) == 1:
            return self._number(kind.dtype, node.args[0], arguments[0])
        return self.unit.call(self, kind, function, arguments, literals)

    def _argument(self, node: ast.AST) -> Typed:
        if isinstance(node, ast.Name) and node.id not in self.local:
            found = self.known(node)
            if isinstance(found, KernelReference):
                return self.unit.type_of(found), self.unit.context.get_dummy_value()
        return self.value(node)

    def _number(self, kind: Any, node: ast.AST, given: Typed) -> Typed:
        """A number as one of NumPy's types."""
        number = known_number(node)
        if number is not None and isinstance(kind, types.Float):
            return kind, ir.Constant(self.unit.context.get_value_type(kind), float(number))
        if not isinstance(given[0], (types.Number, types.Boolean)):
            raise Indirect(f"{kind} of {given[0]}")
        return kind, self.cast(given, kind)

    def _call_function(self, function: Any, arguments: Sequence[Typed]) -> Typed:
        made, result = self.unit.callee(function, tuple(t for t, _ in arguments))
        value = self.builder.call(made, [v for _, v in arguments])
        return result, self.unit.context.get_dummy_value() if result == types.none else value

    def _call_kernel(self, kernel: KernelReference, arguments: list[Any]) -> Typed:
        if len(arguments) != kernel.arity:
            raise Indirect(f"{kernel.name} of {len(arguments)} arguments")
        value = self.builder.call(kernel.declare(self.builder.module), arguments)
        if kernel.results:
            count = 1 + kernel.results
            parts = [self.builder.extract_value(value, i) for i in range(count)]
            return types.UniTuple(_I64, count), cgutils.pack_array(self.builder, parts)
        return (_I64, value) if kernel.returns else (types.none, self.unit.context.get_dummy_value())

    def _extremum(self, extremum: Any, arguments: Sequence[Typed]) -> Typed:
        """Python's `min` or `max`: a later argument wins only where it compares better."""
        if len(arguments) < 2:
            raise Indirect(f"{extremum.name} of one argument")
        kind = arguments[0][0]
        for other, _ in arguments[1:]:
            kind = self.unit.unified(kind, other)
        if not isinstance(kind, (types.Integer, types.Float)):
            raise Indirect(f"{extremum.name} of {kind}")
        values = [self.cast(a, kind) for a in arguments]
        return kind, self.unit.extremum(extremum, isinstance(kind, types.Float), self.builder, values)


def resolved(typing: Any, kind: Any, arguments: tuple[Any, ...]) -> Any:
    """The signature of a call, or None where there is none."""
    try:
        return typing.resolve_function_type(kind, arguments, {})
    except (errors.NumbaError, TypeError):
        return None
