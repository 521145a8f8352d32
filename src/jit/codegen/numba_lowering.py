"""Numba's passes and lowering for generated code: only what it needs of them, since compiling waits for them.

Numba lowers for programs with objects, exceptions and debuggers: liveness after every pass, `del`s, a slot on the stack
for most variables, a check after every call, tables of overloads for every `+`. Generated code has numbers and pointers
in loops. What is made here of the same typed form is half as many instructions, in half the time.
"""

import functools
import operator
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir as llvm_ir
from numba.core import (
    cgutils,
    errors,
    ir,
    ir_utils,
    lowering,
    ssa,
    transforms,
    typed_passes,
    types,
    typing,
    untyped_passes,
)
from numba.core.imputils import Registry
from numba.core.rewrites import rewrite_registry

__all__ = ["Passes", "direct_operator", "operator_signature", "ranges", "returns_only_zero", "user_function"]

_BOOL, _I64 = types.boolean, types.int64


class Passes:
    """What a compiler runs: passes one after another, without what Numba records and verifies around each."""

    pipeline_name = "ingot"

    def __init__(self) -> None:
        self.exec_times: dict[str, Any] = {}

    def run(self, state: Any) -> None:
        """Compile what the state holds."""
        for compiler_pass in _PASSES:
            compiler_pass().run_pass(state)


class _Canonical:
    """The blocks in canonical form, which is all that is needed of `IRProcessing`: no generators, no liveness."""

    def run_pass(self, state: Any) -> None:
        state.func_ir.blocks = transforms.canonicalize_cfg(state.func_ir.blocks)
        state.func_ir.generator_info = None


class _Rewrites:
    """What Numba rewrites before typing (constant indices, say), without liveness afterwards."""

    def run_pass(self, state: Any) -> None:
        blocks = state.func_ir.blocks
        for rewrite_class in rewrite_registry.rewrites["before-inference"]:
            rewrite = rewrite_class(state)
            work = list(blocks.items())
            while work:
                label, block = work.pop()
                if rewrite.match(state.func_ir, block, state.typemap, state.calltypes):
                    blocks[label] = rewrite.apply()
                    work.append((label, blocks[label]))


class _SingleAssignment:
    """A name of its own for each assignment, so that each has a type of its own."""

    def run_pass(self, state: Any) -> None:
        state.func_ir = ssa.reconstruct_ssa(state.func_ir)
        state.func_ir._definitions = ir_utils.build_definitions(state.func_ir.blocks)


class _StripPhis(typed_passes.PreLowerStripPhis):  # type: ignore[misc]
    """Assignments for phis."""

    def run_pass(self, state: Any) -> None:
        state.func_ir = self._strip_phi_nodes(state.func_ir)


class _NativeLowering(typed_passes.NativeLowering):  # type: ignore[misc]
    @property
    def lowering_class(self) -> type:
        return _Lower


_PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    _Canonical,
    _Rewrites,
    _SingleAssignment,
    typed_passes.NopythonTypeInference,
    _StripPhis,
    _NativeLowering,
    typed_passes.NoPythonBackend,
)


class _Lower(lowering.Lower):  # type: ignore[misc]
    """Numba's lowering without reference counts, debug information and zeroed slots."""

    def init(self) -> None:
        lowering.BaseLower.init(self)
        self._singly_assigned_vars = _values(self.blocks)
        self._blk_local_varmap: dict[str, Any] = {}

    def pre_block(self, block: Any) -> None:
        self._cur_ir_block = block

    def post_block(self, block: Any) -> None:
        pass

    def lower_block(self, block: Any) -> None:
        self.pre_block(block)
        for statement in block.body:
            self.loc = statement.loc
            try:
                self.lower_inst(statement)
            except Exception:
                kind = functools.partial(errors.LoweringError, loc=self.loc)
                context = errors.new_error_context  # type: ignore[attr-defined]
                with context('lowering "{inst}" at {loc}', inst=statement, loc=self.loc, errcls_=kind):
                    raise

    def lower_inst(self, inst: Any) -> Any:
        if type(inst) is not ir.Assign:
            return super().lower_inst(inst)
        name = inst.target.name
        self.storevar(self.lower_assign(self.fndesc.typemap[name], inst), name)
        return None

    def storevar(self, value: Any, name: str, argidx: int | None = None) -> None:
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self.builder.store(value, self.getvar(name))

    def alloca_lltype(self, name: str, lltype: Any, datamodel: Any = None) -> Any:
        with self.builder.goto_entry_block():
            return self.builder.alloca(lltype, name=name)

    def delvar(self, name: str) -> None:
        pass

    def incref(self, typ: Any, val: Any) -> None:
        pass

    def decref(self, typ: Any, val: Any) -> None:
        pass

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        signature = self.fndesc.calltypes[expr]
        emit = _direct(op, signature)
        if emit is None:
            return super().lower_binop(resty, expr, op)
        operands = (
            self.context.cast(self.builder, self.loadvar(v.name), self.typeof(v.name), t)
            for v, t in zip((expr.lhs, expr.rhs), signature.args, strict=True)
        )
        return self.context.cast(self.builder, emit(self.builder, *operands), signature.return_type, resty)


def _names(value: Any) -> Iterator[str]:
    """The variables that an expression or a statement reads."""
    if isinstance(value, ir.Var):
        yield value.name
    elif isinstance(value, ir.Expr):
        for part in value._kws.values():
            yield from _names(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _names(part)
    elif isinstance(value, ir.Stmt):
        for variable in value.list_vars():
            yield variable.name


def _values(blocks: dict[int, Any]) -> set[str]:
    """Variables that need no slot: assigned at one place, which lies before every other that reads them.

    That is so where they are read in the same block later on, or assigned in the first block, through which all go.
    """
    first = min(blocks)
    places: dict[str, list[int]] = defaultdict(list)
    early: dict[str, set[int]] = defaultdict(set)
    for label, block in blocks.items():
        here: set[str] = set()
        for statement in block.body:
            assigns = isinstance(statement, ir.Assign)
            for name in _names(statement.value if assigns else statement):
                if name not in here:
                    early[name].add(label)
            if assigns:
                places[statement.target.name].append(label)
                here.add(statement.target.name)
    return {
        name
        for name, labels in places.items()
        if len(labels) == 1 and (not early[name] or (labels[0] == first and first not in early[name]))
    }


# -- operators on numbers of one type, as Numba defines them --

_ORDER = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
    operator.ne: "!=",
}
_INTEGER = {operator.add: "add", operator.sub: "sub", operator.mul: "mul", operator.and_: "and_", operator.or_: "or_",
            operator.xor: "xor"}  # fmt: skip
_FLOAT = {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"}


def operator_signature(op: Any, arguments: tuple[Any, ...]) -> Any:
    """The signature of an operator on two numbers of one type, which Numba finds too, by trying dozens of templates."""
    if len(arguments) != 2 or arguments[0] is not arguments[1]:
        return None
    kind = arguments[0]
    if kind is _I64:
        same = op in _INTEGER or op is operator.floordiv or op is operator.mod
    elif kind is types.float32 or kind is types.float64:
        same = op in _FLOAT
    else:
        return None
    if same:
        return typing.signature(kind, kind, kind)
    return typing.signature(_BOOL, kind, kind) if op in _ORDER else None


def _direct(op: Any, signature: Any) -> Callable[[Any, Any, Any], Any] | None:
    """A function that writes an operator's instructions; None where Numba is to do it."""
    kind = signature.args[0]
    if len(signature.args) != 2 or signature.args[1] is not kind:
        return None
    is_float = kind is types.float32 or kind is types.float64
    if kind is not _I64 and not is_float:
        return None
    if op in _ORDER and signature.return_type is _BOOL:
        # A comparison with NaN is false, but that it differs is true.
        name = "icmp_signed" if not is_float else "fcmp_unordered" if op is operator.ne else "fcmp_ordered"
        return lambda builder, a, b: getattr(builder, name)(_ORDER[op], a, b)
    if signature.return_type is not kind:
        return None
    method = (_FLOAT if is_float else _INTEGER).get(op)
    if method is not None:
        return lambda builder, a, b: getattr(builder, method)(a, b)
    if not is_float and op in (operator.floordiv, operator.mod):
        return functools.partial(_divide, op is operator.floordiv)
    return None


@functools.cache
def direct_operator(op: Any, left: Any, right: Any) -> tuple[Any, Callable[[Any, Any, Any], Any]] | None:
    """The type of an operator's result on two numbers of one type, and what writes it; None where Numba knows."""
    signature = operator_signature(op, (left, right))
    emit = None if signature is None else _direct(op, signature)
    return None if emit is None else (signature.return_type, emit)


def _divide(quotient: bool, builder: Any, a: Any, b: Any) -> Any:
    """Python's `//` or `%`; 0 where the divisor is 0 or the quotient is no int64, as Numba has it for NumPy's model."""
    if isinstance(b, llvm_ir.Constant) and isinstance(b.constant, int) and b.constant > 0:
        return _divide_by_constant(quotient, builder, a, b)
    zero = b.type(0)
    overflows = builder.and_(builder.icmp_signed("==", a, a.type(-(1 << 63))), builder.icmp_signed("==", b, b.type(-1)))
    undefined = builder.or_(builder.icmp_signed("==", b, zero), overflows)
    before = builder.block
    with builder.if_then(builder.not_(undefined), likely=True):
        rest = builder.srem(a, b)
        # The remainder has the sign of the divisor.
        wrong = builder.and_(
            builder.icmp_signed("!=", rest, zero), builder.icmp_signed("<", builder.xor(rest, b), zero)
        )
        if quotient:
            result = builder.sub(builder.sdiv(a, b), builder.zext(wrong, b.type))
        else:
            result = builder.add(rest, builder.select(wrong, b, zero))
        inside = builder.block
    phi = builder.phi(b.type)
    phi.add_incoming(zero, before)
    phi.add_incoming(result, inside)
    return phi


def _divide_by_constant(quotient: bool, builder: Any, a: Any, b: Any) -> Any:
    divisor = b.constant
    if divisor & (divisor - 1) == 0:
        if quotient:
            return builder.ashr(a, b.type(divisor.bit_length() - 1))
        return builder.and_(a, b.type(divisor - 1))
    rest = builder.srem(a, b)
    negative = builder.icmp_signed("<", rest, b.type(0))
    if quotient:
        return builder.sub(builder.sdiv(a, b), builder.zext(negative, b.type))
    return builder.add(rest, builder.select(negative, b, b.type(0)))


# -- loops over ranges: a step is never 0 in generated code, so nothing is raised --

ranges = Registry("ingot ranges")


@ranges.lower("getiter", types.range_state64_type)  # type: ignore[untyped-decorator]
def _begin_range(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    start, stop, step = cgutils.unpack_tuple(builder, arguments[0], 3)
    zero, one = step.type(0), step.type(1)
    up = builder.icmp_signed(">", step, zero)
    distance = builder.select(up, builder.sub(stop, start), builder.sub(start, stop))
    stride = builder.select(up, step, builder.neg(step))
    # A step of 0 would trap in the division.
    stride = builder.select(builder.icmp_signed("==", stride, zero), one, stride)
    steps = builder.add(builder.sdiv(builder.sub(distance, one), stride), one)
    count = builder.select(builder.icmp_signed(">", distance, zero), steps, zero)
    slots = []
    for value in (start, count):
        with builder.goto_entry_block():
            slots.append(builder.alloca(value.type))
        builder.store(value, slots[-1])
    parts = [slots[0], stop, step, slots[1]]
    return cgutils.make_anonymous_struct(builder, parts, context.get_value_type(signature.return_type))


@ranges.lower("iternext", types.range_iter64_type)  # type: ignore[untyped-decorator]
def _next_of_range(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    position, step, counter = (builder.extract_value(arguments[0], i) for i in (0, 2, 3))
    count, value = builder.load(counter), builder.load(position)
    valid = builder.icmp_signed(">", count, count.type(0))
    # Only where there is a next one: loops of this form are what LLVM makes the best code of.
    with builder.if_then(valid):
        builder.store(builder.sub(count, count.type(1), flags=["nsw"]), counter)
        builder.store(builder.add(value, step), position)
    return cgutils.make_anonymous_struct(builder, [value, valid], context.get_value_type(signature.return_type))


# -- calls of functions that raise nothing --


def returns_only_zero(function: Any) -> bool:
    """Whether a lowered function always returns the status of success."""
    returned = (block.terminator for block in function.blocks)
    statuses = [r.return_value for r in returned if isinstance(r, llvm_ir.Ret)]
    return all(isinstance(s, llvm_ir.Constant) and s.constant == 0 for s in statuses)


def user_function(descriptor: Any, library: Any) -> Any:
    """What is inserted for a call of a compiled function that cannot raise: the call, without a look at its status."""

    def call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, convention = context.declare_function(builder.module, descriptor), context.call_conv
        with builder.goto_entry_block():
            slot = builder.alloca(convention.get_return_type(descriptor.restype).pointee)
        values = convention._get_arg_packer(descriptor.argtypes).as_arguments(builder, arguments)
        builder.call(function, [slot, function.args[1].type(None), *values])
        return context.get_returned_value(builder, descriptor.restype, builder.load(slot))

    call.signature = descriptor.argtypes  # type: ignore[attr-defined]
    call.libs = (library,)  # type: ignore[attr-defined]
    return call
