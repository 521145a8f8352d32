"""Arguments that an op must know and that are computed at run time: a branch for each value, or the op in other ops."""

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.ops._op import Op
from ...ir.ops.schema import Parameter, Role
from .context import Context
from .operators import binary, compare, number, scalar_kind, truth
from .regions import branch, choose
from .values import Abstract, Constant, Items, ListRef, Scalar, TensorRef, Tuple

__all__ = ["decided"]

_DIMENSIONS = frozenset({"dim", "dims", "dim0", "dim1", "dim2", "dimension", "start_dim", "end_dim"})
_ONE_MORE = frozenset({"unsqueeze", "stack"})  # a dimension counts those of the result
_MAX_BRANCHES = 32


def decided(context: Context, op: Op, arguments: Sequence[Abstract], keywords: dict[str, Abstract]) -> Abstract | None:
    """The call with run-time dimensions and flags decided at run time; None where that is not what it lacks."""
    parameters = op.schema.parameters
    named: dict[str, Any] = {}
    for position, value in enumerate(arguments):
        parameter = parameters[min(position, len(parameters) - 1)]
        named.setdefault(parameter.name, []).append((position, value))
    entries = [(n, p, v) for n, found in named.items() for p, v in found]
    entries += [(_PLAIN.get(n, n), n, v) for n, v in keywords.items()]
    by_name = {p.name: p for p in parameters}
    for name, place, value in entries:
        known = by_name.get(name)
        if known is None or known.role is not Role.ATTRIBUTE:
            continue
        for replace, item in _run_time(context, value):
            values = _values(context, op, known, item, arguments, keywords)
            if values is None or sum(1 for _ in _run_time(context, value)) > 2:
                break

            def call(
                chosen: Any, place: int | str = place, replace: Callable[[Abstract], Abstract] = replace
            ) -> Abstract:
                changed = replace(Constant(chosen))
                if isinstance(place, str):
                    return context.call_op(op, arguments, {**keywords, place: changed})
                given = list(arguments)
                given[place] = changed
                return context.call_op(op, given, keywords)

            return _branches(context, op, item, values, call)
    from .run_time_attributes import STAND_INS

    stand_in = STAND_INS.get(op.name)
    if stand_in is None:
        return None
    return context.call(Constant(stand_in), list(arguments), {_PLAIN.get(k, k): v for k, v in keywords.items()})


_PLAIN = {"axis": "dim", "keepdims": "keepdim"}


def _run_time(context: Context, value: Abstract) -> list[tuple[Callable[[Abstract], Abstract], Scalar]]:
    """The numbers of an argument that are known at run time only, and how to put something in their place."""
    if isinstance(value, Scalar):
        return [(lambda new: new, value)]
    if isinstance(value, ListRef) and isinstance(content := context.heap[value.cell], Items):
        items = content.items
    elif isinstance(value, Tuple):
        items = value.items
    else:
        return []
    return [
        (lambda new, i=i: Tuple((*items[:i], new, *items[i + 1 :])), item)  # type: ignore[misc]
        for i, item in enumerate(items)
        if isinstance(item, Scalar)
    ]


def _values(
    context: Context, op: Op, parameter: Parameter, item: Scalar, arguments: Sequence[Abstract], keywords: Any
) -> list[Any] | None:
    """What a run-time argument can be; None where that is not a short list."""
    kind = scalar_kind(item)
    if parameter.kind == "bool" and kind == "bool":
        return [False, True]
    if parameter.name not in _DIMENSIONS or kind != "int":
        return None
    rank = _rank(context, [*arguments, *keywords.values()])
    if rank is None:
        return None
    return list(range(max(rank + (op.name in _ONE_MORE), 1)))


def _rank(context: Context, values: Sequence[Abstract]) -> int | None:
    for value in values:
        if isinstance(value, TensorRef):
            return context.tensor_type(value).rank
        inner = value.items if isinstance(value, Tuple) else ()
        if isinstance(value, ListRef) and isinstance(content := context.heap[value.cell], Items):
            inner = content.items
        found = _rank(context, inner) if inner else None
        if found is not None:
            return found
    return None


def _branches(context: Context, op: Op, item: Scalar, values: list[Any], call: Callable[[Any], Abstract]) -> Abstract:
    if values[0] is False:
        return branch(context, number(context, item), lambda: call(True), lambda: call(False))
    rank = len(values)
    low = truth(context, compare(context, "GtE", item, Constant(-rank)))
    high = truth(context, compare(context, "Lt", item, Constant(rank)))
    inside = context.emit("scalar.and_", context.constant(low) if isinstance(low, bool) else low,
                          context.constant(high) if isinstance(high, bool) else high)  # fmt: skip

    def outside() -> Abstract:
        from .text import format_value

        start = Constant(
            f"{op.schema.name}: Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got "
        )
        text = binary(
            context, "Add", binary(context, "Add", start, format_value(context, item, Constant(""))), Constant(")")
        )
        context.forget_raised()
        context.raises([number(context, text)], IndexError)

    def chosen() -> Abstract:
        wrapped = number(context, binary(context, "Mod", item, Constant(rank)))
        return choose(context, wrapped, [lambda v=v: call(v) for v in values])  # type: ignore[misc]

    return branch(context, inside, chosen, outside)
