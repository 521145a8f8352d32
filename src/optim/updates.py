"""Optimisers whose update is a formula for each element, and what runs the formula: tensors, arrays or native code.

An optimiser writes its formula once, over operands that have `+ - * /` and the functions of a mathematics namespace.
It runs

- over tensors while a trace watches or where the step is differentiable: every operation is seen;
- over numpy arrays in general;
- as machine code over all parameters in one call, where their arrays are plain (`kernels.py`). Each operation rounds as
  numpy's does, so that it makes no difference to the numbers which of the two runs.
"""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..eager.creation import full_like, tensor
from ..eager.functions import call as _call
from ..eager.modes import current_mode
from ..eager.tensor import Tensor
from . import kernels
from .optimizer import Optimizer

__all__ = ["ElementwiseOptimizer", "as_first", "larger", "root"]


def root(x: Any) -> Any:
    """The square root of a number, or of a tensor that stands for one in a trace."""
    return x.sqrt() if isinstance(x, Tensor) else math.sqrt(x)


def as_first(number: Any) -> float:
    """A number with which a state begins: what it is changed to later makes no difference, also in a trace."""
    return float.__float__(number) if isinstance(number, float) else float(number)


def larger(x: Any, least: float) -> Any:
    """The larger of a number and a constant, also in a trace."""
    return x.clamp(min=least) if isinstance(x, Tensor) else max(x, least)


def _where_tensors(condition: Any, a: Any, b: Any, like: Any) -> Any:
    chosen = [v if isinstance(v, Tensor) else full_like(like, v) for v in (a, b)]
    return _call("where", condition, *chosen)


def _where_arrays(condition: Any, a: Any, b: Any, like: Any) -> Any:
    return np.where(condition, *(v if hasattr(v, "shape") else like.dtype.type(v) for v in (a, b)))


TENSORS = SimpleNamespace(
    sqrt=lambda x: x.sqrt(),
    abs=lambda x: x.abs(),
    maximum=lambda a, b: a.maximum(b),
    clip=lambda x, low, high: x.clamp(low, high),
    where=_where_tensors,
)
ARRAYS = SimpleNamespace(
    sqrt=np.sqrt,
    abs=np.abs,
    maximum=np.maximum,
    clip=lambda x, low, high: np.minimum(np.maximum(x, low), high),
    where=_where_arrays,
)


class ElementwiseOptimizer(Optimizer):
    """An optimiser that says: its state per element, its numbers per parameter, and its formula."""

    # State of the parameter's shape, in the order in which the formula takes it.
    def fields(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the state that the formula reads and writes."""
        raise NotImplementedError

    def first_value(self, name: str, group: dict[str, Any]) -> float:
        """What a field is filled with before the first step."""
        return 0.0

    def first_state(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        """The state before the first step."""
        return {"step": tensor(0.0)} | self.first_fields(p, group)

    def first_fields(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        """The fields before the first step."""
        like = p.detach()
        parts = 1 + 1j if p.dtype.is_complex else 1  # of a complex number both are filled
        return {name: full_like(like, self.first_value(name, group) * parts) for name in self.fields(group)}

    def flags(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[bool, ...]:
        """What selects among forms of the formula."""
        raise NotImplementedError

    def numbers(self, group: dict[str, Any], state: dict[str, Any]) -> tuple[Any, ...]:
        """The numbers of this step of one parameter; step counts and the like in the state advance."""
        raise NotImplementedError

    @staticmethod
    def formula(xp: Any, flags: tuple[bool, ...], n: Sequence[Any], p: Any, g: Any, *fields: Any) -> tuple[Any, ...]:
        """The new parameter and fields, from numbers `n`, parameter, gradient and fields; `xp` has the functions."""
        raise NotImplementedError

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        over_tensors = current_mode() is not None or group.get("differentiable", False)
        names = self.fields(group)
        plain: dict[tuple[Any, ...], list[kernels.Update]] = {}
        for p in params:
            state = self.state.get(p)
            if not state:
                state = self.first_state(p, group)
                if state:
                    self.state[p] = state
                    state = self.state[p]
            flags = self.flags(group, state)
            if over_tensors or p._array.dtype.char not in "fdFD" or p.grad._array.dtype is not p._array.dtype:
                numbers = self.numbers(group, state)
                self._update_tensor(p, flags, numbers, [state[name] for name in names])
                continue
            arrays = [p._array, p.grad._array, *[state[name]._array for name in names]]
            if p._array.dtype.kind == "c":  # the parts are updated like real numbers
                arrays = [_parts(a) for a in arrays]
            update = (tuple(self.numbers(group, state)), arrays)
            plain.setdefault((flags, arrays[0].dtype), []).append(update)
            p.bump_version()
        for (flags, dtype), updates in plain.items():
            rest = kernels.run(self.formula, flags, dtype, updates)
            with np.errstate(all="ignore"):
                for values, arrays in rest:
                    written = [arrays[0], *arrays[2:]]
                    for target, value in zip(written, self.formula(ARRAYS, flags, values, *arrays), strict=True):
                        if value is not target:
                            target[...] = value

    def _update_tensor(self, p: Any, flags: tuple[bool, ...], numbers: Sequence[Any], fields: list[Any]) -> None:
        gradient = p.grad
        complex_parts = p.dtype.is_complex
        operands = [p, gradient, *fields]
        if complex_parts:
            operands = [_call("view_as_real", t) for t in operands]
        results = self.formula(TENSORS, flags, numbers, *operands)
        for target, operand, value in zip([p, *fields], [operands[0], *operands[2:]], results, strict=True):
            if value is not operand:
                target.copy_(_call("view_as_complex", value) if complex_parts else value)

    # -- numbers in the state -----------------------------------------------------------------------------------------

    def advance(self, state: dict[str, Any], name: str = "step") -> Any:
        """Count a step: one more, as a number, or in a trace as the tensor itself."""
        count = state[name]
        if current_mode() is not None:
            count.add_(1.0)
            return count
        count._array[...] += 1
        return float(count._array)

    def stored(self, state: dict[str, Any], name: str, value: Any) -> Any:
        """Put a number in the state, and the number that is there now: rounded to what it is stored as."""
        held = state[name]
        if current_mode() is not None:
            held.copy_(value)
            return held
        held._array[...] = value
        return float(held._array)

    def kept(self, state: dict[str, Any], name: str) -> Any:
        """A number in the state."""
        held = state[name]
        return held if current_mode() is not None else float(held._array)


def rate(group: dict[str, Any]) -> Any:
    """The learning rate as a number, or in a trace as the tensor it may be."""
    lr = group["lr"]
    return lr if not isinstance(lr, Tensor) or current_mode() is not None else lr.item()


def descent(flags: tuple[bool, ...], decay: Any, p: Any, g: Any) -> Any:
    """The gradient to go down by: turned round to maximise (first flag), with that of the decay (second) added."""
    if flags[0]:
        g = -g
    return g + p * decay if flags[1] else g


def _parts(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The real and imaginary parts of an array in one more dimension, in the same memory."""
    real = array.real
    return np.lib.stride_tricks.as_strided(real, (*array.shape, 2), (*array.strides, real.itemsize))
