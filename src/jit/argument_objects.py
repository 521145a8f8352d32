"""Objects that a call's arguments hold: which there are, where they are found, and how they change after a call.

A compiled program sees lists, dicts and instances of classes taken apart. An object that is met again is a reference to
the place where it was met first, so that a program in which two names have one object is another program. What the
program changes comes back as further results, and goes into the caller's own objects.
"""

import functools
import types
from collections.abc import Sequence
from typing import Any

__all__ = ["attribute_names", "is_plain_class", "is_plain_instance", "make_object", "resolve", "update"]

Path = tuple[Any, ...]
_PACKAGE = __package__.partition(".")[0]


@functools.lru_cache(maxsize=4096)
def is_plain_class(cls: Any) -> bool:
    """Whether instances of a class are nothing but their attributes: a user's class, with no tricks."""
    packages = {base.__module__.partition(".")[0] for base in cls.__mro__[:-1]}
    if packages & {"builtins", "numpy", "numba", "types", "functools", _PACKAGE} or hasattr(cls, "_ingot_opaque"):
        return False
    return (
        cls.__new__ is object.__new__
        and all(getattr(cls, name) is getattr(object, name) for name in ("__getattribute__", "__setattr__"))
        and not hasattr(cls, "__getattr__")
        and cls.__dictoffset__ != 0
        and isinstance(cls.__init__, types.FunctionType | types.WrapperDescriptorType)  # type: ignore[misc]
    )


def is_plain_instance(value: Any) -> bool:
    """Whether a value is an instance of a user's class that a program can take apart into its attributes."""
    cls: Any = type(value)
    return is_plain_class(cls)


def attribute_names(value: Any) -> tuple[str, ...]:
    """The attributes that an instance has, the fields of a dataclass first and in their order."""
    fields = getattr(type(value), "__dataclass_fields__", {})
    names = dict.fromkeys([name for name in fields if hasattr(value, name)] + list(getattr(value, "__dict__", ())))
    return tuple(names)


@functools.lru_cache(maxsize=1000)
def _stand_in(name: str) -> type:
    """The class of objects whose own is not known, as those of a loaded program."""
    return type(name, (types.SimpleNamespace,), {})


def make_object(cls: type | None, name: str) -> Any:
    """An instance with no attributes yet."""
    made: Any = _stand_in(name) if cls is None else cls
    return made.__new__(made)


def set_attributes(target: Any, names: Sequence[str], values: Sequence[Any]) -> None:
    """Give an object attributes, also one that is frozen: its own class has let the program do so."""
    for name, value in zip(names, values, strict=True):
        object.__setattr__(target, name, value)


def resolve(path: Path, arguments: Any) -> Any:
    """The object at a place in `(arguments, keywords)`; ValueError where there is none."""
    found = arguments
    try:
        for step in path:
            if isinstance(found, (tuple, list, dict)) and not (isinstance(step, str) and hasattr(found, "_fields")):
                found = found[step]
            elif isinstance(step, str) and step.isidentifier() and not step.startswith("__"):
                found = getattr(found, step)
            else:
                raise KeyError(step)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(f"the arguments have no object at {path}") from None
    return found


def update(target: Any, kind: str, names: Sequence[str], content: Any) -> None:
    """Bring an object of the caller's to what it holds at the end of a program.

    `content` is the values of the attributes that `names` names, or a container of the target's own kind.
    """
    if target is content:
        return
    match kind:
        case "object":
            set_attributes(target, names, content)
        case "list" if isinstance(target, list):
            target[:] = content
        case "dict" | "set" if isinstance(target, (dict, set)):
            target.clear()
            target.update(content)
        case _:
            raise ValueError(f"a program changes a {kind}, where the caller has a {type(target).__name__}")
