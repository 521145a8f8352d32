"""The backward walk over the tape, and what starts it: `backward` and `grad`."""

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir.dtypes import from_numpy
from ..ir.ops._op import Op
from . import modes
from .device import address, is_writable, make_on, require_same_device
from .tape import Node, PythonNode, Saved, Wanted, mark, settings
from .tensor import Tensor, wrap

__all__ = [
    "Node", "PythonNode", "Saved", "backward", "detect_anomaly", "grad", "mark", "refresh_view", "replay_view",
    "set_detect_anomaly",
]  # fmt: skip


def refresh_view(tensor: "Tensor") -> None:
    """Give a view its place in the graph again after its base was written in place."""
    chain = [tensor]
    while chain[-1]._view is not None:
        chain.append(chain[-1]._view[0])
    version = tensor.version
    for view in reversed(chain[:-1]):
        if view._view_version == version:
            continue
        assert view._view is not None
        source, op, operands, attributes = view._view
        if source._requires_grad or view._requires_grad:
            with modes.use_mode(None), modes.enable_grad():
                again = replay_view(source, op, operands, attributes)
            if _place(again) != _place(view):
                raise RuntimeError(
                    "a view of a tensor cannot be used after the tensor was turned in place (t_(), transpose_(), ...) "
                    "and written: take the view again"
                )
            view._node, view._output_index = again._node, again._output_index
            view._requires_grad = again._requires_grad
        view._view_version = version


def _place(tensor: "Tensor") -> tuple[Any, ...]:
    array = tensor._array
    return address(array) if array.size else 0, array.shape, array.strides


def replay_view(source: "Tensor", op: Op | None, operands: tuple[Any, ...], attributes: dict[str, Any]) -> "Tensor":
    """The same view of another tensor; without an op, `operands` is a basic index."""
    if op is None:
        from .indexing import getitem

        return getitem(source, operands)
    from .dispatch import dispatch

    result: Tensor = dispatch(op, (source, *operands), attributes)
    return result


class set_detect_anomaly:
    """Turn anomaly detection on or off, at once or as a context manager (see `detect_anomaly`)."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._previous = settings.anomaly
        settings.anomaly = 0 if not mode else (2 if check_nan else 1)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        settings.anomaly = self._previous


class detect_anomaly:
    """Backward errors and NaN gradients inside also show where the forward operation was called."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self._previous: list[int] = []

    def __enter__(self) -> None:
        self._previous.append(settings.anomaly)
        settings.anomaly = 2 if self.check_nan else 1

    def __exit__(self, *exception: object) -> None:
        settings.anomaly = self._previous.pop()


def backward(
    tensors: "Tensor | Sequence[Tensor]",
    grad_tensors: "Tensor | Sequence[Tensor | None] | None" = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: "Tensor | Sequence[Tensor] | None" = None,
) -> None:
    """Add the gradients of the tensors to the `.grad` of the leaves they depend on.

    tensors: outputs; those that are not single elements need an entry in `grad_tensors` of their own shape.
    inputs: where given, gradients are added to the `.grad` of these only.
    """
    outputs, seeds = _seeds(tensors, grad_tensors)
    wanted: list[Any] | None = None
    if inputs is not None:
        wanted = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if wanted is not None and not wanted:
        raise RuntimeError("'inputs' argument to backward cannot be empty.")
    for t in wanted or ():
        if not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    leaves, captured, exposed = _walk(outputs, seeds, keep, create_graph, wanted)
    for tensor, gradient in leaves.values():
        _accumulate(tensor, gradient, create_graph, exposed)
        if tensor._accumulate_hooks:
            with modes.no_grad():
                for hook in tuple(tensor._accumulate_hooks.values()):
                    hook(tensor)
    for t in wanted or ():
        if t._node is not None and not t._retains_grad and (found := captured.get(id(t))) is not None:
            _accumulate(t, found, create_graph, exposed)


def grad(
    outputs: "Tensor | Sequence[Tensor]",
    inputs: "Tensor | Sequence[Tensor]",
    grad_outputs: "Tensor | Sequence[Tensor | None] | None" = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> "tuple[Tensor | None, ...]":
    """Gradients of the outputs with respect to the inputs, returned and not accumulated.

    RuntimeError where an input is not part of the graph, unless `allow_unused`. `is_grads_batched`: the first dimension
    of `grad_outputs` counts gradients, and that of the results what each of them gives.

    >>> x = ingot.tensor(3.0, requires_grad=True)
    >>> ingot.autograd.grad(x * x, x)
    (tensor(6.),)
    """
    if not only_inputs:
        raise ValueError("only_inputs argument is deprecated and only True is supported")
    if is_grads_batched:
        return _batched_grad(outputs, inputs, grad_outputs, create_graph, retain_graph, allow_unused, materialize_grads)
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: False.")
    wanted: list[Any] = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if not wanted:
        raise ValueError("grad requires non-empty inputs.")
    for t in wanted:
        if not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    outputs_, seeds = _seeds(outputs, grad_outputs)
    keep = create_graph if retain_graph is None else retain_graph
    leaves, captured, _ = _walk(outputs_, seeds, keep, create_graph, wanted)
    results: list[Any] = []
    for number, t in enumerate(wanted):
        leaf = leaves.get(id(t))
        g = captured.get(id(t)) if leaf is None else leaf[1]
        if g is None and materialize_grads:
            g = wrap(np.zeros_like(t._array))
        if g is None and not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {number} appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
        results.append(g if g is None or create_graph else _plain(g))
    return tuple(results)


def _batched_grad(
    outputs: Any, inputs: Any, grad_outputs: Any, create_graph: bool, retain_graph: Any, *options: Any
) -> Any:
    """`grad` for each entry of a batch of output gradients, stacked."""
    from .functions import call

    seeds = list(grad_outputs) if isinstance(grad_outputs, (list, tuple)) else [grad_outputs]
    count = next(int(s.shape[0]) for s in seeds if s is not None)
    keep = create_graph if retain_graph is None else retain_graph
    rows = []
    for i in range(count):
        row = [None if s is None else call("select", s, i, dim=0) for s in seeds]
        rows.append(
            grad(outputs, inputs, row, keep or i < count - 1, create_graph, allow_unused=options[0],
                 materialize_grads=options[1])
        )  # fmt: skip
    return tuple([None if column[0] is None else call("stack", list(column), 0) for column in zip(*rows, strict=True)])


def _plain(gradient: Any) -> Any:
    """The gradient without history: a rule may hand on a tensor that has one."""
    return gradient.detach() if gradient._requires_grad else gradient


def _seeds(tensors: Any, gradients: Any) -> tuple[list[Any], list[Any]]:
    outputs = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
    given = list(gradients) if isinstance(gradients, (list, tuple)) else [gradients] * len(outputs)
    if len(given) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    seeds = []
    for number, (output, gradient) in enumerate(zip(outputs, given, strict=True)):
        if not isinstance(output, Tensor):
            raise TypeError(f"backward: expected Tensors, given {type(output).__name__}")
        if getattr(output, "is_batched", False):
            raise RuntimeError("backward() and autograd.grad() see no single samples inside vmap: use func.grad there")
        if not output.requires_grad:
            raise RuntimeError(f"element {number} of tensors does not require grad and does not have a grad_fn")
        if gradient is None:
            if output._array.dtype.kind == "c":
                raise RuntimeError(
                    f"grad can be implicitly created only for real scalar outputs but got {output.dtype!r}"
                )
            if output._array.size != 1:
                raise RuntimeError(
                    f"grad can be implicitly created only for scalar outputs, given shape {list(output._array.shape)}: "
                    "pass gradient="
                )
            array = output._array
            gradient = wrap(_ones(array, output.device))
            if (mode := modes.current_mode()) is not None:
                mode.created(gradient)
        elif not isinstance(gradient, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
        elif gradient._array.shape != output._array.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{number}] has a shape of {list(gradient._array.shape)} and "
                f"output[{number}] has a shape of {list(output._array.shape)}."
            )
        elif modes.devices:
            require_same_device(output.device, gradient.device)
        seeds.append(gradient)
    return outputs, seeds


def _ones(like: Any, place: Any) -> Any:
    return make_on(place, lambda xp: xp.ones(like.shape, like.dtype))


_Leaves = dict[int, tuple[Any, Any]]
# Arrays that somebody else may hold (seeds, what hooks saw), by id: they must not become a `.grad`, which is changed in
# place.
_Exposed = dict[int, Any]


def _walk(
    outputs: list[Any],
    seeds: list[Any],
    retain_graph: bool,
    create_graph: bool,
    inputs: list[Any] | None,
) -> tuple[_Leaves, dict[int, Any], _Exposed]:
    """Visit nodes from the latest recorded to the earliest, adding up gradients on the way.

    Returns (leaf, gradient) by the leaf's id, and the gradients of those inputs that are not leaves by their ids. With
    inputs, only what leads to them is visited.
    """
    exposed: _Exposed = {id(seed._array): seed._array for seed in seeds}
    pending: dict[Node, list[Any]] = {}
    leaves: _Leaves = {}
    captured: dict[int, Any] = {}
    # Inputs inside the graph: by (node, output index).
    watched: dict[tuple[int, int], list[Any]] = {}
    wanted: Wanted = None
    if inputs is not None:
        for t in inputs:
            t._refresh()
            if t._node is not None:
                watched.setdefault((id(t._node), t._output_index), []).append(t)
        wanted = _paths(outputs, {id(t) for t in inputs if t._node is None}, watched)

    order: list[tuple[int, int, Node]] = []

    def send(tensor: Any, node: Node | None, index: int, gradient: Any) -> None:
        dtype = tensor._array.dtype if node is None else node.output_meta[index][1]  # type: ignore[index]
        if gradient._array.dtype is not dtype and gradient._array.dtype != dtype:
            gradient = _cast(gradient, from_numpy(dtype))  # promotion may have changed the dtype on the way
        if node is None:
            known = leaves.get(id(tensor))
            leaves[id(tensor)] = (tensor, gradient if known is None else _add(known[1], gradient))
            return
        slots = pending.get(node)
        if slots is None:
            slots = pending[node] = [None] * len(node.output_meta)
            heapq.heappush(order, (-node.sequence, id(node), node))
        slots[index] = gradient if slots[index] is None else _add(slots[index], gradient)

    switch = modes.enable_grad() if create_graph else modes.no_grad()
    with switch:
        for output, seed in zip(outputs, seeds, strict=True):
            output._refresh()
            if inputs is None or output._node is not None or any(output is t for t in inputs):
                send(output, output._node, output._output_index, seed)
        while order:
            _, _, node = heapq.heappop(order)
            gradients = pending.pop(node)
            if node.hooks or watched:
                _run_hooks(node, gradients, watched, captured, exposed)
                is_wanted = wanted is not None and any((id(node), i) in watched for i in range(len(gradients)))
                if wanted is not None and is_wanted and not any(map(wanted, node.edges())):
                    continue  # what is wanted of this node is its output: its own operands lead to nothing
            if node.pre_hooks:
                for pre_hook in tuple(node.pre_hooks.values()):
                    replaced = pre_hook(tuple(gradients))
                    gradients = gradients if replaced is None else list(replaced)
            try:
                pairs = node.apply(gradients, create_graph=create_graph, wanted=wanted)
            except Exception as error:
                if node.trace is not None:
                    error.add_note(f"in the backward of {node.name()}, recorded here:\n{''.join(node.trace)}")
                raise
            if node.trace is not None and settings.anomaly != 1:
                _check_nan(node, pairs)
            if node.post_hooks:
                pairs = _run_post_hooks(node, pairs, gradients, exposed)
            if not retain_graph:
                node.release()
            for saved, gradient in pairs:
                if node.shares:
                    exposed[id(gradient._array)] = gradient._array
                send(saved.tensor, saved.node, saved.index, gradient)
        for key, (tensor, gradient) in leaves.items():
            for hook in tuple(tensor._hooks.values()) if tensor._hooks else ():
                exposed[id(gradient._array)] = gradient._array
                gradient = _after_hook(hook, gradient)
                exposed[id(gradient._array)] = gradient._array
                leaves[key] = (tensor, gradient)
    return leaves, captured, exposed


def _paths(outputs: list[Any], leaves: set[int], watched: dict[tuple[int, int], list[Any]]) -> Callable[[Saved], bool]:
    """Whether an operand leads to one of the wanted leaves or (node, output) places."""
    reached: dict[int, Node] = {}
    for output in outputs:
        output._refresh()
    stack = [output._node for output in outputs if output._node is not None]
    while stack:
        node = stack.pop()
        if id(node) not in reached:
            reached[id(node)] = node
            stack += [edge.node for edge in node.edges() if edge.node is not None]
    leading: set[int] = set()

    def leads(edge: Saved) -> bool:
        if edge.node is None:
            return id(edge.tensor) in leaves
        return id(edge.node) in leading or (id(edge.node), edge.index) in watched

    for node in sorted(reached.values(), key=lambda node: node.sequence):
        if any(leads(edge) for edge in node.edges()):
            leading.add(id(node))
    return leads


def _run_hooks(
    node: Node,
    gradients: list[Any],
    watched: dict[tuple[int, int], list[Any]],
    captured: dict[int, Any],
    exposed: _Exposed,
) -> None:
    for index, gradient in enumerate(gradients):
        if gradient is None:
            continue
        for hook in tuple(node.hooks.get(index, {}).values()) if node.hooks else ():
            exposed[id(gradient._array)] = gradient._array
            gradients[index] = gradient = _after_hook(hook, gradient)
            exposed[id(gradient._array)] = gradient._array
        for t in watched.get((id(node), index), ()):
            captured[id(t)] = gradient
            exposed[id(gradient._array)] = gradient._array


def _after_hook(hook: Callable[[Any], Any], gradient: Any) -> Any:
    """The gradient that a hook leaves: its own, or the one it returned."""
    replaced = hook(gradient)
    if replaced is None:
        return gradient
    if not hasattr(replaced, "_array"):
        raise TypeError(f"expected Variable, but hook returned '{type(replaced).__name__}'")
    if tuple(replaced.shape) != tuple(gradient.shape):
        raise RuntimeError(
            f"hook '{getattr(hook, '__name__', type(hook).__name__)}' has changed the size of value: from "
            f"{list(gradient.shape)} to {list(replaced.shape)}"
        )
    return replaced


def _run_post_hooks(
    node: Node, pairs: "list[tuple[Saved, Tensor]]", gradients: list[Any], exposed: _Exposed
) -> "list[tuple[Saved, Tensor]]":
    by_operand = {id(saved): gradient for saved, gradient in pairs}
    operands = [o for o in node._inputs() if isinstance(o, (Saved, int, float, complex))]
    for hook in tuple((node.post_hooks or {}).values()):
        given = tuple([by_operand.get(id(o)) if isinstance(o, Saved) else None for o in operands])
        for gradient in given:
            if gradient is not None:
                exposed[id(gradient._array)] = gradient._array
        replaced = hook(given, tuple(gradients))
        if replaced is not None:
            for operand, gradient in zip(operands, replaced, strict=False):
                if isinstance(operand, Saved) and id(operand) in by_operand and gradient is not None:
                    by_operand[id(operand)] = gradient
    return [(saved, by_operand[id(saved)]) for saved, _ in pairs]


def _check_nan(node: Node, pairs: "list[tuple[Saved, Tensor]]") -> None:
    for number, (_, gradient) in enumerate(pairs):
        if np.isnan(gradient._array).any():
            error = RuntimeError(f"Function '{node.name()}' returned nan values in its {number}th output.")
            error.add_note(f"recorded here:\n{''.join(node.trace or ())}")
            raise error


def _cast(gradient: Any, dtype: Any) -> Any:
    from .functions import call

    return call("cast", gradient, dtype=dtype)


def _add(a: Any, b: Any) -> Any:
    from .functions import call

    return call("add", a, b)


def _accumulate(tensor: Any, gradient: Any, create_graph: bool, exposed: _Exposed) -> None:
    """Add a gradient to `tensor.grad`, in place where it is there already."""
    from .functions import call

    if gradient._array.shape != tensor._array.shape:
        raise RuntimeError(
            f"the gradient of shape {list(gradient._array.shape)} does not fit its tensor of shape "
            f"{list(tensor._array.shape)}: what a hook returns must have the shape of what it was given"
        )
    mode = modes.current_mode()
    if mode is not None:
        mode.gradient(tensor, "add")
    known = tensor._grad
    if create_graph:
        tensor._grad = gradient if known is None else _add(known, gradient)
        return
    gradient = _plain(gradient)
    if known is None:
        array = gradient._array
        if id(array) in exposed or array.base is not None or not is_writable(array):
            gradient = call("clone", gradient)
            array = gradient._array
        exposed[id(array)] = array  # one array must not become the gradient of two leaves
        tensor._grad = gradient.detach() if modes.active_modes else wrap(array)
    elif mode is not None and not known._requires_grad:
        with modes.no_grad():
            known.add_(gradient)
    elif known._requires_grad or not is_writable(known._array):
        with modes.no_grad():
            tensor._grad = _add(known, gradient)
    else:
        np.add(known._array, gradient._array, out=known._array, casting="unsafe")
        known.bump_version()
