"""Ingot's public functions that are more than one op, as the compiler knows them."""

import math
from functools import cache
from typing import Any

import numpy as np

from ...eager import api, creation, dispatch, functions, inplace, modes, random, reductions, shapes
from ...eager.return_types import RESULTS
from ...ir.dtypes import as_dtype, bool_, default_dtype, int64
from ...ir.ops._op import Op, get_op
from ...ir.random_state import default_generator
from ...ir.types import BoolType, FloatType, IntType
from . import iteration, marks
from .calls import call
from .context import Context
from .operators import binary, is_number, number, scalar_kind
from .registry import Handler
from .tensor_programs import nonzero_indices, tensor_of_list
from .tensors import call_op, cast, shape, write
from .text import constant_of
from .values import Abstract, Constant, DictRef, ListRef, Method, RunTimeItems, Scalar, TensorRef, Tuple

__all__ = ["find_function"]

Keywords = dict[str, Abstract]


def find_function(target: Any) -> Handler | None:
    """How a call of one of Ingot's own functions is compiled; None where it has no special form."""
    try:
        return _table().get(target)
    except TypeError:  # not hashable
        return None


def _bound(names: tuple[str, ...], arguments: list[Abstract], keywords: Keywords) -> dict[str, Abstract]:
    return {**dict(zip(names, arguments, strict=False)), **keywords}


def _python(context: Context, value: Abstract | None, what: str) -> Any:
    """A value that must be known when compiling."""
    if value is None:
        return None
    if isinstance(value, Constant):
        return value.value
    known = constant_of(context, value)
    if known is None:
        raise context.error(
            f"{what} must be known when the program is compiled, given {context.describe(value)}",
            "take it from a constant, a default argument or an attribute of the module",
        )
    return known[0]


# -- making tensors ----------------------------------------------------------------------------------------------------


def _fill_from(context: Context, sizes: list[Abstract], value: Abstract, dtype: Any) -> Abstract:
    if len(sizes) == 1 and isinstance(sizes[0], (Tuple, ListRef)):
        sizes = list(context.known_items(context, sizes[0]))
    return call_op(context, get_op("full"), [Tuple(tuple(sizes)), value], {"dtype": Constant(dtype)})


def _check_options(context: Context, keywords: Keywords) -> None:
    if _python(context, keywords.get("requires_grad"), "requires_grad"):
        raise context.error("tensors made in a compiled program cannot be leaves that require grad")


def _filled(value: Any) -> Handler:
    def handler(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
        _check_options(context, keywords)
        dtype = _python(context, keywords.get("dtype"), "dtype")
        sizes = arguments or [keywords["size"]]
        element = default_dtype() if dtype is None else as_dtype(dtype)
        return _fill_from(context, sizes, Constant(value), element)

    return handler


def _full(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    _check_options(context, keywords)
    given = _bound(("size", "fill_value"), arguments, keywords)
    dtype = _python(context, given.get("dtype"), "dtype")
    value = given["fill_value"]
    if isinstance(value, TensorRef):
        value = context.item(value)
    return _fill_from(context, [given["size"]], value, None if dtype is None else as_dtype(dtype))


def _like(value: Any) -> Handler:
    def handler(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
        _check_options(context, keywords)
        given = _bound(("input",) if value is not None else ("input", "fill_value"), arguments, keywords)
        source = given["input"]
        if not isinstance(source, TensorRef):
            raise context.type_error(f"expected a Tensor, given {context.describe(source)}")
        dtype = _python(context, given.get("dtype"), "dtype")
        element = context.tensor_type(source).dtype if dtype is None else as_dtype(dtype)
        fill = Constant(value) if value is not None else given["fill_value"]
        return _fill_from(context, [shape(context, source)], fill, element)

    return handler


def _tensor(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    _check_options(context, keywords)
    given = _bound(("data", "dtype"), arguments, keywords)
    dtype = _python(context, given.get("dtype"), "dtype")
    element = None if dtype is None else as_dtype(dtype)
    data = given["data"]
    if isinstance(data, TensorRef):
        value = context.emit("clone", context.read(data))
        return context.new_tensor(value if element is None else cast(context, value, element))
    known = constant_of(context, data)
    if known is not None:
        try:
            array = creation.tensor(known[0], dtype=element)._array
        except (TypeError, ValueError, RuntimeError) as error:
            raise context.type_error(str(error)) from error
        return context.new_tensor(context.constant(np.asarray(array)))
    if isinstance(data, ListRef) and isinstance(content := context.heap[data.cell], RunTimeItems):
        kinds = {BoolType: bool_, IntType: int64, FloatType: default_dtype()}
        kind = element or kinds.get(type(content.element))
        if kind is not None and type(content.element) in kinds:
            return call(context, Constant(tensor_of_list), [data, Constant(kind)], {})
    return _from_values(context, data, element or _common_dtype(context, data))


def _common_dtype(context: Context, data: Abstract) -> Any:
    kinds = set()
    stack = [data]
    while stack:
        value = stack.pop()
        if isinstance(value, (Tuple, ListRef)):
            stack += context.known_items(context, value)
        elif isinstance(value, TensorRef):
            kinds.add({"b": "bool", "i": "int", "u": "int"}.get(context.tensor_type(value).dtype.kind, "float"))
        else:
            kinds.add(scalar_kind(value) or "")
    if kinds <= {"bool"}:
        return bool_
    return int64 if kinds <= {"bool", "int"} else default_dtype()


def _from_values(context: Context, data: Abstract, dtype: Any) -> Abstract:
    """A tensor of run-time numbers."""
    if isinstance(data, TensorRef):
        return context.new_tensor(cast(context, context.read(data), dtype))
    if is_number(data):
        return call_op(context, get_op("full"), [Tuple(()), data], {"dtype": Constant(dtype)})
    if isinstance(data, (Tuple, ListRef)):
        parts = [_from_values(context, v, dtype) for v in context.known_items(context, data)]
        if parts:
            return call_op(context, get_op("stack"), [Tuple(tuple(parts))], {})
    raise context.type_error(f"tensor(): expected numbers or nested sequences of them, given {context.describe(data)}")


def _as_tensor(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    given = _bound(("data", "dtype"), arguments, keywords)
    if isinstance(given["data"], TensorRef):
        return call(context, Method(given["data"], "to"), [given.get("dtype", Constant(None))], {})
    return _tensor(context, arguments, keywords)


def _arange(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    _check_options(context, keywords)
    dtype = _python(context, keywords.get("dtype"), "dtype")
    values = list(arguments) or [keywords[k] for k in ("start", "end", "step") if k in keywords]
    if "end" in keywords and arguments:
        values = [*arguments, keywords["end"]]
    if "step" in keywords and len(values) < 3:
        values = [*(values if len(values) == 2 else [Constant(0), *values]), keywords["step"]]
    values = [context.item(v) if isinstance(v, TensorRef) else v for v in values]
    start, end, step = (Constant(0), values[0], Constant(1)) if len(values) == 1 else (*values, Constant(1))[:3]
    ints = all(scalar_kind(v) in ("int", "bool") for v in (start, end, step))
    if ints and isinstance(step, Scalar):
        span = binary(context, "FloorDiv", binary(context, "Sub", start, end), step)
        count = call(context, Constant(max), [Constant(0), binary(context, "Sub", Constant(0), span)], {})
        element = int64 if dtype is None else as_dtype(dtype)
        return call_op(context, get_op("arange_steps"), [start, step, count], {"dtype": Constant(element)})
    if ints:
        return call_op(context, get_op("arange"), [start, end, step], {"dtype": Constant(dtype)})
    element = default_dtype() if dtype is None else as_dtype(dtype)
    if isinstance(step, Constant) and step.value == 0:
        context.fails(RuntimeError("arange: step must be nonzero"))
    span = binary(context, "Div", binary(context, "Sub", end, start), step)
    span = call(context, Constant(math.ceil), [span], {})
    count = call(context, Constant(max), [span, Constant(0)], {})
    arguments = [_as_float(context, start), _as_float(context, step), count]
    return call_op(context, get_op("arange_steps"), arguments, {"dtype": Constant(element)})


def _as_float(context: Context, value: Abstract) -> Abstract:
    if isinstance(value, Constant):
        return Constant(float(value.value))
    found = number(context, value)
    return value if isinstance(found.type, FloatType) else Scalar(context.emit("scalar.to_float", found))


def _plain(name: str, names: tuple[str, ...]) -> Handler:
    """A creation function that is an op but for options."""

    def handler(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
        _check_options(context, keywords)
        given = _bound(names, arguments, keywords)
        dtype = _python(context, given.pop("dtype", None), "dtype")
        kept = [given[n] for n in names if n in given]
        kept = [context.item(v) if isinstance(v, TensorRef) else v for v in kept]
        element = default_dtype() if dtype is None else as_dtype(dtype)
        return call_op(context, get_op(name), kept, {"dtype": Constant(element)})

    return handler


def _random(name: str) -> Handler:
    def handler(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
        _check_options(context, keywords)
        if _python(context, keywords.get("generator"), "generator") not in (None, default_generator):
            raise context.error(
                "a generator other than the default one cannot be used in a compiled program",
                "seed the default generator with `ingot.manual_seed`",
            )
        if "size" in keywords:
            arguments = [*arguments, keywords["size"]]
        keywords = {k: v for k, v in keywords.items() if k in ("dtype",)}
        dtype = _python(context, keywords.get("dtype"), "dtype")
        if len(arguments) == 1 and isinstance(arguments[0], (Tuple, ListRef)):
            arguments = list(context.known_items(context, arguments[0]))
        named: Keywords = {"dtype": Constant(as_dtype(dtype))} if dtype is not None else {}
        return call_op(context, get_op(name), arguments, named)

    return handler


# -- parts of tensors --------------------------------------------------------------------------------------------------


def _tensor_argument(context: Context, value: Abstract, name: str) -> TensorRef:
    if not isinstance(value, TensorRef):
        raise context.type_error(f"{name}(): expected a Tensor, given {context.describe(value)}")
    return value


def _axis(context: Context, tensor: TensorRef, dim: Abstract, name: str) -> int:
    axis = _python(context, dim, f"{name}(): dim")
    rank = context.tensor_type(tensor).rank
    if not -rank <= axis < rank:
        context.fails(
            IndexError(
                f"{name}: Dimension out of range (expected to be in range of [{-max(rank, 1)}, {max(rank, 1) - 1}], "
                f"but got {axis})"
            )
        )
    return int(axis) % rank


def _parts(context: Context, tensor: TensorRef, axis: int, bounds: list[tuple[Abstract, Abstract]]) -> Abstract:
    op = get_op("slice")
    return Tuple(tuple(call_op(context, op, [tensor, a, b], {"dim": Constant(axis)}) for a, b in bounds))


def _split(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    given = _bound(("tensor", "size", "dim"), arguments, keywords)
    source = given.get("tensor", given.get("input"))
    size = given.get("size", given.get("split_size_or_sections", given.get("split_size", Constant(None))))
    assert source is not None
    tensor = _tensor_argument(context, source, "split")
    axis = _axis(context, tensor, given.get("dim", Constant(0)), "split")
    if isinstance(size, (Tuple, ListRef)):
        sections = context.known_items(context, size)
        total: Abstract = Constant(0)
        bounds: list[tuple[Abstract, Abstract]] = []
        for section in sections:
            start, total = total, binary(context, "Add", total, section)
            bounds.append((start, total))
        _require_sum(context, tensor, axis, total)
        return _parts(context, tensor, axis, bounds)
    step = _python(context, size, "split(): the size of the parts")
    if step == 0 and context.builder.sizes.hint(dim := context.tensor_type(tensor).shape[axis]) != 0:
        context.fails(
            RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {dim}"),
            tensor.value,
        )
    if step < 0:
        context.fails(RuntimeError(f"split expects split_size be non-negative, but got split_size={step}"))
    return _even_parts(context, tensor, axis, Constant(int(step)), "split")


def _require_sum(context: Context, tensor: TensorRef, axis: int, total: Abstract) -> None:
    dim = context.tensor_type(tensor).shape[axis]
    message = f"split_with_sizes expects split_sizes to sum exactly to {dim} (the size of dimension {axis})"
    if isinstance(total, Constant):
        try:
            context.builder.sizes.equal(dim, int(total.value), message)
        except RuntimeError as error:
            context.fails(error, tensor.value)
        return
    left, right = number(context, context.dim_scalar(dim)), number(context, total)
    context.emit_all("require_equal", [left, right], {"message": message})


def _even_parts(context: Context, tensor: TensorRef, axis: int, step: Abstract, name: str) -> Abstract:
    """Parts of `step` elements, the last perhaps smaller; how many there are becomes a condition of the graph."""
    dim = context.tensor_type(tensor).shape[axis]
    width = context.builder.sizes.resolve(_dim_of(context, step))
    count = (dim + width - 1) // width if width != 0 else 1
    known = context.builder.sizes.hint(count)
    if known is None:
        raise context.error(
            f"{name}(): the number of parts is known at run time only", "use a loop over slices of the tensor"
        )
    if not isinstance(count, int):
        context.builder.sizes.equal(count, known, f"{name}: the number of parts was {known} when compiled")
    known = max(known, 1)
    bounds: list[tuple[Abstract, Abstract]] = []
    for part in range(known):
        start = binary(context, "Mult", step, Constant(part))
        stop = binary(context, "Mult", step, Constant(part + 1)) if part < known - 1 else Constant(None)
        bounds.append((start, stop))
    return _parts(context, tensor, axis, bounds)


def _dim_of(context: Context, value: Abstract) -> Any:
    if isinstance(value, Constant):
        return int(value.value)
    type = context.type_of(context.as_size(number(context, value)))
    return type.value  # type: ignore[attr-defined]


def _chunk(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    given = _bound(("input", "chunks", "dim"), arguments, keywords)
    tensor = _tensor_argument(context, given["input"], "chunk")
    axis = _axis(context, tensor, given.get("dim", Constant(0)), "chunk")
    chunks = _python(context, given["chunks"], "chunk(): chunks")
    if chunks <= 0:
        context.fails(RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}"))
    size = context.dim_scalar(context.tensor_type(tensor).shape[axis])
    step = binary(context, "FloorDiv", binary(context, "Add", size, Constant(chunks - 1)), Constant(chunks))
    if isinstance(step, Constant):
        step = Constant(max(1, step.value))
    return _even_parts(context, tensor, axis, step, "chunk")


def _unbind(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    given = _bound(("input", "dim"), arguments, keywords)
    tensor = _tensor_argument(context, given["input"], "unbind")
    axis = _axis(context, tensor, given.get("dim", Constant(0)), "unbind")
    size = context.dim_scalar(context.tensor_type(tensor).shape[axis])
    count = size.value if isinstance(size, Constant) else iteration._size_hint(context, number(context, size))
    if count is None:
        raise context.error("unbind() of a size that is known at run time only", "iterate over the tensor instead")
    op = get_op("select")
    return Tuple(tuple(call_op(context, op, [tensor, Constant(i)], {"dim": Constant(axis)}) for i in range(count)))


def _extreme(name: str, full: str, pairwise: str) -> Handler:
    def handler(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
        given = _bound(("input", "dim", "keepdim"), arguments, keywords)
        tensor = _tensor_argument(context, given["input"], name)
        dim = given.get("dim", given.get("other", given.get("axis", Constant(None))))
        if isinstance(dim, TensorRef):
            return call_op(context, get_op(pairwise), [tensor, dim], {})
        if isinstance(dim, Constant) and dim.value is None:
            if any(context.builder.sizes.hint(d) == 0 for d in context.tensor_type(tensor).shape):
                context.fails(
                    RuntimeError(
                        f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
                        "reduction dim with the 'dim' argument."
                    ),
                    tensor.value,
                )
            return call_op(context, get_op(full), [tensor], {})
        keepdim = given.get("keepdim", Constant(False))
        pair = call_op(context, get_op(f"{name}_dim"), [tensor], {"dim": dim, "keepdim": keepdim})
        assert isinstance(pair, Tuple)
        return Tuple(pair.items, RESULTS[f"{name}_dim"])

    return handler


def _where(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    given = _bound(("condition", "input", "other"), arguments, keywords)
    if "input" not in given:
        return call(context, Constant(nonzero_indices), [given["condition"]], {})
    return call_op(context, get_op("where"), [given["condition"], given["input"], given["other"]], {})


def _is_tensor(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return Constant(isinstance(arguments[0], TensorRef))


def _numel(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return call(context, Method(arguments[0], "numel"), [], {})


def _allclose(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    close = call_op(context, get_op("isclose"), arguments, keywords)
    return context.item(call(context, Method(close, "all"), [], {}), "bool")  # type: ignore[arg-type]


def _equal(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    left, right = (_tensor_argument(context, a, "equal") for a in arguments)
    types = context.tensor_type(left), context.tensor_type(right)
    if types[0].rank != types[1].rank:
        return Constant(False)
    same = call_op(context, get_op("eq"), [left, right], {})
    return context.item(call(context, Method(same, "all"), [], {}), "bool")  # type: ignore[arg-type]


# -- what Ingot's own Python functions are written in ------------------------------------------------------------------


def _call_named(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    name = _python(context, arguments[0], "the name of an op")
    return call_op(context, get_op(name), arguments[1:], keywords)


def _get_op(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return Constant(get_op(_python(context, arguments[0], "the name of an op")))


def _dispatch(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    op: Op = _python(context, arguments[0], "an op")
    operands = context.known_items(context, arguments[1])
    attributes: Keywords = {}
    if len(arguments) > 2 and isinstance(arguments[2], DictRef):
        attributes = dict(context.dicts.known_entries(context, arguments[2]))
    named = {p.name: o for p, o in zip(op.schema.operands, operands, strict=True)}
    if any(p.variadic for p in op.schema.parameters):
        return call_op(context, op, list(operands), attributes)
    return call_op(context, op, [], {**named, **attributes})


def _write(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    target, value = arguments[:2]
    assert isinstance(target, TensorRef) and isinstance(value, TensorRef)
    return write(context, target, context.read(value), _python(context, arguments[2], "a name"))


def _constant(value: Any) -> Handler:
    return lambda context, arguments, keywords: Constant(value)


def _inference_mode(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    mode = _python(context, _bound(("mode",), arguments, keywords).get("mode", Constant(True)), "mode")
    return Constant(modes.no_grad() if mode else modes.enable_grad())


def _annotate(context: Context, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    if len(arguments) == 2 and isinstance(arguments[0], Constant):
        context.declare(arguments[1], arguments[0].value)
    return arguments[1]


# By name in the modules of `eager` that hold PyTorch's call forms.
_CALL_FORMS: dict[str, Handler] = {
    "split": _split,
    "chunk": _chunk,
    "unbind": _unbind,
    "max": _extreme("max", "amax", "maximum"),
    "min": _extreme("min", "amin", "minimum"),
    "where": _where,
    "is_tensor": _is_tensor,
    "numel": _numel,
    "allclose": _allclose,
    "equal": _equal,
}


@cache
def _table() -> dict[Any, Handler]:
    table: dict[Any, Handler] = {
        creation.zeros: _filled(0.0),
        creation.ones: _filled(1.0),
        creation.empty: _filled(0.0),
        creation.full: _full,
        creation.zeros_like: _like(0),
        creation.ones_like: _like(1),
        creation.empty_like: _like(0),
        creation.full_like: _like(None),
        creation.tensor: _tensor,
        creation.as_tensor: _as_tensor,
        creation.asarray: _as_tensor,
        creation.arange: _arange,
        creation.linspace: _plain("linspace", ("start", "end", "steps")),
        creation.eye: _plain("eye", ("n", "m")),
        random.rand: _random("rand"),
        random.randn: _random("randn"),
        functions.call: _call_named,
        dispatch.dispatch: _dispatch,
        get_op: _get_op,
        inplace.write: _write,
        modes.no_grad: lambda c, a, k: Constant(modes.no_grad()),
        modes.enable_grad: lambda c, a, k: Constant(modes.enable_grad()),
        modes.inference_mode: _inference_mode,
        modes.current_mode: _constant(None),
        modes.is_grad_enabled: _constant(True),
        as_dtype: lambda c, a, k: Constant(as_dtype(_python(c, a[0], "a dtype"))),
        default_dtype: lambda c, a, k: Constant(default_dtype()),
        marks.is_scripting: _constant(True),
        marks.annotate: _annotate,
    }
    for name, handler in _CALL_FORMS.items():
        for module in (api, reductions, shapes):
            function = vars(module).get(name)
            if function is not None:
                table[function] = handler
    return table
