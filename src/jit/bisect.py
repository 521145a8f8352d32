"""`f.bisect(*inputs)`: the first instruction at which interpreter, un-jitted sources and native code disagree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..eager.device import CPU, host_array, move_array
from ..eager.tensor import Tensor
from ..ir.core import Graph, Instruction, Value
from ..ir.location import Location
from ..ir.ops._op import get_op
from ..ir.printer import print_graph
from ..ir.random_state import default_generator
from ..ir.rewrite import clone
from ..ir.types import BoolType, FloatType, IntType, TensorType
from .errors import Unsupported
from .placement import is_array

if TYPE_CHECKING:
    from .function import CompiledFunction
    from .specialisation import Specialisation

__all__ = ["Bisection", "bisect"]

_COMPARED = (TensorType, IntType, FloatType, BoolType)


@dataclass
class Bisection:
    """What `bisect` found: nothing (`agrees`), or an instruction, whose results differ between the executors.

    part: "forward" or "backward". executor: who disagrees with the interpreter. difference: by how much.
    """

    name: str
    agrees: bool
    part: str = ""
    executor: str = ""
    instruction: str = ""
    location: Location | None = None
    difference: str = ""

    def __str__(self) -> str:
        if self.agrees:
            return f"{self.name}: interpreter, python and native agree"
        where = "" if self.location is None else f"\n  at {self.location}"
        source = self.location.source_line() if self.location is not None else None
        quoted = f"\n    {source.strip()}" if source else ""
        return (
            f"{self.name}: {self.executor} differs from the interpreter, first in the {self.part} at\n"
            f"  {self.instruction}\n  {self.difference}{where}{quoted}"
        )


def bisect(function: "CompiledFunction", inputs: Sequence[Any]) -> Bisection:
    """Compare the executors on these inputs, and find the first instruction where one of them goes wrong.

    Where an input or parameter requires a gradient, the compiled derivative is compared too. Arguments are copied:
    nothing is written.
    """
    call = function._bind(tuple(inputs), {})
    specialisation, parameters = function._select(call)
    tensors = [*call.leaves, *parameters]
    values = [t._array if isinstance(t, Tensor) else t for t in tensors]
    found = _search(function.__name__, specialisation.graph, values, "forward", specialisation)
    wanted = tuple(i for i, t in enumerate(tensors) if isinstance(t, Tensor) and t.requires_grad)
    if not found.agrees or not wanted or specialisation.trains:
        return found
    from .gradients import CompiledDerivative

    try:
        derivative = CompiledDerivative(specialisation, wanted)
    except Exception:  # there is no compiled derivative to compare
        return found
    forward = derivative.forward.program("interpreter")([_copy(v) for v in values])
    seeds = [
        move_array(np.ones_like(np.asarray(host_array(forward[i]))), specialisation.place) for i in derivative.outputs
    ]
    residuals = forward[derivative.n_results :]
    backward = derivative.backward
    return _search(function.__name__, backward.graph, [*residuals, *seeds], "backward", backward)


def _copy(value: Any) -> Any:
    return value.copy() if is_array(value) else value


def _search(name: str, graph: Graph, values: Sequence[Any], part: str, specialisation: "Specialisation") -> Bisection:
    for executor in ("python", "native"):
        if _compare(graph, values, executor, specialisation) is None:
            continue
        # The smallest prefix of which some value differs: of the whole, one does.
        body = graph.block.body
        low, high = 0, len(body) - 1
        while low < high:
            middle = (low + high) // 2
            if _compare(_prefix(graph, middle), values, executor, specialisation) is None:
                low = middle + 1
            else:
                high = middle
        difference = _compare(_prefix(graph, low), values, executor, specialisation)
        if difference is None:  # only the whole differs: what the results share, not one instruction
            difference = _compare(graph, values, executor, specialisation)
        instruction = body[low]
        return Bisection(
            name, False, part, executor, _text(graph, instruction), instruction.location, difference or "it differs"
        )
    return Bisection(name, True)


def _text(graph: Graph, instruction: Instruction) -> str:
    """The line of the graph's text that an instruction begins with."""
    lines = print_graph(graph).splitlines()
    depth, seen = 0, -1
    for line in lines[1:]:
        if depth == 0 and not line.strip().startswith("}"):
            seen += 1
            if seen == graph.block.instructions.index(instruction):
                return line.strip()
        depth += line.count("{") - line.count("}")
    return instruction.op.name


def _prefix(graph: Graph, last: int) -> Graph:
    """The graph up to an instruction, with everything that it computed as results."""
    cut = clone(graph)
    body = cut.block.instructions[: last + 1]
    results: list[Value | None] = [
        r for i in body if i.op.name != "constant" for r in i.results if isinstance(r.type, _COMPARED)
    ]
    cut.block.instructions = body
    cut.block.append(Instruction(get_op("return"), results, {}, ()))
    cut.writes, cut.outputs = [], None
    return cut


def _compare(graph: Graph, values: Sequence[Any], executor: str, specialisation: "Specialisation") -> str | None:
    """How an executor's results differ from the interpreter's; None where they do not, or there is no such form."""
    from .specialisation import Specialisation
    from .tree import LEAF, tuple_structure

    outputs = len(graph.results) if graph.outputs is None else graph.outputs
    structure = LEAF if outputs == 1 else tuple_structure([LEAF] * outputs)
    subject = Specialisation(specialisation.name, graph, structure, specialisation.exceptions)
    subject.place = specialisation.place
    try:
        program = _made(subject, executor)
    except Unsupported:
        return None
    state = default_generator.get_state()
    expected = _outcome(subject.program("interpreter"), values)
    default_generator.set_state(state)
    found = _outcome(program, values)
    default_generator.set_state(state)
    return _difference(expected, found)


def _made(subject: "Specialisation", executor: str) -> Any:
    from .native import native_program
    from .program import PythonProgram

    if subject.place is not CPU:
        return subject.program("native")  # kernels, against the array module op by op
    if executor == "python":
        return PythonProgram(subject.module(), subject.exceptions)
    return native_program(subject).program


def _outcome(program: Any, values: Sequence[Any]) -> Any:
    try:
        results = program([_copy(v) for v in values])
        return [host_array(r) if is_array(r) else r for r in results]
    except Exception as error:  # what is raised is compared like a result
        return error


def _difference(expected: Any, found: Any) -> str | None:
    if isinstance(expected, Exception) or isinstance(found, Exception):
        if type(expected) is type(found):
            return None
        shown = [f"{type(o).__name__}: {o}" if isinstance(o, Exception) else "a result" for o in (expected, found)]
        return f"the interpreter gives {shown[0]}, it gives {shown[1]}"
    for wanted, actual in zip(expected, found, strict=True):
        a, b = np.asarray(wanted), np.asarray(actual)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"the interpreter gives {a.dtype}{list(a.shape)}, it gives {b.dtype}{list(b.shape)}"
        if a.dtype.kind not in "fc":
            if not np.array_equal(a, b):
                return f"{int((a != b).sum())} of {a.size} elements differ"
            continue
        tolerance = {2: 1e-2, 4: 1e-4, 8: 1e-8 if a.dtype.kind == "f" else 1e-4}.get(a.dtype.itemsize, 1e-8)
        scale = float(np.max(np.abs(a), where=np.isfinite(a), initial=1.0))
        if not np.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
            with np.errstate(all="ignore"):
                worst = float(np.fmax.reduce(np.abs(a - b), axis=None, initial=0.0))
            return f"an element differs by {worst:.3g}"
    return None
