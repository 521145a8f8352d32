"""Python objects from outside a program and instances made inside it: modules, classes, constants, attributes."""

import dataclasses
import inspect
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ...eager.module import Module
from ...eager.tensor import Size, Tensor
from ...ir.core import Value
from ...ir.dtypes import from_numpy
from ...ir.types import TensorType
from ..record_values import OBJECT, record_names
from .complex_numbers import scalar_part
from .context import Context
from .module_state import assign_number, is_state
from .operators import scalar_kind, spread
from .raised import Caught, Raised, error_attribute
from .tensors import attribute as tensor_attribute
from .values import (
    NOTHING,
    UNBOUND,
    Abstract,
    Cell,
    Closure,
    Constant,
    DictItems,
    DictRef,
    Entries,
    Items,
    ListRef,
    Method,
    ObjectRef,
    RunTimeObject,
    Scalar,
    SetRef,
    TensorRef,
    Tuple,
    Union,
)

__all__ = ["attribute", "instantiate", "is_plain_class", "lift", "parameter", "set_attribute", "user_operator"]


def lift(context: Context, value: Any) -> Abstract:
    """A Python object from outside as the program sees it: tensors become parameters, the rest constants."""
    if isinstance(value, Abstract):
        return value
    if isinstance(value, Tensor):
        return parameter(context, value, "")
    if isinstance(value, np.generic):
        return Constant(value.item())
    if type(value) is tuple or isinstance(value, Size) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return Tuple(tuple(lift(context, v) for v in value), type(value))
    if type(value) is list or type(value) is dict:
        known = context.lifted.get(id(value))
        if known is None:
            kind = "outside " + type(value).__name__
            cell = Cell(kind)
            if isinstance(value, list):
                context.initial[cell] = Items(tuple(lift(context, v) for v in value))
                known = ListRef(cell), value
            else:
                context.initial[cell] = DictItems(tuple((k, lift(context, v)) for k, v in value.items()))
                known = DictRef(cell), value
            context.lifted[id(value)] = known
        return known[0]
    return Constant(value)


def parameter(context: Context, tensor: Tensor, name: str) -> TensorRef:
    """A tensor from outside, as an argument of the graph that the callable supplies itself."""
    known = context.parameters.get(id(tensor))
    if known is not None:
        return known[1]
    name = context.parameter_names.get(id(tensor)) or name or f"captured{len(context.parameters)}"
    array = tensor._array
    value = context.builder.argument(name, TensorType(from_numpy(array.dtype), tuple(int(n) for n in array.shape)))
    cell = Cell("parameter", name=name)
    context.initial[cell] = value
    reference = TensorRef(cell, value, value)
    context.parameters[id(tensor)] = (name, reference, tensor)
    return reference


# -- reading attributes ------------------------------------------------------------------------------------------------


def attribute(context: Context, value: Abstract, name: str) -> Abstract:
    """`value.name`."""
    return spread(context, lambda v: _attribute(context, v, name), value)


def _attribute(context: Context, value: Abstract, name: str) -> Abstract:
    match value:
        case TensorRef():
            return tensor_attribute(context, value, name)
        case Constant(value=Module() as module):
            return _module_attribute(context, module, name)
        case Constant(value=constant):
            return _constant_attribute(context, constant, name)
        case Tuple(type=cls) if cls in (Raised, Caught):
            found = error_attribute(context, value, name)
            return found if found is not None else _missing(context, context.describe(value), name, [])
        case Tuple(items=items, type=cls):
            fields = getattr(cls, "_fields", ())
            if name in fields:
                return items[fields.index(name)]
            if fields and name in ("_replace", "_asdict"):
                return Method(value, name)
            if hasattr(cls, name):
                return _class_attribute(context, value, cls, name)
        case ListRef():
            if hasattr(list, name):
                return Method(value, name)
        case DictRef():
            if hasattr(dict, name):
                return Method(value, name)
        case SetRef():
            if hasattr(set, name):
                return Method(value, name)
        case ObjectRef(cell=cell, type=cls):
            found = attribute_value(context, value, name)
            if found is not None:
                return context.bound_value(found, f"attribute {name!r}")
            if hasattr(cls, name):
                return _class_attribute(context, value, cls, name)
            return _missing(context, cls.__name__, name, [*attribute_names(context.heap[cell]), *dir(cls)])
        case Scalar():
            kind = scalar_kind(value)
            python = {"bool": bool, "int": int, "float": float, "complex": complex, "str": str}.get(kind or "")
            if python is not None and hasattr(python, name):
                if name in ("real", "imag"):
                    return scalar_part(context, value, name)
                return Method(value, name)
        case Closure(source=source) if name == "__name__":
            return Constant(source.name)
    return _missing(context, context.describe(value), name, [])


def _missing(context: Context, owner: str, name: str, names: list[str]) -> Abstract:
    error = AttributeError(f"'{owner}' object has no attribute '{name}'")
    if context.speculative:
        context.fails(error)
    raise context.error(str(error), context.near(name, [n for n in names if not n.startswith("_")]))


def _class_attribute(context: Context, instance: Abstract, cls: type, name: str) -> Abstract:
    """An attribute that the class of a program's value provides."""
    found = inspect.getattr_static(cls, name)
    match found:
        case property(fget=getter) if getter is not None:
            return context.call(Constant(getter), [instance], {})
        case staticmethod():
            return Constant(found.__func__)
        case classmethod():
            return Method(Constant(cls), name, found.__func__)
        case types.FunctionType():
            return Method(instance, name, found)
    if callable(found) and not isinstance(found, type):
        return Method(instance, name)
    return lift(context, found)


def _constant_attribute(context: Context, constant: Any, name: str) -> Abstract:
    if isinstance(constant, types.ModuleType):
        try:
            return lift(context, getattr(constant, name))
        except AttributeError:
            raise context.error(
                f"module {constant.__name__!r} has no attribute {name!r}", context.near(name, dir(constant))
            ) from None
    found_in_super = getattr(type(constant), "find_method", None)
    if found_in_super is not None:
        method: Abstract | None = constant.find_method(name)
        return method if method is not None else _missing(context, "super", name, [])
    if isinstance(constant, (str, bytes)):
        if hasattr(constant, name):
            return Method(Constant(constant), name)
        return _missing(context, type(constant).__name__, name, dir(constant))
    try:
        static = inspect.getattr_static(constant, name)
    except AttributeError:
        static = None
    getter = static.fget if isinstance(static, property) and not isinstance(constant, type) else None
    if isinstance(getter, types.FunctionType) and not _is_internal(getter):
        return context.call(Constant(getter), [Constant(constant)], {})
    try:
        return lift(context, getattr(constant, name))
    except AttributeError:
        owner = type(constant).__name__ if not isinstance(constant, type) else constant.__name__
        return _missing(context, owner, name, dir(constant))


def _is_internal(function: Callable[..., Any]) -> bool:
    return function.__module__.partition(".")[0] == "ingot"


def _module_attribute(context: Context, module: Module, name: str) -> Abstract:
    for table in (module._parameters, module._buffers):
        if name in table:
            tensor = table[name]
            if tensor is None:
                context.guard(module, name, None)
                return Constant(None)
            cell = context.attributes.get((id(module), name))
            if cell is not None:
                found: Abstract = context.heap[cell].items[0]
                return found
            return parameter(context, tensor, f"{context.module_name(module)}{name}")
    if name in module._modules:
        return Constant(module._modules[name])
    if name in module.__dict__:
        if is_state(context, module, name):
            kept: Abstract = context.heap[context.attributes[(id(module), name)]].items[0]
            return kept
        value = module.__dict__[name]
        context.guard(module, name, value)
        if isinstance(value, Tensor):
            return parameter(context, value, f"{context.module_name(module)}{name}")
        return lift(context, value)
    cls = type(module)
    if name == "training":
        context.guard(module, name, module.training)
        return Constant(module.training)
    if hasattr(cls, name):
        found_static = inspect.getattr_static(cls, name)
        if isinstance(found_static, types.FunctionType):
            return Method(Constant(module), name, found_static)
        return _class_attribute(context, Constant(module), cls, name)
    names = [*module._parameters, *module._buffers, *module._modules, *module.__dict__, *dir(cls)]
    return _missing(context, cls.__name__, name, names)


# -- writing attributes ------------------------------------------------------------------------------------------------


def set_attribute(context: Context, target: Abstract, name: str, value: Abstract) -> None:
    """`target.name = value`."""
    match target:
        case Union():

            def one(v: Abstract) -> Abstract:
                set_attribute(context, v, name, value)
                return NOTHING

            spread(context, one, target)
            return
        case ObjectRef(cell=cell, type=cls):
            if dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen and not context.constructing:  # type: ignore[attr-defined]
                context.fails(dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}"))
            static = inspect.getattr_static(cls, name, None)
            if isinstance(static, property):
                if static.fset is None:
                    context.fails(AttributeError(f"property {name!r} of {cls.__name__!r} object has no setter"))
                context.call(Constant(static.fset), [target, value], {})
                return
            if isinstance(content := context.heap[cell], RunTimeObject):
                _set_run_time(context, content, cls, name, value)
                return
            context.check_write(context, cell)
            context.heap[cell] = Entries({**context.heap[cell].attributes, name: value})
            return
        case Constant(value=Module() as module):
            _set_module_attribute(context, module, name, value)
            return
        case TensorRef():
            raise context.error(
                f"Tensor.{name} cannot be assigned in a compiled program", "write into it with `x.copy_(y)`"
            )
    raise context.error(
        f"attributes of {context.describe(target)} cannot be assigned in a compiled program",
        "return the new value, or keep it in a buffer of a Module",
    )


def attribute_names(content: Entries | RunTimeObject) -> list[str]:
    """The attributes that an object has."""
    if isinstance(content, RunTimeObject):
        return [name for name, _ in content.record.fields]
    return [name for name, value in content.attributes.items() if value is not UNBOUND]


def attribute_value(context: Context, target: ObjectRef, name: str) -> Abstract | None:
    """What an attribute of an object itself holds; None where it has none of that name."""
    content = context.heap[target.cell]
    if isinstance(content, Entries):
        found = content.attributes.get(name, UNBOUND)
        return None if found is UNBOUND else found
    names = attribute_names(content)
    if name not in names:
        return None
    held = context.emit("list.get", content.value, context.constant(0))
    value: Abstract = context.lists.from_element(context, context.emit("tuple.get", held, index=names.index(name)))
    return value


def require_comparable(context: Context, values: list[Value]) -> None:
    """Refuse to compare objects in containers of run time unless attribute by attribute, as dataclasses compare."""
    for name in {n for v in values for n in record_names(context.type_of(v)) if n.startswith(OBJECT)}:
        cls = context.records[name]
        own = getattr(cls, "__eq__", None)
        made = isinstance(own, types.FunctionType) and own.__code__.co_filename == "<string>"
        if not made or not all(f.compare for f in dataclasses.fields(cls)):
            raise context.error(
                f"containers of run time that hold {cls.__name__} objects are compared, or searched for one",
                "compare what identifies the objects in a loop, or make the class a dataclass",
            )


def _set_run_time(context: Context, content: RunTimeObject, cls: type, name: str, value: Abstract) -> None:
    """Set an attribute of an object that containers of the graph may hold: all that refer to it see that."""
    from .slots import to_element

    names = attribute_names(content)
    if name not in names:
        raise context.error(
            f"{cls.__name__} objects that a container of run time holds get no new attributes, as {name!r}",
            "give it a value in __init__",
        )
    place = names.index(name)
    given = to_element(context, value, content.record.fields[place][1])
    zero = context.constant(0)
    held = context.emit("list.get", content.value, zero)
    parts = [given if i == place else context.emit("tuple.get", held, index=i) for i in range(len(names))]
    made = context.emit("tuple.record", *parts, type=content.record)
    context.emit_all("list.set", [content.value, zero, made])


def _set_module_attribute(context: Context, module: Module, name: str, value: Abstract) -> None:
    static = inspect.getattr_static(type(module), name, None)
    if isinstance(static, property) and static.fset is not None:
        context.call(Constant(static.fset), [Constant(module), value], {})
        return
    if name not in module._buffers and assign_number(context, module, name, value):
        return
    if name not in module._buffers or not isinstance(module._buffers[name], Tensor):
        raise context.error(
            f"attribute {name!r} of {type(module).__name__} is a constant of the compiled program and cannot be "
            "assigned",
            "attributes that are numbers can be assigned, and buffers: "
            f'`self.register_buffer("{name}", ...)` in __init__',
        )
    if not isinstance(value, TensorRef):
        raise context.error(f"buffer {name!r} must hold a Tensor, not {context.describe(value)}")
    tensor = module._buffers[name]
    assert tensor is not None
    old = parameter(context, tensor, f"{context.module_name(module)}{name}")
    was, now = context.tensor_type(old), context.tensor_type(value)
    if (was.dtype, was.rank) != (now.dtype, now.rank):
        raise context.error(
            f"buffer {name!r} is {was} and cannot become {now}", "a buffer keeps its dtype and shape in compiled code"
        )
    for a, b in zip(was.shape, now.shape, strict=True):
        try:
            context.builder.sizes.equal(a, b, f"buffer {name!r} is {was} and cannot become {now}")
        except RuntimeError as error:
            context.fails(error)
    cell = context.attributes.get((id(module), name))
    if cell is None:
        cell = Cell("attribute", name=name)
        context.attributes[(id(module), name)] = cell
        context.initial[cell] = Items((old,))
    context.heap[cell] = Items((value,))


# -- instances of user classes -----------------------------------------------------------------------------------------


def is_plain_class(cls: type) -> bool:
    """Whether instances of the class can be made inside a compiled program."""
    return (
        not issubclass(cls, (Module, Tensor, BaseException, type))
        and cls.__module__ != "builtins"
        and (dataclasses.is_dataclass(cls) or isinstance(cls.__init__, types.FunctionType)  # type: ignore[misc]
             or cls.__init__ is object.__init__)
        and cls.__new__ is object.__new__
    )  # fmt: skip


def instantiate(context: Context, cls: type, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    """An instance of a user class made inside the program."""
    owner: Any = next(base for base in cls.__mro__ if "__init__" in base.__dict__)
    if "__dataclass_fields__" in owner.__dict__ and owner.__dataclass_params__.init:
        return _instantiate_dataclass(context, cls, arguments, keywords)
    cell = Cell("object")
    context.heap[cell] = Entries({})
    instance = ObjectRef(cell, cls)
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        if arguments or keywords:
            raise context.type_error(f"{cls.__name__}() takes no arguments")
        return instance
    context.call(Constant(cls.__init__), [instance, *arguments], keywords)  # type: ignore[misc]
    return instance


def _instantiate_dataclass(
    context: Context, cls: type, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    fields = [f for f in dataclasses.fields(cls) if f.init]
    positional = [f for f in fields if not f.kw_only]
    if len(arguments) > len(positional):
        raise context.type_error(f"{cls.__name__}() takes {len(positional)} arguments but {len(arguments)} were given")
    values = dict(zip([f.name for f in positional], arguments, strict=False))
    for name, value in keywords.items():
        if name in values or name not in {f.name for f in fields}:
            raise context.type_error(f"{cls.__name__}() got an unexpected or repeated argument {name!r}")
        values[name] = value
    attributes: dict[str, Abstract] = {}
    for field in dataclasses.fields(cls):
        if field.name in values:
            attributes[field.name] = values[field.name]
        elif field.default is not dataclasses.MISSING:
            attributes[field.name] = lift(context, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            attributes[field.name] = context.call(Constant(field.default_factory), [], {})
        elif field.init:
            raise context.type_error(f"{cls.__name__}() is missing the argument {field.name!r}")
    cell = Cell("object")
    context.heap[cell] = Entries(attributes)
    instance = ObjectRef(cell, cls)
    if hasattr(cls, "__post_init__"):
        context.constructing += 1
        try:
            context.call(Method(instance, "__post_init__", cls.__post_init__), [], {})
        finally:
            context.constructing -= 1
    return instance


def user_operator(context: Context, name: str, *operands: Abstract) -> Abstract | None:
    """An operator method of a user's class, called; None where no operand has one."""
    first = operands[0]
    if isinstance(first, ObjectRef):
        method = inspect.getattr_static(first.type, f"__{name}__", None)
        if isinstance(method, types.FunctionType) and method.__code__.co_filename != "<string>":
            return context.call(Method(first, f"__{name}__", method), list(operands[1:]), {})
        is_data = dataclasses.is_dataclass(first.type) and len(operands) == 2
        if is_data and name in _COMPARISONS and isinstance(operands[1], ObjectRef):
            compared = _compare_dataclasses(context, name, first, operands[1])
            if compared is not None:
                return compared
        equal = inspect.getattr_static(first.type, "__eq__", None)
        if name == "ne" and isinstance(equal, types.FunctionType) and equal.__code__.co_filename != "<string>":
            from .operators import unary

            return unary(context, "Not", context.call(Method(first, "__eq__", equal), list(operands[1:]), {}))
    if len(operands) == 2 and isinstance(operands[1], ObjectRef):
        method = inspect.getattr_static(operands[1].type, f"__r{name}__", None)
        if isinstance(method, types.FunctionType):
            return context.call(Method(operands[1], f"__r{name}__", method), [first], {})
    return None


def _compare_dataclasses(context: Context, name: str, left: ObjectRef, right: ObjectRef) -> Abstract | None:
    from .operators import compare

    parameters = left.type.__dataclass_params__  # type: ignore[attr-defined]
    if left.type is not right.type or not (parameters.eq if name in ("eq", "ne") else parameters.order):
        return None
    names = [f.name for f in dataclasses.fields(left.type) if f.compare]
    a, b = (Tuple(tuple(attribute(context, o, n) for n in names)) for o in (left, right))
    return compare(context, _COMPARISONS[name], a, b)


_COMPARISONS = {"eq": "Eq", "ne": "NotEq", "lt": "Lt", "le": "LtE", "gt": "Gt", "ge": "GtE"}
