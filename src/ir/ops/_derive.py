"""Derivative rules of composite ops, taken from their decomposition."""

from collections.abc import Callable
from typing import Any

from ._op import F, Op, VjpContext, recording

__all__ = ["derived_vjp"]

_Call = tuple[Op, tuple[Any, ...], dict[str, Any], Any]


def derived_vjp(decompose: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """The `vjp` rule of an op from its decomposition: run it, noting every call of `F`, then go back over the calls.

    Because the notes are of public ops, the rule runs on eager tensors and on graph values, and can be differentiated
    itself.
    """

    def vjp(context: VjpContext, gradients: Any, *operands: Any, **attributes: Any) -> tuple[Any, ...]:
        with recording() as calls:
            outputs = decompose(*operands, **attributes)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        found = _backpropagate(list(calls), outputs, gradients, operands, context.needs)

        def taken(value: Any, need: Any) -> Any:
            # An operand that is given twice, as in attention(x, x, x), has the sum of its gradients here: once only.
            if isinstance(value, tuple):
                return tuple([taken(v, n) for v, n in zip(value, need, strict=True)])
            return found.pop(id(value), None) if need else None

        return tuple([taken(value, need) for value, need in zip(operands, context.needs, strict=True)])

    return vjp


def _wanted(operands: tuple[Any, ...], needs: tuple[Any, ...]) -> set[int]:
    wanted: set[int] = set()
    for value, need in zip(operands, needs, strict=True):
        if isinstance(value, tuple):
            wanted |= {id(v) for v, n in zip(value, need, strict=True) if n}
        elif need:
            wanted.add(id(value))
    return wanted


def _backpropagate(
    calls: list[_Call],
    outputs: tuple[Any, ...],
    gradients: tuple[Any, ...],
    operands: tuple[Any, ...],
    needs: tuple[Any, ...],
) -> dict[int, Any]:
    """Gradients of values by identity; `calls` keeps every value alive meanwhile."""
    active = _wanted(operands, needs)
    for _, inputs, _, result in calls:
        flat = [v for value in inputs for v in (value if isinstance(value, tuple) else (value,))]
        if any(id(v) in active for v in flat):
            active |= {id(r) for r in (result if isinstance(result, tuple) else (result,))}
    found: dict[int, Any] = {}

    def add(value: Any, gradient: Any) -> None:
        if gradient is not None and id(value) in active:
            found[id(value)] = gradient if id(value) not in found else F.add(found[id(value)], gradient)

    for value, gradient in zip(outputs, gradients, strict=True):
        add(value, gradient)
    for op, inputs, attributes, result in reversed(calls):
        results = result if isinstance(result, tuple) else (result,)
        arrived = tuple(found.pop(id(r), None) for r in results)
        if all(g is None for g in arrived) or op.vjp is None:
            continue
        called_needs = tuple(
            tuple(id(v) in active for v in value) if isinstance(value, tuple) else id(value) in active
            for value in inputs
        )
        back = op.vjp(
            VjpContext(results, called_needs), arrived if op.outputs > 1 else arrived[0], *inputs, **attributes
        )
        for value, gradient in zip(inputs, back, strict=True):
            if isinstance(value, tuple):
                for v, g in zip(value, gradient or (None,) * len(value), strict=True):
                    add(v, g)
            else:
                add(value, gradient)
    return found
