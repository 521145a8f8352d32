"""The autograd tape: nodes that remember how a tensor came about, and the backward walk over them."""

import heapq
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.ops._op import Op, VjpContext
from . import modes

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["Node", "backward", "detect_anomaly", "grad", "refresh_view", "replay_view"]

_anomaly = 0


class Saved:
    """A tensor kept for backward, with the version it had: a later in-place write is caught when it is used."""

    __slots__ = ("tensor", "version")

    def __init__(self, tensor: "Tensor") -> None:
        self.tensor = tensor
        self.version = tensor.version

    def unpack(self, node: "Node") -> "Tensor":
        if self.tensor.version != self.version:
            return _stale_tensor(self.tensor, self.version, node)
        return self.tensor


def _stale_tensor(tensor: "Tensor", version: int, node: "Node") -> "Tensor":
    """A stand-in that still knows shape and dtype, and raises where a derivative rule needs the lost values."""
    from .tensor import StaleTensor

    return StaleTensor(tensor, _stale_message(tensor, tensor.version, version, node))


def _stale_message(tensor: "Tensor", version: int, expected: int, node: "Node") -> str:
    return (
        f"one of the variables needed for gradient computation has been modified by an inplace operation: a "
        f"{tensor.dtype.name} tensor of shape {list(tensor._array.shape)} used by {node.name} is at version "
        f"{version}; expected version {expected} instead"
    )


class Node:
    """One recorded operation: operands, outputs, and the rule from output gradients to operand gradients."""

    __slots__ = ("attributes", "hooks", "name", "op", "operands", "output_meta", "outputs", "sequence", "trace")

    _counter = 0

    def __init__(self, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> None:
        self.op = op
        self.name = "".join(part.capitalize() for part in op.name.split("_")) + "Backward0"
        self.operands: tuple[Any, ...] | None = tuple(_save(o) for o in operands)
        self.attributes = attributes
        self.outputs: list[Any] = []
        self.output_meta: list[tuple[tuple[int, ...], Any] | None] = []
        self.hooks: dict[int, dict[int, Callable[[Any], Any]]] | None = None  # by output index
        Node._counter += 1
        self.sequence = Node._counter
        self.trace = traceback.format_stack()[:-4] if _anomaly else None

    @classmethod
    def attach(cls, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any], outputs: Sequence[Any]) -> "Node":
        """Record an op and make its floating-point outputs require gradients."""
        node = cls(op, operands, attributes)
        for index, output in enumerate(outputs):
            if hasattr(output, "_array") and output._array.dtype.kind in "fc":
                output.requires_grad = True
                output._node = node
                output._output_index = index
                counter = output.version_counter()
                node.outputs.append((output._array, counter, counter[0]))
                node.output_meta.append((output._array.shape, output._array.dtype))
            else:
                node.outputs.append(output)  # an integer tensor has no node: no cycle
                node.output_meta.append(None)
        return node

    def inputs(self) -> "list[Tensor]":
        """The operands that require gradients, groups flattened."""
        if self.operands is None:
            return []
        flat = (item for o in self.operands for item in (o if isinstance(o, tuple) else (o,)))
        return [item.tensor for item in flat if isinstance(item, Saved) and item.tensor.requires_grad]

    def apply(self, gradients: list[Any], *, create_graph: bool) -> "list[tuple[Tensor, Tensor]]":
        """Pairs (operand, gradient) for the operands that require gradients."""
        from .tensor import StaleTensor, wrap

        if self.operands is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time: its saved tensors were freed by the first "
                "backward; call backward(retain_graph=True) the first time"
            )
        operands = tuple(_unpack(o, self) for o in self.operands)
        needs = tuple(_needs(o) for o in self.operands)
        outputs = []
        for index, (saved, meta) in enumerate(zip(self.outputs, self.output_meta, strict=True)):
            if meta is None:
                outputs.append(saved)
                continue
            array, counter, version = saved
            output = wrap(array)
            if counter[0] != version:
                output = StaleTensor(output, _stale_message(output, counter[0], version, self))
            elif create_graph:
                output.requires_grad, output._node, output._output_index = True, self, index
            outputs.append(output)
        context = VjpContext(tuple(outputs), needs)
        argument = gradients[0] if self.op.outputs == 1 else tuple(gradients)
        assert self.op.vjp is not None
        results = self.op.vjp(context, argument, *operands, **self.attributes)
        pairs = []
        for saved, result in zip(self.operands, results, strict=True):
            items = (
                zip(saved, result, strict=True)
                if isinstance(saved, tuple) and result is not None
                else [(saved, result)]
            )
            for item, gradient in items:
                if isinstance(item, Saved) and item.tensor.requires_grad and gradient is not None:
                    pairs.append((item.tensor, gradient))
        return pairs

    def release(self) -> None:
        """Drop what was saved."""
        self.operands = None
        self.outputs = []

    def __repr__(self) -> str:
        return f"<{self.name}>"


class PythonNode(Node):
    """A node whose rule is a Python function of the output gradients: `autograd.Function`, writes through views."""

    __slots__ = ("rule", "tensors")

    def __init__(self, name: str, inputs: "Sequence[Any]", rule: Callable[..., Any]) -> None:
        self.name = name
        self.operands = tuple(_save(i) for i in inputs)
        self.attributes = {}
        self.outputs = []
        self.output_meta = []
        self.hooks = None
        self.rule: Callable[..., Any] | None = rule
        Node._counter += 1
        self.sequence = Node._counter
        self.trace = traceback.format_stack()[:-4] if _anomaly else None

    def apply(self, gradients: list[Any], *, create_graph: bool) -> "list[tuple[Tensor, Tensor]]":
        if self.operands is None or self.rule is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time: its saved tensors were freed by the first "
                "backward; call backward(retain_graph=True) the first time"
            )
        results = self.rule(*gradients)
        if not isinstance(results, tuple):
            results = (results,)
        if len(results) < len(self.operands):
            raise RuntimeError(
                f"{self.name}: expected {len(self.operands)} gradients, one per input, given {len(results)}"
            )
        return [
            (saved.tensor, gradient)
            for saved, gradient in zip(self.operands, results, strict=False)
            if isinstance(saved, Saved) and saved.tensor.requires_grad and gradient is not None
        ]

    def release(self) -> None:
        super().release()
        self.rule = None


def _save(operand: Any) -> Any:
    if isinstance(operand, tuple):
        return tuple(_save(o) for o in operand)
    return Saved(operand) if hasattr(operand, "_array") else operand


def _unpack(operand: Any, node: Node) -> Any:
    if isinstance(operand, tuple):
        return tuple(_unpack(o, node) for o in operand)
    return operand.unpack(node) if isinstance(operand, Saved) else operand


def _needs(operand: Any) -> Any:
    if isinstance(operand, tuple):
        return tuple(_needs(o) for o in operand)
    return isinstance(operand, Saved) and operand.tensor.requires_grad


def refresh_view(tensor: "Tensor") -> None:
    """Give a view its place in the graph again after its base was written in place."""
    assert tensor._view is not None
    source, op, operands, attributes = tensor._view
    if source._view is not None and source._view_version != source.version:
        refresh_view(source)
    with modes.enable_grad():
        again = replay_view(source, op, operands, attributes)
    tensor._node, tensor._output_index, tensor.requires_grad = again._node, again._output_index, again.requires_grad
    tensor._view_version = tensor.version


def replay_view(source: "Tensor", op: Op | None, operands: tuple[Any, ...], attributes: dict[str, Any]) -> "Tensor":
    """The same view of another tensor; without an op, `operands` is a basic index."""
    if op is None:
        from .indexing import getitem

        return getitem(source, operands)
    from .dispatch import dispatch

    result: Tensor = dispatch(op, (source, *operands), attributes)
    return result


class detect_anomaly:
    """Backward errors and NaN gradients inside also show where the forward operation was called."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan

    def __enter__(self) -> None:
        global _anomaly
        _anomaly += 1

    def __exit__(self, *exception: object) -> None:
        global _anomaly
        _anomaly -= 1


def backward(
    tensors: "Tensor | Sequence[Tensor]",
    grad_tensors: "Tensor | Sequence[Tensor | None] | None" = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: "Tensor | Sequence[Tensor] | None" = None,
) -> None:
    """Add the gradients of the tensors to the `.grad` of the leaves they depend on.

    tensors: outputs; those that are not single elements need an entry in `grad_tensors` of their own shape.
    """
    outputs, seeds = _seeds(tensors, grad_tensors)
    only = None if inputs is None else {id(t) for t in (inputs if isinstance(inputs, (list, tuple)) else (inputs,))}
    _walk(outputs, seeds, create_graph if retain_graph is None else retain_graph, create_graph, only, accumulate=True)


def grad(
    outputs: "Tensor | Sequence[Tensor]",
    inputs: "Tensor | Sequence[Tensor]",
    grad_outputs: "Tensor | Sequence[Tensor | None] | None" = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> "tuple[Tensor | None, ...]":
    """Gradients of the outputs with respect to the inputs, returned and not accumulated.

    RuntimeError where an input is not part of the graph, unless `allow_unused`.

    >>> x = ingot.tensor(3.0, requires_grad=True)
    >>> ingot.autograd.grad(x * x, x)
    (tensor(6.),)
    """
    wanted = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    for t in wanted:
        if not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    outputs_, seeds = _seeds(outputs, grad_outputs)
    keep = create_graph if retain_graph is None else retain_graph
    found = _walk(outputs_, seeds, keep, create_graph, {id(t) for t in wanted}, accumulate=False, capture=wanted)
    results: list[Any] = []
    for t in wanted:
        g = found.get(id(t))
        if g is None and materialize_grads:
            from .tensor import wrap

            g = wrap(np.zeros_like(t._array))
        if g is None and not allow_unused:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
        results.append(g)
    return tuple(results)


def _seeds(tensors: Any, gradients: Any) -> tuple[list[Any], list[Any]]:
    from .tensor import Tensor, wrap

    outputs = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
    given = list(gradients) if isinstance(gradients, (list, tuple)) else [gradients] * len(outputs)
    if len(given) != len(outputs):
        raise RuntimeError(f"backward: got {len(outputs)} tensors and {len(given)} gradients")
    seeds = []
    for output, gradient in zip(outputs, given, strict=True):
        if not output.requires_grad:
            raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
        if gradient is None:
            if output._array.size != 1:
                raise RuntimeError(
                    f"grad can be implicitly created only for scalar outputs, given shape {list(output._array.shape)}: "
                    "pass gradient="
                )
            gradient = wrap(np.ones_like(output._array))
            if (mode := modes.current_mode()) is not None:
                mode.created(gradient)
        elif not isinstance(gradient, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
        elif gradient._array.shape != output._array.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output has a shape of {list(gradient._array.shape)} and output has a shape "
                f"of {list(output._array.shape)}"
            )
        seeds.append(gradient)
    return outputs, seeds


def _walk(
    outputs: list[Any],
    seeds: list[Any],
    retain_graph: bool,
    create_graph: bool,
    only: set[int] | None,
    *,
    accumulate: bool,
    capture: "Sequence[Tensor]" = (),
) -> dict[int, Any]:
    """Visit nodes from the latest recorded to the earliest, adding up gradients on the way."""
    pending: dict[Node, list[Any]] = {}
    leaves: dict[int, tuple[Any, Any]] = {}
    captured: dict[int, Any] = {}
    # Tensors inside the graph whose gradient somebody wants: by (node, output index).
    watched: dict[tuple[int, int], list[Any]] = {}
    for t in capture:
        if t._node is not None:
            watched.setdefault((id(t._node), t._output_index), []).append(t)

    def send(tensor: Any, gradient: Any) -> None:
        if tensor._view is not None and tensor._view_version != tensor.version:
            refresh_view(tensor)
        node = tensor._node
        if node is None:
            for hook in tuple(tensor._hooks.values()) if tensor._hooks else ():
                replaced = hook(gradient)
                gradient = gradient if replaced is None else replaced
            known = leaves.get(id(tensor))
            leaves[id(tensor)] = (tensor, gradient if known is None else _add(known[1], gradient))
            return
        slots = pending.get(node)
        if slots is None:
            slots = pending[node] = [None] * len(node.output_meta)
            heapq.heappush(order, (-node.sequence, id(node), node))
        index = tensor._output_index
        slots[index] = gradient if slots[index] is None else _add(slots[index], gradient)

    order: list[tuple[int, int, Node]] = []
    switch = modes.enable_grad() if create_graph else modes.no_grad()
    with switch:
        for output, seed in zip(outputs, seeds, strict=True):
            send(output, seed)
        while order:
            _, _, node = heapq.heappop(order)
            gradients = pending.pop(node)
            for index, gradient in enumerate(gradients):
                if gradient is None:
                    continue
                for hook in list(node.hooks.get(index, {}).values()) if node.hooks else ():
                    replaced = hook(gradient)
                    gradients[index] = gradient = gradient if replaced is None else replaced
                for t in watched.get((id(node), index), ()):
                    captured[id(t)] = gradient
            try:
                pairs = node.apply(gradients, create_graph=create_graph)
            except Exception as error:
                if node.trace is not None:
                    error.add_note(f"in the backward of {node.name}, recorded here:\n{''.join(node.trace)}")
                raise
            if node.trace is not None:
                _check_nan(node, pairs)
            if not retain_graph:
                node.release()
            for tensor, gradient in pairs:
                send(tensor, _match(tensor, gradient))
    from .functions import clone

    given = {id(seed._array) for seed in seeds}
    for tensor, gradient in leaves.values():
        if only is not None and id(tensor) not in only:
            continue
        if not accumulate:
            captured[id(tensor)] = gradient
            continue
        # One array must not become the gradient of two leaves, nor the caller's own: they may be changed in place.
        if not create_graph and (id(gradient._array) in given or gradient._array.base is not None):
            gradient = clone(gradient)
        given.add(id(gradient._array))
        _accumulate(tensor, gradient, create_graph)
    return captured


def _check_nan(node: Node, pairs: "list[tuple[Tensor, Tensor]]") -> None:
    for _, gradient in pairs:
        if np.isnan(gradient._array).any():
            error = RuntimeError(f"Function '{node.name}' returned nan values in its gradient.")
            error.add_note(f"recorded here:\n{''.join(node.trace or ())}")
            raise error


def _match(tensor: Any, gradient: Any) -> Any:
    """The gradient in the operand's own dtype, as promotion may have changed it on the way."""
    if gradient._array.dtype != tensor._array.dtype:
        from .functions import cast

        return cast(gradient, dtype=tensor.dtype)
    return gradient


def _add(a: Any, b: Any) -> Any:
    from .functions import add

    return add(a, b)


def _accumulate(tensor: Any, gradient: Any, create_graph: bool) -> None:
    total = gradient if tensor.grad is None else _add(tensor.grad, gradient)
    tensor.grad = total if create_graph else total.detach()
