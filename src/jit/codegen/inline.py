"""Operations whose elements are computed where they are read, and that are neither expressions nor views.

Numbers and ranges are made from indices; gathers, borders and pooling windows read their operand at computed places
(`reads.py` says at which).
"""

from typing import Any

from ...ir import dtypes
from ...ir.core import Array, Instruction, Value
from ...ir.dims import Dim, DimExpr, dim_max, dim_min
from ...ir.types import BoolType, IntType, TensorType
from .borders import border_conditions
from .elements import Elements, Inline, describe
from .fusion import Unsupported
from .indexing import Indices, broadcast_indices, flat_index
from .reads import (
    READS,
    axis_of,
    gather_place,
    index_layout,
    index_select_indices,
    pool_geometry,
    tensor_operands,
)
from .scalar_code import Code, cast, is_half, literal

__all__ = ["INLINE"]


def _literal_operand(value: Value | None) -> Any:
    """The Python number that an operand is known to be, or None."""
    if value is not None and value.instruction is not None and value.instruction.op.name == "constant":
        return value.instruction.attributes["value"]
    return None


def _full(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    fill = instruction.operands[-1]
    assert fill is not None
    if isinstance(fill.type, TensorType):
        code = elements.element(fill, ())
    else:
        code = elements.number(fill)
        known = _literal_operand(fill)
        if known is not None:
            if isinstance(known, float) and result.dtype.kind in "iub":
                known = bool(known) if result.dtype is dtypes.bool_ else int(known)
            return Code(literal(known, result.dtype), result.dtype)
    return cast(code, result.dtype, elements.text.requirements)


def _arange(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    start, step = instruction.operands[0], instruction.operands[2]
    assert start is not None and step is not None
    sizes = [v.type.value if isinstance(v.type, IntType) else None for v in (start, step)]
    if sizes[0] is None or sizes[1] is None:
        raise Unsupported("arange: its start or step is not known as a size", instruction.location)
    position: Dim = sizes[0] + indices[0] * sizes[1]
    code = Code(f"({elements.text.index(position)})", dtypes.int64)
    scope = elements.text.place(indices)
    return elements.text.assign(
        scope, cast(code, result.dtype, elements.text.requirements).text, result.dtype, describe(instruction)
    )


def _arange_steps(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    start, step = instruction.operands[0], instruction.operands[1]
    assert start is not None and step is not None
    requirements = elements.text.requirements
    wide = dtypes.int64
    if not (isinstance(start.type, (IntType, BoolType)) and isinstance(step.type, (IntType, BoolType))):
        wide = dtypes.float64
    index = cast(Code(f"({elements.text.index(indices[0])})", dtypes.int64), wide, requirements)
    first, by = (cast(elements.number(v), wide, requirements) for v in (start, step))
    code = Code(f"({first.text} + {index.text} * {by.text})", wide)
    return elements.text.assign(
        elements.text.place(indices), cast(code, result.dtype, requirements).text, result.dtype, describe(instruction)
    )


def _random_bits(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    start = instruction.operands[0]
    assert start is not None
    text = elements.text
    text.requirements.helpers.add("random_word")
    place = text.index(flat_index(indices, _result(instruction).shape))
    word = f"random_word({elements.number(start).text}, {place})"
    return text.assign(text.place(indices), word, dtypes.int64, describe(instruction))


def _constant(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    """A tensor constant of one element is a literal in the code; others are loaded."""
    value = instruction.attributes["value"]
    assert isinstance(value, Array)
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    return Code(literal(value.require().reshape(()).item(), result.dtype), result.dtype)


def _result(instruction: Instruction) -> TensorType:
    result = instruction.results[0].type
    assert isinstance(result, TensorType)
    return result


def _shape(value: Value) -> tuple[Dim, ...]:
    assert isinstance(value.type, TensorType)
    return value.type.shape


def _linspace(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    result = _result(instruction)
    start, end = (v for v in instruction.operands[:2])
    assert start is not None and end is not None
    requirements, text = elements.text.requirements, elements.text
    first, last = (cast(elements.number(v), dtypes.float64, requirements) for v in (start, end))
    steps = result.shape[0]
    scope = text.place(indices)
    index = cast(Code(f"({text.index(indices[0])})", dtypes.int64), dtypes.float64, requirements)
    gaps = cast(Code(f"max({text.size(steps - 1)}, 1)", dtypes.int64), dtypes.float64, requirements)
    requirements.bits.add("select")
    # As numpy: the step times the index, and the last element exactly.
    step = text.assign(scope, f"({last.text} - {first.text}) / {gaps.text}", dtypes.float64, describe(instruction))
    inner = f"{index.text} * {step.text} + {first.text}"
    is_last = f"({text.index(indices[0])} == {text.size(steps - 1)}) and {text.size(steps)} > 1"
    value = text.assign(scope, f"select({is_last}, {last.text}, {inner})", dtypes.float64)
    if result.dtype.category < 2:
        requirements.helpers.add("trunc")
        value = Code(f"trunc({value.text})", dtypes.float64)
    return text.assign(scope, cast(value, result.dtype, requirements).text, result.dtype)


def _gather(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    source, index = tensor_operands(instruction)
    if not _shape(source):
        elements.dynamic_index(elements.element(index, indices), 1, indices)
        return elements.element(source, ())
    axis = axis_of(instruction, source)
    position = elements.dynamic_index(elements.element(index, indices), _shape(source)[axis], indices)
    return elements.element(source, gather_place(instruction, indices, position))


def _index_select(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    source, index = tensor_operands(instruction)
    places = index_select_indices(instruction, indices)
    code = elements.element(index, places)
    if not _shape(source):
        elements.dynamic_index(code, 1, places)
        return elements.element(source, ())
    axis = axis_of(instruction, source)
    position = elements.dynamic_index(code, _shape(source)[axis], places)
    return elements.element(source, (*indices[:axis], position, *indices[axis + 1 :]))


def _embedding(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    index, weight = tensor_operands(instruction)
    code = elements.element(index, indices[:-1])
    row = elements.dynamic_index(code, _shape(weight)[0], indices[:-1])
    return elements.element(weight, (row, indices[-1]))


def _index(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    source = tensor_operands(instruction)[0]
    layout = index_layout(instruction, _shape(source))
    part, rest = layout.split(indices)
    along = iter(rest)
    places: list[Dim] = []
    for entry, size in zip(layout.entries, _shape(source), strict=True):
        match entry:
            case ("tensor", Value() as tensor):
                read = broadcast_indices(part, _shape(tensor), layout.shape)
                places.append(elements.dynamic_index(elements.element(tensor, read), size, read, wraps=True))
            case ("along", start, step):
                assert isinstance(start, (int, DimExpr)) and isinstance(step, int)
                places.append(start + next(along) * step)
            case (_, place):
                assert isinstance(place, (int, DimExpr))
                places.append(place)
    return elements.element(source, tuple(places))


def _one_hot(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    (index,) = tensor_operands(instruction)
    text = elements.text
    code = elements.element(index, indices[:-1])
    position = elements.dynamic_index(code, _result(instruction).shape[-1], indices[:-1], error=4)
    scope = text.place(indices)
    equal = Code(f"({text.index(indices[-1])} == {text.index(position)})", dtypes.bool_)
    return text.assign(scope, cast(equal, dtypes.int64, text.requirements).text, dtypes.int64, describe(instruction))


def _pad(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    source = tensor_operands(instruction)[0]
    result, text = _result(instruction), elements.text
    ((_, (place,)),) = READS["pad"](instruction, indices)
    if instruction.attributes["mode"] != "constant":
        return elements.element(source, place)
    fill = literal(instruction.attributes["value"] or 0, result.dtype)
    conditions = [
        f"{text.index(index)} >= 0" if size is None else f"{text.index(index)} < {text.size(size)}"
        for index, size in border_conditions(instruction, indices)
        if (index, size) not in elements.inside
    ]
    if not conditions:
        return elements.element(source, place)
    with text.at(indices) as scope:
        variable = text.assign(scope, fill, result.dtype, describe(instruction))
        with text.condition(f"if {' and '.join(conditions)}:"):
            code = elements.element(source, place)
            text.line(f"{variable.text} = {code.text}")
    return variable


def _window(elements: Elements, instruction: Instruction, indices: Indices) -> tuple[Code, str]:
    """The combined elements of a pooling window, and how many of them there are."""
    source = tensor_operands(instruction)[0]
    text, result = elements.text, _result(instruction)
    if is_half(result.dtype):
        raise Unsupported(f"{instruction.op.name} of {result.dtype.name} has no native kernel", instruction.location)
    kernel, stride, padding, dilation = pool_geometry(instruction)
    height, width = _shape(source)[-2:]
    is_max = instruction.op.name == "max_pool2d"
    lowest = "-np.inf"
    if is_max and result.dtype.kind != "f":
        lowest = str(-(1 << (8 * result.dtype.itemsize - 1)) if result.dtype.kind == "i" else 0)
    start = literal(float("-inf") if result.dtype.kind == "f" else int(lowest), result.dtype) if is_max else None
    total = text.assign(text.scope, start or literal(0, result.dtype), result.dtype, describe(instruction), "w")
    step = {"helper": "maximum_step" if is_max else ""}["helper"]
    if step:
        text.requirements.helpers.add(step)
    checked = any(padding) or instruction.attributes["ceil_mode"]
    # Places outside are replaced by the nearest inside, which is in the window too: no conditions, so it vectorises.
    clamped = is_max and any(padding) and dilation == (1, 1) and not instruction.attributes["ceil_mode"]
    clamped = clamped and kernel[0] * kernel[1] <= 16
    tops, lefts = (indices[-2 + axis] * stride[axis] - padding[axis] for axis in (0, 1))
    if kernel[0] * kernel[1] <= 16:
        for a in range(kernel[0]):
            for b in range(kernel[1]):
                row, column = tops + a * dilation[0], lefts + b * dilation[1]
                if clamped:
                    row, column = (dim_min(dim_max(i, 0), s - 1) for i, s in ((row, height), (column, width)))
                _tap(
                    elements,
                    source,
                    total,
                    (*indices[:-2], row, column),
                    (height, width),
                    checked and not clamped,
                    step,
                )
        return total, ""
    rows, columns = text.fresh("r"), text.fresh("r")
    with text.condition(f"for {rows} in range({kernel[0]}):"):
        row = tops + elements.index_variable(rows, text.scope) * dilation[0]
        with text.condition(f"for {columns} in range({kernel[1]}):"):
            column = lefts + elements.index_variable(columns, text.scope) * dilation[1]
            _tap(elements, source, total, (*indices[:-2], row, column), (height, width), checked, step)
    return total, ""


def _tap(
    elements: Elements,
    source: Value,
    total: Code,
    place: Indices,
    size: tuple[Dim, Dim],
    checked: bool,
    step: str,
) -> None:
    """One element of a window, if it lies inside the image."""
    text = elements.text

    def add() -> None:
        code = elements.element(source, place)
        value = f"{step}({total.text}, {code.text})" if step else f"{total.text} + {code.text}"
        text.line(f"{total.text} = {value}")

    if not checked:
        add()
        return
    row, column = (text.index(i) for i in place[-2:])
    height, width = (text.size(s) for s in size)
    with text.condition(f"if {row} >= 0 and {row} < {height} and {column} >= 0 and {column} < {width}:"):
        add()


def _max_pool2d(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    with elements.text.at(indices):
        return _window(elements, instruction, indices)[0]


def _avg_pool2d(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    with elements.text.at(indices):
        return _average(elements, instruction, indices)


def _average(elements: Elements, instruction: Instruction, indices: Indices) -> Code:
    total, _ = _window(elements, instruction, indices)
    text, result = elements.text, _result(instruction)
    kernel, stride, padding, _ = pool_geometry(instruction)
    attributes = instruction.attributes
    source = tensor_operands(instruction)[0]
    override = attributes["divisor_override"]
    if override is not None:
        count = Code(literal(override, result.dtype), result.dtype)
    else:
        factors = []
        for axis in (0, 1):
            size, pad = _shape(source)[axis - 2], padding[axis]
            start = text.index(indices[axis - 2] * stride[axis] - pad)
            if not pad and not attributes["ceil_mode"]:
                factors.append(str(kernel[axis]))
            elif attributes["count_include_pad"]:
                factors.append(f"(min({start} + {kernel[axis]}, {text.size(size + pad)}) - ({start}))")
            else:
                end = f"min({start} + {kernel[axis]}, {text.size(size)})"
                factors.append(f"({end} - max({start}, 0))")
        count = cast(Code(f"({' * '.join(factors)})", dtypes.int64), result.dtype, text.requirements)
    return text.assign(text.scope, f"{total.text} / {count.text}", result.dtype)


INLINE: dict[str, Inline] = {
    "full": _full,
    "arange": _arange,
    "arange_steps": _arange_steps,
    "linspace": _linspace,
    "random_bits": _random_bits,
    "constant": _constant,
    "gather": _gather,
    "index_select": _index_select,
    "embedding": _embedding,
    "one_hot": _one_hot,
    "index": _index,
    "pad": _pad,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
}
