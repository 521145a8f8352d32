"""What passes are made of: uses, effects, copying, and tables of named rules applied over a graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .builder import Builder
from .core import Block, Graph, Instruction, Value, substitute_attribute
from .dims import Dim, symbol
from .matching import binding_symbols, match_types
from .ops._op import Op, ScalarExpression, Trait, get_op
from .sizes import Sizes
from .symbolic import building, unwrap, wrap
from .types import Type, substitute_type, type_symbols
from .verify import graph_symbols

__all__ = [
    "Rewriter", "Rule", "Rules", "attribute_symbols", "clone", "constant_value", "erase", "has_effect", "is_constant",
    "is_function", "replace_all_uses", "rewrite", "rule", "symbol_definitions", "uses",
]  # fmt: skip


# -- questions about graphs -------------------------------------------------------------------------------------------


def uses(graph: Graph | Block) -> dict[Value, list[tuple[Instruction, int]]]:
    """For each value that is used, the instructions that use it and as which operand."""
    found: dict[Value, list[tuple[Instruction, int]]] = {}
    for instruction in graph.walk():
        for index, operand in enumerate(instruction.operands):
            if operand is not None:
                found.setdefault(operand, []).append((instruction, index))
    return found


def has_effect(instruction: Instruction) -> bool:
    """Whether an instruction must stay, in its order, even where its results are unused.

    An `if` or `loop` has an effect where an instruction in its regions has one.
    """
    if instruction.regions:
        return any(has_effect(i) for region in instruction.regions for i in region.body)
    return instruction.op.has_effect and Trait.TERMINATOR not in instruction.op.traits


def is_function(op: Op) -> bool:
    """Whether an op gives the same for the same operands and does nothing else, unless it raises."""
    return op.is_pure or isinstance(op.lower, ScalarExpression)


def is_constant(value: Value | None) -> bool:
    """Whether a value is the result of a `constant`."""
    return value is not None and value.instruction is not None and value.instruction.op.name == "constant"


def constant_value(value: Value | None, default: Any = None) -> Any:
    """What a constant holds, or `default` where the value is not a constant."""
    if value is None or value.instruction is None or value.instruction.op.name != "constant":
        return default
    return value.instruction.attributes["value"]


def attribute_symbols(value: Any) -> frozenset[str]:
    """Names of the dimension symbols in an attribute."""
    if isinstance(value, tuple):
        return frozenset().union(*map(attribute_symbols, value))
    if isinstance(value, Type):
        return type_symbols(value)
    return value.symbols() if hasattr(value, "symbols") else frozenset()


def symbol_definitions(graph: Graph) -> dict[str, Value]:
    """For each dimension symbol, the value whose type first gives it a value."""
    found: dict[str, Value] = {}

    def add(values: Sequence[Value]) -> None:
        for value in values:
            for name in binding_symbols(value.type):
                found.setdefault(name, value)

    add(graph.arguments)
    for instruction in graph.walk():
        for region in instruction.regions:
            add(region.arguments)
        if not instruction.regions:
            add(instruction.results)
    for instruction in graph.walk():
        add(instruction.results)
    return found


# -- changes in place -------------------------------------------------------------------------------------------------


def replace_all_uses(graph: Graph, old: Value, new: Value) -> None:
    """Make every operand that is `old` be `new`; in time linear in the graph, so not for use in a loop."""
    for instruction in graph.walk():
        for index, operand in enumerate(instruction.operands):
            if operand is old:
                instruction.operands[index] = new


def erase(instruction: Instruction) -> None:
    """Take an instruction out of its block; its results must have no uses left."""
    assert instruction.block is not None
    instruction.block.instructions.remove(instruction)
    instruction.block = None


def clone(graph: Graph) -> Graph:
    """A copy that shares nothing that can change."""
    copied = Rewriter(graph, Rules()).run()
    copied.functions = {name: clone(function) for name, function in graph.functions.items()}
    return copied


# -- rules ------------------------------------------------------------------------------------------------------------

RuleFunction = Callable[[Instruction, "Rewriter"], "Value | Sequence[Value] | None"]


@dataclass(frozen=True)
class Rule:
    """A local rewrite: a name such as "x + 0 -> x", which ops it looks at, and its function.

    The function takes an instruction whose operands are already rewritten and that is not in a block yet, and the
    rewriter, with which it builds new instructions. It returns the values that replace the results, or None.
    """

    name: str
    applies: Callable[[Op], bool]
    function: RuleFunction


@dataclass(frozen=True)
class Rules:
    """A table of rules, tried in order; tables are joined with `+`."""

    rules: tuple[Rule, ...] = ()

    def __add__(self, other: "Rules") -> "Rules":
        return Rules(self.rules + other.rules)

    @cached_property
    def _by_op(self) -> dict[Op, tuple[Rule, ...]]:
        return {}

    def for_op(self, op: Op) -> tuple[Rule, ...]:
        """The rules that look at an op."""
        found = self._by_op.get(op)
        if found is None:
            found = self._by_op[op] = tuple(r for r in self.rules if r.applies(op))
        return found


def rule(name: str, *ops: str, when: Callable[[Op], bool] | None = None) -> Callable[[RuleFunction], Rules]:
    """Make a table of one rule for the ops of these names, or those for which `when` is true."""

    def decorate(function: RuleFunction) -> Rules:
        return Rules((Rule(name, when or (lambda op: op.name in ops), function),))

    return decorate


_MAX_DEPTH = 100
_MAX_SWEEPS = 16


def rewrite(graph: Graph, rules: Rules) -> Graph:
    """A new graph in which no rule applies any more; RuntimeError where rules go on for ever."""
    for _ in range(_MAX_SWEEPS):
        rewriter = Rewriter(graph, rules)
        graph = rewriter.run()
        if not rewriter.applied:
            return graph
    raise RuntimeError(f"rewriting {graph.name} does not end: the last sweep applied {', '.join(rewriter.applied)}")


class Rewriter:
    """Copies a graph once, from its first instruction to its last, applying rules on the way.

    Passes that are more than rules derive from this and override `visit`.
    """

    def __init__(self, source: Graph, rules: Rules | None = None) -> None:
        self.source = source
        self.rules = rules if rules is not None else Rules()
        self.builder = Builder(source.name, Sizes(source.examples, graph_symbols(source), source.guards))
        self.values: dict[Value, Value] = {}
        self.symbols: dict[str, Dim] = {}
        self.applied: dict[str, int] = {}
        self._depth = 0

    @property
    def sizes(self) -> Sizes:
        return self.builder.sizes

    def run(self) -> Graph:
        """The new graph."""
        source, graph = self.source, self.builder.graph
        for argument in source.arguments:
            self.values[argument] = graph.block.add_argument(self.type(argument.type), argument.name)
        self.copy_block(source.block)
        graph.guards, graph.examples = list(source.guards), dict(source.examples)
        graph.writes, graph.outputs, graph.parameters = list(source.writes), source.outputs, source.parameters
        graph.functions = dict(source.functions)  # passes are applied to each of them by the pipeline
        return graph

    # -- copying -----------------------------------------------------------------------------------------------------

    def value(self, old: Value) -> Value:
        """What stands for a value of the source; a value of the new graph stands for itself."""
        return self.values.get(old, old)

    def type(self, type: Type) -> Type:
        """A type of the source, with symbols replaced as far as they were."""
        return substitute_type(type, self.symbols) if self.symbols else type

    def copy_block(self, block: Block) -> None:
        """Copy the instructions of a block into the block that is being built."""
        for instruction in block.instructions:
            self.visit(instruction)

    def visit(self, instruction: Instruction) -> None:
        """Copy one instruction, or what rules make of it."""
        copied = self.copy(instruction)
        replaced = self.apply(copied)
        if replaced is None:
            self.builder.block.append(copied)
            self._note_equality(copied)
            replaced = copied.results
        self.replace(instruction.results, replaced)

    def copy(self, instruction: Instruction) -> Instruction:
        """A copy with operands, symbols and regions rewritten, not in a block yet."""
        operands: list[Value | None] = []
        is_refined = False
        for old in instruction.operands:
            new = None if old is None else self.values.get(old, old)
            operands.append(new)
            if new is not old and new is not None and old is not None and new.type is not old.type:
                is_refined = is_refined or new.type != self.type(old.type)
        attributes = dict(instruction.attributes)
        if self.symbols:
            attributes = {name: substitute_attribute(value, self.symbols) for name, value in attributes.items()}
        regions = [self.copy_region(region) for region in instruction.regions]
        types = tuple([self.type(r.type) for r in instruction.results])
        copied = Instruction(instruction.op, operands, attributes, types, regions, instruction.location)
        if is_refined and types and not regions:
            self._infer_again(copied)
        for result, before in zip(copied.results, instruction.results, strict=True):
            result.name = before.name
        return copied

    def _infer_again(self, instruction: Instruction) -> None:
        """Give results the types that now more precise operands make."""
        inferred = self.infer(instruction)
        for result, type in zip(instruction.results, inferred or (), strict=False):
            if match_types(result.type, type, type_symbols(result.type), {}, same=self.sizes.are_known_equal):
                result.type = type

    def infer(self, instruction: Instruction) -> tuple[Type, ...] | None:
        """The result types that inference gives with nothing new assumed; None where it refuses."""
        types = [None if v is None else v.type for v in instruction.operands]
        pending, self.sizes.requirements, since = self.sizes.requirements, [], len(self.sizes.unvalued)
        try:
            inferred = instruction.op.infer_types(
                self.sizes, instruction.op.schema.unflatten(types), instruction.attributes
            )
            return None if self.sizes.take_requirements(since) else inferred
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None
        finally:
            self.sizes.requirements = pending

    def copy_region(self, region: Block) -> Block:
        """A region copied into a new block of its own."""
        new = Block()
        for argument in region.arguments:
            self.values[argument] = new.add_argument(self.type(argument.type), argument.name)
        self.fill_region(new, region)
        return new

    def fill_region(self, new: Block, region: Block) -> None:
        """Copy a region's instructions into a block; what becomes known in there is forgotten after it."""
        known, symbols = set(self.sizes.known), dict(self.symbols)
        with self.builder.inside(new):
            self.copy_block(region)
        self.sizes.known, self.symbols = known, symbols

    def _note_equality(self, instruction: Instruction) -> None:
        if instruction.op.name == "require_equal":
            left, right = (getattr(v.type, "value", None) for v in instruction.inputs)
            if left is not None and right is not None:
                self.sizes.known.add(frozenset((left, right)))

    def replace(self, old: Sequence[Value], new: Sequence[Value]) -> None:
        """Let `new` stand for the source's values `old`, and their sizes for symbols that `old` introduced."""
        for before, after in zip(old, new, strict=True):
            self.values[before] = after
            if after.name is None and after.block is None:
                after.name = before.name
            if before.type is after.type:
                continue
            type = self.type(before.type)
            if type != after.type and (fresh := binding_symbols(type).keys() - type_symbols(after.type)):
                bindings: dict[str, Dim] = {}
                others = type_symbols(type) - fresh
                if match_types(type, after.type, others, bindings, same=self.sizes.are_known_equal, widen=True):
                    self.symbols |= {n: d for n, d in bindings.items() if n in fresh and d != symbol(n)}

    # -- rules -------------------------------------------------------------------------------------------------------

    def apply(self, instruction: Instruction) -> Sequence[Value] | None:
        """The replacement that the first rule that applies gives, itself rewritten; None where none applies."""
        builder = self.builder
        for candidate in self.rules.for_op(instruction.op):
            block, home, location = Block(), builder.block, builder.location
            builder.block, builder.location = block, instruction.location or location
            try:
                replacement = candidate.function(instruction, self)
            finally:
                builder.block, builder.location = home, location
            if replacement is None:
                continue
            self.applied[candidate.name] = self.applied.get(candidate.name, 0) + 1
            values = (replacement,) if isinstance(replacement, Value) else tuple(replacement)
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise RuntimeError(f"the rule {candidate.name!r} of {instruction.op.name} does not end")
            self.copy_block(block)
            self._depth -= 1
            return tuple(self.values.get(v, v) for v in values)
        return None

    def emit(self, op: str, *operands: Value | None, **attributes: Any) -> Value:
        """Build an instruction with one result; attributes that are left out have their defaults."""
        return self.builder.emit(get_op(op), *operands, **attributes)

    def constant(self, value: Any) -> Value:
        """Build a constant."""
        return self.builder.constant(value)

    def call(self, function: Callable[..., Any], instruction: Instruction) -> list[Value]:
        """Build what a function written in public ops makes of an instruction's operands and attributes."""
        operands = [wrap(self.builder, v) for v in instruction.operands]
        grouped = instruction.op.schema.unflatten(operands)
        with building(self.builder):
            results = function(*grouped, **instruction.attributes)
        results = results if isinstance(results, tuple) else (results,)
        values = [unwrap(self.builder, r) for r in results]
        return [v for v in values if v is not None]

    def inline(self, block: Block, arguments: Sequence[Value] = ()) -> list[Value]:
        """Build the instructions of a region of the new graph here, in place of it; the values that it yields.

        The region must not be used otherwise.
        """
        mapping: Mapping[Value, Value] = dict(zip(block.arguments, arguments, strict=True))
        for inner in block.body:
            self.builder.block.append(inner)
        for inner in block.walk():
            for index, operand in enumerate(inner.operands):
                if operand is not None and operand in mapping:
                    inner.operands[index] = mapping[operand]
        return [mapping.get(v, v) for v in block.terminator.inputs]
