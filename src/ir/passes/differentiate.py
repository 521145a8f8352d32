"""Reverse-mode differentiation of a graph: one that also keeps what its derivative needs, and one that computes it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..builder import Builder
from ..core import Block, Graph, Instruction, Value
from ..dims import Dim, symbols
from ..location import LocatedError
from ..matching import binding_symbols
from ..ops._op import F, VjpContext
from ..rewrite import clone, symbol_definitions
from ..sizes import Sizes
from ..symbolic import building, unwrap, wrap
from ..types import (
    DictType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    TensorType,
    TupleType,
    Type,
    contained_types,
)
from ..verify import graph_symbols
from .dce import dead_code_elimination
from .decompose import decompose
from .list_gradients import ListGradients, is_tensor_list, sized_symbols
from .residuals import Residuals, substitute_values, values_of
from .simplify import simplify

__all__ = ["Derivative", "DifferentiationError", "differentiate"]


class DifferentiationError(LocatedError):
    """The program does something that has no derivative, or none that is implemented; the place says where."""


@dataclass(frozen=True)
class Derivative:
    """A graph's derivative.

    forward: computes the graph's results, followed by `residuals` further values.
    backward: takes those values, then gradients of the results `outputs`, and returns gradients of the arguments
        `inputs` (those asked for on which these results depend). It may be run several times.
    """

    forward: Graph
    backward: Graph
    residuals: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def differentiate(graph: Graph, inputs: Sequence[int] | None = None) -> Derivative:
    """The derivative of a graph in the arguments `inputs` (default: all floating-point tensors).

    Branches and loops are differentiated as such: the forward graph keeps what each iteration needs in lists. It
    raises DifferentiationError for a list or dictionary that a gradient would have to pass, for a loop-carried tensor
    whose size changes, and for an op without a derivative.

    Precondition: the graph is valid.
    """
    prepared = dead_code_elimination(simplify(decompose(graph, keep=lambda i: i.op.vjp is not None)))
    wanted = [i for i, a in enumerate(prepared.arguments) if _is_floating(a.type)] if inputs is None else list(inputs)
    for index in wanted:
        if not _is_floating(prepared.arguments[index].type):
            raise TypeError(
                f"argument {index} of {graph.name} is {prepared.arguments[index].type}: only a floating-point tensor "
                "has a gradient"
            )
    return _Differentiator(prepared, wanted).run()


def _is_floating(type: Type) -> bool:
    return isinstance(type, TensorType) and type.dtype.category >= 2


def _may_carry_list(type: Type) -> bool:
    return isinstance(type, (ListType, DictType)) and _may_carry(type)


def _may_carry(type: Type) -> bool:
    """Whether a value of the type may hold a floating-point tensor."""
    return _is_floating(type) or any(map(_may_carry, contained_types(type)))


def _require_equal_pairs(block: Block) -> list[tuple[Dim, Dim, str]]:
    found: list[tuple[Dim, Dim, str]] = []
    for instruction in block.instructions:
        if instruction.op.name == "require_equal":
            left, right = (v.type.value for v in instruction.inputs if isinstance(v.type, IntType))
            if left is not None and right is not None:
                found.append((left, right, instruction.attributes["message"]))
    return found


class _Gradients:
    """Gradients of values while a block is gone through backwards: those that arrive are added up."""

    def __init__(self, builder: Builder, active: set[Value]) -> None:
        self.builder = builder
        self.active = active
        self.found: dict[Value, Value] = {}

    def add(self, value: Value | None, gradient: Value | None) -> None:
        """Add to the gradient of a value, in the value's dtype; nothing where either is None."""
        if value is None or gradient is None or value not in self.active:
            return
        assert isinstance(value.type, TensorType) and isinstance(gradient.type, TensorType)
        if gradient.type.dtype is not value.type.dtype:
            gradient = self.builder.emit("cast", gradient, dtype=value.type.dtype)
        known = self.found.get(value)
        self.found[value] = gradient if known is None else self.builder.emit("add", known, gradient)

    def take(self, value: Value) -> Value | None:
        return self.found.pop(value, None)


class _Differentiator:
    def __init__(self, graph: Graph, wanted: list[int]) -> None:
        self.forward = clone(graph)
        self.wanted = wanted
        self.builder = Builder(graph.name, Sizes(graph.examples, graph_symbols(graph), graph.guards))
        self.active: set[Value] = {self.forward.arguments[i] for i in wanted}
        self.find_active(self.forward.block)
        self.residuals = Residuals(self.builder)
        self.lists = ListGradients(self.builder, self.zeros, sized_symbols(symbol_definitions(self.forward)))

    def run(self) -> Derivative:
        forward = self.forward
        results = list(forward.results)
        original = len(results)
        outputs = [i for i, r in enumerate(results) if r in self.active]
        for index, result in enumerate(results):
            if _may_carry(result.type) and result in self.active and not _is_floating(result.type):
                raise self.error(
                    forward.block.terminator, f"result {index}, a {result.type}, holds tensors to differentiate"
                )
        backward = Graph(f"{forward.name}_backward")
        gradients = _Gradients(self.builder, self.active)
        seeds = [backward.block.add_argument(results[i].type, f"gradient{i}") for i in outputs]
        with self.builder.inside(backward.block), self.relying_on(forward.block):
            for index, seed in zip(outputs, seeds, strict=True):
                gradients.add(results[index], seed)
            self.reverse(forward.block, gradients)
            reached = [i for i in self.wanted if forward.arguments[i] in gradients.found]
            returned = [gradients.found[forward.arguments[i]] for i in reached]
            self.builder.return_(returned)
        _prune(backward.block)
        needed = {name for g in forward.guards for name in symbols(g.left) | symbols(g.right)}
        captured = self.residuals.capture(forward.block, backward.block, needed)
        arguments = [Value(v.type, v.name) for v in captured]
        backward.block.arguments[:0] = arguments
        for index, argument in enumerate(backward.block.arguments):
            argument.block, argument.index = backward.block, index
        substitute_values(backward.block, dict(zip(captured, arguments, strict=True)))
        forward.block.terminator.operands.extend(captured)
        if forward.outputs is None:
            forward.outputs = original
        backward.guards, backward.examples = list(forward.guards), dict(forward.examples)
        return self.finish(forward, backward, original, tuple(reached), tuple(outputs))

    def finish(
        self, forward: Graph, backward: Graph, original: int, inputs: tuple[int, ...], outputs: tuple[int, ...]
    ) -> Derivative:
        """Drop the residuals that turn out not to be needed, and what made them."""
        backward = dead_code_elimination(backward)
        count = len(backward.arguments) - len(outputs)
        used = {v for i in backward.walk() for v in i.inputs}
        # A residual that no instruction reads may still give a symbol its value; those that only do that are ints.
        kept = [
            i
            for i, a in enumerate(backward.arguments[:count])
            if a in used or isinstance(a.type, IntType) or not self.is_spare(backward, i, count)
        ]
        dropped = set(range(count)) - set(kept)
        backward.block.arguments = [a for i, a in enumerate(backward.arguments) if i not in dropped]
        for index, argument in enumerate(backward.arguments):
            argument.index = index
        operands = forward.block.terminator.operands
        forward.block.terminator.operands = [*operands[:original], *(operands[original + i] for i in kept)]
        return Derivative(dead_code_elimination(forward), backward, len(kept), inputs, outputs)

    def is_spare(self, backward: Graph, index: int, count: int) -> bool:
        """Whether every symbol of an argument has its value from another one."""
        others = [a for i, a in enumerate(backward.arguments) if i > index or i >= count or isinstance(a.type, IntType)]
        bound: set[str] = set().union(*(binding_symbols(a.type).keys() for a in others))
        return binding_symbols(backward.arguments[index].type).keys() <= bound

    def error(self, instruction: Instruction, message: str, hint: str | None = None) -> DifferentiationError:
        return DifferentiationError(f"{instruction.op.name}: {message}", instruction.location, hint=hint)

    # -- activity ----------------------------------------------------------------------------------------------------

    def find_active(self, block: Block) -> None:
        """Add to `active` every value that depends on a wanted argument in a way that gradients follow."""
        for instruction in block.instructions:
            if instruction.op.name == "loop":
                self.find_active_loop(instruction)
            elif instruction.op.name == "try":
                self.check_inactive(instruction)
            elif instruction.regions:
                for region in instruction.regions:
                    self.find_active(region)
                    for result, value in zip(instruction.results, region.terminator.operands, strict=True):
                        if value in self.active:
                            self.activate(result)
            elif not self.active.isdisjoint(instruction.inputs) and instruction.op.name != "detach":
                # A list into which something active is put is active itself.
                for value in (*instruction.results, *(v for v in instruction.inputs if _may_carry_list(v.type))):
                    self.activate(value)

    def check_inactive(self, instruction: Instruction) -> None:
        """Refuse a `try` that gradients would have to pass: how far its region came is known at run time only."""
        before = len(self.active)
        (region,) = instruction.regions
        self.find_active(region)
        if len(self.active) != before or not self.active.isdisjoint(instruction.inputs):
            raise self.error(instruction, "gradients cannot be compiled through a `try`")

    def find_active_loop(self, loop: Instruction) -> None:
        (region,) = loop.regions
        while True:
            before = len(self.active)
            for slot, argument in enumerate(region.arguments[1:]):
                if loop.operands[slot + 2] in self.active:
                    self.activate(argument)
            self.find_active(region)
            for slot, argument in enumerate(region.arguments[1:]):
                if region.terminator.operands[slot + 1] in self.active:
                    self.activate(argument)
                if argument in self.active:
                    self.activate(loop.results[slot])
            if len(self.active) == before:
                return

    def activate(self, value: Value) -> None:
        if _may_carry(value.type):
            self.active.add(value)

    # -- going backwards ---------------------------------------------------------------------------------------------

    def reverse(self, block: Block, gradients: _Gradients) -> None:
        """Emit, into the current block, the gradients of what a block's values were made from."""
        for made in block.body:
            is_needed = made.op.name == "list.make" and made.result in self.active
            if is_needed and not (is_tensor_list(made.result.type) and self.lists.start(made)):
                raise self.error(made, "a gradient through a list needs tensors of one size in it")
        for instruction in reversed(block.body):
            with self.builder.at(instruction.location):
                if instruction.op.name == "loop":
                    self.reverse_loop(instruction, gradients)
                elif instruction.op.name == "if":
                    self.reverse_if(instruction, gradients)
                else:
                    self.reverse_op(instruction, gradients)

    def reverse_op(self, instruction: Instruction, gradients: _Gradients) -> None:
        if not self.active.isdisjoint((*instruction.inputs, *instruction.results)) and self.lists.supports(instruction):
            self.lists.rules[instruction.op.name](instruction, gradients)
            return
        self.check_supported(instruction)
        arrived = [gradients.take(r) for r in instruction.results]
        if all(g is None for g in arrived) or self.active.isdisjoint(instruction.inputs):
            return
        op, schema, builder = instruction.op, instruction.op.schema, self.builder
        if op.name == "call":
            raise self.error(instruction, "gradients are not compiled through functions that call themselves")
        if op.vjp is None:
            raise self.error(instruction, "its derivative is not implemented", "use detach() where none is needed")
        needs = schema.unflatten([v in self.active for v in instruction.operands])
        operands = schema.unflatten([wrap(builder, v) for v in instruction.operands])
        context = VjpContext(tuple(wrap(builder, r) for r in instruction.results), needs)
        wrapped = tuple(wrap(builder, g) for g in arrived)
        try:
            with building(builder):
                found = op.vjp(
                    context, wrapped[0] if len(wrapped) == 1 else wrapped, *operands, **instruction.attributes
                )
        except RuntimeError as error:  # a rule says that this use of the op has no derivative
            raise self.error(instruction, str(error)) from error
        for parameter, operand, gradient in zip(
            schema.operands, schema.unflatten(instruction.operands), found, strict=True
        ):
            if gradient is None:
                continue
            for value, part in (
                zip(operand, gradient, strict=True) if parameter.role.is_group else ((operand, gradient),)
            ):
                if value in self.active:
                    gradients.add(value, unwrap(builder, part))

    def check_supported(self, instruction: Instruction) -> None:
        """Refuse to lose a gradient that goes through something other than tensors."""
        touched = [v for v in instruction.inputs if v in self.active]
        if not touched:
            return
        for value in (*touched, *instruction.inputs, *instruction.results):
            if isinstance(value.type, (ListType, DictType, OptionalType, TupleType, RecordType)) and _may_carry(
                value.type
            ):
                raise self.error(
                    instruction,
                    f"a gradient through a value of type {value.type} is not supported",
                    "keep the tensors in variables, or write results into one tensor",
                )

    def reverse_if(self, instruction: Instruction, gradients: _Gradients) -> None:
        arrived = [gradients.take(r) for r in instruction.results]
        for result in instruction.results:
            if result in self.active and not _is_floating(result.type):
                raise self.error(instruction, f"a gradient through a value of type {result.type} is not supported")
        touches_lists = self.touches_lists(instruction)
        if all(g is None for g in arrived) and not touches_lists:
            return
        blocks, found = [], []
        for region in instruction.regions:
            block, inner = Block(), _Gradients(self.builder, self.active)
            with self.builder.inside(block), self.relying_on(region):
                for value, gradient in zip(region.terminator.operands, arrived, strict=True):
                    inner.add(value, gradient)
                self.reverse(region, inner)
            blocks.append(block)
            found.append(inner.found)
        inside = {v for region in instruction.regions for v in values_of(region)}
        outer = [v for v in dict.fromkeys([*found[0], *found[1]]) if v not in inside]
        for block, inner_found in zip(blocks, found, strict=True):
            with self.builder.inside(block):
                self.builder.yield_([inner_found[v] if v in inner_found else self.zeros(v.type) for v in outer])
            _prune(block)
        for index, block in enumerate(blocks):
            self.residuals.capture_branch(instruction, index, block)
        if not outer and not touches_lists:
            return
        condition = instruction.operands[0]
        results = self.builder.emit_all("if", [condition], {}, blocks, tuple(v.type for v in outer))
        for value, result in zip(outer, results, strict=True):
            gradients.add(value, result)

    def reverse_loop(self, loop: Instruction, gradients: _Gradients) -> None:
        (region,) = loop.regions
        arrived = [gradients.take(r) for r in loop.results]
        slots = [i for i, a in enumerate(region.arguments[1:]) if a in self.active]
        for slot in slots:
            self.check_carried(loop, slot)
        if all(arrived[i] is None for i in slots) and not self.touches_lists(loop):
            return
        defined = set(values_of(region))
        outer = [v for v in _free_values(region) if v in self.active and _is_floating(v.type)]
        carried = [region.arguments[i + 1] for i in slots]
        block, inner = Block(), _Gradients(self.builder, self.active)
        iteration = block.add_argument(IntType(), "iteration")
        incoming = [block.add_argument(v.type) for v in carried]
        sums = [block.add_argument(v.type) for v in outer]
        with self.builder.inside(block), self.relying_on(region):
            for slot, gradient in zip(slots, incoming, strict=True):
                inner.add(region.terminator.operands[slot + 1], gradient)
            for value, total in zip(outer, sums, strict=True):
                inner.add(value, total)
            self.reverse(region, inner)
            always = self.builder.constant(True)
            outgoing = [inner.found[v] if v in inner.found else self.zeros(v.type) for v in carried]
            self.builder.yield_([always, *outgoing, *(inner.found[v] for v in outer)])
        assert defined.isdisjoint(outer)
        _prune(block)
        count = self.residuals.capture_iterations(loop, block, iteration)
        starts = [arrived[i] or self.zeros(loop.results[i].type) for i in slots]
        operands = [count, self.builder.constant(True), *starts, *(self.zeros(v.type) for v in outer)]
        types = tuple(v.type for v in (*carried, *outer))
        results = self.builder.emit_all("loop", operands, {}, [block], types)
        initial = [loop.operands[i + 2] for i in slots]
        for start, result in zip((*initial, *outer), results, strict=True):
            gradients.add(start, result)

    def check_carried(self, loop: Instruction, slot: int) -> None:
        """A carried tensor keeps its type, so that its gradient can be carried back."""
        argument = loop.regions[0].arguments[slot + 1]
        types = {
            v.type
            for v in (argument, loop.operands[slot + 2], loop.regions[0].terminator.operands[slot + 1])
            if v is not None
        }
        if not _is_floating(argument.type):
            raise self.error(loop, f"a gradient through a carried value of type {argument.type} is not supported")
        if len(types) > 1:
            shown = " and ".join(sorted(map(str, types)))
            raise self.error(loop, f"a carried tensor with a gradient changes its type: {shown}")

    def touches_lists(self, instruction: Instruction) -> bool:
        """Whether an instruction's regions put into lists, or take from them, what has a gradient."""
        inner = [i for region in instruction.regions for i in region.walk()]
        return any(v in self.active and _may_carry_list(v.type) for i in inner for v in i.inputs)

    def zeros(self, type: Type) -> Value:
        """A tensor of zeros of that type."""
        assert isinstance(type, TensorType)
        with building(self.builder):
            zeros = unwrap(self.builder, F.full(type.shape, 0, dtype=type.dtype))
        assert zeros is not None
        return zeros

    @contextmanager
    def relying_on(self, block: Block) -> Iterator[None]:
        """Build the gradients of a block knowing what it checks about sizes; they check it too if they rely on it."""
        sizes = self.builder.sizes
        known, relied, sizes.relies_on_known = set(sizes.known), sizes.relies_on_known, False
        pairs = _require_equal_pairs(block)
        sizes.known |= {frozenset((left, right)) for left, right, _ in pairs}
        yield
        sizes.known = known
        if sizes.relies_on_known and pairs:
            target = self.builder.block
            checks = Block()
            with self.builder.inside(checks):
                for left, right, message in pairs:
                    sides = [self.builder.dim(left), self.builder.dim(right)]
                    self.builder.emit_all("require_equal", sides, {"message": message})
            for check in checks.instructions:
                check.block = target
            target.instructions[:0] = checks.instructions
        sizes.relies_on_known |= relied


def _free_values(region: Block) -> list[Value]:
    """The values from outside that a region uses, in order."""
    defined: set[Value] = set()
    used: dict[Value, None] = {}

    def visit(block: Block) -> None:
        defined.update(block.arguments)
        for instruction in block.instructions:
            used.update(dict.fromkeys(instruction.inputs))
            for inner in instruction.regions:
                visit(inner)
            defined.update(instruction.results)

    visit(region)
    return [v for v in used if v not in defined]


def _prune(block: Block) -> None:
    """Remove the pure instructions of a block whose results nothing uses."""
    used: set[Value] = set()
    kept: list[Instruction] = []
    for instruction in reversed(block.instructions):
        if instruction.op.is_pure and not instruction.regions and used.isdisjoint(instruction.results):
            continue
        kept.append(instruction)
        used.update(instruction.inputs)
        for region in instruction.regions:
            used.update(v for inner in region.walk() for v in inner.inputs)
    block.instructions = kept[::-1]
