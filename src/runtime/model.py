"""A loaded model: calls take numpy arrays, tensors and numbers, choose the program that fits, and return the like."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.dims import Guard
from ..ir.records import record
from ..ir.types import IntType, Type
from ..jit.archive_native import Interface
from ..jit.program import NativeProgram
from ..jit.structure import LEAF, Structure, take_apart, unflatten, with_constant_numbers

__all__ = ["Model", "Variant"]

_NUMBERS = (bool, int, float)
# Programs are remembered for so many combinations of types and shapes.
_MAX_KNOWN = 1024


@record
class Variant:
    """One program of a model, for arguments of one structure and of these types."""

    arguments: Structure
    leaves: tuple[Any, ...]
    results: Structure
    program: NativeProgram
    interface: Interface
    parameters: tuple[np.ndarray[Any, Any], ...]

    @property
    def types(self) -> list[tuple[str, Type]]:
        """The names and types of the arguments, without the parameters."""
        specs = self.program.layout.arguments
        return [(spec.name, spec.type) for spec in specs[: len(self.leaves)]]

    @property
    def guards(self) -> tuple[Guard, ...]:
        return self.program.layout.guards

    def takes(self, structure: Structure, leaves: Sequence[Any]) -> bool:
        """Whether the arguments have the structure, dtypes and ranks that this program is for."""
        return structure == self.arguments and all(
            (isinstance(kind, tuple) and isinstance(leaf, np.ndarray) and (leaf.dtype, leaf.ndim) == kind)
            or type(leaf) is kind
            for leaf, kind in zip(leaves, self.leaves, strict=True)
        )

    def run(self, leaves: Sequence[Any]) -> list[Any]:
        """What is returned; what the graph writes is written to the arguments."""
        values = [*leaves, *self.parameters]
        results = self.program(values)
        returned = results[: self.interface.outputs]
        for argument, result in self.interface.writes:
            if results[result] is not values[argument]:
                np.copyto(values[argument], results[result])
            if result < self.interface.outputs:
                returned[result] = values[argument]
        return returned

    def __str__(self) -> str:
        where = f" where {', '.join(map(str, self.guards))}" if self.guards else ""
        return f"({', '.join(f'{name}: {kind}' for name, kind in self.types)}){where}"


class Model:
    """A compiled model that was loaded from a file. Calls may come from any number of threads at once.

    Arguments are numpy arrays or tensors, numbers, and nested tuples, lists and dicts of them, as the compiled function
    took. Results are tensors where an argument was one, and arrays otherwise. Other compiled methods of a module are
    attributes, and in `methods`.
    """

    def __init__(
        self,
        name: str,
        signature: inspect.Signature | None,
        metadata: Mapping[str, str],
        variants: Sequence[Variant],
        *,
        bakes_numbers: bool = False,
        general: Any = None,
    ) -> None:
        self.__name__ = name
        self.metadata = dict(metadata)
        self._signature = signature
        self._variants = list(variants)
        self._bakes_numbers = bakes_numbers
        self._known: dict[Any, Variant] = {}
        self._general = general
        self.methods: dict[str, Model] = {}

    def __getattr__(self, name: str) -> "Model":
        method = self.__dict__.get("methods", {}).get(name)
        if method is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found: Model = method
        return found

    @property
    def __signature__(self) -> inspect.Signature:
        if self._signature is None:
            raise AttributeError("the signature is not known")
        return self._signature

    @property
    def is_native(self) -> bool:
        """Whether the file's machine code is used; otherwise its graphs are compiled, or interpreted."""
        general = self._general
        return general is None or all(specialisation.is_compiled for specialisation in general.specialisations)

    @property
    def signatures(self) -> list[str]:
        """The arguments that the model takes, one line for each of its programs."""
        if self._general is not None:
            return [
                f"({', '.join(f'{v.name}: {v.type}' for v in s.graph.arguments)})"
                for s in self._general.specialisations
            ]
        return [str(variant) for variant in self._variants]

    @property
    def argument_types(self) -> list[tuple[str, Type]]:
        """The names and types of the arguments of the model's first program."""
        if self._general is not None:
            if not self._general.specialisations:
                return []
            graph = self._general.specialisations[0].graph
            values = graph.arguments[: len(graph.arguments) - len(graph.parameters)]
            return [(value.name or "", value.type) for value in values]
        return self._variants[0].types if self._variants else []

    @property
    def examples(self) -> dict[str, int]:
        """Sizes, by symbol, for which the conditions of the model's first program hold, where it has any."""
        if self._general is not None:
            graphs = self._general.specialisations
            return dict(graphs[0].graph.examples) if graphs else {}
        return dict(self._variants[0].interface.examples) if self._variants else {}

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Run the model. TypeError or RuntimeError where the arguments fit none of its programs."""
        if self._general is not None:
            return _call_general(self._general, arguments, keywords)
        key = None if keywords else _key(arguments)
        known = self._known.get(key)
        if known is not None:
            results = known.program([*arguments, *known.parameters])
            return results[0] if known.results == LEAF else unflatten(known.results, results)
        arguments, keywords = self._bound(arguments, keywords)
        structure, given = self._take(arguments, keywords)
        leaves = [_plain(leaf) for leaf in given]
        variant = self._choose(structure, leaves)
        if key is not None and self._is_direct(variant, arguments, leaves):
            while len(self._known) >= _MAX_KNOWN:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = variant
        returned = variant.run(leaves)
        tensors = {id(leaf._array): leaf for leaf in given if _is_tensor(leaf)}
        if tensors:
            returned = [_as_tensor(value, tensors) for value in returned]
        return unflatten(variant.results, returned, (arguments, keywords))

    def _is_direct(self, variant: Variant, arguments: Sequence[Any], leaves: Sequence[Any]) -> bool:
        """Whether calls with such arguments go to the program as they are, and its results out as they are."""
        return (
            not (self._bakes_numbers and any(type(given) is not np.ndarray for given in arguments))
            and not variant.interface.writes
            and len(leaves) == len(arguments)
            and all(given is leaf for given, leaf in zip(arguments, leaves, strict=True))
            and not any(isinstance(kind, IntType) and kind.value is not None for _, kind in variant.types)
        )

    def check(self, *arguments: Any, **keywords: Any) -> None:
        """Raise what a call with these arguments would raise before it runs anything."""
        if self._general is None:
            structure, given = self._take(*self._bound(arguments, keywords))
            self._choose(structure, [_plain(leaf) for leaf in given])

    def _bound(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call's arguments with the defaults of those that were not given."""
        if self._signature is None:
            return arguments, keywords
        try:
            bound = self._signature.bind(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{self.__name__}() {error}") from None
        bound.apply_defaults()
        return bound.args, bound.kwargs

    def _take(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Structure, list[Any]]:
        """The structure and the leaves of a call's arguments."""
        given: list[Any] = []
        structure = take_apart((arguments, keywords), given, _is_leaf, met={})
        if self._bakes_numbers:
            structure, given = with_constant_numbers(structure, given, lambda leaf: not _is_array(leaf))
        return structure, given

    def _choose(self, structure: Structure, leaves: Sequence[Any]) -> Variant:
        """The program that fits."""
        reasons = []
        for variant in self._variants:
            if not variant.takes(structure, leaves):
                continue
            values, reason = variant.program.binding.bind([*leaves, *variant.parameters])
            if values is not None:
                return variant
            reasons.append(reason)
        if reasons:
            raise RuntimeError(f"{self.__name__}: {'; '.join(dict.fromkeys(reasons))}")
        given = ", ".join(_describe(leaf) for leaf in leaves)
        raise TypeError(
            f"{self.__name__}: there is no program for ({given}) in this structure; there are "
            f"{'; '.join(self.signatures)}"
        )

    def __repr__(self) -> str:
        return f"<Model {self.__name__}, {'; '.join(self.signatures)}>"


def _key(arguments: Sequence[Any]) -> tuple[Any, ...] | None:
    """What decides which program runs, for arrays and numbers given by position; None for other arguments."""
    parts: list[Any] = []
    for argument in arguments:
        kind = type(argument)
        if kind is np.ndarray:
            parts += argument.shape, argument.dtype
        elif kind in _NUMBERS:
            parts.append(kind)
        else:
            return None
    return tuple(parts)


def _is_tensor(value: Any) -> bool:
    """Whether a value is a tensor, which nothing can be where eager execution was never imported."""
    module = sys.modules.get(f"{__package__.split('.')[0]}.eager.tensor")
    return module is not None and isinstance(value, module.Tensor)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or _is_tensor(value)


def _is_leaf(value: Any) -> bool:
    return isinstance(value, np.generic) or _is_array(value)


def _call_general(function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Call a function of tensors with arrays, and give arrays back unless a tensor was given."""
    from ..eager.modes import no_grad
    from ..eager.tensor import wrap

    def tensors(value: Any) -> Any:
        found: list[Any] = []
        shape = take_apart(value, found, _is_leaf)
        has_tensors.extend(leaf for leaf in found if _is_tensor(leaf))
        if not any(isinstance(leaf, (np.ndarray, np.generic)) for leaf in found):
            return value  # itself: it may be changed in place
        return unflatten(
            shape, [wrap(_plain(leaf)) if isinstance(leaf, np.ndarray) else _number(leaf) for leaf in found]
        )

    def arrays(value: Any) -> Any:
        found: list[Any] = []
        shape = take_apart(value, found, _is_leaf)
        return unflatten(shape, [_plain(leaf) for leaf in found])

    has_tensors: list[Any] = []
    given = [tensors(value) for value in arguments]
    named = {name: tensors(value) for name, value in keywords.items()}
    with no_grad():
        result = function(*given, **named)
    # What was changed in a container is changed in that of the caller.
    for original, value in zip((*arguments, *keywords.values()), (*given, *named.values()), strict=True):
        if value is not original and type(original) is list:
            original[:] = arrays(value)
        elif value is not original and type(original) is dict:
            changed = arrays(value)
            original.clear()
            original.update(changed)
    return result if has_tensors else arrays(result)


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _plain(value: Any) -> Any:
    """A leaf as programs take it: an array in the machine's byte order, or a Python number."""
    if _is_tensor(value):
        return value._array
    value = _number(value)
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        return value.astype(value.dtype.newbyteorder("="))
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise OverflowError(f"the argument {value} does not fit into 64 bits")
    return value


def _as_tensor(value: Any, tensors: Mapping[int, Any]) -> Any:
    from ..eager.tensor import wrap

    if isinstance(value, list):
        return [_as_tensor(item, tensors) for item in value]
    if not isinstance(value, np.ndarray):
        return value
    return tensors.get(id(value)) or wrap(value)


def _describe(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
