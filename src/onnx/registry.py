"""Emitters: how ONNX operators are written in Ingot's, kept by domain and operator name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Emitter", "find_emitter", "op"]


@dataclass(frozen=True)
class Emitter:
    """A function `(node, *inputs) -> result or tuple of results`, in public ops.

    Inputs are tensors, None where absent. Those at the positions `values` come as the importer holds them, for
    `node.array` and `node.sizes`: they decide about shapes. `raw` emitters get all of them so, and are never folded.
    """

    function: Callable[..., Any]
    values: frozenset[int] = frozenset()
    raw: bool = False


_EMITTERS: dict[tuple[str, str], Emitter] = {}


def op(*names: str, domain: str = "", values: Iterable[int] = (), raw: bool = False) -> Callable[[Any], Any]:
    """Register a function as the emitter of operators; `node.version` tells it which version is asked for."""

    def register(function: Any) -> Any:
        for name in names:
            if (domain, name) in _EMITTERS:
                raise ValueError(f"the emitter of {name} is defined twice")
            _EMITTERS[domain, name] = Emitter(function, frozenset(values), raw)
        return function

    return register


def find_emitter(domain: str, name: str) -> Emitter | None:
    """The emitter of an operator, or None."""
    from . import ops  # noqa: F401  # registers them all

    return _EMITTERS.get((domain, name))
