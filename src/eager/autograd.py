"""The autograd tape: nodes that remember how a tensor came about, and the backward walk over them."""

import heapq
import itertools
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.dtypes import FLOATING_KINDS
from ..ir.ops._op import Op, VjpContext
from . import modes
from .fast_gradients import FAST_GRADIENTS

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = [
    "Node", "PythonNode", "backward", "detect_anomaly", "grad", "refresh_view", "replay_view", "set_detect_anomaly",
]  # fmt: skip

_anomaly = 0
_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)


class Saved:
    """An operand kept for backward: its place in the graph then, and its version, so that a later write is caught."""

    __slots__ = ("index", "needed", "node", "tensor", "version")

    def __init__(self, tensor: "Tensor") -> None:
        self.tensor = tensor
        # An in-place write moves the tensor to another place in the graph: this one stays what was recorded.
        self.node = tensor._node
        self.index = tensor._output_index
        self.needed = tensor._requires_grad
        counter = tensor._counter
        if counter is None and tensor._view is None and tensor._alias_of is None:  # the usual case, without a call
            self.version = 0
        else:
            self.version = tensor.version

    def unpack(self, node: "Node") -> "Tensor":
        """The tensor, or a stand-in that raises where a derivative rule needs the values that were overwritten."""
        tensor = self.tensor
        if tensor._counter is None and tensor._view is None and tensor._alias_of is None:
            return tensor
        version = tensor.version
        if version != self.version:
            from .tensor import StaleTensor

            return StaleTensor(tensor, _stale_message(tensor, version, self.version, node.name))
        return tensor


def _stale_message(tensor: "Tensor", version: int, expected: int, name: str) -> str:
    return (
        f"one of the variables needed for gradient computation has been modified by an inplace operation: a "
        f"{tensor.dtype.name} tensor of shape {list(tensor._array.shape)} used by {name} is at version "
        f"{version}; expected version {expected} instead"
    )


_Wanted = Callable[[Saved], bool] | None
_sequence = itertools.count(1)


def mark() -> int:
    """A number above those of the nodes that were recorded so far, below those of all that follow."""
    return next(_sequence)


_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


def _call_stack() -> list[str]:
    """The calls that led here, up to the line of the user that called an op."""
    frames = traceback.extract_stack()[:-1]
    while len(frames) > 1 and frames[-1].filename.startswith(_PACKAGE):
        frames.pop()
    return traceback.format_list(frames)


class Node:
    """One recorded operation: operands, outputs, and the rule from output gradients to operand gradients."""

    __slots__ = (
        "__weakref__", "attributes", "hooks", "op", "operands", "output_meta", "outputs", "sequence", "trace",
    )  # fmt: skip

    shares = False  # whether the rule may return arrays that it also keeps

    def __init__(self, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> None:
        self.op = op
        self.operands: tuple[Any, ...] | None = tuple(
            [
                Saved(o) if hasattr(o, "_array") else tuple(map(_save, o)) if o.__class__ is tuple else o
                for o in operands
            ]
        )
        self.attributes = attributes
        self.outputs: list[Any] = []
        self.output_meta: list[tuple[tuple[int, ...], Any] | None] = []
        self.hooks: dict[int, dict[int, Callable[[Any], Any]]] | None = None  # by output index
        self.sequence = next(_sequence)
        self.trace = _call_stack() if _anomaly else None

    @property
    def name(self) -> str:
        """What `grad_fn` shows, as `AddBackward0`."""
        return backward_name(self.op.name)

    @classmethod
    def attach(cls, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any], outputs: Sequence[Any]) -> "Node":
        """Record an op and make its floating-point outputs require gradients."""
        node = cls(op, operands, attributes)
        for index, output in enumerate(outputs):
            array = getattr(output, "_array", None)
            if array is not None and array.dtype.kind in FLOATING_KINDS:
                output._requires_grad = True
                output._node = node
                if index:
                    output._output_index = index
                counter = output._counter
                if counter is None:
                    if output._view is None and output._alias_of is None:  # the usual case, without a call
                        output._counter = counter = [0]
                    else:
                        counter = output.version_counter()
                node.outputs.append((array, counter, counter[0]))
                node.output_meta.append((array.shape, array.dtype))
            else:
                node.outputs.append(output)  # an integer tensor has no node: no cycle
                node.output_meta.append(None)
        return node

    def edges(self) -> "Iterator[Saved]":
        """The operands that require gradients, groups flattened."""
        for operand in self.operands or ():
            for item in operand if isinstance(operand, tuple) else (operand,):
                if isinstance(item, Saved) and item.needed:
                    yield item

    @property
    def next_functions(self) -> "tuple[tuple[Node | None, int], ...]":
        """The nodes that made the operands that require gradients, each with the number of its output."""
        return tuple((edge.node, edge.index) for edge in self.edges())

    def apply(
        self, gradients: list[Any], *, create_graph: bool, wanted: _Wanted = None
    ) -> "list[tuple[Saved, Tensor]]":
        """Pairs (operand, gradient) for the operands that require gradients, or for those of them that are wanted."""
        if self.operands is None:
            raise RuntimeError(_FREED)
        if not create_graph and wanted is None and not modes.active_modes:
            short = FAST_GRADIENTS.get(self.op.name)
            pairs_ = NotImplemented if short is None else self._apply_shortly(short, gradients)
            if pairs_ is not NotImplemented:
                return pairs_
        operands = [
            o.unpack(self) if o.__class__ is Saved else _unpack(o, self) if o.__class__ is tuple else o
            for o in self.operands
        ]
        if wanted is None:
            needs = tuple([o.needed if o.__class__ is Saved else _needs(o, None) for o in self.operands])
        else:
            needs = tuple([_needs(o, wanted) for o in self.operands])
        argument = gradients[0] if self.op.outputs == 1 else tuple(gradients)
        assert self.op.vjp is not None
        results = self.op.vjp(_Context(self, needs, create_graph), argument, *operands, **self.attributes)
        pairs: list[tuple[Saved, Any]] = []
        for saved, need, result in zip(self.operands, needs, results, strict=True):
            if result is None:
                continue
            if isinstance(saved, tuple):
                pairs += [(item, g) for item, n, g in zip(saved, need, result, strict=True) if n and g is not None]
            elif need:
                pairs.append((saved, result))
        return pairs

    def _apply_shortly(self, short: Callable[..., Any], gradients: list[Any]) -> Any:
        """`apply` by a rule on arrays of one floating-point dtype; NotImplemented where it does not apply."""
        gradient = gradients[0]._array
        dtype = gradient.dtype
        if dtype.char not in "fd":
            return NotImplemented
        operands, needs = [], []
        for saved in self.operands or ():
            if saved.__class__ is not Saved:
                operands.append(saved)
                needs.append(False)
                continue
            tensor = saved.tensor
            if saved.version != (0 if tensor._counter is None and tensor._view is None else tensor.version):
                return NotImplemented
            array = tensor._array
            if array.dtype is not dtype and array.dtype.kind not in "ib":
                return NotImplemented
            operands.append(array)
            needs.append(saved.needed)
        array, counter, version = self.outputs[0]
        if counter[0] != version:
            return NotImplemented
        results = short(gradient, array, operands, needs, **self.attributes)
        if results is NotImplemented:
            return NotImplemented
        assert self.operands is not None
        return [(s, _wrap(r)) for s, n, r in zip(self.operands, needs, results, strict=True) if n and r is not None]

    def outputs_again(self, create_graph: bool) -> tuple[Any, ...]:
        """The outputs as a derivative rule may use them."""
        from .tensor import StaleTensor, wrap

        outputs = []
        for index, (saved, meta) in enumerate(zip(self.outputs, self.output_meta, strict=True)):
            if meta is None:
                outputs.append(saved)
                continue
            array, counter, version = saved
            output = wrap(array)
            if counter[0] != version:
                output = StaleTensor(output, _stale_message(output, counter[0], version, self.name))
            elif create_graph:
                output._requires_grad, output._node, output._output_index = True, self, index
            outputs.append(output)
        return tuple(outputs)

    def release(self) -> None:
        """Drop what was saved."""
        self.operands = None
        self.outputs = []

    def __repr__(self) -> str:
        return f"<{self.name} object at {id(self):#x}>"


class _Context(VjpContext):
    """What a rule may use; the outputs are made when they are asked for, which most rules do not."""

    def __init__(self, node: Node, needs: tuple[Any, ...], create_graph: bool) -> None:
        self.node = node
        self.needs = needs
        self.create_graph = create_graph
        self.made: tuple[Any, ...] | None = None

    @property
    def outputs(self) -> tuple[Any, ...]:  # type: ignore[override]
        if self.made is None:
            self.made = self.node.outputs_again(self.create_graph)
        return self.made


_names = {"reshape": "ViewBackward0", "cast": "ToCopyBackward0"}  # the rest follow from the op's name


def backward_name(name: str) -> str:
    """What `grad_fn` shows for an op: `leaky_relu` gives `LeakyReluBackward0`."""
    found = _names.get(name)
    if found is None:
        words = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
        found = _names[name] = f"{words}Backward0"
    return found


_NO_OP: Any = None


class PythonNode(Node):
    """A node whose rule is a Python function of the output gradients: `autograd.Function`, writes through views."""

    __slots__ = ("_name", "rule")

    def __init__(self, name: str, inputs: "Sequence[Any]", rule: Callable[..., Any]) -> None:
        super().__init__(_NO_OP, tuple(inputs), {})
        self._name = name
        self.rule: Callable[..., Any] | None = rule

    @property
    def name(self) -> str:
        return self._name

    def apply(
        self, gradients: list[Any], *, create_graph: bool, wanted: _Wanted = None
    ) -> "list[tuple[Saved, Tensor]]":
        if self.operands is None or self.rule is None:
            raise RuntimeError(_FREED)
        results = self.rule(*gradients)
        if not isinstance(results, tuple):
            results = (results,)
        if len(results) < len(self.operands):
            raise RuntimeError(
                f"{self.name}: expected {len(self.operands)} gradients, one per input, given {len(results)}"
            )
        return [
            (saved, gradient)
            for saved, gradient in zip(self.operands, results, strict=False)
            if gradient is not None and _needs(saved, wanted)
        ]

    def release(self) -> None:
        super().release()
        self.rule = None


def _save(operand: Any) -> Any:
    if isinstance(operand, tuple):
        return tuple([_save(o) for o in operand])
    return Saved(operand) if hasattr(operand, "_array") else operand


def _unpack(operand: Any, node: Node) -> Any:
    if isinstance(operand, Saved):
        return operand.unpack(node)
    return tuple([_unpack(o, node) for o in operand]) if isinstance(operand, tuple) else operand


def _needs(operand: Any, wanted: _Wanted) -> Any:
    if isinstance(operand, Saved):
        return operand.needed and (wanted is None or wanted(operand))
    return tuple([_needs(o, wanted) for o in operand]) if isinstance(operand, tuple) else False


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
    return array.__array_interface__["data"][0] if array.size else 0, array.shape, array.strides


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
        global _anomaly
        self._previous = _anomaly
        _anomaly = 0 if not mode else (2 if check_nan else 1)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        global _anomaly
        _anomaly = self._previous


class detect_anomaly:
    """Backward errors and NaN gradients inside also show where the forward operation was called."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self._previous: list[int] = []

    def __enter__(self) -> None:
        global _anomaly
        self._previous.append(_anomaly)
        _anomaly = 2 if self.check_nan else 1

    def __exit__(self, *exception: object) -> None:
        global _anomaly
        _anomaly = self._previous.pop()


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
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> "tuple[Tensor | None, ...]":
    """Gradients of the outputs with respect to the inputs, returned and not accumulated.

    RuntimeError where an input is not part of the graph, unless `allow_unused`.

    >>> x = ingot.tensor(3.0, requires_grad=True)
    >>> ingot.autograd.grad(x * x, x)
    (tensor(6.),)
    """
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
    for t in wanted:
        leaf = leaves.get(id(t))
        g = captured.get(id(t)) if leaf is None else leaf[1]
        if g is None and materialize_grads:
            from .tensor import wrap

            g = wrap(np.zeros_like(t._array))
        if g is None and not allow_unused:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
        results.append(g if g is None or create_graph else _plain(g))
    return tuple(results)


def _wrap(array: Any) -> Any:
    from .tensor import wrap

    return wrap(array)


def _plain(gradient: Any) -> Any:
    """The gradient without history: a rule may hand on a tensor that has one."""
    return gradient.detach() if gradient._requires_grad else gradient


def _seeds(tensors: Any, gradients: Any) -> tuple[list[Any], list[Any]]:
    from .tensor import Tensor, wrap

    outputs = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
    given = list(gradients) if isinstance(gradients, (list, tuple)) else [gradients] * len(outputs)
    if len(given) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    seeds = []
    for number, (output, gradient) in enumerate(zip(outputs, given, strict=True)):
        if not isinstance(output, Tensor):
            raise TypeError(f"backward: expected Tensors, given {type(output).__name__}")
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
            gradient = wrap(np.ones(array.shape, array.dtype))
            if (mode := modes.current_mode()) is not None:
                mode.created(gradient)
        elif not isinstance(gradient, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
        elif gradient._array.shape != output._array.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{number}] has a shape of {list(gradient._array.shape)} and "
                f"output[{number}] has a shape of {list(output._array.shape)}."
            )
        seeds.append(gradient)
    return outputs, seeds


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
    wanted: _Wanted = None
    if inputs is not None:
        for t in inputs:
            t._refresh()
            if t._node is not None:
                watched.setdefault((id(t._node), t._output_index), []).append(t)
        wanted = _paths(outputs, {id(t) for t in inputs if t._node is None}, watched)

    order: list[tuple[int, int, Node]] = []

    def send(tensor: Any, node: Node | None, index: int, gradient: Any) -> None:
        dtype = tensor._array.dtype
        if gradient._array.dtype is not dtype and gradient._array.dtype != dtype:
            gradient = _cast(gradient, tensor.dtype)  # promotion may have changed the dtype on the way
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
            try:
                pairs = node.apply(gradients, create_graph=create_graph, wanted=wanted)
            except Exception as error:
                if node.trace is not None:
                    error.add_note(f"in the backward of {node.name}, recorded here:\n{''.join(node.trace)}")
                raise
            if node.trace is not None and _anomaly != 1:
                _check_nan(node, pairs)
            if not retain_graph:
                node.release()
            for saved, gradient in pairs:
                if node.shares:
                    exposed[id(gradient._array)] = gradient._array
                send(saved.tensor, saved.node, saved.index, gradient)
        for key, (tensor, gradient) in leaves.items():
            for hook in tuple(tensor._hooks.values()) if tensor._hooks else ():
                replaced = hook(gradient)
                exposed[id(gradient._array)] = gradient._array
                gradient = gradient if replaced is None else replaced
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
        # A freed node leads nowhere that is still known: visiting it raises the error about that.
        if node.operands is None or any(leads(edge) for edge in node.edges()):
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
            replaced = hook(gradient)
            exposed[id(gradient._array)] = gradient._array
            gradients[index] = gradient = gradient if replaced is None else replaced
            exposed[id(gradient._array)] = gradient._array
        for t in watched.get((id(node), index), ()):
            captured[id(t)] = gradient
            exposed[id(gradient._array)] = gradient._array


def _check_nan(node: Node, pairs: "list[tuple[Saved, Tensor]]") -> None:
    for number, (_, gradient) in enumerate(pairs):
        if np.isnan(gradient._array).any():
            error = RuntimeError(f"Function '{node.name}' returned nan values in its {number}th output.")
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
        if id(array) in exposed or array.base is not None or not array.flags.writeable:
            gradient = call("clone", gradient)
            array = gradient._array
        exposed[id(array)] = array  # one array must not become the gradient of two leaves
        tensor._grad = gradient.detach() if modes.active_modes else _wrap(array)
    elif mode is not None and not known._requires_grad:
        with modes.no_grad():
            known.add_(gradient)
    elif known._requires_grad or not known._array.flags.writeable:
        with modes.no_grad():
            tensor._grad = _add(known, gradient)
    else:
        np.add(known._array, gradient._array, out=known._array, casting="unsafe")
        known.bump_version()
