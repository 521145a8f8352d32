"""The autograd tape: nodes that remember how a tensor came about, until backward has used them."""

import itertools
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..ir.dtypes import FLOATING_KINDS, from_numpy
from ..ir.ops._op import Op, VjpContext
from . import modes
from .fast_gradients import FAST_GRADIENTS
from .hooks import RemovableHandle
from .tensor import StaleTensor, Tensor, wrap

__all__ = ["FREED", "AccumulateGrad", "Node", "PythonNode", "Saved", "mark", "settings"]

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)


class _Settings:
    """What recording looks at besides the tensors; for all threads."""

    anomaly = 0  # 1: nodes know where they were recorded; 2: and backward looks for NaN
    saved_hooks: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...] = ()  # (pack, unpack), innermost last
    hooks_disabled: str | None = None


settings = _Settings()
_sequence = itertools.count(1)
_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


def mark() -> int:
    """A number above those of the nodes that were recorded so far, below those of all that follow."""
    return next(_sequence)


def _call_stack() -> list[str]:
    """The calls that led here, up to the line of the user that called an op."""
    frames = traceback.extract_stack()[:-1]
    while len(frames) > 1 and frames[-1].filename.startswith(_PACKAGE):
        frames.pop()
    return traceback.format_list(frames)


# -- what is saved ----------------------------------------------------------------------------------------------------


class Saved:
    """An operand kept for backward: its place in the graph then, and its version, so that a later write is caught."""

    __slots__ = ("index", "needed", "node", "stand_in", "tensor", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor: Any = tensor
        # An in-place write moves the tensor to another place in the graph: this one stays what was recorded.
        self.node = tensor._node
        self.index = tensor._output_index
        self.needed = tensor._requires_grad
        # Of values that are not to be had: shape and dtype where they were freed, or what else gives a tensor.
        self.stand_in: Any = None if not tensor._inference else _refused(tensor)
        counter = tensor._counter
        if counter is None and tensor._view is None and tensor._alias_of is None:  # the usual case, without a call
            self.version = 0
        else:
            self.version = tensor.version

    def unpack(self, node: "Node") -> Tensor:
        """The tensor, or a stand-in that raises where a derivative rule needs values that are no longer there."""
        stand_in = self.stand_in
        if stand_in is not None:
            if stand_in.__class__ is tuple:
                return StaleTensor(stand_in[0], stand_in[1], FREED)
            return stand_in.unpacked(self) if hasattr(stand_in, "unpacked") else stand_in  # type: ignore[no-any-return]
        tensor = self.tensor
        if tensor._counter is None and tensor._view is None and tensor._alias_of is None:
            return tensor
        version = tensor.version
        if version != self.version:
            return StaleTensor(
                tensor._array.shape, tensor.dtype, _stale_message(tensor, version, self.version, node.name())
            )
        return tensor

    def is_current(self) -> bool:
        """Whether the tensor is there, with the values that it had."""
        if self.stand_in is not None:
            return False
        tensor = self.tensor
        plain = tensor._counter is None and tensor._view is None and tensor._alias_of is None
        return self.version == (0 if plain else tensor.version)

    def release(self) -> None:
        """Forget the values; the place in the graph stays."""
        stand_in = self.stand_in
        if stand_in is None:
            array = self.tensor._array
            self.stand_in = array.shape, from_numpy(array.dtype)
        elif stand_in.__class__ is not tuple:
            self.stand_in = tuple(stand_in.shape), stand_in.dtype
        if self.node is not None or not self.needed:  # else it is a leaf, which gets what backward finds
            self.tensor = None


def _refused(tensor: Tensor) -> Tensor:
    """What stands for a tensor of inference mode: PyTorch refuses to save it, here a rule that reads it raises."""
    return StaleTensor(
        tuple(tensor.shape),
        tensor.dtype,
        "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in "
        "computation tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it "
        "in autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`.",
    )


def _stale_message(tensor: Tensor, version: int, expected: int, name: str) -> str:
    return (
        f"one of the variables needed for gradient computation has been modified by an inplace operation: a "
        f"{tensor.dtype.name} tensor of shape {list(tensor.shape)} used by {name} is at version "
        f"{version}; expected version {expected} instead"
    )


def _save(operand: Any) -> Any:
    if isinstance(operand, tuple):
        return tuple([_save(o) for o in operand])
    return Saved(operand) if hasattr(operand, "_array") else operand


def _unpack(operand: Any, node: "Node") -> Any:
    if isinstance(operand, Saved):
        return operand.unpack(node)
    return tuple([_unpack(o, node) for o in operand]) if isinstance(operand, tuple) else operand


def _needs(operand: Any, wanted: "Wanted") -> Any:
    if isinstance(operand, Saved):
        return operand.needed and (wanted is None or wanted(operand))
    return tuple([_needs(o, wanted) for o in operand]) if isinstance(operand, tuple) else False


Wanted = Callable[[Saved], bool] | None


# -- nodes ------------------------------------------------------------------------------------------------------------


class AccumulateGrad:
    """The end of the graph at a leaf: where its gradient is added up."""

    next_functions = ()

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    def name(self) -> str:
        """PyTorch's name of it."""
        return "torch::autograd::AccumulateGrad"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return id(self.variable)

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self.variable):#x}>"


class Node:
    """One recorded operation: operands, outputs, and the rule from output gradients to operand gradients."""

    __slots__ = (
        "__weakref__", "attributes", "hooks", "metadata", "op", "operands", "output_meta", "outputs", "post_hooks",
        "pre_hooks", "released", "sequence", "trace",
    )  # fmt: skip

    shares = False  # whether the rule may return arrays that it also keeps

    def __init__(self, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> None:
        self.op = op
        self.operands: tuple[Any, ...] = tuple(
            [
                Saved(o) if hasattr(o, "_array") else tuple(map(_save, o)) if o.__class__ is tuple else o
                for o in operands
            ]
        )
        self.attributes = attributes
        self.outputs: list[Any] = []
        self.output_meta: list[tuple[tuple[int, ...], Any] | None] = []
        self.hooks: dict[int, dict[int, Callable[[Any], Any]]] | None = None  # by output index
        self.pre_hooks: dict[int, Callable[..., Any]] | None = None
        self.post_hooks: dict[int, Callable[..., Any]] | None = None
        self.released = False
        self.sequence = next(_sequence)
        self.trace = _call_stack() if settings.anomaly else None
        if settings.saved_hooks:
            from .saved_hooks import pack_operands

            pack_operands(self)

    def name(self) -> str:
        """What `grad_fn` shows, as `AddBackward0`."""
        return type(self).__name__

    @classmethod
    def attach(cls, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any], outputs: Sequence[Any]) -> "Node":
        """Record an op and make its floating-point outputs require gradients."""
        node = (_classes.get(op.name) or _class_of(op.name))(op, operands, attributes)
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

    # -- the graph ----------------------------------------------------------------------------------------------------

    def _inputs(self) -> Iterator[Any]:
        for operand in self.operands:
            yield from operand if isinstance(operand, tuple) else (operand,)

    def edges(self) -> Iterator[Saved]:
        """The operands that require gradients, groups flattened."""
        for item in self._inputs():
            if isinstance(item, Saved) and item.needed:
                yield item

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """What made the operands: (node, the number of its output), (AccumulateGrad, 0) of a leaf, (None, 0) else."""
        found: list[tuple[Any, int]] = []
        for item in self._inputs():
            if not isinstance(item, Saved):
                if isinstance(item, (int, float, complex)) and self.op is not None:
                    found.append((None, 0))
            elif not item.needed:
                found.append((None, 0))
            else:
                found.append((item.node, item.index) if item.node is not None else (AccumulateGrad(item.tensor), 0))
        return tuple(found)

    def register_hook(self, hook: Callable[[Any, Any], Any]) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after this node; what it returns replaces the former."""
        if self.post_hooks is None:
            self.post_hooks = {}
        return RemovableHandle(self.post_hooks, hook)

    def register_prehook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call `hook(grad_outputs)` before this node; what it returns replaces them."""
        if self.pre_hooks is None:
            self.pre_hooks = {}
        return RemovableHandle(self.pre_hooks, hook)

    # -- backward -----------------------------------------------------------------------------------------------------

    def apply(self, gradients: list[Any], *, create_graph: bool, wanted: Wanted = None) -> list[tuple[Saved, Tensor]]:
        """Pairs (operand, gradient) for the operands that require gradients, or for those of them that are wanted."""
        if not create_graph and wanted is None and not modes.active_modes and not self.released:
            short = FAST_GRADIENTS.get(self.op.name)
            found = NotImplemented if short is None else self._apply_shortly(short, gradients)
            if found is not NotImplemented:
                return found  # type: ignore[no-any-return]
        if self.released and self.op is not None and self.op.name in _SAVES_NUMBERS:
            raise RuntimeError(FREED)
        operands = [
            o.unpack(self) if o.__class__ is Saved else _unpack(o, self) if o.__class__ is tuple else o
            for o in self.operands
        ]
        needs: tuple[Any, ...]
        if wanted is None:
            needs = tuple([o.needed if o.__class__ is Saved else _needs(o, None) for o in self.operands])
        else:
            needs = tuple([_needs(o, wanted) for o in self.operands])
        argument = gradients[0] if self.op.outputs == 1 else tuple(gradients)
        assert self.op.vjp is not None
        context = _Context(self, needs, create_graph)
        if modes.devices:
            first = next(g for g in gradients if g is not None)
            with modes.placing(first.device):  # what rules make of nothing belongs there, too
                results = self.op.vjp(context, argument, *operands, **self.attributes)
        else:
            results = self.op.vjp(context, argument, *operands, **self.attributes)
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
        if gradients[0] is None or (len(gradients) > 1 and any([g is not None for g in gradients[1:]])):
            return NotImplemented
        gradient = gradients[0]._array
        dtype = gradient.dtype
        if dtype.char not in "fd":
            return NotImplemented
        operands, needs = [], []
        for saved in self.operands:
            if saved.__class__ is not Saved:
                operands.append(saved)
                needs.append(False)
                continue
            if not saved.is_current():
                return NotImplemented
            array = saved.tensor._array
            if array.dtype is not dtype and array.dtype.kind not in "ib":
                return NotImplemented
            operands.append(array)
            needs.append(saved.needed)
        for made, counter, version in self.outputs:
            if made is None or counter[0] != version:
                return NotImplemented
        output: Any = self.outputs[0][0] if len(self.outputs) == 1 else [made for made, _, _ in self.outputs]
        results = short(gradient, output, operands, needs, **self.attributes)
        if results is NotImplemented:
            return NotImplemented
        return [(s, wrap(r)) for s, n, r in zip(self.operands, needs, results, strict=True) if n and r is not None]

    def outputs_again(self, create_graph: bool) -> tuple[Any, ...]:
        """The outputs as a derivative rule may use them."""
        if self.released:
            return tuple([None if m is None else StaleTensor(m[0], m[1], FREED) for m in self.output_meta])
        outputs = []
        for index, (saved, meta) in enumerate(zip(self.outputs, self.output_meta, strict=True)):
            if meta is None:
                outputs.append(saved)
                continue
            array, counter, version = saved
            output = wrap(array)
            if counter[0] != version:
                message = _stale_message(output, counter[0], version, self.name())
                output = StaleTensor(array.shape, output.dtype, message)
            elif create_graph:
                output._requires_grad, output._node, output._output_index = True, self, index
            outputs.append(output)
        return tuple(outputs)

    def release(self) -> None:
        """Drop the values that were saved; the graph stays, for rules that need none."""
        self.released = True
        self.outputs = []
        for operand in self.operands:
            if operand.__class__ is Saved:
                operand.release()
            elif operand.__class__ is tuple:
                for item in operand:
                    if item.__class__ is Saved:
                        item.release()

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


# PyTorch saves the number that a tensor is multiplied with, too, and frees it.
_SAVES_NUMBERS = frozenset({"div", "mul"})


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


_NO_OP: Any = None


class PythonNode(Node):
    """A node whose rule is a Python function of the output gradients: `autograd.Function`, writes through views."""

    __slots__ = ("rule",)

    def __new__(cls, name: str, *_: Any) -> "PythonNode":
        return super().__new__(_named(cls, name))

    def __init__(self, name: str, inputs: "Sequence[Any]", rule: Callable[..., Any]) -> None:
        super().__init__(_NO_OP, tuple(inputs), {})
        self.rule: Callable[..., Any] | None = rule

    def apply(self, gradients: list[Any], *, create_graph: bool, wanted: Wanted = None) -> list[tuple[Saved, Tensor]]:
        if self.rule is None:
            raise RuntimeError(FREED)
        if modes.devices and (given := [g for g in gradients if g is not None]):
            with modes.placing(given[0].device):
                results = self.rule(*gradients)
        else:
            results = self.rule(*gradients)
        if not isinstance(results, tuple):
            results = (results,)
        if len(results) < len(self.operands):
            raise RuntimeError(
                f"{self.name()}: expected {len(self.operands)} gradients, one per input, given {len(results)}"
            )
        return [
            (saved, gradient)
            for saved, gradient in zip(self.operands, results, strict=False)
            if gradient is not None and _needs(saved, wanted)
        ]

    def release(self) -> None:
        super().release()
        self.rule = None


# The classes of nodes, so that `type(grad_fn).__name__` says what they are of.
_classes: dict[str, type[Node]] = {}
_named_classes: dict[tuple[type[PythonNode], str], type[PythonNode]] = {}
_TITLES = {"reshape": "ViewBackward0", "cast": "ToCopyBackward0"}  # the rest follow from the op's name


def _class_of(op: str) -> type[Node]:
    words = "".join(part[:1].upper() + part[1:] for part in op.split("_"))
    title = _TITLES.get(op, f"{words}Backward0")
    made = _classes[op] = type(title, (Node,), {"__slots__": (), "__module__": Node.__module__})
    return made


def _named(base: type[PythonNode], name: str) -> type[PythonNode]:
    found = _named_classes.get((base, name))
    if found is None:
        found = type(name, (base,), {"__slots__": (), "__module__": base.__module__})
        if not name.isidentifier():  # pragma: no cover
            found.__name__ = name
        _named_classes[base, name] = found
    return found
