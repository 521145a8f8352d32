"""Methods of tensors, numbers, strings, tuples, lists, dicts, and public functions that stand for one op."""

import math
import types
from collections.abc import Callable
from typing import Any

from ...eager.device import as_device, device
from ...eager.tensor import Tensor
from ...ir.dtypes import DType, as_dtype
from ...ir.ops._op import Op, get_op
from ..placement import compiling_place
from . import lists, sets, strings
from .calls import call, call_object, inline_function
from .complex_numbers import conjugate
from .context import Context
from .dicts import dict_method, new_dict
from .objects import lift
from .operators import binary, number, scalar_kind
from .tensor_programs import masked_scatter, to_list
from .tensors import call_op, cast, inplace_op, item, shape, write, write_item
from .text import constant_of, format_template
from .values import (
    Abstract,
    Constant,
    DictRef,
    ListRef,
    ObjectRef,
    Scalar,
    SetRef,
    TensorRef,
    Tuple,
)

__all__ = ["call_method", "call_public_op"]

Keywords = dict[str, Abstract]


def call_method(
    context: Context, instance: Abstract, name: str, arguments: list[Abstract], keywords: Keywords
) -> Abstract:
    """`instance.name(...)`."""
    match instance:
        case TensorRef():
            return _tensor_method(context, instance, name, arguments, keywords)
        case ListRef():
            return lists.method(context, instance, name, arguments, keywords)
        case DictRef():
            return dict_method(context, instance, name, arguments, keywords)
        case SetRef():
            return sets.method(context, instance, name, arguments, keywords)
        case Tuple():
            return _tuple_method(context, instance, name, arguments, keywords)
        case Scalar():
            if scalar_kind(instance) == "str":
                return strings.method(context, instance, name, arguments, keywords)
            return _scalar_method(context, instance, name, arguments)
        case Constant(value=constant):
            return _constant_method(context, constant, name, arguments, keywords)
        case ObjectRef(type=cls):
            return call_object(context, getattr(cls, name), [instance, *arguments], keywords)
    raise context.type_error(f"{context.describe(instance)} has no method {name!r}")


# -- tensors -----------------------------------------------------------------------------------------------------------

_REFUSED = {
    "backward": "call backward() outside: gradients flow through compiled functions",
    "numpy": "return the tensor and call numpy() outside",
    "requires_grad_": "set requires_grad outside the compiled function",
    "retain_grad": "use gradients outside the compiled function",
    "register_hook": "use gradients outside the compiled function",
    "stride": "a compiled program does not fix how tensors lie in memory",
    "storage_offset": "a compiled program does not fix how tensors lie in memory",
    "untyped_storage": "a compiled program does not fix how tensors lie in memory",
    "data_ptr": "a compiled program does not fix how tensors lie in memory",
}


def _tensor_method(
    context: Context, tensor: TensorRef, name: str, arguments: list[Abstract], keywords: Keywords
) -> Abstract:
    handler = _TENSOR_METHODS.get(name)
    if handler is not None:
        return handler(context, tensor, arguments, keywords)
    if name in _REFUSED:
        raise context.error(f"Tensor.{name}() cannot be used in a compiled program", _REFUSED[name])
    found = getattr(Tensor, name, None)
    if found is None:
        raise context.type_error(
            f"'Tensor' object has no attribute {name!r}", context.near(name, [n for n in dir(Tensor) if n[0] != "_"])
        )
    if name in _RESHAPED:
        raise context.error(
            f"Tensor.{name}() gives a tensor another shape, which a compiled program cannot do in place",
            f"assign the result: `x = x.{name.rstrip('_')}(...)`",
        )
    op = getattr(found, "__ingot_op__", None)
    if op is not None:
        if name.startswith("__i") and op.inplace and name not in ("__invert__",):
            return inplace_op(context, op, tensor, arguments, keywords)
        return call_public_op(context, found, op, [tensor, *arguments], keywords)
    if name.endswith("_") and not name.endswith("__"):
        if getattr(getattr(found, "__code__", None), "co_qualname", "").startswith("inplace_of."):
            result = _tensor_method(context, tensor, name[:-1], arguments, keywords)
            assert isinstance(result, TensorRef)
            return write(context, tensor, context.read(result), name)
        base = getattr(getattr(Tensor, name[:-1], None), "__ingot_op__", None)
        alpha = keywords.pop("alpha", None)
        if base is not None and base.inplace:
            if alpha is not None:
                arguments = [_scaled(context, arguments[0], alpha)]
            return inplace_op(context, base, tensor, arguments, keywords)
    if isinstance(found, types.FunctionType):
        if name.endswith("_"):
            return inline_function(context, found, [tensor, *arguments], keywords)
        return call_object(context, found, [tensor, *arguments], keywords)
    raise context.error(f"Tensor.{name} cannot be used in a compiled program")


_RESHAPED = frozenset({
    "resize_", "resize_as_", "set_", "squeeze_", "swapaxes_", "swapdims_", "t_", "transpose_", "unsqueeze_",
})  # fmt: skip


def _scaled(context: Context, other: Abstract, alpha: Abstract) -> Abstract:
    if isinstance(alpha, Constant) and alpha.value == 1:
        return other
    return binary(context, "Mult", other, alpha)


# Ops whose public function names the results.
_NAMED = frozenset({"cummax", "cummin", "slogdet"})


def call_public_op(context: Context, function: Any, op: Op, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    """A call of a public function that is an op, or PyTorch's wider call form of one."""
    names = {p.name for p in op.schema.parameters}
    generated = function.__code__.co_name == "function" if hasattr(function, "__code__") else True
    if not generated and op.name in _NAMED:
        return inline_function(context, function, arguments, keywords)
    if generated or (set(keywords) <= names and len(arguments) <= len(op.schema.parameters)):
        if generated or getattr(function, "__name__", "") not in ("squeeze", "div"):
            return call_op(context, op, arguments, keywords)
        if len(arguments) + len(keywords) <= len(op.schema.parameters):
            return call_op(context, op, arguments, keywords)
    return inline_function(context, function, arguments, keywords)


def _argument(arguments: list[Abstract], keywords: Keywords, position: int, name: str) -> Abstract | None:
    if len(arguments) > position:
        return arguments[position]
    return keywords.get(name)


def _item(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return item(context, tensor)


def _tolist(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return call_object(context, to_list, [tensor], {})


def _masked_scatter(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return call_object(context, masked_scatter, [tensor, *arguments], keywords)


def _size(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    sizes = shape(context, tensor)
    dim = _argument(arguments, keywords, 0, "dim")
    if dim is None or (isinstance(dim, Constant) and dim.value is None):
        return sizes
    rank = len(sizes.items)
    if isinstance(dim, Constant) and not -rank <= dim.value < rank:
        extent = max(rank, 1)
        context.fails(
            IndexError(
                f"Dimension out of range (expected to be in range of [{-extent}, {extent - 1}], but got {dim.value})"
            )
        )
    return context.item_of(context, sizes.items, dim, "tuple")


def _rank(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return Constant(context.tensor_type(tensor).rank)


def _numel(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return context.dim_scalar(math.prod(context.tensor_type(tensor).shape, start=1))


def _to(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    dtype: Any = None
    copy = keywords.get("copy")
    for value in (*arguments, *(v for k, v in keywords.items() if k in ("dtype", "device", "other"))):
        if isinstance(value, TensorRef):
            dtype = context.tensor_type(value).dtype
        elif isinstance(value, Constant):
            target = value.value
            if isinstance(target, (str, device)):
                try:
                    _require_place(context, as_device(target))
                except (RuntimeError, ValueError, TypeError) as error:
                    context.fails(error)
            elif target is not None and not isinstance(target, bool):
                try:
                    dtype = as_dtype(target)
                except TypeError as error:
                    raise context.type_error(str(error)) from error
        else:
            raise context.error("the dtype of Tensor.to() must be known when the program is compiled")
    if dtype is None or dtype is context.tensor_type(tensor).dtype:
        if isinstance(copy, Constant) and copy.value:
            return context.new_tensor(context.emit("clone", context.read(tensor)))
        return tensor
    return context.new_tensor(cast(context, context.read(tensor), dtype))


def _require_place(context: Context, target: device) -> None:
    """A graph runs on one device: its arguments are moved before the call, its results after it."""
    here = compiling_place()
    if target is not here:
        raise context.error(
            f"a tensor is moved to {target}, in a program that runs on {here}: programs run on one device",
            hint="move the arguments before the call, or the results after it",
        )


def _moved(name: str) -> Callable[[Context, TensorRef, list[Abstract], Keywords], Abstract]:
    def method(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
        if compiling_place().type != name:
            _require_place(context, device(name))
        return tensor

    return method


def _to_dtype(name: str) -> Callable[[Context, TensorRef, list[Abstract], Keywords], Abstract]:
    dtype = as_dtype(name)
    return lambda context, tensor, arguments, keywords: _to(context, tensor, [Constant(dtype)], {})


def _copy(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    source = _argument(arguments, keywords, 0, "src")
    assert source is not None
    return write_item(context, tensor, source, "copy_", assign=True)


def _fill(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return write_item(context, tensor, arguments[0], "fill_", assign=True)


def _zero(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return write_item(context, tensor, Constant(0), "zero_", assign=True)


def _detach(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return call_op(context, get_op("detach"), [tensor], {})


def _is_floating(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return Constant(context.tensor_type(tensor).dtype.is_floating_point)


def _is_contiguous(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    raise context.error(
        "Tensor.is_contiguous() is not known when the program is compiled", "call .contiguous(), which does no harm"
    )


def _type_as(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    return _to(context, tensor, arguments, keywords)


def _new(name: str) -> Callable[[Context, TensorRef, list[Abstract], Keywords], Abstract]:
    def method(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
        from ...eager import creation

        keywords = {"dtype": Constant(context.tensor_type(tensor).dtype), **keywords}
        return call(context, Constant(getattr(creation, name)), arguments, keywords)

    return method


def _view(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    if len(arguments) == 1 and isinstance(arguments[0], Constant) and isinstance(arguments[0].value, DType):
        raise context.error("Tensor.view(dtype) cannot be compiled", "convert with .to(dtype)")
    result = call_op(context, get_op("reshape"), [tensor, *arguments], keywords)
    assert isinstance(result, TensorRef)
    if result.cell is tensor.cell:
        return result
    # Unlike reshape, view never copies.
    from .values import View

    operands = tuple(context.builder.dim(d) for d in context.tensor_type(result).shape)
    step = View(get_op("reshape"), operands, {})
    return TensorRef(tensor.cell, result.value, context.heap[tensor.cell], (*tensor.views, step))


def _getitem(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    from .expressions import get_item

    return get_item(context, tensor, arguments[0])


def _setitem(context: Context, tensor: TensorRef, arguments: list[Abstract], keywords: Keywords) -> Abstract:
    from .indexing import set_item

    set_item(context, tensor, *arguments)
    return Constant(None)


def _python_function(function: Any) -> Callable[[Context, TensorRef, list[Abstract], Keywords], Abstract]:
    return lambda context, tensor, arguments, keywords: call_object(context, function, [tensor], {})


_TENSOR_METHODS: dict[str, Callable[[Context, TensorRef, list[Abstract], Keywords], Abstract]] = {
    "item": _item,
    "masked_scatter": _masked_scatter,
    "tolist": _tolist,
    "size": _size,
    "dim": _rank,
    "ndimension": _rank,
    "numel": _numel,
    "nelement": _numel,
    "to": _to,
    "type": _to,
    "type_as": _type_as,
    "copy_": _copy,
    "fill_": _fill,
    "zero_": _zero,
    "cpu": _moved("cpu"),
    "cuda": _moved("cuda"),
    "detach": _detach,
    "is_floating_point": _is_floating,
    "is_contiguous": _is_contiguous,
    "view": _view,
    "__bool__": _python_function(bool),
    "__float__": _python_function(float),
    "__int__": _python_function(int),
    "__len__": _python_function(len),
    "__getitem__": _getitem,
    "__setitem__": _setitem,
    **{n: _to_dtype(n) for n in ("float", "double", "half", "long", "int", "short", "bool")},
    **{f"new_{n}": _new(n) for n in ("zeros", "ones", "empty", "full", "tensor")},
}


# -- Python's own types ------------------------------------------------------------------------------------------------


def _tuple_method(
    context: Context, target: Tuple, name: str, arguments: list[Abstract], keywords: Keywords
) -> Abstract:
    match name, len(arguments):
        case "numel", 0:
            product: Abstract = Constant(1)
            for size in target.items:
                product = binary(context, "Mult", product, size)
            return product
        case "index" | "count", 1:
            values = [v.value for v in (*target.items, arguments[0]) if isinstance(v, Constant)]
            if len(values) == len(target.items) + 1:
                try:
                    return Constant(getattr(tuple(values[:-1]), name)(values[-1]))
                except ValueError as error:
                    context.fails(error)
        case "_replace", 0:
            fields: tuple[str, ...] = target.type._fields  # type: ignore[attr-defined]
            unknown = [k for k in keywords if k not in fields]
            if unknown:
                context.fails(ValueError(f"Got unexpected field names: {unknown!r}"))
            return Tuple(tuple(keywords.get(f, i) for f, i in zip(fields, target.items, strict=True)), target.type)
        case "_asdict", 0:
            return new_dict(context, list(zip(target.type._fields, target.items, strict=True)))  # type: ignore[attr-defined]
    if name == "_replace" or name not in ("index", "count"):
        found = getattr(target.type, name, None)
        if isinstance(found, types.FunctionType):
            return call_object(context, found, [target, *arguments], keywords)
    raise context.error(f"{target.type.__name__}.{name} is not supported in a compiled program")


def _scalar_method(context: Context, target: Scalar, name: str, arguments: list[Abstract]) -> Abstract:
    kind = scalar_kind(target)
    if kind == "float" and name == "is_integer" and not arguments:
        whole = context.emit("scalar.floor", number(context, target))
        return Scalar(context.emit("scalar.eq", context.emit("scalar.to_float", whole), target.value))
    if name == "conjugate" and not arguments:
        return conjugate(context, target)
    if kind in ("int", "bool") and name == "__index__":
        return target
    raise context.error(f"{kind}.{name}() of a run-time value is not supported in a compiled program")


def _constant_method(
    context: Context, constant: Any, name: str, arguments: list[Abstract], keywords: Keywords
) -> Abstract:
    """A method of an object known when compiling: run at once where all arguments are known."""
    if isinstance(constant, (str, bytes, int, float, complex)):
        if isinstance(constant, str) and name == "format":
            return format_template(context, constant, arguments, keywords)
        if isinstance(constant, str) and name == "join" and len(arguments) == 1:
            return _join(context, constant, arguments[0])
        known = [constant_of(context, a) for a in (*arguments, *keywords.values())]
        if all(k is not None for k in known):
            values = [k[0] for k in known if k is not None]
            split = len(arguments)
            try:
                result = getattr(constant, name)(*values[:split], **dict(zip(keywords, values[split:], strict=True)))
            except (ValueError, IndexError, KeyError) as error:
                context.fails(error)
            except TypeError as error:
                raise context.type_error(str(error)) from error
            return (
                lists.new(context, tuple(map(Constant, result))) if isinstance(result, list) else lift(context, result)
            )
        if isinstance(constant, str):
            return strings.method(context, Constant(constant), name, arguments, keywords)
        raise context.error(f"{type(constant).__name__}.{name}() of run-time values is not supported")
    return call_object(context, getattr(constant, name), arguments, keywords)


def _join(context: Context, separator: str, value: Abstract) -> Abstract:
    known = constant_of(context, value)
    if known is not None and all(isinstance(part, str) for part in known[0]):
        return Constant(separator.join(known[0]))
    return strings.join(context, Constant(separator), value)
