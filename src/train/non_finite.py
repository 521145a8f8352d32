"""Where a NaN or an infinity comes from: the first op that gives one from numbers, its module and its line."""

import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..eager.dispatch import execute
from ..eager.modes import Mode, no_grad, use_mode
from ..eager.module import Module
from ..eager.tensor import Tensor
from ..ir.ops._op import Op

__all__ = ["first_non_finite"]

_PACKAGE = str(Path(__file__).resolve().parent.parent)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [t for item in value for t in _tensors(item)]


def _any(test: Callable[[Any], Any], value: Any) -> bool:
    return any(bool(test(t._array).any()) for t in _tensors(value) if t.dtype.is_floating_point or t.dtype.is_complex)


def _users_line() -> str:
    """The innermost line outside of this package."""
    frame: Any = sys._getframe(2)
    while frame is not None and str(Path(frame.f_code.co_filename)).startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return ""
    name, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(name, number).strip()
    return f", called from {name}:{number}" + (f": {text}" if text else "")


class _Watch(Mode):
    """Runs ops as always, and keeps what is known of the first that gives a NaN, and an infinity, from numbers."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.path: list[str] = []

    def dispatch(self, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        inputs = _tensors(operands)
        clean = {"NaN": not _any(np.isnan, inputs), "an infinity": not _any(np.isinf, inputs)}
        result = execute(op, operands, attributes)
        if inputs:  # an op without operands, as full(-inf), is meant
            for what, test in (("NaN", np.isnan), ("an infinity", np.isinf)):
                if what not in self.found and clean[what] and _any(test, result):
                    shapes = ", ".join(str(list(t._array.shape)) for t in inputs)
                    where = f" in {self.path[-1]}" if self.path else " in the loss"
                    self.found[what] = f"the first op that gives {what} is {op.name} of {shapes}{where}{_users_line()}"
        return result


def first_non_finite(model: Module, batch: Any, forward: Callable[[Any], Any], value: float) -> str:
    """What makes `forward(batch)` give a loss that is not finite, in words."""
    for name, p in model.named_parameters():
        if not np.isfinite(p._array).all():
            return f"the parameter {name} is not finite already"
    if _any(np.isnan, batch) or _any(np.isinf, batch):
        return "a tensor of the batch is not finite already"
    watch = _Watch()

    def enter(name: str) -> Callable[..., None]:
        return lambda module, args: watch.path.append(f"{name or 'the model'} ({repr(module).splitlines()[0]:.80})")

    handles = [m.register_forward_pre_hook(enter(name)) for name, m in model.named_modules()]
    handles += [m.register_forward_hook(lambda *_: (watch.path.pop(), None)[1]) for m in model.modules()]
    try:
        with no_grad(), use_mode(watch):
            forward(batch)
    finally:
        for handle in handles:
            handle.remove()
    wanted = "NaN" if np.isnan(value) else "an infinity"
    found = watch.found.get(wanted) or next(iter(watch.found.values()), None)
    return found or "another run of the same batch gives finite numbers"
