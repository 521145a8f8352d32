"""What can be iterated: sequences known when compiling, ranges, tensors, lists, and what Python builds from them."""

from collections.abc import Callable

from ...eager.containers import ModuleDict, ModuleList, Sequential
from ...eager.module import Module
from ...ir.core import Value
from ...ir.ops._op import get_op
from .context import Context
from .operators import binary, number, scalar_kind, spread
from .regions import choose
from .specs import key_value
from .values import (
    Abstract,
    Constant,
    DictItems,
    DictRef,
    Items,
    ListRef,
    Method,
    ObjectRef,
    Scalar,
    Sequence,
    SetRef,
    Slice,
    TensorRef,
    Tuple,
    Union,
)

__all__ = [
    "enumerated",
    "for_each",
    "item_of",
    "iterate",
    "known_items",
    "length",
    "mapped",
    "range_of",
    "reverse",
    "zipped",
]

_MAX_CHOICES = 32
_MAX_UNROLL = 4096


def _known(
    items: tuple[Abstract, ...],
    kind: str = "iterator",
    parts: tuple[object, ...] = (),
    element: Callable[[Abstract], Abstract] | None = None,
) -> Sequence:
    """Elements that are known; `element` gives them as they are when a loop comes to them, where lists may change."""

    def fixed(index: Abstract) -> Abstract:
        assert isinstance(index, Constant)
        return items[index.value]

    return Sequence(len(items), element or fixed, items, kind, parts)


def iterate(context: Context, value: Abstract) -> Sequence:
    """The sequence that iterating over a value gives."""
    match value:
        case Sequence():
            return value
        case Tuple(items=items):
            return _known(items)
        case ListRef(cell=cell):
            content = context.heap[cell]
            if isinstance(content, Items):
                return _known(content.items, "list", (cell,), lambda i: context.lists.get(context, value, i))
            return Sequence(
                context.emit("list.length", content.value),
                lambda i: context.lists.from_element(
                    context, context.emit("list.get", content.value, _int(context, i))
                ),
                kind="list",
                parts=(cell,),
            )
        case DictRef(cell=cell):
            content = context.heap[cell]
            if isinstance(content, DictItems):
                return _known(tuple(key_value(k) for k, _ in content.entries))
            return context.dicts.iterate(context, value)
        case SetRef():
            return context.sets.iterate(context, value)
        case TensorRef():
            sizes = context.tensor_type(value).shape
            if not sizes:
                context.fails(TypeError("iteration over a 0-d tensor"))
            size = context.dim_scalar(sizes[0])
            count = size.value if isinstance(size, (Constant, Scalar)) else None
            select = get_op("select")
            return Sequence(count, lambda i: context.call_op(select, [value, i], {"dim": Constant(0)}), kind="tensor")
        case Constant(value=range() as constant):
            return range_of(context, [Constant(constant.start), Constant(constant.stop), Constant(constant.step)])
        case Constant(
            value=(str() | tuple() | list() | dict() | ModuleList() | Sequential() | ModuleDict()) as constant
        ):
            return _known(tuple(context.lift(item) for item in constant))
        case Constant(value=Module() as module) if hasattr(type(module), "__iter__"):  # as ParameterList
            return _known(tuple(context.lift(item) for item in module))  # type: ignore[attr-defined]
        case Constant(value=type() as cls) if hasattr(cls, "__members__"):  # an Enum
            return _known(tuple(Constant(m) for m in iter(cls)))  # type: ignore[call-overload]
        case Scalar() if scalar_kind(value) == "str":
            return context.strings.iterate(context, value)
        case ObjectRef(type=cls) if hasattr(cls, "__iter__"):
            return iterate(context, context.call(Method(value, "__iter__", cls.__iter__), [], {}))
        case ObjectRef() if hasattr(value.type, "__getitem__") and hasattr(value.type, "__len__"):
            size = context.call(Method(value, "__len__"), [], {})
            if isinstance(size, (Constant, Scalar)):
                return Sequence(
                    size.value, lambda i: context.call(Method(value, "__getitem__"), [i], {}), kind="sequence"
                )
        case Union(alternatives=alternatives) if all(scalar_kind(a) == "str" for a in alternatives):
            merged = spread(context, lambda v: Scalar(number(context, v)), value)
            return context.strings.iterate(context, merged)
        case Union():
            raise context.error(
                f"the iterated value may be {context.describe(value)}", "decide which with an `if` before the loop"
            )
    raise context.type_error(f"{context.describe(value)} is not iterable")


def for_each(context: Context, value: Abstract, body: Callable[[Abstract], None]) -> None:
    """Compile something for each element, one after another where they are known."""
    from .iterations import counted_loop

    sequence = iterate(context, value)
    if sequence.items is not None:
        for item in sequence.items:
            body(item)
        return
    counted_loop(context, context.node, sequence, lambda index: body(sequence.element(index)), set(), set(), (), ())


def _int(context: Context, value: Abstract) -> Value:
    return number(context, value)


def known_items(context: Context, value: Abstract, what: str = "the number of elements") -> tuple[Abstract, ...]:
    """The elements of something iterable whose length is known when compiling; ScriptError otherwise."""
    sequence = iterate(context, value)
    if sequence.items is not None:
        return sequence.items
    if isinstance(sequence.length, int):
        if sequence.length > _MAX_UNROLL:
            raise context.error(f"more than {_MAX_UNROLL} elements are too many to be taken apart", "use a loop")
        return tuple(sequence.element(Constant(i)) for i in range(sequence.length))
    hint = _size_hint(context, sequence.length)
    if hint is not None and hint <= _MAX_UNROLL:
        return tuple(sequence.element(Constant(i)) for i in range(hint))
    raise context.error(
        f"{what} must be known when the program is compiled, but here it is computed at run time",
        "use a loop, or a tensor operation",
    )


def _size_hint(context: Context, value: Value | int | None) -> int | None:
    """An argument's size taken as it is in this call, which becomes a condition of the graph."""
    type = None if value is None or isinstance(value, int) else context.type_of(value)
    size = getattr(type, "value", None)
    hint = None if size is None else context.builder.sizes.hint(size)
    if hint is not None and size is not None:
        context.builder.sizes.equal(size, hint, f"the size {size} was {hint} when the program was compiled")
    return hint


def length(context: Context, value: Abstract) -> Abstract:
    """`len(value)`."""
    match value:
        case Tuple(items=items):
            return Constant(len(items))
        case ListRef():
            found: Abstract = context.lists.length(context, value)
            return found
        case DictRef():
            return context.dicts.length(context, value)
        case SetRef():
            return context.sets.length(context, value)
        case Sequence(items=tuple() as items):
            return Constant(len(items))
        case TensorRef():
            type = context.tensor_type(value)
            if not type.shape:
                context.fails(TypeError("len() of a 0-d tensor"))
            return context.dim_scalar(type.shape[0])
        case Sequence(kind="range" | "dict_keys" | "dict_values" | "dict_items", length=size):
            return Constant(size) if isinstance(size, int) else Scalar(size)  # type: ignore[arg-type]
        case Constant(value=constant):
            try:
                return Constant(len(constant))
            except TypeError as error:
                raise context.type_error(str(error)) from error
        case Scalar() if scalar_kind(value) == "str":
            return context.strings.length(context, value)
        case ObjectRef() if hasattr(value.type, "__len__"):
            return context.call(Method(value, "__len__"), [], {})
        case Union(tag=tag, alternatives=alternatives):
            return choose(context, tag, [lambda a=a: length(context, a) for a in alternatives])  # type: ignore[misc]
    raise context.type_error(f"object of type {context.describe(value)} has no len()")


def item_of(context: Context, items: tuple[Abstract, ...], index: Abstract, kind: str) -> Abstract:
    """`items[index]` for elements known when compiling: a run-time index chooses among them."""
    match index:
        case Constant(value=bool() | int() as position):
            if not -len(items) <= position < len(items):
                context.fails(IndexError(f"{kind} index out of range"))
            return items[position]
        case Slice(start=Constant(value=start), stop=Constant(value=stop), step=Constant(value=step)):
            try:
                part = items[slice(start, stop, step)]
            except (TypeError, ValueError) as error:
                context.fails(error)
            return Tuple(part) if kind == "tuple" else context.lists.new(context, part)
    if isinstance(index, TensorRef) and context.tensor_type(index).dtype.category < 2:
        index = context.item(index, "int")
    if scalar_kind(index) not in ("int", "bool"):
        raise context.type_error(f"{kind} indices must be integers or slices, not {context.describe(index)}")
    context.needs_unroll(context.error(f"the index of a {kind} of known length is not known when compiling"))
    if len(items) > _MAX_CHOICES:
        raise context.error(
            f"a {kind} of {len(items)} elements is indexed by a number known at run time only",
            "use a tensor, or a list that is built in a loop",
        )
    count = len(items)
    if not count:
        context.fails(IndexError(f"{kind} index out of range"))
    negative = context.emit("scalar.lt", number(context, index), context.constant(0))
    offset = context.emit("scalar.mul", context.emit("scalar.to_int", negative), context.constant(count))
    place = context.emit("scalar.add", number(context, index), offset)

    def out_of_range() -> Abstract:
        context.fails(IndexError(f"{kind} index out of range"))

    bodies: list[Callable[[], Abstract]] = [lambda item=item: item for item in items]  # type: ignore[misc]
    return choose(context, place, [*bodies, out_of_range])


# -- sequences of Python -----------------------------------------------------------------------------------------------


def range_of(context: Context, arguments: list[Abstract]) -> Sequence:
    """`range(...)`."""
    if not 1 <= len(arguments) <= 3:
        raise context.type_error(f"range expected 1 to 3 arguments, got {len(arguments)}")
    values: list[Abstract] = []
    for value in arguments:
        if isinstance(value, TensorRef):
            value = context.item(value)
        if scalar_kind(value) not in ("int", "bool"):
            raise context.type_error(f"range: {context.describe(value)} cannot be interpreted as an integer")
        values.append(value)
    start: Abstract = Constant(0)
    step: Abstract = Constant(1)
    if len(values) == 1:
        stop = values[0]
    else:
        start, stop = values[:2]
        step = values[2] if len(values) == 3 else step
    if all(isinstance(v, Constant) for v in (start, stop, step)):
        try:
            known = range(start.value, stop.value, step.value)  # type: ignore[attr-defined]
        except ValueError as error:
            context.fails(error)
        count: int | Value = len(known)
    else:
        count = _range_length(context, start, stop, step)

    def element(index: Abstract) -> Abstract:
        upward = isinstance(step, Constant) and step.value > 0 and is_nonnegative(context, start)
        downward = isinstance(step, Constant) and step.value < 0 and isinstance(stop, Constant) and stop.value >= -1
        if isinstance(index, Constant) and isinstance(start, Constant) and isinstance(step, Constant):
            return Constant(start.value + index.value * step.value)
        if isinstance(start, Constant) and start.value == 0 and isinstance(step, Constant) and step.value == 1:
            return index
        result = context.emit("scalar.range_item", *(number(context, v) for v in (start, index, step, stop)))
        if upward or downward:
            context.nonnegative.add(result)
        return Scalar(result)

    return Sequence(count, element, kind="range", parts=(start, stop, step))


def _range_length(context: Context, start: Abstract, stop: Abstract, step: Abstract) -> int | Value:
    """max(0, ceil((stop - start) / step)), as the number of iterations."""
    from .calls import call

    def minimum_zero(value: Abstract) -> int | Value:
        if isinstance(value, Constant):
            return max(int(value.value), 0)
        assert isinstance(value, Scalar)
        if value.value in context.nonnegative or context.is_size(value.value):
            return value.value
        return context.emit("scalar.max", value.value, context.constant(0))

    if isinstance(step, Constant):
        if step.value == 0:
            context.fails(ValueError("range() arg 3 must not be zero"))
        span = binary(context, "Sub", stop, start) if step.value > 0 else binary(context, "Sub", start, stop)
        size = abs(int(step.value))
        if isinstance(start, Constant) and start.value == 0 and step.value > 0:
            span = stop
        if size != 1:
            span = binary(context, "FloorDiv", binary(context, "Add", span, Constant(size - 1)), Constant(size))
        return minimum_zero(span)
    zero = context.emit("scalar.eq", number(context, step), context.constant(0))
    from .regions import branch

    def fail() -> Abstract:
        context.fails(ValueError("range() arg 3 must not be zero"))

    branch(context, zero, fail, lambda: Constant(None))
    # ceil((stop - start) / step) == -((start - stop) // step)
    count = binary(context, "FloorDiv", binary(context, "Sub", start, stop), step)
    del call
    value = binary(context, "Sub", Constant(0), count)
    return minimum_zero(value)


def is_nonnegative(context: Context, value: Abstract) -> bool:
    """Whether an int is known not to be negative."""
    if isinstance(value, Constant):
        return bool(value.value >= 0)
    return isinstance(value, Scalar) and (value.value in context.nonnegative or context.is_size(value.value))


def _offset(context: Context, index: Abstract, start: Abstract) -> Abstract:
    return index if isinstance(start, Constant) and start.value == 0 else binary(context, "Add", index, start)


def enumerated(context: Context, value: Abstract, start: Abstract) -> Sequence:
    """`enumerate(value, start)`."""
    inner = iterate(context, value)
    if inner.items is not None:
        pairs = tuple(Tuple((_offset(context, Constant(i), start), x)) for i, x in enumerate(inner.items))
        return _known(pairs, "enumerate", inner.parts, lambda i: Tuple((_offset(context, i, start), inner.element(i))))
    return Sequence(
        inner.length,
        lambda i: Tuple((_offset(context, i, start), inner.element(i))),
        kind="enumerate",
        parts=inner.parts if inner.kind == "list" else (),
    )


def _lists_of(sequences: list[Sequence]) -> tuple[object, ...]:
    """The lists that sequences go through, which must not change meanwhile."""
    return tuple(p for s in sequences if s.kind != "range" for p in s.parts)


def zipped(context: Context, values: list[Abstract]) -> Sequence:
    """`zip(*values)`."""
    inner = [iterate(context, v) for v in values]
    if not inner:
        return _known((), "zip")
    if any(s.items is not None for s in inner) and all(_size_of(context, s) is not None for s in inner):
        lengths = []
        for sequence in inner:
            size = _size_of(context, sequence)
            assert size is not None
            lengths.append(size)
        rows = [
            Tuple(tuple(s.items[i] if s.items is not None else s.element(Constant(i)) for s in inner))
            for i in range(min(lengths))
        ]
        return _known(tuple(rows), "zip", _lists_of(inner), lambda i: Tuple(tuple(s.element(i) for s in inner)))
    # With one whose length is known at run time only, known elements are chosen by the index.
    inner = [_chosen(context, s) if s.items is not None else s for s in inner]
    lengths_known = [s.length for s in inner]
    if all(isinstance(n, int) for n in lengths_known):
        count: int | Value = min(n for n in lengths_known if isinstance(n, int))
    else:
        count = context.int_value(lengths_known[0])  # type: ignore[arg-type]
        for other in lengths_known[1:]:
            if other is not count:
                count = context.emit("scalar.min", count, context.int_value(other))  # type: ignore[arg-type]
    return Sequence(count, lambda i: Tuple(tuple(s.element(i) for s in inner)), kind="zip", parts=_lists_of(inner))


def _size_of(context: Context, sequence: Sequence) -> int | None:
    """A length as known when compiling, perhaps as a condition; None where it is not."""
    return sequence.length if isinstance(sequence.length, int) else _size_hint(context, sequence.length)


def _chosen(context: Context, sequence: Sequence) -> Sequence:
    items = sequence.items
    assert items is not None
    return Sequence(
        len(items), lambda i: item_of(context, items, i, "sequence"), kind=sequence.kind, parts=sequence.parts
    )


def reverse(context: Context, value: Abstract) -> Sequence:
    """`reversed(value)`."""
    inner = iterate(context, value)
    if inner.items is not None:
        return _known(inner.items[::-1], "reversed")
    size: Abstract = Constant(inner.length) if isinstance(inner.length, int) else Scalar(inner.length)  # type: ignore[arg-type]
    last = binary(context, "Sub", size, Constant(1))

    def element(index: Abstract) -> Abstract:
        position = binary(context, "Sub", last, index)
        if isinstance(position, Scalar):
            context.nonnegative.add(position.value)
        return inner.element(position)

    return Sequence(inner.length, element, kind="reversed", parts=inner.parts if inner.kind == "list" else ())


def mapped(context: Context, function: Abstract, values: list[Abstract]) -> Sequence:
    """`map(function, *values)`."""
    inner = zipped(context, values)

    def apply(row: Abstract) -> Abstract:
        assert isinstance(row, Tuple)
        return context.call(function, list(row.items), {})

    if inner.items is not None:
        return _known(tuple(apply(row) for row in inner.items), "map")
    return Sequence(inner.length, lambda i: apply(inner.element(i)), kind="map")
