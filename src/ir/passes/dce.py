"""Dead code elimination, through branches and loops."""

from ..core import Block, Graph, Instruction, Value
from ..rewrite import Rewriter, attribute_symbols, has_effect, symbol_definitions, uses
from ..types import type_symbols
from .licm import cannot_raise

__all__ = ["dead_code_elimination"]


def dead_code_elimination(graph: Graph) -> Graph:
    """Without instructions that have no effect and whose results are unused.

    Unused results of an `if` go, and so do loop-carried values that are not needed or never change, and lists that are
    only added to. A loop without effects whose results are unused goes even if it might not end.

    Precondition: the graph is valid.
    """
    liveness = _Liveness(graph)
    return _Eliminator(graph, liveness).run()


def _unchanged(loop: Instruction, slot: int) -> bool:
    """Whether the loop passes a carried value on as it is."""
    region = loop.regions[0]
    return region.terminator.operands[slot + 1] is region.arguments[slot + 1]


def _unread_lists(graph: Graph) -> set[Value]:
    """The lists made in the graph that nothing but `list.append` ever sees."""
    made = {i.result for i in graph.walk() if i.op.name == "list.make"}
    for value, found in uses(graph).items():
        if value in made and any((i.op.name, index) != ("list.append", 0) for i, index in found):
            made.discard(value)
    return made


class _Liveness:
    """Which instructions and values are needed, found from effects and the graph's results backwards."""

    def __init__(self, graph: Graph) -> None:
        self.values: set[Value] = set()
        self.instructions: set[Instruction] = set()
        self.definitions = symbol_definitions(graph)
        self.pending: list[Value] = []
        self.unread = _unread_lists(graph)
        self.effects(graph.block)
        for value in graph.results:
            self.mark(value)
        while self.pending:
            self.follow(self.pending.pop())

    def effects(self, block: Block) -> None:
        for instruction in block.body:
            if self.has_effect(instruction):
                self.need(instruction)

    def has_effect(self, instruction: Instruction) -> bool:
        """Whether an instruction does something that can be noticed, other than by its results."""
        if instruction.regions:
            return any(self.has_effect(i) for region in instruction.regions for i in region.body)
        if instruction.op.name == "list.append":
            return instruction.operands[0] not in self.unread
        return instruction.op.name != "list.make" and has_effect(instruction)

    def mark(self, value: Value | None) -> None:
        if value is not None and value not in self.values:
            self.values.add(value)
            self.pending.append(value)

    def symbols(self, names: frozenset[str]) -> None:
        for name in names:
            self.mark(self.definitions.get(name))

    def need(self, instruction: Instruction) -> None:
        """An instruction stays: so does what it always reads, and what has an effect inside."""
        if instruction in self.instructions:
            return
        self.instructions.add(instruction)
        for value in instruction.attributes.values():
            self.symbols(attribute_symbols(value))
        for region in instruction.regions:
            self.effects(region)
        if instruction.op.name == "try":
            (region,) = instruction.regions
            self.raising(region)
            for operand in (*instruction.operands, *region.terminator.operands):
                self.mark(operand)
        elif instruction.op.name == "loop":
            for operand in (*instruction.operands[:2], instruction.regions[0].terminator.operands[0]):
                self.mark(operand)
        else:
            for operand in instruction.operands:
                self.mark(operand)

    def raising(self, region: Block) -> None:
        """In a `try`, what may raise is needed even where its results are not."""
        for instruction in region.body:
            if not instruction.op.is_pure or not cannot_raise(instruction):
                self.need(instruction)
            for inner in instruction.regions:
                self.raising(inner)

    def follow(self, value: Value) -> None:
        """A value is needed: so is what defines it."""
        self.symbols(type_symbols(value.type))
        if value.instruction is not None:
            self.result(value.instruction, value.index)
        elif value.block is not None and value.block.parent is not None:
            self.need(value.block.parent)
            if value.index:
                self.carried(value.block.parent, value.index - 1)

    def result(self, instruction: Instruction, index: int) -> None:
        if instruction.op.name == "loop":
            if _unchanged(instruction, index):
                self.mark(instruction.operands[index + 2])
            else:
                self.need(instruction)
                self.carried(instruction, index)
            return
        self.need(instruction)
        for region in instruction.regions if instruction.op.name != "try" else ():
            self.mark(region.terminator.operands[index])

    def carried(self, loop: Instruction, slot: int) -> None:
        region = loop.regions[0]
        self.mark(loop.operands[slot + 2])
        self.mark(loop.results[slot])
        self.mark(region.arguments[slot + 1])
        self.mark(region.terminator.operands[slot + 1])


class _Eliminator(Rewriter):
    """Copies what is needed."""

    def __init__(self, graph: Graph, liveness: _Liveness) -> None:
        super().__init__(graph)
        self.liveness = liveness
        self.slots: dict[Block, list[int]] = {}

    def visit(self, instruction: Instruction) -> None:
        if instruction.op.name == "yield":
            assert instruction.block is not None
            kept = [instruction.operands[i] for i in self.slots[instruction.block]]
            self.builder.block.append(
                Instruction(instruction.op, [self.value(v) for v in kept if v is not None], {}, (), None,
                            instruction.location)
            )  # fmt: skip
        elif instruction.op.name == "loop":
            self.visit_loop(instruction)
        elif instruction in self.liveness.instructions or instruction.op.name == "return":
            if instruction.op.name == "try":
                (region,) = instruction.regions
                self.slots[region] = list(range(len(region.terminator.operands)))
                super().visit(instruction)
            elif instruction.regions:
                self.visit_if(instruction)
            else:
                super().visit(instruction)

    def visit_if(self, instruction: Instruction) -> None:
        slots = [i for i, r in enumerate(instruction.results) if r in self.liveness.values]
        for region in instruction.regions:
            self.slots[region] = slots
        self.rebuild(instruction, slots, [self.value(v) for v in instruction.inputs], instruction.regions[0].arguments)

    def visit_loop(self, loop: Instruction) -> None:
        region = loop.regions[0]
        for slot, initial in enumerate(loop.operands[2:]):
            needed = loop.results[slot] in self.liveness.values or region.arguments[slot + 1] in self.liveness.values
            if _unchanged(loop, slot) and needed and initial is not None:
                for value in (region.arguments[slot + 1], loop.results[slot]):
                    self.replace([value], [self.value(initial)])
        if loop not in self.liveness.instructions:
            return
        slots = [
            i
            for i, argument in enumerate(region.arguments[1:])
            if argument in self.liveness.values and not _unchanged(loop, i)
        ]
        self.slots[region] = [0, *(i + 1 for i in slots)]
        kept = [loop.operands[0], loop.operands[1], *(loop.operands[i + 2] for i in slots)]
        operands = [None if v is None else self.value(v) for v in kept]
        self.rebuild(loop, slots, operands, [region.arguments[0], *(region.arguments[i + 1] for i in slots)])

    def rebuild(
        self, instruction: Instruction, slots: list[int], operands: list[Value | None], arguments: list[Value]
    ) -> None:
        """Copy an `if` or `loop` with only the results in `slots` and the region arguments given."""
        regions: list[Block] = []
        for region in instruction.regions:
            new = Block()
            for argument in arguments:
                self.values[argument] = new.add_argument(self.type(argument.type), argument.name)
            self.fill_region(new, region)
            regions.append(new)
        results = [instruction.results[i] for i in slots]
        types = tuple(self.type(r.type) for r in results)
        copied = Instruction(instruction.op, operands, dict(instruction.attributes), types, regions,
                             instruction.location)  # fmt: skip
        for old, new_value in zip(results, copied.results, strict=True):
            new_value.name = old.name
        self.builder.block.append(copied)
        self.replace(results, copied.results)
