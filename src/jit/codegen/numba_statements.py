"""Statements of generated functions: variables, loops and branches as LLVM instructions."""

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types

from .numba_expressions import Expressions, Indirect, Typed, known_number
from .source import KernelReference

if TYPE_CHECKING:
    from .numba_direct import Unit

__all__ = ["Again", "Variables", "Writer"]

_I64 = ir.IntType(64)
_ROUNDED = frozenset(("fadd", "fsub", "fmul", "fdiv", "frem", "fcmp"))
_FLOATS = (ir.FloatType(), ir.DoubleType())


class Again(Exception):
    """The function is to be written again, now that more is known of its variables."""


class _Builder(ir.IRBuilder):  # type: ignore[misc]
    """Gives operations on floats the flags of the kernel."""

    flags: tuple[str, ...] = ()

    def _insert(self, instruction: Any) -> None:
        if self.flags:
            if instruction.opname in _ROUNDED:
                if not instruction.flags:
                    instruction.flags.extend(self.flags)
            elif instruction.opname == "call" and instruction.type in _FLOATS:
                instruction.fastmath.update(self.flags)
        block = self._block
        block.instructions.insert(self._anchor, instruction)
        self._anchor += 1


class Variables:
    """What is known of a function's variables before it is written, or from having tried."""

    def __init__(self, tree: ast.FunctionDef) -> None:
        self.slots: set[str] = set()  # those that need memory
        self.kinds: dict[str, Any] = {}
        self.result: Any = None
        self._places: dict[str, list[tuple[int, ...]]] = {a.arg: [()] for a in tree.args.args}
        self._count = 0
        self._suite(tree.body, ())
        self.local = frozenset(self._places)

    def _suite(self, body: Sequence[ast.stmt], place: tuple[int, ...]) -> None:
        for statement in body:
            match statement:
                case ast.If(test=test):
                    self._reads(test, place)
                    self._inside(statement.body, place)
                    self._inside(statement.orelse, place)
                case ast.While(test=test):
                    # The condition is evaluated again after the body.
                    self._reads(test, place)
                    self._inside(statement.body, place)
                case ast.For(target=target, iter=iterated):
                    self._reads(iterated, place)
                    self._inside(statement.body, place, target)
                case ast.Assign(targets=targets, value=value):
                    self._reads(value, place)
                    for target in targets:
                        self._target(target, place)
                case ast.AugAssign(target=target, value=value):
                    self._reads(value, place)
                    self._reads(target, place)
                    self._target(target, place)
                case _:
                    self._reads(statement, place)

    def _inside(self, body: Sequence[ast.stmt], place: tuple[int, ...], target: ast.AST | None = None) -> None:
        self._count += 1
        inner = (*place, self._count)
        if target is not None:
            self._target(target, inner)
        self._suite(body, inner)

    def _target(self, target: ast.AST, place: tuple[int, ...]) -> None:
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                before = self._places.setdefault(node.id, [])
                # Assigned here and in a part of here: the value depends on the way.
                if any(p != place and (p == place[: len(p)] or place == p[: len(place)]) for p in before):
                    self.slots.add(node.id)
                before.append(place)
            elif isinstance(node, ast.Name):
                self._read(node.id, place)

    def _reads(self, node: ast.AST, place: tuple[int, ...]) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                self._read(inner.id, place)

    def _read(self, name: str, place: tuple[int, ...]) -> None:
        places = self._places.get(name)
        if places and not any(p == place[: len(p)] for p in places):
            self.slots.add(name)


class Writer(Expressions):
    """Writes one function."""

    def __init__(
        self,
        unit: "Unit",
        tree: ast.FunctionDef,
        made: Any,
        arguments: tuple[Any, ...],
        reference: KernelReference | None,
        variables: Variables,
    ) -> None:
        self.unit, self.tree, self.made = unit, tree, made
        self.reference, self.variables = reference, variables
        self.local = variables.local
        entry, start = made.append_basic_block("entry"), made.append_basic_block("start")
        self.builder = _Builder(entry)
        self.builder.flags = unit.flags
        self.builder.branch(start)
        self.builder.position_at_end(start)
        self.slots: dict[str, Any] = {}
        self.values: dict[str, Typed] = {}
        self.scopes: list[set[str]] = [set()]
        self.loops: list[tuple[Any, Any]] = []  # where to go on, and where to leave to
        self.open = True  # whether the block goes on: nothing has left it
        self.returned: Any = None
        for argument, kind, node in zip(made.args, arguments, tree.args.args, strict=True):
            self.assign(node.arg, (kind, argument))

    def run(self) -> Any:
        """Write all of it, and return the type of what it returns."""
        self._suite(self.tree.body)
        if self.open:
            self._leave(None)
        returned = self.returned
        if self.reference is None and returned is not types.none:
            kind = self.unit.context.get_value_type(returned)
            # The type is known only now; nobody has called the function yet.
            self.made.ftype = ir.FunctionType(kind, self.made.ftype.args)
            self.made.type = self.made.ftype.as_pointer()
            self.made.return_value.type = kind
        return returned

    # -- variables -------------------------------------------------------------------------------------------------

    def load(self, name: str) -> Typed:
        if name in self.values:
            return self.values[name]
        if name not in self.variables.slots:
            self.variables.slots.add(name)
            raise Again
        slot = self.slots.get(name)
        if slot is None:
            # Only a later statement tells its type.
            if name not in self.variables.kinds:
                raise Indirect(f"{name} is read before it is written")
            slot = self._slot(name, self.variables.kinds[name])
        return self.variables.kinds[name], self.builder.load(slot)

    def _slot(self, name: str, kind: Any) -> Any:
        with self.builder.goto_entry_block():
            slot = self.slots[name] = self.builder.alloca(self.unit.context.get_value_type(kind))
        return slot

    def assign(self, name: str, typed: Typed) -> None:
        """Give a variable a value."""
        kind, value = typed
        if kind == types.none:
            raise Indirect(f"{name} is None")
        variables = self.variables
        if name not in variables.slots:
            if name in self.values and name not in self.scopes[-1]:
                variables.slots.add(name)
                raise Again
            self.values[name] = typed
            self.scopes[-1].add(name)
            return
        known = variables.kinds.setdefault(name, kind)
        if known != kind:
            wider = self.unit.unified(known, kind)
            if wider != known:
                variables.kinds[name] = wider
                raise Again
            value = self.cast(typed, known)
        slot = self.slots.get(name)
        if slot is None:
            slot = self._slot(name, known)
        self.builder.store(value, slot)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        """A part of the function that may be left out: what it assigns is not known afterwards."""
        self.scopes.append(set())
        self.open = True
        yield
        for name in self.scopes.pop():
            del self.values[name]

    # -- statements ------------------------------------------------------------------------------------------------

    def _suite(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            if not self.open:
                return
            method = getattr(self, f"_do_{type(statement).__name__}", None)
            if method is None:
                raise Indirect(type(statement).__name__)
            method(statement)

    def _do_Pass(self, node: ast.Pass) -> None:
        pass

    def _do_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.value(node.value)

    def _do_Assign(self, node: ast.Assign) -> None:
        target, value = node.targets[0], node.value
        same = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts)
        if same and len(node.targets) == 1:
            # All of the right side is computed before anything changes.
            parts = [self.value(element) for element in value.elts]  # type: ignore[attr-defined]
            for inner, part in zip(target.elts, parts, strict=True):  # type: ignore[attr-defined]
                self._set(inner, part)
            return
        typed = self.value(value)
        for target in node.targets:
            self._set(target, typed)

    def _set(self, target: ast.expr, typed: Typed) -> None:
        kind, value = typed
        match target:
            case ast.Name(id=name):
                self.assign(name, typed)
            case ast.Subscript(value=pointer, slice=index):
                memory, address = self.value(pointer)
                self._store(memory, self.place(memory, address, index), typed)
            case ast.Tuple(elts=parts) if isinstance(kind, types.BaseTuple) and len(kind) == len(parts):
                for i, part in enumerate(parts):
                    self._set(part, (kind.types[i], self.builder.extract_value(value, i)))
            case _:
                raise Indirect(f"{ast.unparse(target)} = {kind}")

    def _store(self, kind: Any, place: Any, typed: Typed) -> None:
        if not isinstance(typed[0], (types.Number, types.Boolean)):
            raise Indirect(f"storing {typed[0]}")
        self.builder.store(self.cast(typed, kind.dtype), place)

    def _do_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.assign(node.target.id, self.binary(node.op, self.load(node.target.id), self.value(node.value)))
            return
        if not isinstance(node.target, ast.Subscript):
            raise Indirect(type(node.target).__name__)
        kind, address = self.value(node.target.value)
        place = self.place(kind, address, node.target.slice)
        old = self.builder.load(place)
        self._store(kind, place, self.binary(node.op, (kind.dtype, old), self.value(node.value)))

    def _do_Return(self, node: ast.Return) -> None:
        self._leave(node.value)

    def _leave(self, node: ast.expr | None) -> None:
        kind, value = (types.none, None) if node is None else self.value(node)
        builder, reference = self.builder, self.reference
        if reference is not None:
            self._leave_entry(reference, kind, value)
        else:
            known = self.variables.result
            if known is None:
                known = self.variables.result = kind
            elif known != kind:
                wider = self.unit.unified(known, kind)
                if wider != known:
                    self.variables.result = wider
                    raise Again
                value = self.cast((kind, value), known)
            self.returned = known
            if known == types.none:
                builder.ret_void()
            else:
                builder.ret(value)
        self.open = False

    def _leave_entry(self, reference: KernelReference, kind: Any, value: Any) -> None:
        builder = self.builder
        self.returned = kind
        if not reference.returns:
            if kind != types.none:
                raise Indirect(f"{reference.name} returns {kind}")
            builder.ret_void()
            return
        expected = 1 + reference.results
        found = tuple(kind.types) if isinstance(kind, types.BaseTuple) else (kind,)
        if len(found) != expected or not all(isinstance(t, (types.Integer, types.Boolean)) for t in found):
            raise Indirect(f"{reference.name} returns {kind}")
        if not reference.results:
            builder.ret(self.cast((kind, value), types.int64))
            return
        parts = [self.cast((t, builder.extract_value(value, i)), types.int64) for i, t in enumerate(found)]
        whole: Any = ir.Constant(reference.function_type.return_type, ir.Undefined)
        for i, part in enumerate(parts):
            whole = builder.insert_value(whole, part, i)
        builder.ret(whole)

    # -- control ---------------------------------------------------------------------------------------------------

    def _do_If(self, node: ast.If) -> None:
        builder = self.builder
        then, after = builder.append_basic_block(), builder.append_basic_block()
        otherwise = builder.append_basic_block() if node.orelse else after
        self.branch(node.test, then, otherwise)
        joined = not node.orelse
        for block, body in ((then, node.body), (otherwise, node.orelse)):
            if not body:
                continue
            builder.position_at_end(block)
            with self._scope():
                self._suite(body)
                if self.open:
                    builder.branch(after)
                    joined = True
        self._continue_at(after, joined)

    def _continue_at(self, block: Any, reached: bool) -> None:
        """Go on in a block, if anything leads there."""
        self.builder.position_at_end(block)
        self.open = reached
        if not reached:
            self.builder.unreachable()

    def _do_While(self, node: ast.While) -> None:
        if node.orelse:
            raise Indirect("else of a loop")
        builder = self.builder
        head, body, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        self.branch(node.test, body, after)
        builder.position_at_end(body)
        self._body(node.body, head, after)
        endless = known_number(node.test)
        self._continue_at(after, not endless or self._leaves(node.body))

    def _leaves(self, body: Sequence[ast.stmt]) -> bool:
        """Whether a loop's body has a `break` of its own."""
        for statement in body:
            if isinstance(statement, ast.Break):
                return True
            if isinstance(statement, ast.If) and (self._leaves(statement.body) or self._leaves(statement.orelse)):
                return True
        return False

    def _body(self, body: Sequence[ast.stmt], head: Any, after: Any) -> None:
        self.loops.append((head, after))
        with self._scope():
            self._suite(body)
            if self.open:
                self.builder.branch(head)
        self.loops.pop()

    def _do_Break(self, node: ast.Break) -> None:
        self.builder.branch(self.loops[-1][1])
        self.open = False

    def _do_Continue(self, node: ast.Continue) -> None:
        self.builder.branch(self.loops[-1][0])
        self.open = False

    def _do_For(self, node: ast.For) -> None:
        if node.orelse or not isinstance(node.target, ast.Name):
            raise Indirect("else of a loop, or a loop over tuples")
        builder = self.builder
        start, stop, step, is_one = self._range(node.iter)
        origin, known = start, _known_rounds(node.iter)
        if known is not None:
            start, stop = _I64(0), _I64(known)
        position = self._counter(start)
        counter = None if is_one else self._counter(self._rounds(start, stop, step))
        head, body, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        value = builder.load(position)
        if counter is None:
            builder.cbranch(builder.icmp_signed("<", value, stop), body, after)
            builder.position_at_end(body)
        else:
            count = builder.load(counter)
            builder.cbranch(builder.icmp_signed(">", count, _I64(0)), body, after)
            builder.position_at_end(body)
            builder.store(builder.sub(count, _I64(1), flags=["nsw"]), counter)
        # Steps of one end before they wrap, and LLVM makes the best code where it knows.
        builder.store(builder.add(value, step, flags=["nsw"] if is_one else []), position)
        if known is not None:
            value = builder.add(origin, value)
        self.loops.append((head, after))
        with self._scope():
            self.assign(node.target.id, (types.int64, value))
            self._suite(node.body)
            if self.open:
                builder.branch(head)
        self.loops.pop()
        self._continue_at(after, True)

    def _counter(self, first: Any) -> Any:
        """A slot for an int64 that nothing else than the loop changes."""
        with self.builder.goto_entry_block():
            slot = self.builder.alloca(_I64)
        self.builder.store(first, slot)
        return slot

    def _range(self, node: ast.AST) -> tuple[Any, Any, Any, bool]:
        """The first number of a range, its end and its step, and whether that is surely 1."""
        if not isinstance(node, ast.Call) or node.keywords or not 1 <= len(node.args) <= 3:
            raise Indirect("a loop over something else than a range")
        if self.known(node.func) is not range:
            raise Indirect("a loop over something else than a range")
        parts = [self.value(a) for a in node.args]
        if any(kind != types.int64 for kind, _ in parts):
            raise Indirect("a range of numbers that are not int64")
        numbers = [value for _, value in parts]
        if len(numbers) == 1:
            numbers.insert(0, _I64(0))
        if len(numbers) == 2:
            return numbers[0], numbers[1], _I64(1), True
        return numbers[0], numbers[1], numbers[2], known_number(node.args[2]) == 1

    def _rounds(self, start: Any, stop: Any, step: Any) -> Any:
        """How many numbers a range has."""
        builder, zero, one = self.builder, _I64(0), _I64(1)
        up = builder.icmp_signed(">", step, zero)
        distance = builder.select(up, builder.sub(stop, start), builder.sub(start, stop))
        stride = builder.select(up, step, builder.neg(step))
        # A step of 0 would trap in the division.
        stride = builder.select(builder.icmp_signed("==", stride, zero), one, stride)
        steps = builder.add(builder.sdiv(builder.sub(distance, one), stride), one)
        return builder.select(builder.icmp_signed(">", distance, zero), steps, zero)


def _known_rounds(node: Any) -> int | None:
    """How many numbers a range has that is written as so many from one on, `range(x, x + 32)`.

    LLVM does not find out: that the sum does not wrap is forgotten where another one is not said to.
    """
    if len(node.args) != 2:
        return None
    begin, end = node.args
    if isinstance(end, ast.BinOp) and isinstance(end.op, ast.Add) and ast.dump(end.left) == ast.dump(begin):
        rounds = known_number(end.right)
        return rounds if type(rounds) is int else None
    return None
