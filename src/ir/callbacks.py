"""Python functions that graphs call back, by the names that their instructions have for them.

A name is good in the process where it was given: a graph that is read from a file has names without functions.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .records import record
from .types import Type

if TYPE_CHECKING:
    from .core import Graph

__all__ = ["FROM_FILE", "Callback", "callback", "register", "tracks_gradients"]


@record
class Callback:
    """A function of the values of a `python.call`: arrays and other values, or tensors and other values, in and out."""

    title: str
    operands: tuple[Type, ...]
    results: tuple[Type, ...]
    on_arrays: Callable[[Sequence[Any]], Sequence[Any]]
    on_tensors: Callable[[Sequence[Any]], Sequence[Any]]
    tracks: bool = False  # whether tensors that it gives take part in gradients
    native: Any = None  # what native code calls instead, where that is possible


FROM_FILE = "file:"
"""In front of the names in graphs that were read from a file: functions of the process are none of their business."""

_known: dict[str, tuple[Any, Callback]] = {}
_lock = threading.Lock()


def register(title: str, key: Any, make: Callable[[], Callback]) -> str:
    """The name of a callback, which is made if none of this title has this key."""
    with _lock:
        number = 1
        while (name := title if number == 1 else f"{title}#{number}") in _known:
            if _known[name][0] == key:
                return name
            number += 1
        _known[name] = (key, make())
        return name


def callback(name: str) -> Callback:
    """The callback of a name; RuntimeError where this process has none, as after loading a program."""
    found = _known.get(name)
    if found is None:
        title = name.removeprefix(FROM_FILE).partition("#")[0].partition("@")[0]
        raise RuntimeError(
            f"the program calls back the Python function {title}, which a file does not hold: it can run only as the "
            "machine code of the CPU that it was saved on, and raises nothing but this where that function raises"
        )
    return found[1]


def tracks_gradients(graph: "Graph") -> bool:
    """Whether a graph calls back a function whose results take part in gradients."""
    names = {i.attributes["function"] for i in graph.walk_all() if i.op.name == "python.call"}
    return any(_known[name][1].tracks for name in names if name in _known)
