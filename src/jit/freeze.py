"""`jit.freeze`: parameters become constants, so that they can be folded and packed ahead of time."""

from collections.abc import Callable
from typing import Any

from ..eager.tensor import Tensor
from ..ir.core import Array, Graph, Instruction
from ..ir.ops._op import get_op
from ..ir.rewrite import clone
from .errors import JitError
from .function import Call, CompiledFunction, Specialised
from .placement import host_copy
from .specialisation import Specialisation

__all__ = ["FrozenFunction", "freeze", "optimize_for_inference"]


class FrozenFunction(CompiledFunction):
    """A compiled callable whose graphs hold the parameters of `source` as constants, as they were when frozen."""

    def __init__(self, source: CompiledFunction) -> None:
        super().__init__(source.__name__, source._signature)
        self._source = source
        self.bakes_numbers = source.bakes_numbers
        self._frozen: dict[str, Tensor] = {}

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Call:
        return self._source._bind(arguments, keywords)

    def _constant(self, name: str) -> Tensor:
        # Copied once, so that graphs made later hold the same values.
        if name not in self._frozen:
            self._frozen[name] = self._source.parameter(name).detach().clone()  # type: ignore[attr-defined]
        return self._frozen[name]

    def specialise(self, call: Call) -> Specialised:
        made = self._source.specialise(call)
        return Specialised(freeze_graph(made.graph, self._constant), made.results, made.exceptions)


def freeze_graph(graph: Graph, value: Callable[[str], Tensor]) -> Graph:
    """A copy of the graph with parameters as constants; JitError where it writes one, as training layers do."""
    graph = clone(graph)
    count = len(graph.parameters)
    if not count:
        return graph
    first = len(graph.arguments) - count
    for argument, _ in graph.writes:
        if argument >= first:
            raise JitError(
                f"freeze: {graph.name} updates {graph.parameters[argument - first]!r}, as training layers do; "
                "call .eval() on the module first"
            )
    replacement = {}
    constants = []
    for name, parameter in zip(graph.parameters, graph.arguments[first:], strict=True):
        array = Array(host_copy(value(name)._array), name)
        constant = Instruction(get_op("constant"), [], {"value": array}, (parameter.type,))
        constant.block = graph.block
        constants.append(constant)
        replacement[parameter] = constant.result
    for instruction in graph.walk():
        instruction.operands = [None if v is None else replacement.get(v, v) for v in instruction.operands]
    graph.block.instructions[:0] = constants
    del graph.block.arguments[first:]
    graph.parameters = ()
    return graph


def freeze(module: Any) -> FrozenFunction:
    """A compiled callable with the parameters of a module, traced or scripted callable as constants.

    Batch norms are folded into the layers before them and weights are packed for the CPU. Later changes to the
    parameters are not seen. JitError for a module in training mode.
    """
    if not isinstance(module, CompiledFunction):
        if not hasattr(module, "named_parameters"):
            raise TypeError(f"freeze: expected a module or a compiled callable, given {type(module).__name__}")
        if module.training:
            raise JitError("freeze: the module is in training mode; call .eval() first")
        from .script import script

        module = script(module)
    if isinstance(module, FrozenFunction):
        return module
    frozen = FrozenFunction(module)
    # What the source knows already is frozen at once: later changes to its parameters must not be seen.
    for key, known in module._specialisations.items():
        for specialisation in reversed(known):
            graph = freeze_graph(specialisation.graph, frozen._constant)
            results, exceptions = specialisation.results, specialisation.exceptions
            made = Specialisation(frozen.__name__, graph, results, exceptions)
            made.expected_sizes = specialisation.expected_sizes
            frozen._add(key, made)
    return frozen


def optimize_for_inference(module: Any) -> FrozenFunction:
    """`freeze`, with layouts chosen for inference: in Ingot the same thing."""
    return freeze(module)
