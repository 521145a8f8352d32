"""Nested Python containers as a flat list of leaves and a structure: arguments and results of compiled callables.

Leaves are tensors and numbers. Tuples, lists, dicts, named tuples and dataclasses are taken apart; everything else
(None, strings, dtypes, functions) is a constant of the structure. Structures are equal where calls may share code.
"""

from collections.abc import Callable
from typing import Any

from ..eager.tensor import Tensor
from .structure import LEAF, Structure, constant_structure, take_apart, tuple_structure, unflatten
from .tracked import TrackedInt

__all__ = [
    "LEAF",
    "Structure",
    "constant_structure",
    "flatten",
    "flatten_call",
    "map_leaves",
    "tuple_structure",
    "unflatten",
]


def flatten(value: Any) -> tuple[list[Any], Structure]:
    """The leaves of nested containers in order, and their structure.

    >>> leaves, structure = flatten((1, {"scale": 2.0, "mode": "same"}, [3]))
    >>> leaves, unflatten(structure, [10, 20.0, 30])
    ([1, 2.0, 3], (10, {'scale': 20.0, 'mode': 'same'}, [30]))
    """
    leaves: list[Any] = []
    return leaves, take_apart(value, leaves, _is_leaf)


def flatten_call(
    arguments: tuple[Any, ...], keywords: dict[str, Any], dynamic: int = 0, *, objects: bool = False
) -> tuple[list[Any], Structure]:
    """The leaves of a call's arguments, and the structure of `(arguments, keywords)`; `dynamic` as in `containers`.

    With `objects`, instances of users' classes are taken apart, and an object that is met twice is one.
    """
    leaves: list[Any] = []
    values = (*arguments, *keywords.values())
    met: dict[int, tuple[Any, ...]] | None = {} if objects else None
    paths = [*((0, i) for i in range(len(arguments))), *((1, name) for name in keywords)]
    parts = [
        take_apart(value, leaves, _is_leaf, 1, dynamic, met, path) for value, path in zip(values, paths, strict=True)
    ]
    named = Structure("dict", tuple(parts[len(arguments) :]), tuple(keywords))
    return leaves, tuple_structure((tuple_structure(tuple(parts[: len(arguments)])), named))


def _is_leaf(value: Any) -> bool:
    return isinstance(value, Tensor) or type(value) is TrackedInt


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """The containers with `function` applied to every leaf."""
    leaves, structure = flatten(value)
    return unflatten(structure, [function(leaf) for leaf in leaves])
