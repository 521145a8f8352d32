"""Writes through views, made functional: the base of a view with the view's elements replaced."""

from collections.abc import Sequence
from typing import Any

from .ops._op import F, Op, View, VjpContext

__all__ = ["ViewStep", "write_through"]

ViewStep = tuple[Op, tuple[Any, ...], dict[str, Any]]
"""One view operation: the op, its operands after the first, its attributes."""


def write_through(base: Any, steps: Sequence[ViewStep], value: Any) -> Any:
    """The tensor `base` after `value` was written into the view of it that `steps` make, in public ops.

    Each step is undone from the last to the first: a reshape by a reshape, any other view by scattering through its
    derivative rule, which sends every element of the view back to its place in the base.
    """
    bases = [base]
    for op, operands, attributes in steps[:-1]:
        bases.append(getattr(F, op.name)(bases[-1], *operands, **attributes))
    for source, (op, operands, attributes) in zip(reversed(bases), reversed(steps), strict=True):
        value = _replace(source, op, operands, attributes, value)
    return value


def _replace(source: Any, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any], value: Any) -> Any:
    if isinstance(op.lower, View) and op.lower.reinterpret:
        return F.reshape(value, tuple(source.shape))
    if op.name in ("slice", "select"):
        return getattr(F, f"{op.name}_scatter")(source, value, *operands, **attributes)
    if op.vjp is None:
        raise RuntimeError(f"{op.name}: writing through this view is not supported; clone() the view first")
    placed = _send_back(source, op, operands, attributes, value)
    if op.name in ("permute", "transpose", "movedim", "flip", "t"):  # every element of the base is in the view
        return placed
    ones = F.full(tuple(value.shape), True, dtype="bool")
    return F.where(F.cast(_send_back(source, op, operands, attributes, ones), dtype="bool"), placed, source)


def _send_back(source: Any, op: Op, operands: tuple[Any, ...], attributes: dict[str, Any], value: Any) -> Any:
    needs = tuple(i == 0 for i in range(len(op.schema.operands)))
    assert op.vjp is not None
    return op.vjp(VjpContext((value,), needs), value, source, *operands, **attributes)[0]
