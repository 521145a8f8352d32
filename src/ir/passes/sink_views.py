"""Views that only rearrange elements moved behind what is computed of each element."""

from ..core import Graph, Instruction, Value
from ..ops._op import Elementwise
from ..rewrite import Rewriter, Rules, rewrite, rule
from ..types import TensorType

__all__ = ["SINK_VIEWS", "sink_views"]

_REARRANGING = {"reshape", "flatten", "unflatten", "transpose", "permute", "unsqueeze", "squeeze"}


def sink_views(graph: Graph) -> Graph:
    """With reshapes and transposes after the elementwise operations on them.

    The operations can then join the kernel that makes the tensor, and products read the rearranged memory as it lies:
    the queries of attention are scaled in the epilogue of the product that makes them. Views that meet cancel out in
    `simplify`.

    Precondition: the graph is valid.
    """
    return rewrite(graph, SINK_VIEWS)


@rule("f(view(x)) -> view(f(x))", when=lambda op: isinstance(op.lower, Elementwise))
def _view_last(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    tensors = [o for o in instruction.inputs if isinstance(o.type, TensorType)]
    view = tensors[0].instruction if len(tensors) == 1 else None
    if view is None or view.op.name not in _REARRANGING or len(view.results) != 1:
        return None
    source = view.operands[0]
    operands = [source if o is tensors[0] else o for o in instruction.operands]
    with rewriter.builder.at(instruction.location):
        (computed,) = rewriter.builder.emit_all(instruction.op, operands, instruction.attributes)
        return rewriter.builder.emit_all(view.op, [computed, *view.operands[1:]], view.attributes)


SINK_VIEWS: Rules = _view_last
