"""Compiled callables: the arguments of a call choose a graph, the graph becomes a program, and the program runs.

A `CompiledFunction` holds *specialisations*: graphs for argument structures, dtypes, ranks and Python types. Sizes are
symbols in a graph, so a new size makes no new graph unless it breaks a condition of those there are. What a front end
adds is `specialise`, which makes the graph for a call. All calls end in `Specialisation.run`; a short way to native
code is remembered per exact argument types and shapes.
"""

import inspect
import math
import threading
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..eager import modes
from ..eager.tensor import Tensor
from ..ir.core import Graph
from ..ir.dtypes import default_dtype, from_numpy
from ..ir.sizes import Sizes
from ..ir.types import BoolType, ComplexType, FloatType, IntType, TensorType, Type
from . import executors
from .containers import Fixed, leaf_type
from .errors import FallbackWarning, JitError, NeedsRun
from .expected_sizes import large_sizes, plane_sizes, row_sizes, short_sizes
from .placement import compiling_on, device_key, is_array, place_of_arrays
from .program import NativeProgram
from .specialisation import Specialisation, user_level
from .tree import Structure, flatten_call, unflatten

if TYPE_CHECKING:
    from .bisect import Bisection
    from .explain import Explanation
    from .profile import Profile

__all__ = ["Call", "CompiledFunction", "Specialised"]

_SCALARS: dict[type, Type] = {bool: BoolType(), int: IntType(), float: FloatType(), complex: ComplexType()}
# Bounds on what is remembered: calls by exact shapes, and specialisations by signature.
MAX_KNOWN_CALLS = 1024
MAX_SPECIALISATIONS = 64


@dataclass(frozen=True)
class Specialised:
    """What a front end makes for a call: the graph, how its results are put together, and the exceptions it raises.

    `results` has one leaf per returned graph result (those that are only written back do not count). The graph holds
    while each of the `conditions`, functions with what they gave, gives the same. `trains`: it makes gradients itself.
    """

    graph: Graph
    results: Structure
    exceptions: Mapping[str, type[BaseException]] = field(default_factory=dict)
    conditions: tuple[tuple[Callable[[], Any], Any], ...] = ()
    trains: bool = False
    ptx: Mapping[tuple[str, str], str] = field(default_factory=dict)  # what a file has of its kernels for GPUs


class Call:
    """The arguments of a call, taken apart: `leaves` (tensors and numbers) and their `structure`.

    The structure is that of `(args, kwargs)`, after defaults were filled in where the callable's signature is known.
    """

    def __init__(
        self,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        dynamic: int = 0,
        defaults: tuple[Collection[int], Collection[str]] = ((), ()),
    ) -> None:
        self.arguments = arguments
        self.keywords = keywords
        self.defaults = defaults
        self.objects = dynamic > 0  # whether objects of users' classes are taken apart
        self.set_dynamic(dynamic)

    def set_dynamic(self, dynamic: int) -> None:
        """Take the arguments apart with these strings and containers as leaves (see `containers`)."""
        self.dynamic = dynamic
        positions, names = self.defaults
        arguments, keywords = self.arguments, self.keywords
        if dynamic and (positions or names):
            # Strings that were not passed are always the same.
            fixed = [Fixed(a) if i in positions and type(a) is str else a for i, a in enumerate(arguments)]
            arguments = tuple(fixed)
            keywords = {k: Fixed(v) if k in names and type(v) is str else v for k, v in keywords.items()}
        self.leaves, self.structure = flatten_call(arguments, keywords, dynamic, objects=self.objects)

    def key(self) -> tuple[Any, ...]:
        """What specialisations are kept by: the structure, dtypes and ranks of tensors, types of other leaves."""
        kinds = [
            (leaf._array.dtype, leaf._array.ndim, *device_key(leaf._array))
            if isinstance(leaf, Tensor)
            else leaf_type(leaf, self.dynamic) or type(leaf)
            for leaf in self.leaves
        ]
        return (self.structure, default_dtype(), *kinds)

    def types(self) -> tuple[list[Type], Sizes]:
        """The IR types of the leaves, each size a fresh symbol, and the sizes with the actual ones as examples."""
        sizes = Sizes()
        types: list[Type] = []
        for leaf in self.leaves:
            if isinstance(leaf, Tensor):
                shape = tuple(sizes.fresh(hint=n) for n in leaf._array.shape)
                types.append(TensorType(from_numpy(leaf._array.dtype), shape))
            else:
                types.append(leaf_type(leaf, self.dynamic) or _SCALARS[type(leaf)])
        return types, sizes


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered for exact argument types and sizes.

    `run` goes from arrays and numbers straight to the result, where nothing stands between, and `quick` from tensors,
    without Python code; it returns None where it cannot. Otherwise the arrays of the parameters are compared by
    identity: the same arrays have the same types and sizes.
    """

    specialisation: Specialisation
    defaults: tuple[Any, ...]
    parameters: list[Any]
    run: Callable[[list[Any]], Any] | None
    quick: Callable[..., Any] | None = None
    with_parameters: Callable[[list[Any]], Any] | None = None  # as `run`, from arguments, defaults and parameters


_UNKNOWN = object()


class CompiledFunction:
    """A callable that runs as compiled code; what `jit.script`, `jit.trace` and `jit.load` return.

    Subclasses make graphs in `specialise`, and supply what `Graph.parameters` names in `parameter`.
    """

    # Whether numbers among the arguments are constants of the graph, as in a trace.
    bakes_numbers = False
    # Which strings and containers among the arguments are values of run time, where that can be compiled.
    dynamic = 0

    def __init__(self, name: str, signature: inspect.Signature | None = None) -> None:
        self.__name__ = self.__qualname__ = name
        self._signature = signature
        self._specialisations: dict[Any, list[Specialisation]] = {}
        self._lowered: dict[Any, int] = {}  # calls whose strings or containers cannot be values of run time
        self._known: dict[Any, _Known] = {}
        self._has_state = type(self).state_key is not CompiledFunction.state_key
        # The latest call of tensors alone; None where state decides besides them.
        self._repeated: tuple[Any, tuple[Any, ...], Callable[[list[Any]], Any], Callable[..., Any] | None] | None = None
        self._latest: Specialisation | None = None
        self._lock = threading.RLock()

    # -- what a front end provides ------------------------------------------------------------------------------------

    def specialise(self, call: Call) -> Specialised:
        """The graph for a call whose arguments fit none of the graphs there are."""
        raise JitError(f"{self.__name__} has no graph for such arguments")

    def parameter(self, name: str) -> Tensor:
        """The tensor that a graph's parameter stands for, at this moment."""
        raise JitError(f"{self.__name__} has no parameter {name!r}")

    def python_callable(self) -> Callable[..., Any] | None:
        """The Python callable that was compiled, where there is one."""
        return None

    def state_key(self) -> Any:
        """What besides the arguments decides which graph is right (a module's training flag); compared by value."""
        return None

    # -- calling ------------------------------------------------------------------------------------------------------

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if self._repeated is not None and not keywords and not modes.active_modes and executors.plain:
            # The same kinds of arguments as last time, which is what most calls have.
            dtype, kinds, run, quick = self._repeated
            if len(kinds) == len(arguments) and dtype is default_dtype():
                if quick is not None and not modes.inference_modes:
                    result = quick(*arguments)
                    if result is not None:
                        return result
                arrays = []
                for argument, (shape, element) in zip(arguments, kinds):  # noqa: B905  # as many, and faster without
                    if type(argument) is not Tensor:
                        break
                    array = argument._array
                    if array.shape != shape or array.dtype is not element or argument._requires_grad or argument._view:
                        break
                    arrays.append(array)
                else:
                    return run(arrays)
        # Tensors on a device count as a mode, so that eager operations look for them; here their arrays tell.
        if self._known and not keywords and modes.active_modes == modes.devices and executors.plain:
            leaves: list[Any] = []
            values: list[Any] = []
            parts: list[Any] = [default_dtype()]
            needs_grad = False
            for argument in arguments:
                kind = type(argument)
                if kind is Tensor:
                    array = argument._array
                    parts += array.shape, array.dtype
                    if modes.devices and array.__class__ is not np.ndarray:
                        parts.append(array.device)
                    values.append(array)
                    if argument.requires_grad:
                        needs_grad = True
                elif kind not in _SCALARS:
                    break
                elif self.bakes_numbers:
                    parts += kind, repr(argument)
                    continue
                else:
                    parts.append(kind)
                    values.append(argument)
                leaves.append(argument)
            else:
                if self._has_state:
                    parts.append(self.state_key())
                known = self._known.get(tuple(parts))
                if known is not None:
                    if known.run is not None and not (needs_grad and modes.state.grad_enabled):
                        if all(isinstance(v, np.ndarray) for v in values) and not (self._has_state and parts[-1]):
                            kinds = tuple((v.shape, v.dtype) for v in values)
                            self._repeated = (parts[0], kinds, known.run, known.quick)
                        return known.run(values)
                    result = self._call_known(known, leaves)
                    if result is not _UNKNOWN:
                        return result
        return self._call(arguments, keywords)

    def _call_known(self, known: "_Known", leaves: list[Any]) -> Any:
        """Run a call whose arguments were seen before, unless a parameter is another array than it was then."""
        specialisation = known.specialisation
        if not specialisation.holds():
            return _UNKNOWN
        tensors = [*leaves, *known.defaults]
        for name, array in zip(specialisation.graph.parameters, known.parameters, strict=True):
            parameter = self.parameter(name)
            current = parameter._array
            if current is not array and (
                current.shape != array.shape
                or current.dtype != array.dtype
                or (modes.devices and device_key(current) != device_key(array))
            ):
                return _UNKNOWN
            tensors.append(parameter)
        needs_gradients = specialisation.needs_gradients(tensors)
        if known.with_parameters is not None and not needs_gradients:
            return known.with_parameters([t._array if isinstance(t, Tensor) else t for t in tensors])
        if specialisation.writes_shared([t._array if isinstance(t, Tensor) else t for t in tensors]):
            return _UNKNOWN
        if needs_gradients:
            results = specialisation.run_with_gradients(tensors, "native")
        else:
            results = specialisation.program("native")([t._array if isinstance(t, Tensor) else t for t in tensors])
        return self._finish(specialisation, tensors, results)

    def _call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        call = self._bind(arguments, keywords)
        try:
            specialisation, parameters = self._select(call)
        except NeedsRun as needed:
            if needed.run is None:
                raise
            return needed.run(call.arguments, call.keywords)
        tensors = [*call.leaves, *parameters]
        if specialisation.writes_shared([t._array if isinstance(t, Tensor) else t for t in tensors]):
            return self._call_original(arguments, keywords)
        executor = executors.current_executor()
        if modes.current_mode() is not None:
            return self._finish(specialisation, tensors, specialisation.run_recorded(tensors), call)
        if specialisation.needs_gradients(tensors):
            results = specialisation.run_with_gradients(tensors, executor)
        else:
            results = specialisation.program(executor)([t._array if isinstance(t, Tensor) else t for t in tensors])
        if executor == "native" and not keywords:
            self._remember(arguments, call, specialisation, parameters)
        return self._finish(specialisation, tensors, results, call)

    def _call_original(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run as Python where an argument that is written shares memory with another: a graph has no such thing."""
        original = self.python_callable()
        message = f"{self.__name__}: an argument that is written in place shares memory with another argument"
        if original is None:
            raise RuntimeError(f"{message}, which a loaded program cannot do; pass a copy: `x.clone()`")
        warnings.warn(f"{message}, so this call runs as plain Python", FallbackWarning, stacklevel=user_level())
        return original(*arguments, **keywords)

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Call:
        defaults: tuple[list[bool], Collection[str]] = ([], ())
        if self._signature is not None:
            try:
                bound = self._signature.bind(*arguments, **keywords)
            except TypeError as error:
                raise TypeError(f"{self.__name__}() {error}") from None
            given = set(bound.arguments)
            bound.apply_defaults()
            arguments, keywords = bound.args, bound.kwargs
            if self.dynamic:
                defaults = (
                    [p not in given for p in self._signature.parameters][: len(arguments)],
                    keywords.keys() - given,
                )
        positions = [i for i, is_default in enumerate(defaults[0]) if is_default]
        call = Call(arguments, keywords, self.dynamic, (positions, defaults[1]))
        for leaf in call.leaves:
            if isinstance(leaf, int) and not -(1 << 63) <= leaf < 1 << 63:
                raise OverflowError(f"{self.__name__}(): the argument {leaf} does not fit into 64 bits")
        _refuse_arrays(call.structure, self.__name__)
        return call

    def _select(self, call: Call) -> "tuple[Specialisation, list[Tensor]]":
        """The specialisation whose conditions the arguments meet, made if there is none, and its parameters.

        Where strings or containers of run time cannot be compiled, they become part of the structure, from then on.
        """
        with self._lock:
            while True:
                key = (call.key(), self.state_key())
                if (lower := self._lowered.get(key[0])) is not None:
                    call.set_dynamic(lower)
                    continue
                values = [leaf._array if isinstance(leaf, Tensor) else leaf for leaf in call.leaves]
                for specialisation in self._specialisations.get(key, ()):
                    if not specialisation.holds():
                        continue
                    parameters = [self.parameter(name) for name in specialisation.graph.parameters]
                    if specialisation.fits([*values, *(p._array for p in parameters)]):
                        self._latest = specialisation
                        return specialisation, parameters
                try:
                    with compiling_on(place_of_arrays(values)):
                        made = self._on_another_device(call) or self.specialise(call)
                    break
                except NeedsRun:
                    raise
                except JitError:
                    before = call.structure
                    while call.dynamic and call.structure == before:
                        call.set_dynamic(call.dynamic - 1)
                    if call.structure == before:
                        raise
                    self._lowered[key[0]] = call.dynamic
            specialisation = Specialisation(
                self.__name__, made.graph, made.results, made.exceptions, made.conditions, made.trains
            )
            specialisation.example_shapes = [v.shape for v in values if is_array(v)]
            tensors = made.graph.arguments, specialisation.example_shapes
            specialisation.expected_sizes = (
                large_sizes(*tensors) | row_sizes(*tensors) | plane_sizes(*tensors) | short_sizes(*tensors)
            )
            parameters = [self.parameter(name) for name in made.graph.parameters]
            specialisation.place = place_of_arrays([*values, *parameters])
            specialisation.ptx = dict(made.ptx)
            reason = specialisation.mismatch([*values, *(p._array for p in parameters)])
            if reason:
                raise JitError(
                    f"{self.__name__}: the graph that was made for these arguments does not fit them: {reason}"
                )
            self._add(key, specialisation)
            return specialisation, parameters

    def _on_another_device(self, call: Call) -> Specialised | None:
        """The graph for such arguments on another device, if it is the same on all: scripts may ask for the device."""
        return None

    def _add(self, key: Any, specialisation: Specialisation) -> None:
        known = self._specialisations.setdefault(key, [])
        # The latest first: it is the likeliest to be asked for again.
        known.insert(0, specialisation)
        del known[MAX_SPECIALISATIONS:]
        self._latest = specialisation

    def _remember(
        self, arguments: tuple[Any, ...], call: Call, specialisation: Specialisation, parameters: Sequence[Tensor]
    ) -> None:
        """Keep the short way for calls like this one, if its arguments are plain tensors and numbers."""
        parts: list[Any] = [default_dtype()]
        given: list[Any] = []
        for argument in arguments:
            kind = type(argument)
            if kind is Tensor:
                parts += argument._array.shape, argument._array.dtype
                if modes.devices and argument._array.__class__ is not np.ndarray:
                    parts.append(argument._array.device)
            elif kind not in _SCALARS:
                return
            elif self.bakes_numbers:
                parts += kind, repr(argument)
                continue
            else:
                parts.append(kind)
            given.append(argument)
        if self._has_state:
            parts.append(self.state_key())
        # What was not given are defaults, the same at every such call.
        leaves, defaults = call.leaves[: len(given)], call.leaves[len(given) :]
        if any(a is not b for a, b in zip(given, leaves, strict=False)) or len(given) != len(leaves):
            return
        if any(isinstance(leaf, Tensor) for leaf in defaults) or specialisation.depends_on_numbers:
            return
        run = quick = with_parameters = None
        short = specialisation.shortcut([*call.leaves, *parameters]) if self._only_returns(specialisation) else None
        if short is None:
            pass
        elif parameters or specialisation.conditions:
            with_parameters = short
        else:
            run, quick = short, None if defaults else specialisation.quick_call(call.leaves)
        if run is not None and defaults:
            whole = run
            run = lambda values: whole([*values, *defaults])  # noqa: E731
        while len(self._known) >= MAX_KNOWN_CALLS:
            self._known.pop(next(iter(self._known)), None)
        arrays = [p._array for p in parameters]
        self._known[tuple(parts)] = _Known(specialisation, tuple(defaults), arrays, run, quick, with_parameters)

    def _only_returns(self, specialisation: Specialisation) -> bool:
        """Whether a call has nothing to do after the program but to return what it returns."""
        return True

    def _finish(
        self, specialisation: Specialisation, arguments: Sequence[Any], results: Sequence[Any], call: Call | None = None
    ) -> Any:
        """Write back what the graph writes, and put the results together as the callable returns them."""
        returned = specialisation.finish(arguments, results)
        return unflatten(specialisation.results, returned, None if call is None else (call.arguments, call.keywords))

    # -- looking inside -----------------------------------------------------------------------------------------------

    def _any(self) -> Specialisation:
        if self._latest is None:
            raise JitError(
                f"{self.__name__} has no graph yet: it is made at the first call, for the types of its arguments; "
                "call it, or ask graph_for(*arguments)"
            )
        return self._latest

    @property
    def graph(self) -> Graph:
        """The graph that ran last; JitError before the first call of a scripted function."""
        return self._any().graph

    def graph_for(self, *arguments: Any, **keywords: Any) -> Graph:
        """The graph for these arguments, made if need be, without running or compiling it."""
        return self._select(self._bind(arguments, keywords))[0].graph

    @property
    def specialisations(self) -> list[Specialisation]:
        """All graphs that there are, with what was made of them."""
        return [s for known in self._specialisations.values() for s in known]

    def kernel_source(self) -> str:
        """The generated Python module of the graph that ran last: its kernels and its driver."""
        return self._any().source()

    def explain(self) -> "Explanation":
        """What became of the graphs: kernels, what was fused and why not, compile times, and what fell back.

        Text, with `.html(path)` to write it as a page with the graphs drawn.
        """
        from .explain import explain

        return explain(self)

    def profile(self, *inputs: Any, repeat: int = 20) -> "Profile":
        """How long each kernel takes for these inputs: the least of `repeat` calls; printed, it is a table."""
        from .profile import profile

        return profile(self, inputs, repeat)

    def bisect(self, *inputs: Any) -> "Bisection":
        """The first instruction, forward or backward, where interpreter, python and native disagree on these inputs."""
        from .bisect import bisect

        return bisect(self, inputs)

    def planned_bytes(self, *inputs: Any) -> int:
        """The memory that a native call takes for what it computes: its workspace and its results."""
        specialisation, parameters = self._select(self._bind(inputs, {}))
        program = specialisation.program("native")
        if not isinstance(program, NativeProgram):
            raise JitError(f"{self.__name__} has no native code, so its memory is not planned")
        leaves = self._bind(inputs, {}).leaves
        plan = program.plan_for([t._array if isinstance(t, Tensor) else t for t in (*leaves, *parameters)])
        results = [shape_and_dtype for shape_and_dtype in plan.outputs if shape_and_dtype is not None]
        return plan.workspace + sum(math.prod(shape) * dtype.itemsize for shape, dtype in results)

    def save(self, path: Any, **options: Any) -> None:
        """Write the graphs, weights and machine code to a file that `jit.load` reads (see `jit.save`)."""
        from .archive import save

        save(self, path, **options)

    def __repr__(self) -> str:
        count = len(self.specialisations)
        return f"<{type(self).__name__} {self.__name__}, {count} specialisation{'' if count == 1 else 's'}>"


def _refuse_arrays(structure: Structure, name: str) -> None:
    if structure.kind == "constant":
        value = getattr(structure.value, "value", structure.value)
        if isinstance(value, np.ndarray):
            raise TypeError(f"{name}(): given a numpy array; pass ingot.from_numpy(array), which shares its memory")
    for child in structure.children:
        _refuse_arrays(child, name)
