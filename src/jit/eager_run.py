"""Runs a graph on eager tensors: every op goes through dispatch, so autograd and traces see it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..eager.dispatch import dispatch
from ..eager.tensor import wrap
from ..ir.callbacks import callback
from ..ir.core import Graph, Instruction
from ..ir.interp import Interpreter
from ..ir.ops._op import get_op
from ..ir.types import TensorType
from .placement import is_array

__all__ = ["run_eagerly"]


_HOLDING = ("tuple.", "list.", "dict.", "optional.")  # ops that hold tensors and do not look at them
_JOINING = ("list.stack", "list.cat")


class _EagerRun(Interpreter):
    """The interpreter with tensors for arrays."""

    def instruction(self, instruction: Instruction) -> Sequence[Any]:
        op = instruction.op
        if op.name.startswith(_HOLDING) and op.name not in _JOINING and op.evaluate is not None:
            given = [None if v is None else self.values[v] for v in instruction.operands]
            held = op.evaluate(self.xp, *op.schema.unflatten(given), **instruction.attributes)
            return held if isinstance(held, tuple) else (held,)
        # Only ops on tensors pass the door of eager execution; the rest has no gradient and nobody to record it.
        if not any(isinstance(v.type, TensorType) for v in (*instruction.results, *instruction.inputs)):
            return super().instruction(instruction)
        if instruction.regions or op.evaluate is None or op.name == "constant":
            return [_tensor(value) for value in super().instruction(instruction)]
        if op.name in _JOINING:
            (tensors,) = (self.values[v] for v in instruction.inputs)
            if not tensors:
                return super().instruction(instruction)  # raises
            joined = dispatch(
                get_op(op.name.removeprefix("list.")), (tuple(tensors),), {"dim": instruction.attributes["dim"]}
            )
            return (joined,)
        if op.name == "python.call":
            operands = [None if v is None else _tensor(self.values[v]) for v in instruction.operands]
            return callback(instruction.attributes["function"]).on_tensors(operands)
        operands = [None if v is None else self.values[v] for v in instruction.operands]
        results = dispatch(op, tuple(op.schema.unflatten(operands)), dict(instruction.attributes))
        return results if isinstance(results, tuple) else (results,)


def _tensor(value: Any) -> Any:
    return wrap(value) if is_array(value) else value


def run_eagerly(
    graph: Graph, arguments: Sequence[Any], exceptions: Mapping[str, type[BaseException]] | None = None
) -> list[Any]:
    """The results of a graph on tensors and numbers, as tensors and numbers."""
    run = _EagerRun(graph, np, dict(exceptions or {}), False)  # type: ignore[arg-type]
    run.bind(graph.arguments, list(arguments), f"{graph.name}: ")
    results = run.block(graph.block)
    return [_tensor(result) for result in results]
