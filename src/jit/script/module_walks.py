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
