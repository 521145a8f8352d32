"""Attributes of modules by which graphs are chosen: they are constants of a graph, so their values are compared."""

from typing import Any

__all__ = ["attribute_state"]

_MISSING = object()


def attribute_state(owner: Any, name: str) -> tuple[Any, ...]:
    """What of an attribute decides which graph is right: a constant's value, whether a tensor is there, or its id."""
    for table in ("_parameters", "_buffers"):
        found = owner.__dict__.get(table, {}).get(name, _MISSING)
        if found is not _MISSING:
            return (name, found is None)
    value = owner.__dict__.get(name, _MISSING)
    if value is _MISSING:
        value = getattr(owner, name, None)
    if value is None or isinstance(value, (bool, int, float, str)):
        return (name, type(value), value)
    return (name, id(value))
