"""Gradients through compiled callables: a compiled forward graph that keeps what its compiled backward needs.

The derivative of a graph (see `ir.passes.differentiate`) is two graphs; both run as compiled code, and the autograd
tape gets one node. Where a graph has no such derivative, and under `create_graph=True`, its ops run one by one on
eager tensors instead, and the tape records each.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..eager import modes
from ..eager.autograd import PythonNode, grad
from ..eager.device import device, make_on
from ..eager.tensor import Tensor, wrap
from ..ir.location import LocatedError
from ..ir.ops._op import Trait
from ..ir.passes.differentiate import Derivative, differentiate
from ..ir.passes.recompute import recompute_residuals
from ..ir.pipeline import active_budget
from ..ir.rewrite import clone
from .errors import FallbackWarning
from .placement import is_array, may_share_memory
from .tree import LEAF, tuple_structure

if TYPE_CHECKING:
    from .specialisation import Specialisation

__all__ = ["CompiledDerivative", "run_with_gradients"]


class CompiledDerivative:
    """The derivative of a specialisation in some of its arguments, as two programs."""

    def __init__(self, specialisation: "Specialisation", wanted: Sequence[int]) -> None:
        from .specialisation import Specialisation

        graph = specialisation.graph
        derivative: Derivative = differentiate(graph, wanted)
        if (budget := active_budget()) is not None:
            derivative = recompute_residuals(derivative, budget)
        written = {argument: result for argument, result in graph.writes}
        if any(result in derivative.outputs for result in written.values()):
            raise LocatedError("an argument that it writes in place needs a gradient")
        residuals = derivative.forward.results[len(graph.results) :]
        if any(value in residuals for value in (derivative.forward.arguments[i] for i in written)):
            raise LocatedError("its backward needs what an argument was before it is written in place")
        forward = clone(derivative.forward)
        forward.outputs = None
        self.inputs = derivative.inputs
        self.outputs = derivative.outputs
        self.n_results = len(graph.results)
        self.warned = False  # of second derivatives, which run op by op
        # A program from a file is there and its derivative is not: as long as nobody asks for gradients, and nothing is
        # drawn or written that must not be twice, it runs alone, and the derivative is compiled at the first backward.
        self.waits = (
            specialisation.is_loaded
            and not graph.writes
            and not any(Trait.RANDOM in instruction.op.traits for instruction in graph.walk_all())
        )
        name = specialisation.name
        self.forward = Specialisation(
            f"{name} for its gradient", forward, _flat(len(forward.results)), specialisation.exceptions
        )
        self.backward = Specialisation(
            f"the gradient of {name}", derivative.backward, _flat(len(derivative.backward.results))
        )
        self.forward.place = self.backward.place = specialisation.place
        self.forward.expected_sizes = self.backward.expected_sizes = specialisation.expected_sizes

    def run(self, specialisation: "Specialisation", tensors: Sequence[Any], executor: str) -> list[Any]:
        """The results as tensors and numbers; those that depend on the wanted arguments have a node in common."""
        values = [t._array if isinstance(t, Tensor) else t for t in tensors]
        waits = self.waits and executor == "native"
        results = (specialisation if waits else self.forward).program(executor)(values)
        outputs = [wrap(r) if is_array(r) else r for r in results[: self.n_results]]
        residuals = results[self.n_results :]
        sources = [tensors[i] for i in self.inputs]
        shared = _shared(values if waits else residuals, [*tensors, *outputs])

        def rule(*gradients: Any) -> tuple[Any, ...]:
            nonlocal residuals, waits
            if modes.state.grad_enabled:
                return _twice(specialisation, tensors, self, gradients)
            _check_unchanged(shared, specialisation.name)
            if waits:
                residuals = self.forward.program(executor)(values)[self.n_results :]
                self.waits = waits = False
            arrays = [
                _zeros(specialisation.place, shape, dtype) if g is None else _as_array(g._array)
                for g, (shape, dtype) in zip(gradients, shapes, strict=True)
            ]
            found = self.backward.program(executor)([*residuals, *arrays])
            return tuple(wrap(array) for array in found)

        differentiable = [outputs[i] for i in self.outputs]
        shapes = [(o._array.shape, o._array.dtype) for o in differentiable]
        node = PythonNode(f"{specialisation.name}Backward", sources, rule)
        for index, output in enumerate(differentiable):
            output.requires_grad, output._node, output._output_index = True, node, index
            node.output_meta.append(shapes[index])
        return outputs


def _zeros(place: device, shape: tuple[int, ...], dtype: Any) -> Any:
    return make_on(place, lambda xp: xp.zeros(shape, dtype))


def _as_array(value: Any) -> Any:
    return value if is_array(value) else np.asarray(value)  # numpy makes scalars of rank 0


def _flat(count: int) -> Any:
    return LEAF if count == 1 else tuple_structure([LEAF] * count)


def _shared(residuals: Sequence[Any], tensors: Sequence[Any]) -> list[tuple[list[int], int, str]]:
    """Version counters of tensors whose memory residuals share: written since, they would give wrong gradients.

    The tensors themselves are not kept: an output that its own node refers to would live until garbage collection.
    """
    arrays = [r for r in residuals if is_array(r)]
    found = []
    for tensor in tensors:
        if isinstance(tensor, Tensor) and any(may_share_memory(array, tensor._array) for array in arrays):
            counter = tensor.version_counter()
            found.append((counter, counter[0], f"{tensor.dtype.name} tensor of shape {list(tensor._array.shape)}"))
    return found


def _check_unchanged(shared: Sequence[tuple[list[int], int, str]], name: str) -> None:
    for counter, version, description in shared:
        if counter[0] != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: a "
                f"{description} used by {name} is at version {counter[0]}; expected version {version} instead"
            )


def _twice(
    specialisation: "Specialisation", tensors: Sequence[Any], derivative: CompiledDerivative, gradients: Sequence[Any]
) -> tuple[Any, ...]:
    """Gradients that can be differentiated again: the graph runs op by op on the same tensors."""
    if any(Trait.RANDOM in instruction.op.traits for instruction in specialisation.graph.walk_all()):
        raise RuntimeError(
            f"{specialisation.name} draws random numbers, so its gradient cannot be computed with create_graph=True"
        )
    from .specialisation import user_level

    if not derivative.warned:
        derivative.warned = True
        warnings.warn(
            f"{specialisation.name}: a gradient that can be differentiated again (create_graph=True) runs op by op",
            FallbackWarning,
            stacklevel=user_level(),
        )
    results = specialisation.run_eagerly(tensors)
    outputs = [results[i] for i in derivative.outputs]
    pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
    inputs = [tensors[i] for i in derivative.inputs]
    return grad(
        [o for o, _ in pairs], inputs, [g for _, g in pairs], create_graph=True, allow_unused=True
    )  # fmt: skip


def run_with_gradients(specialisation: "Specialisation", tensors: Sequence[Any], executor: str) -> list[Any]:
    """The graph's results on tensors of which some require gradients, connected to them."""
    if executor == "interpreter":
        return _op_by_op(specialisation, tensors)
    if specialisation.calls_tracked:
        if specialisation.gradient_fallback is None:
            _warn(specialisation, LocatedError("a Python function that it calls back takes part in gradients"))
        return _op_by_op(specialisation, tensors)
    wanted = tuple(i for i, t in enumerate(tensors) if isinstance(t, Tensor) and t.requires_grad)
    derivative = specialisation.derivatives.get(wanted)
    if wanted not in specialisation.derivatives:
        try:
            derivative = CompiledDerivative(specialisation, wanted)
        except LocatedError as error:
            _warn(specialisation, error)
            derivative = None
        specialisation.derivatives[wanted] = derivative
    if derivative is None or not derivative.outputs:
        return _op_by_op(specialisation, tensors)
    return derivative.run(specialisation, tensors, executor)


def _op_by_op(specialisation: "Specialisation", tensors: Sequence[Any]) -> list[Any]:
    """The results by eager execution, on clones of arguments that are written later: backward may need their values."""
    written = {argument for argument, _ in specialisation.graph.writes}
    return specialisation.run_eagerly([t.clone() if i in written else t for i, t in enumerate(tensors)])


def _warn(specialisation: "Specialisation", error: LocatedError) -> None:
    from .specialisation import user_level

    specialisation.gradient_fallback = error.message
    where = f" ({error.location})" if error.location is not None else ""
    warnings.warn(
        f"{specialisation.name} runs op by op where gradients are needed: {error.message}{where}; "
        "inside ingot.no_grad() it runs compiled",
        FallbackWarning,
        stacklevel=user_level(),
    )
