"""Calls of functions replaced by what the functions do."""

from collections.abc import Mapping

from ..core import Graph, Instruction, Value
from ..dims import Dim
from ..matching import match_types
from ..rewrite import Rewriter, attribute_symbols
from ..types import type_symbols

__all__ = ["inline_calls", "recursive_functions"]

# A function of so many instructions stays one function where it would be copied to more than so many places: code of
# hundreds of instructions takes longer to compile with every copy than all its calls take to run.
_LARGE = 100
_FEW = 4
# No function becomes more instructions than this by being copied.
_MOST = 5000


def inline_calls(graph: Graph) -> Graph:
    """With calls replaced by the bodies of their functions; functions that nothing calls any more are left out.

    Functions that call themselves, directly or through others, stay, and so do large ones called from many places.

    Precondition: the graph is valid.
    """
    if not graph.functions:
        return graph
    kept, order = _choose(graph)
    functions = dict(graph.functions)
    for name in order:  # those that are called first, so that no call is left in what is copied
        functions[name] = _Inliner(functions[name], functions, kept).run()
    result = _Inliner(graph, functions, kept).run()
    remaining = set(_called(result))
    pending = list(remaining)
    while pending:
        new = set(_called(functions[pending.pop()])) - remaining
        remaining |= new
        pending += new
    result.functions = {name: functions[name] for name in graph.functions if name in remaining}
    return result


def recursive_functions(graph: Graph) -> set[str]:
    """The functions that call themselves, directly or through others."""
    calls = {name: list(dict.fromkeys(_called(function))) for name, function in graph.functions.items()}
    found = {name for name, inner in calls.items() if name in inner}
    # Strongly connected components (Tarjan, "Depth-first search and linear graph algorithms", 1972), without recursion.
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in calls:
        pending = [(root, 0)] if root not in index else []
        while pending:
            name, position = pending.pop()
            if position == 0:
                index[name] = lowest[name] = len(index)
                stack.append(name)
                on_stack.add(name)
            elif (last := calls[name][position - 1]) in on_stack:
                lowest[name] = min(lowest[name], lowest[last])
            if position < len(calls[name]):
                pending.append((name, position + 1))
                inner = calls[name][position]
                if inner not in index:
                    pending.append((inner, 0))
                elif inner in on_stack:
                    lowest[name] = min(lowest[name], index[inner])
            elif lowest[name] == index[name]:
                component = [stack.pop()]
                while component[-1] != name:
                    component.append(stack.pop())
                on_stack.difference_update(component)
                if len(component) > 1:
                    found.update(component)
    return found


def _called(graph: Graph) -> list[str]:
    return [i.attributes["function"] for i in graph.walk() if i.op.name == "call"]


def _choose(graph: Graph) -> tuple[set[str], list[str]]:
    """The functions that stay: those that call themselves, and those that would be copied too often. And all functions
    that are called, those that others call before these."""
    kept = recursive_functions(graph)
    calls = {name: _called(function) for name, function in graph.functions.items()}
    order = _sorted(graph, calls, kept)
    copies = dict.fromkeys(calls, 0)

    def count(names: list[str], times: int) -> None:
        for name in names:
            copies[name] += times

    count(_called(graph), 1)
    for name in order:
        if name in kept:
            count(calls[name], 1)
    # Sizes with everything inlined that can be, so that this pass finds the same again in what it left.
    sizes = dict.fromkeys(calls, 1)
    for name in order:
        if name not in kept:
            own = sum(i.op.name not in ("call", "return") for i in graph.functions[name].walk())
            sizes[name] = own + sum(sizes[inner] for inner in calls[name])
    for name in reversed(order):
        if name not in kept:
            times, size = copies[name], sizes[name]
            if (times > _FEW and size >= _LARGE) or (times > 1 and times * size > _MOST):
                kept.add(name)
            count(calls[name], 1 if name in kept else times)
    return kept, order


def _sorted(graph: Graph, calls: Mapping[str, list[str]], recursive: set[str]) -> list[str]:
    """The functions that are called, each behind those that it calls, but for those that call themselves."""
    order: list[str] = []
    done: set[str] = set()
    pending = [(name, False) for name in _called(graph)]
    while pending:
        name, is_ready = pending.pop()
        if is_ready:
            order.append(name)
        elif name not in done:
            done.add(name)
            pending.append((name, True))
            pending += [(inner, False) for inner in calls[name]]
    return [n for n in order if n not in recursive] + [n for n in order if n in recursive]


class _Inliner(Rewriter):
    def __init__(self, graph: Graph, functions: Mapping[str, Graph], kept: set[str]) -> None:
        super().__init__(graph)
        self.functions = functions
        self.kept = kept
        self.inside = 0  # how many functions are being copied into each other
        self.tries: dict[str, str] = {}  # names of `try`s of the functions being copied
        self.names: set[str] = set()  # names of all `try`s

    def visit(self, instruction: Instruction) -> None:
        if instruction.op.name != "call" or instruction.attributes["function"] in self.kept:
            super().visit(instruction)
            return
        function = self.functions[instruction.attributes["function"]]
        arguments = [self.value(v) for v in instruction.inputs]
        symbols, tries, values = self.symbols, self.tries, self.values
        # Every copy has symbols and values of its own.
        self.symbols, self.tries, self.values = self.bound(function, arguments), {}, {}
        for argument, value in zip(function.arguments, arguments, strict=True):
            self.values[argument] = value
        self.inside += 1
        for inner in function.block.body:
            self.visit(inner)
        self.inside -= 1
        results = [self.value(v) for v in function.results]
        self.symbols, self.tries, self.values = symbols, tries, values
        self.replace(instruction.results, results)

    def bound(self, function: Graph, arguments: list[Value]) -> dict[str, Dim]:
        """What the function's symbols are: sizes of the arguments, and new symbols for those that it finds itself."""
        found: dict[str, Dim] = {}
        for argument, value in zip(function.arguments, arguments, strict=True):
            sizes: dict[str, Dim] = {}
            match_types(argument.type, value.type, (), sizes, widen=True)
            found = sizes | found
        names: set[str] = set()
        for instruction in function.walk():
            for value in (*instruction.results, *(a for region in instruction.regions for a in region.arguments)):
                names |= type_symbols(value.type)
            for attribute in instruction.attributes.values():
                names |= attribute_symbols(attribute)
            if instruction.op.name == "bind_dim":
                names.add(instruction.attributes["symbol"])
        return found | {n: self.sizes.fresh(prefix="d") for n in sorted(names - found.keys())}

    def copy(self, instruction: Instruction) -> Instruction:
        name = instruction.op.name
        if self.inside and name == "try":
            own = instruction.attributes["name"]
            outer = self.tries.get(own)
            self.tries[own] = self.new_name(own)
            copied = super().copy(instruction)
            copied.attributes["name"] = self.tries[own]
            if outer is not None:
                self.tries[own] = outer
            return copied
        copied = super().copy(instruction)
        if self.inside and name == "save":
            copied.attributes["name"] = self.tries[instruction.attributes["name"]]
        elif self.inside and name == "bind_dim":
            copied.attributes["symbol"] = str(self.symbols[instruction.attributes["symbol"]])
        return copied

    def new_name(self, name: str) -> str:
        """A name of a `try` that no other has."""
        if not self.names:
            graphs = [self.source, *self.functions.values()]
            self.names = {i.attributes["name"] for g in graphs for i in g.walk() if i.op.name == "try"}
        count = 1
        while (chosen := f"{name}_{count}") in self.names:
            count += 1
        self.names.add(chosen)
        return chosen
