"""Batches that functions do not see: tensors with one more dimension than they show, and the mode that runs their ops.

`vmap` hands a function tensors that look like one sample. An op on such tensors runs once, on all samples: the mode
takes the values with their batch in front and asks `rules` how the op is said for them. Modes nest: the values of an
inner batch may be tensors of an outer one, and what an inner mode runs, the mode around it sees.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..eager import modes
from ..eager.dispatch import dispatch
from ..eager.functions import call
from ..eager.inplace import alias, snapshot
from ..eager.placement import place_of
from ..eager.tensor import Tensor
from ..ir.ops._op import Op

__all__ = ["BatchMode", "Batched", "active_batches", "innermost", "lifted", "pull", "push", "without"]

_VALUES = (
    "vmap: this function looks at the values of a tensor that stands for many samples; it needs ops that run on all of "
    "them, as where() for a condition"
)


class _Flags:
    c_contiguous = writeable = True


class _Unseen:
    """What stands for the array of a batched tensor: its type is known, one sample's values are not."""

    flags = _Flags()
    base = None

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)
        self.size = int(np.prod(shape, dtype=np.int64))
        self.itemsize = dtype.itemsize
        self.nbytes = self.size * dtype.itemsize
        steps = [dtype.itemsize]
        for n in reversed(shape[1:]):
            steps.insert(0, steps[0] * n)
        self.strides = tuple(steps[: len(shape)]) if shape else ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__array"):
            raise AttributeError(name)  # numpy asks for these, and must not take a message for an answer
        raise RuntimeError(_VALUES)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(_VALUES)


class Batched(Tensor):
    """A sample of `value`, whose first dimension counts the samples of the batch of this level."""

    is_batched = True

    def __init__(self, value: Tensor, level: int) -> None:
        self.value = value
        self.level = level

    @property
    def _array(self) -> Any:  # type: ignore[override]
        inner = self.value._array
        return _Unseen(inner.shape[1:], inner.dtype)

    @property
    def device(self) -> Any:
        return self.value.device

    @property
    def _requires_grad(self) -> bool:  # type: ignore[override]
        return self.value.requires_grad

    @_requires_grad.setter
    def _requires_grad(self, requires_grad: bool) -> None:
        self.value.requires_grad_(requires_grad)

    @property
    def _node(self) -> Any:  # type: ignore[override]
        return self.value.grad_fn

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"BatchedTensor(lvl={self.level}, bdim=0, value=\n    {self.value!r}\n)"


class BatchMode(modes.Mode):
    """Runs the ops of a function that `vmap` maps."""

    def __init__(self, level: int, size: int, randomness: str, outer: modes.Mode | None) -> None:
        self.level = level
        self.size = size
        self.randomness = randomness
        self.outer = outer

    def dispatch(self, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        from .rules import run_batched

        place = place_of(operands, {})
        if place is None:
            return run_batched(self, op, operands, attributes)
        with modes.placing(place):  # what rules make of nothing belongs there, too
            return run_batched(self, op, operands, attributes)

    def outside(self, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Run an op as if this mode was not there."""
        with modes.use_mode(self.outer):
            return dispatch(op, operands, attributes)

    def mine(self, value: Any) -> bool:
        """Whether the value is a tensor of this batch."""
        return isinstance(value, Batched) and value.level == self.level

    def wrapped(self, results: Any) -> Any:
        """Results with the batch in front as tensors of this batch."""
        if isinstance(results, tuple):
            return tuple([self.wrapped(r) for r in results])
        return Batched(results, self.level) if isinstance(results, Tensor) else results

    def front(self, tensor: Any) -> Any:
        """The tensor with the batch in front, expanded where it is the same for all samples."""
        if self.mine(tensor):
            return tensor.value
        if not isinstance(tensor, Tensor):
            return tensor
        with modes.use_mode(self.outer):
            return call("expand", call("unsqueeze", tensor, 0), (self.size, *tensor.shape))

    # -- what else a mode is asked ------------------------------------------------------------------------------------

    def tracked_shape(self, tensor: Any) -> tuple[int, ...]:
        if self.mine(tensor):
            with modes.use_mode(self.outer):
                return tuple(tensor.value.shape)[1:]
        if self.outer is not None:
            return self.outer.tracked_shape(tensor)
        return super().tracked_shape(tensor)

    def baked(self, what: str, tensor: Any) -> None:
        if isinstance(tensor, Batched):
            if what in ("bool", "iteration"):
                if what == "iteration":
                    return
                raise RuntimeError(
                    "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We "
                    "don't support that yet: use where() instead."
                )
            raise RuntimeError(
                f"vmap: It looks like you're calling .item() or another conversion to Python ({what}) on a Tensor. We "
                "don't support vmap over calling .item() on a Tensor: there is one value per sample."
            )
        if self.outer is not None:
            self.outer.baked(what, tensor)

    def created(self, tensor: Any) -> None:
        if self.outer is not None:
            self.outer.created(tensor)

    def note(self, kind: str, message: str) -> None:
        if self.outer is not None:
            self.outer.note(kind, message)

    def function(self, cls: Any, args: tuple[Any, ...]) -> Any:
        from .custom import run_function

        return run_function(self, cls, args)

    def former(self, target: Any) -> Any:
        if not self.mine(target):
            return None if self.outer is None else self.outer.former(target)
        with modes.use_mode(self.outer):
            return Batched((snapshot if target.requires_grad else alias)(target.value), self.level)

    def replaces_write(self, target: Any, value: Any, name: str) -> bool:
        """Write a batched value into the memory behind a batched tensor."""
        from ..eager.inplace import write

        if not self.mine(target):
            if self.mine(value):
                raise RuntimeError(
                    "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` "
                    f"in extra_args that has more elements than `self`: {name} would write one value per sample into a "
                    "tensor that all samples share. Use the op without underscore, or make `self` of a batched tensor"
                )
            return self.outer is not None and self.outer.replaces_write(target, value, name)
        with modes.use_mode(self.outer):
            inner = self.front(value)
            missing = target.value.ndim - inner.ndim
            if missing > 0:
                inner = call("reshape", inner, (self.size, *(1,) * missing, *tuple(inner.shape)[1:]))
            write(target.value, inner, name)
        return True


def active_batches() -> list[BatchMode]:
    """The batches that the running code is inside of, from the outermost."""
    found = []
    mode = modes.current_mode()
    while isinstance(mode, BatchMode):
        found.append(mode)
        mode = mode.outer
    return found[::-1]


def lifted(tensor: Any) -> Any:
    """The tensor with a value of its own for every sample of all batches around, so that gradients are per sample."""
    for mode in active_batches():
        tensor = _lifted(tensor, mode)
    return tensor


def _lifted(tensor: Any, mode: BatchMode) -> Any:
    if isinstance(tensor, Batched) and tensor.level > mode.level:
        return tensor if _has(tensor, mode.level) else Batched(_lifted(tensor.value, mode), tensor.level)
    return tensor if mode.mine(tensor) else Batched(mode.front(tensor), mode.level)


def _has(tensor: Any, level: int) -> bool:
    while isinstance(tensor, Batched):
        if tensor.level == level:
            return True
        tensor = tensor.value
    return False


# -- taking one level away -------------------------------------------------------------------------------------------


def pull(tensor: Any, mode: BatchMode) -> Any:
    """The tensor with the batch of `mode` as its visible first dimension, also from below inner batches."""
    if tensor is None:
        return None
    if mode.mine(tensor):
        return tensor.value
    if isinstance(tensor, Batched) and tensor.level > mode.level:
        inner = pull(tensor.value, mode)
        with modes.use_mode(mode.outer):
            return Batched(call("transpose", inner, 0, 1), tensor.level)
    return mode.front(tensor)


def push(tensor: Any, mode: BatchMode) -> Any:
    """The reverse of `pull`."""
    if isinstance(tensor, Batched) and tensor.level > mode.level:
        with modes.use_mode(mode.outer):
            inner = call("transpose", tensor.value, 0, 1)
        return Batched(push(inner, mode), tensor.level)
    return Batched(tensor, mode.level)


def without(mode: BatchMode) -> modes.Mode | None:
    """The mode that runs now, as if the batch of `mode` was not among those around."""
    current = modes.current_mode()
    chain: list[BatchMode] = []
    while isinstance(current, BatchMode) and current is not mode:
        chain.append(current)
        current = current.outer
    rest: modes.Mode | None = mode.outer if current is mode else current
    for inner in reversed(chain):
        rest = BatchMode(inner.level, inner.size, inner.randomness, rest)
    return rest


def innermost(tensors: Sequence[Any]) -> BatchMode | None:
    """The innermost of the batches around that one of the tensors is of."""
    levels = {t.level for t in tensors if isinstance(t, Batched)}
    return next((mode for mode in reversed(active_batches()) if mode.level in levels), None)
