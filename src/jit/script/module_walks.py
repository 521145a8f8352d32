"""Walks through modules, as `module.named_parameters()`: what a module has when the program is compiled."""

from ...eager.module import Module
from .context import Context
from .values import Abstract, Constant, Tuple

__all__ = ["walk"]

_WALKS = frozenset({
    "buffers", "children", "modules", "named_buffers", "named_children", "named_modules", "named_parameters",
    "parameters",
})  # fmt: skip


def walk(
    context: Context, owner: Abstract, name: str, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract | None:
    """`module.named_parameters()` and the like: what the module has when it is compiled; None for other calls."""
    if not (isinstance(owner, Constant) and isinstance(owner.value, Module)) or name not in _WALKS:
        return None
    if getattr(type(owner.value), name) is not getattr(Module, name):
        return None
    if not all(isinstance(a, Constant) for a in (*arguments, *keywords.values())):
        return None
    known = [a.value for a in arguments], {k: v.value for k, v in keywords.items()}  # type: ignore[attr-defined]
    return Tuple(tuple(context.lift(found) for found in getattr(owner.value, name)(*known[0], **known[1])))


# -- writing attributes ------------------------------------------------------------------------------------------------


def set_attribute(context: Context, target: Abstract, name: str, value: Abstract) -> None:
    """`target.name = value`."""
    match target:
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
