"""The instructions of one graph put into another that is being built, as of a scripted function called in a trace."""

from collections.abc import Sequence

from ..ir.builder import Builder
from ..ir.core import Graph, Instruction, Value
from ..ir.dims import Dim, DimExpr, substitute
from ..ir.rewrite import Rewriter, clone
from ..ir.types import IntType, TensorType, type_symbols

__all__ = ["inline_graph"]


def inline_graph(builder: Builder, graph: Graph, arguments: Sequence[Value]) -> list[Value]:
    """Append the graph's instructions, branches and loops included, for these arguments; the values of its results.

    The graph's sizes become those of the arguments; sizes that are known at run time only get new symbols.
    """
    return _Inliner(builder, graph, arguments).results()


class _Inliner(Rewriter):
    def __init__(self, builder: Builder, graph: Graph, arguments: Sequence[Value]) -> None:
        super().__init__(graph)
        self.builder = builder
        self.functions = _add_functions(builder.graph, graph)
        for argument, value in zip(graph.arguments, arguments, strict=True):
            self.values[argument] = value
            self.bind(argument, value)
        types = [v.type for i in graph.walk() for v in i.results]
        types += [a.type for i in graph.walk() for r in i.regions for a in r.arguments]
        for name in sorted(frozenset().union(*map(type_symbols, types))):
            if name not in self.symbols:
                self.symbols[name] = builder.sizes.fresh(prefix="d")

    def bind(self, argument: Value, value: Value) -> None:
        declared, actual = argument.type, self.builder.resolve(value.type)
        pairs: list[tuple[Dim | None, Dim]] = []
        if isinstance(declared, TensorType) and isinstance(actual, TensorType):
            pairs = list(zip(declared.shape, actual.shape, strict=True))
        elif isinstance(declared, IntType) and isinstance(actual, IntType) and actual.value is not None:
            pairs = [(declared.value, actual.value)]
        for dim, size in pairs:
            if isinstance(dim, DimExpr) and dim.is_symbol():
                self.symbols.setdefault(str(dim), size)

    def results(self) -> list[Value]:
        for guard in self.source.guards:
            left, right = substitute(guard.left, self.symbols), substitute(guard.right, self.symbols)
            if self.sizes.hint(left) == self.sizes.hint(right) is not None:
                self.sizes.equal(left, right, guard.reason)
        for instruction in self.source.block.body:
            self.visit(instruction)
        return [self.value(v) for v in self.source.results]

    def copy(self, instruction: Instruction) -> Instruction:
        copied = super().copy(instruction)
        if instruction.op.name == "bind_dim":
            copied.attributes["symbol"] = str(self.symbols[instruction.attributes["symbol"]])
        elif instruction.op.name == "call":
            copied.attributes["function"] = self.functions[instruction.attributes["function"]]
        return copied


def _add_functions(target: Graph, source: Graph) -> dict[str, str]:
    """Give a graph the functions of another; the names that they have there."""
    names: dict[str, str] = {}
    for name in source.functions:
        chosen, count = name, 1
        while chosen in target.functions:
            chosen, count = f"{name}_{count}", count + 1
        names[name] = chosen
        target.functions[chosen] = Graph(chosen)  # the name is taken
    for name, chosen in names.items():
        function = clone(source.functions[name])
        function.name = chosen
        for instruction in function.walk():
            if instruction.op.name == "call":
                instruction.attributes["function"] = names[instruction.attributes["function"]]
        target.functions[chosen] = function
    return names
