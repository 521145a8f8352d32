"""Functions that call themselves: found while calls are inlined, and given to the finished graph."""

import ast
from typing import Any

from ...ir.core import Graph, Instruction
from ..errors import ScriptError
from .context import Context, Frame
from .specs import EntriesSpec, SameSpec, ScalarSpec, Spec, TensorSpec, TupleSpec, UnionSpec, spec_of
from .values import Abstract

__all__ = ["NeedsFunction", "check_recursion", "finish_functions"]

_MAX_INLINED = 2000
_MAX_INLINED_DEPTH = 16


class NeedsFunction(Exception):
    """A function calls itself: compilation must start again and make it a function of the graph."""

    def __init__(self, node: ast.AST) -> None:
        super().__init__("a function calls itself")
        self.node = node


def check_recursion(context: Context, frame: Frame, variables: dict[str, Abstract]) -> None:
    """NeedsFunction where a function that is about to be inlined is being inlined already, with no end in sight.

    Where the arguments differ in what is known of them, as in a walk over a structure that is, it may end.
    """
    around = [f for f in context.frames if f.source.node is frame.source.node]
    if not around:
        return
    context.inlined += 1
    if (
        len(around) > _MAX_INLINED_DEPTH
        or context.inlined > _MAX_INLINED
        or _form(context, variables) == _form(context, around[-1].arguments)
    ):
        raise NeedsFunction(frame.source.node)


def _form(context: Context, variables: dict[str, Abstract]) -> Any:
    """What is known of arguments, in a form that can be compared."""
    return tuple((name, _spec_form(spec_of(context, value))) for name, value in variables.items())


def _spec_form(spec: Spec) -> Any:
    match spec:
        case SameSpec(degraded=degraded):
            return _spec_form(degraded)
        case ScalarSpec():
            return spec.kind
        case TensorSpec(shape=shape):
            return spec.kind, tuple(d if isinstance(d, int) else None for d in shape)
        case TupleSpec(items=items) | EntriesSpec(items=items):
            return spec.kind, tuple(map(_spec_form, items))
        case UnionSpec(alternatives=alternatives):
            return "union", tuple(map(_spec_form, alternatives))
    element: Any = getattr(spec, "element", None) or getattr(spec, "type", None)
    if element is not None:
        return spec.kind, str(element)
    parts: Any = getattr(spec, "items", None)
    return spec.kind if parts is None else (spec.kind, tuple(map(_spec_form, parts)))


def finish_functions(context: Context, graph: Graph) -> None:
    """Give the graph the functions that it calls, and those that they call."""
    known = {f.name: f for functions in context.functions.values() for f in functions}
    pending = [graph]
    while pending:
        for instruction in pending.pop().walk():
            name = instruction.attributes.get("function") if instruction.op.name == "call" else None
            if name is not None and name not in graph.functions:
                made = known[name].graph
                assert made is not None
                _check_closed(context, made)
                graph.functions[name] = made
                pending.append(made)


def _check_closed(context: Context, graph: Graph) -> None:
    """ScriptError where a function uses a value of the program around it."""
    defined = {v for v in graph.arguments}
    for instruction in graph.walk():
        defined.update(instruction.results)
        defined.update(a for region in instruction.regions for a in region.arguments)
    for instruction in graph.walk():
        if any(v not in defined for v in instruction.inputs):
            raise _outside(context, graph, instruction)


def _outside(context: Context, graph: Graph, instruction: Instruction) -> ScriptError:
    return ScriptError(
        f"{graph.name} calls itself and uses a value of the function around it that cannot be passed to it",
        instruction.location,
        hint="pass it as an argument",
    )
