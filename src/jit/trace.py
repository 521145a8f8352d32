"""`jit.trace`: run a callable once on examples, record it as a graph, and say what was baked in."""

import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..eager.device import host_array
from ..eager.modes import use_mode
from ..eager.tensor import Tensor, wrap
from ..ir.core import Graph
from ..ir.dims import Dim, DimExpr
from ..ir.interp import run
from ..ir.location import Location
from ..ir.passes.canonicalise import canonicalise
from ..ir.passes.dce import dead_code_elimination
from ..ir.random_state import default_generator
from ..ir.types import TensorType
from .eager_kernels.library import running_once
from .elsewhere import graph_of_another_device
from .errors import JitError, TraceError, TraceWarning
from .function import Call, CompiledFunction, Specialised
from .recorder import Baked, Recorder, Recording
from .specialisation import Specialisation, user_level
from .structure import Structure, unflatten, with_constant_numbers
from .tracked import followed_builtins
from .tree import flatten

__all__ = ["TracedFunction", "trace"]

_ON_BAKE = ("warn", "error", "ignore")
# Entries of these kinds are listed in `baked` but neither warned about nor refused: they say how a layer was set.
_QUIET_KINDS = frozenset({"mode"})


class TracedFunction(CompiledFunction):
    """What `jit.trace` returns: the recorded graph as a compiled callable.

    `baked` lists what the trace fixed to the example: each entry has a kind, a message and a location, and prints with
    its source line. A call whose sizes break a condition of the graph (two sizes that were equal no longer are) is
    traced again; another dtype, rank or structure of arguments is a TraceError.
    """

    bakes_numbers = True

    def __init__(self, function: Callable[..., Any], name: str, module: Any, on_bake: str) -> None:
        super().__init__(name, _signature(function))
        self._function = function
        self._module = module
        self._on_bake = on_bake
        # What finds a parameter at a call, by name: most are one tensor always.
        self._parameters: dict[str, Callable[[], Tensor]] = {}
        self._gradients: dict[int, tuple[Graph, list[tuple[Tensor | int, int | None]]]] = {}
        self._example_key: Any = None
        self.baked: list[Baked] = []

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Call:
        # Numbers among the arguments are part of the structure: a trace holds for their values only.
        call = super()._bind(arguments, keywords)
        call.structure, call.leaves = with_constant_numbers(
            call.structure, call.leaves, lambda leaf: not isinstance(leaf, Tensor)
        )
        return call

    def parameter(self, name: str) -> Tensor:
        return self._parameters[name]()

    def _finish(
        self, specialisation: Specialisation, arguments: Sequence[Any], results: Sequence[Any], call: Call | None = None
    ) -> Any:
        returned = super()._finish(specialisation, arguments, results, call)
        for target, index in self._gradients.get(id(specialisation.graph), (None, ()))[1]:
            tensor = arguments[target] if isinstance(target, int) else target
            result = None if index is None else results[index]
            tensor.grad = result.detach() if isinstance(result, Tensor) else None if result is None else wrap(result)
        return returned

    def _only_returns(self, specialisation: Specialisation) -> bool:
        return not self._gradients.get(id(specialisation.graph), (None, ()))[1]

    @property
    def __ingot_scripted__(self) -> Any:
        """What stands for the function in a scripted one: its source is compiled there, like that of any callee."""
        return self._function.module if isinstance(self._function, _ModuleCall) else self._function

    def python_callable(self) -> Callable[..., Any]:
        return self._function

    def specialise(self, call: Call) -> Specialised:
        key = call.key()
        if self._example_key is None:
            self._example_key = key
        elif key != self._example_key:
            raise TraceError(
                f"{self.__name__} was traced for other arguments: {_difference(self._example_key, key)}",
                hint="trace again with an example like these arguments, or use jit.script, which specialises by itself",
            )
        return self.record(call)

    _on_another_device = graph_of_another_device

    def record(self, call: Call) -> Specialised:
        """Run the callable on the call's arguments and return its graph."""
        recording, structure = self._record(call)
        self._parameters.update(recording.parameters | self._buffers(recording))
        self._gradients[id(recording.graph)] = (recording.graph, recording.gradients)
        fresh = [e for e in recording.baked if e not in self.baked]
        self.baked.extend(fresh)
        self._report([e for e in fresh if e.kind not in _QUIET_KINDS])
        return Specialised(recording.graph, structure, conditions=tuple(recording.conditions), trains=recording.trains)

    def _buffers(self, recording: Recording) -> dict[str, Callable[[], Tensor]]:
        """What finds the module's buffers at a call: where they are kept, since moving a module makes new ones."""
        found: dict[str, Callable[[], Tensor]] = {}
        if self._module is not None:
            for name, buffer in self._module.named_buffers():
                if name in recording.parameters and recording.parameters[name]() is buffer:
                    owner, _, last = name.rpartition(".")
                    found[name] = functools.partial(self._module.get_submodule(owner)._buffers.__getitem__, last)
        return found

    def _record(self, call: Call, scale: float = 1.0) -> tuple[Recording, Structure]:
        names = {id(t): (name, t) for name, find in self._parameters.items() if (t := find()) is not None}
        return _record(self._function, self.__name__, call, self._named_tensors(), names, scale)

    def _named_tensors(self) -> dict[int, tuple[str, Tensor]]:
        if self._module is None:
            return {}
        named = (*self._module.named_parameters(), *self._module.named_buffers())
        return {id(tensor): (name, tensor) for name, tensor in named}

    def _report(self, entries: list[Baked]) -> None:
        if not entries or self._on_bake == "ignore":
            return
        if self._on_bake == "error":
            others = f" (and {len(entries) - 1} more)" if len(entries) > 1 else ""
            raise TraceError(f"{entries[0].message}{others}", entries[0].location, hint=_hint(entries))
        for entry in entries:
            warnings.warn(str(entry), TraceWarning, stacklevel=user_level())

    def check(self, call: Call) -> None:
        """TraceError where a second trace differs, or the graph does not compute what the callable does."""
        (specialisation,) = self.specialisations
        graph = self._record(call)[0].graph
        if _differ(graph, specialisation.graph):
            raise TraceError(
                f"{self.__name__}: a second trace with the same arguments gave another graph, so it depends on state "
                "that a trace does not see (a counter, a random Python choice)",
                hint="make the function depend on its arguments only, or pass check_trace=False",
            )
        self._check_numbers(call, specialisation)
        tensors = [self.parameter(n) for n in specialisation.graph.parameters]
        targets = [t for t, _ in self._gradients[id(specialisation.graph)][1] if isinstance(t, Tensor)]
        gradients = [(t, t._grad) for t in (*tensors, *targets)]
        parameters = [t._array for t in tensors]
        before = [array.copy() for array in parameters]
        state = default_generator.get_state()
        expected, _ = flatten(_run_plainly(self._function, call))
        default_generator.set_state(state)
        for tensor, gradient in gradients:
            tensor._grad = gradient
        for array, old in zip(parameters, before, strict=True):
            array[...] = old
        results = run(
            specialisation.graph, [*(host_array(t._array) for t in call.leaves), *map(host_array, parameters)]
        )
        default_generator.set_state(state)
        for index, (value, result) in enumerate(zip(expected, results, strict=False)):
            actual, wanted = np.asarray(result), np.asarray(host_array(getattr(value, "_array", value)))
            tolerance = 1e-3 if wanted.dtype == np.float16 else 1e-5
            # Sums in another order differ by what the largest of them does, also where little is left of them.
            scale = _largest(wanted) if wanted.dtype.kind in "fc" else 1.0
            if not np.allclose(actual, wanted, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
                worst = np.nanmax(np.abs(actual.astype(np.float64) - wanted.astype(np.float64)))
                raise TraceError(
                    f"{self.__name__}: result {index} of the graph differs from the callable's by up to {worst:.3g}",
                    hint="it may change state outside that the trace does not see; or pass check_trace=False",
                )
        self._check_other_sizes(call, specialisation)

    def _check_numbers(self, call: Call, specialisation: Specialisation) -> None:
        """Find options that went into the graph unseen, as through `math.sqrt`: others must give the same graph."""
        graph = specialisation.graph
        options = [name for name in graph.parameters if name.startswith("option")]
        if not options:
            return
        other = self._record(call, scale=1 + 2**-10)[0].graph
        if _differ(other, graph):
            message = "an option of an optimiser is recorded as it was: a call with another is traced again"
            self.baked.append(Baked("number", message, _first_difference(graph, other)))
            reads = [functools.partial(self._number, name) for name in options]
            specialisation.conditions += tuple((read, read()) for read in reads)

    def _number(self, name: str) -> float:
        return float(self.parameter(name)._array)

    def _check_other_sizes(self, call: Call, specialisation: Specialisation) -> None:
        """Find numbers computed from sizes that went into the graph unseen, as `1.0 / n` does: Python asks the float.

        Each free size is made one larger. Where the graph is for that size too, tracing there must give the same graph.
        """
        if any(entry.kind not in _QUIET_KINDS for entry in self.baked):
            return  # data or sizes are known to be baked in, so other data may well give another graph
        graph = specialisation.graph
        parameters = [self.parameter(n)._array for n in graph.parameters]
        types = [a.type for a in graph.arguments[: len(call.leaves)]]
        names = {str(d) for t in types if isinstance(t, TensorType) for d in t.shape if _is_free(d)}
        found: list[Baked] = []
        for name in sorted(names):
            leaves = [_grown(t, kind, name) for t, kind in zip(call.leaves, types, strict=True)]
            if not specialisation.fits([*(t._array for t in leaves), *parameters]):
                continue
            arguments, keywords = unflatten(call.structure, leaves)
            try:
                other = self._record(self._bind(arguments, keywords))[0].graph
            except Exception:  # the callable itself does not take this size
                continue
            if other != graph:
                message = f"a number that depends on the size {name} is recorded as the example had it"
                found.append(Baked("size", message, _first_difference(graph, other)))
        self.baked.extend(found)
        self._report(found)


def _is_free(dim: Dim) -> bool:
    """Whether a dimension is a size that a call is free to choose."""
    return isinstance(dim, DimExpr) and dim.is_symbol()


def _grown(tensor: Tensor, kind: Any, name: str) -> Tensor:
    """The tensor with its last element repeated in every dimension whose size is the symbol."""
    array = tensor._array
    for axis, dim in enumerate(kind.shape):
        if _is_free(dim) and str(dim) == name and array.shape[axis]:
            array = np.concatenate([array, np.take(array, [-1], axis)], axis)
    if array is tensor._array:
        return tensor
    grown = wrap(array)
    return grown.requires_grad_() if tensor.requires_grad else grown


def _largest(array: np.ndarray) -> float:
    """The largest finite magnitude in an array; 1 where all are smaller."""
    sizes = np.abs(array)
    return float(np.max(sizes, initial=1.0, where=np.isfinite(sizes)))


def _differ(graph: Graph, other: Graph) -> bool:
    """Whether graphs compute different things; what makes state, at the first trace, may be in one of them."""
    if graph == other:
        return False
    first, second = (canonicalise(dead_code_elimination(g)) for g in (graph, other))
    return first != second


def _first_difference(graph: Graph, other: Graph) -> Location | None:
    """Where the first instruction comes from that another trace recorded otherwise."""
    for one, two in zip(graph.walk(), other.walk(), strict=False):
        if one.op is not two.op or (one.op.name == "constant" and one.attributes != two.attributes):
            return one.location
    return None


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _names(structure: Structure, prefix: str = "") -> Iterable[str]:
    """A name for every tensor of a structure, as graph arguments are called."""
    if structure.kind == "leaf":
        yield prefix or "input"
    for i, child in enumerate(structure.children):
        part = str(structure.keys[i]) if structure.keys else str(i)
        yield from _names(child, f"{prefix}_{part}" if prefix else part)


def _argument_names(call: Call, signature: inspect.Signature | None) -> list[str]:
    positional, keywords = call.structure.children
    known = list(signature.parameters) if signature is not None else []
    names: list[str] = []
    for i, child in enumerate(positional.children):
        names += _names(child, known[i] if i < len(known) else f"input{i}")
    for key, child in zip(keywords.keys, keywords.children, strict=True):
        names += _names(child, str(key))
    return [name if name.isidentifier() else f"input{i}" for i, name in enumerate(names)]


def _distinct(call: Call) -> Call:
    """The call with a copy for every tensor that stands for a second argument, too: the next call may give two."""
    if len({id(leaf._array) for leaf in call.leaves}) == len(call.leaves):
        return call
    leaves, structure = flatten((call.arguments, call.keywords))
    seen: set[int] = set()
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            if id(leaf._array) in seen:
                leaves[i] = wrap(leaf._array.copy())
                leaves[i].requires_grad = leaf.requires_grad
            seen.add(id(leaf._array))
    distinct = Call(*unflatten(structure, leaves))
    distinct.structure = call.structure
    distinct.leaves = [leaf for leaf in distinct.leaves if isinstance(leaf, Tensor)]
    return distinct


def _record(
    function: Callable[..., Any],
    name: str,
    call: Call,
    named: dict[int, tuple[str, Tensor]],
    names: dict[int, tuple[str, Tensor]],
    scale: float,
) -> tuple[Recording, Structure]:
    call = _distinct(call)
    recorder = Recorder(name if name.isidentifier() else "traced", named, names, scale=scale)
    # Tensors of their own over the same memory, so that the caller's get no history from the trace.
    seen: set[str] = set()
    for tensor, argument in zip(call.leaves, _argument_names(call, _signature(function)), strict=True):
        unique, count = argument, 1
        while unique in seen:
            unique, count = f"{argument}_{count}", count + 1
        seen.add(unique)
        recorder.argument(unique, tensor)
    state = default_generator.get_state()
    try:
        with use_mode(recorder), followed_builtins(Tensor), running_once():
            output = function(*call.arguments, **call.keywords)
            leaves, structure = flatten(output)
            _check_returned(name, structure)
            recording = recorder.finish(leaves)
    finally:
        recorder.restore()
        default_generator.set_state(state)
    return recording, structure


def _check_returned(name: str, structure: Structure) -> None:
    """TraceError for a result that is neither tensors, numbers, strings, None nor containers of them."""
    if structure.kind == "constant":
        value = getattr(structure.value, "value", structure.value)
        if not isinstance(value, (str, type(None), complex)):
            kind = type(value).__name__
            raise TraceError(f"{name} returned {kind}: expected tensors, numbers or containers of them")
    for child in structure.children:
        _check_returned(name, child)


def _run_plainly(function: Callable[..., Any], call: Call) -> Any:
    """The callable's result on copies of the arguments."""
    leaves = [t.detach().clone().requires_grad_(t.requires_grad) for t in call.leaves]
    arguments, keywords = unflatten(call.structure, leaves)
    return function(*arguments, **keywords)


def _difference(expected: Any, given: Any) -> str:
    if expected[0] != given[0]:
        return "the structure of the arguments, or a number or other constant among them, differs"
    for i, (wanted, actual) in enumerate(zip(expected[2:], given[2:], strict=True)):
        if wanted != actual:
            return f"tensor {i} was {_tensor_text(wanted)}, given {_tensor_text(actual)}"
    return "the default dtype differs"


def _tensor_text(kind: Any) -> str:
    return f"{kind[0]} of rank {kind[1]}" if isinstance(kind, tuple) else str(kind)


def _hint(entries: list[Baked]) -> str:
    if any(e.kind in ("bool", "iteration", "size") for e in entries):
        name = next((e.location.function for e in entries if e.location is not None), "")
        where = f" {name}" if name and not name.startswith("<") else " the function that holds it"
        return f"decorate{where} with @jit.script: a scripted function keeps its branches and loops inside a trace"
    return "keep the value a tensor, or pass on_bake='ignore' if the example's value is meant"


def trace(
    func: Callable[..., Any],
    example_inputs: Any = None,
    check_trace: bool = True,
    *,
    example_kwarg_inputs: dict[str, Any] | None = None,
    on_bake: str = "warn",
) -> TracedFunction:
    """Run a function or module once on example inputs and return what it did as a compiled callable.

    func: a function, a module or a bound method. example_inputs: a tensor, or a tuple of the arguments, which may be
    nested tuples, lists, dicts and dataclasses of tensors; sizes are examples only, dtypes and ranks are fixed.
    check_trace: trace twice and compare with a plain run (TraceError where they differ).
    on_bake: what to do about Python values taken from tensors, branches on them and the like, which the graph holds
    as they were: "warn" (TraceWarning each), "error" (TraceError) or "ignore"; they are in `.baked` in any case.

    >>> double = ingot.jit.trace(lambda x: x * 2, ingot.ones(3))
    >>> double(ingot.ones(5))
    tensor([2., 2., 2., 2., 2.])
    """
    if on_bake not in _ON_BAKE:
        raise ValueError(f"trace: on_bake must be one of {', '.join(_ON_BAKE)}, given {on_bake!r}")
    if isinstance(func, CompiledFunction):
        raise JitError(f"{func.__name__} is compiled already; trace the Python function that calls it")
    if not callable(func):
        raise TypeError(f"trace: expected a function or module, given {type(func).__name__}")
    if example_inputs is None:
        example_inputs = ()
    arguments = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if isinstance(example_inputs, list):
        arguments = tuple(example_inputs)
    owner = func if hasattr(func, "named_parameters") else getattr(func, "__self__", None)
    module = owner if hasattr(owner, "named_parameters") else None
    if func is module:
        name = type(func).__name__
        function: Callable[..., Any] = _ModuleCall(func)
    else:
        name, function = getattr(func, "__name__", type(func).__name__), func
    traced = TracedFunction(function, name, module, on_bake)
    call = traced._bind(arguments, dict(example_kwarg_inputs or {}))
    if not call.leaves:
        raise TraceError(f"{name}: the example inputs hold no tensor, so there is nothing to trace")
    traced._select(call)
    if check_trace:
        traced.check(call)
    return traced


class _ModuleCall:
    """Calls a module, with the signature of its forward."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.__signature__ = inspect.signature(module.forward)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.module(*arguments, **keywords)
