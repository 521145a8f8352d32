"""Tensors in nested lists, tuples and dictionaries: taken out, and put back."""

from collections.abc import Callable
from typing import Any

from ..eager.tensor import Tensor

__all__ = ["flatten", "flatten_all"]


def flatten(value: Any) -> tuple[list[Tensor], Callable[[list[Any]], Any]]:
    """The tensors in nested lists, tuples and dictionaries, and a function that puts others in their places."""
    leaves, rebuild = flatten_all(value)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def rebuild_tensors(tensors: list[Any]) -> Any:
        changed = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            changed[place] = tensor
        return rebuild(changed)

    return [leaves[i] for i in places], rebuild_tensors


def flatten_all(value: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Everything that is not a list, tuple or dictionary, in order, and a function that puts others in their places."""
    if isinstance(value, (list, tuple)):
        parts = [flatten_all(v) for v in value]
    elif isinstance(value, dict):
        parts = [flatten_all(v) for v in value.values()]
    else:
        return [value], lambda leaves: leaves[0]
    counts = [len(leaves) for leaves, _ in parts]

    def rebuild(leaves: list[Any]) -> Any:
        rest, items = list(leaves), []
        for count, (_, build) in zip(counts, parts, strict=True):
            items.append(build(rest[:count]))
            del rest[:count]
        if isinstance(value, dict):
            return dict(zip(value, items, strict=True))
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)

    return [leaf for leaves, _ in parts for leaf in leaves], rebuild
