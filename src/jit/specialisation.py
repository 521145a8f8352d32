"""One graph of a compiled callable and the programs made of it, each when it is first asked for."""

import functools
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..eager import modes
from ..eager.device import CPU, device
from ..eager.tensor import Tensor, wrap
from ..ir.core import Graph
from ..ir.location import printable
from ..ir.ops.text_output import set_tensor_maker
from ..ir.types import IntType, TensorType
from .errors import CompileForbidden, FallbackWarning, JitError, Unsupported
from .expected_sizes import expecting
from .fast_reductions import are_reductions_fast, fast_reductions
from .placement import is_array, may_share_memory, place_of_arrays, share_memory, write_array
from .plan import SizeBinding
from .program import InterpreterProgram, NativeProgram, Program, PythonProgram
from .tree import LEAF, Structure
from .winograd import is_winograd_allowed, winograd

if TYPE_CHECKING:
    from .codegen.compile import CompileRecord
    from .codegen.module import GeneratedModule
    from .device_program import DeviceProgram
    from .gradients import CompiledDerivative
    from .native import NativeBundle

__all__ = ["Specialisation", "user_level"]

set_tensor_maker(lambda array: wrap(array) if is_array(array) else array)


class Specialisation:
    """A graph, the structure of its results, and its programs by executor."""

    def __init__(
        self,
        name: str,
        graph: Graph,
        results: Structure,
        exceptions: Mapping[str, type[BaseException]] | None = None,
        conditions: tuple[tuple[Callable[[], Any], Any], ...] = (),
        trains: bool = False,
    ) -> None:
        outputs = len(graph.results) if graph.outputs is None else graph.outputs
        if results.n_leaves != outputs:
            raise JitError(
                f"{name}: the graph returns {outputs} values, but the result structure has {results.n_leaves}"
            )
        self.name = name
        self.graph = graph
        self.results = results
        self.exceptions = dict(exceptions or {})
        self.conditions = conditions
        self.trains = trains
        # As it was allowed where this was made, which may be long before it is compiled.
        self.winograd = is_winograd_allowed()
        self.fast_reductions = are_reductions_fast()
        # The short sizes of the call that it was made for, by symbol: the code is fastest there.
        self.expected_sizes: dict[str, int] = {}
        self.binding = SizeBinding.of(graph)
        self.place: device = CPU  # where its arguments are, and what it computes
        self.fallback: Unsupported | None = None
        self.bundle: NativeBundle | None = None
        self.records: tuple[CompileRecord, ...] = ()
        self.compile_milliseconds = 0.0
        self.cached = False
        # The shapes of the tensors of the call that it was made for, where that is known.
        self.example_shapes: list[tuple[int, ...]] = []
        # Whether its native program came out of a file.
        self.is_loaded = False
        # PTX that came out of a file, by kernel and architecture.
        self.ptx: dict[tuple[str, str], str] = {}
        self.gradient_fallback: str | None = None
        # Compiled derivatives by the arguments that they are for; None where there is none.
        self.derivatives: dict[tuple[int, ...], CompiledDerivative | None] = {}
        self._optimised: Graph | None = None
        self._module: GeneratedModule | None = None
        self._programs: dict[str, Program] = {}
        self._written = dict(graph.writes)
        self._outputs = outputs
        self._lock = threading.RLock()

    def holds(self) -> bool:
        """Whether what the graph takes for granted besides its arguments is still so."""
        return all([read() == value for read, value in self.conditions]) if self.conditions else True

    # -- does it fit --------------------------------------------------------------------------------------------------

    def mismatch(self, values: Sequence[Any]) -> str:
        """Why arguments (arrays and numbers, parameters included) do not fit the graph; empty if they do."""
        if len(values) != len(self.graph.arguments):
            return f"{len(values)} arguments were given, the graph has {len(self.graph.arguments)}"
        for value, argument in zip(values, self.graph.arguments, strict=True):
            kind = argument.type
            if isinstance(kind, TensorType) and not (
                is_array(value) and value.dtype == kind.dtype.numpy and value.ndim == kind.rank
            ):
                return f"{argument.name} must be {kind}"
        if modes.devices and (place := place_of_arrays(values)) is not self.place:
            return f"its tensors must be on {self.place}, and are on {place}"
        bound, reason = self.binding.bind(values)
        return "" if bound is not None else reason

    def fits(self, values: Sequence[Any]) -> bool:
        """Whether arguments have the dtypes, ranks and sizes that the graph is for."""
        return not self.mismatch(values)

    # -- what is made of it -------------------------------------------------------------------------------------------

    @property
    def optimised(self) -> Graph:
        """The graph after the passes, as code is generated from it."""
        if self._optimised is None:
            from ..ir.pipeline import run_pipeline

            self._optimised = run_pipeline(self.graph)
        return self._optimised

    def module(self) -> "GeneratedModule":
        """The generated sources; Unsupported if the graph has something without a native form."""
        if self._module is None:
            from .codegen.generate import generate

            with self.choices():
                self._module = generate(self.optimised)
        return self._module

    @contextmanager
    def choices(self) -> Iterator[None]:
        """Generate code as was allowed, and expected, where this was made."""
        with winograd(self.winograd), fast_reductions(self.fast_reductions), expecting(self.expected_sizes):
            yield

    def source(self) -> str:
        """The generated sources as one readable module; on a GPU, its kernels and the order in which they run."""
        if self.place is not CPU:
            from .codegen.cuda.listing import listing

            return listing(self.program("native"))  # type: ignore[arg-type]  # a device program
        module = self.module()
        parts = [f"# Kernels and driver of {printable(module.name)}, generated from its graph."]
        parts += [kernel.source.strip("\n") for kernel in module.kernels]
        return "\n\n\n".join([*parts, module.driver_source.strip("\n")]) + "\n"

    def program(self, executor: str) -> Program:
        """The program for an executor, compiled if need be; with no native form, a warning and the interpreter."""
        program = self._programs.get(executor)
        if program is not None:
            return program
        with self._lock:
            if executor not in self._programs:
                self._programs[executor] = self._make(executor)
            return self._programs[executor]

    @functools.cached_property
    def calls_tracked(self) -> bool:
        """Whether it calls back a Python function whose results take part in gradients."""
        from ..ir.callbacks import tracks_gradients

        return tracks_gradients(self.graph)

    @property
    def is_compiled(self) -> bool:
        """Whether there is native code for it."""
        return isinstance(self._programs.get("native"), NativeProgram)

    @property
    def device_program(self) -> "DeviceProgram | None":
        """The program that runs on a GPU by kernels, if there is one."""
        program = self._programs.get("native")
        return program if self.place is not CPU else None  # type: ignore[return-value]

    @property
    def generated(self) -> "GeneratedModule | None":
        """The generated sources, if they have been made."""
        return self._module

    def adopt(self, executor: str, program: Program) -> None:
        """Use a program made elsewhere, as one loaded from a file."""
        self.is_loaded = True
        self._programs[executor] = program

    def _with_interpreter(self, program: Any) -> Program:
        """Let a program ask for the interpreter, which it does for what only Python's tables of Unicode know."""
        if isinstance(program, (NativeProgram, PythonProgram)):
            program.interpreter = lambda: self.program("interpreter")
        made: Program = program
        return made

    def _make(self, executor: str) -> Program:
        if executor == "interpreter" and self.place is not CPU:
            return self._on_device(plain=True)
        if executor == "interpreter":
            return InterpreterProgram(self.graph, self.exceptions)
        if self.fallback is not None:
            return self.program("interpreter")
        if self.place is not CPU:
            return self._on_device(plain=False)
        try:
            if executor == "python":
                return self._with_interpreter(PythonProgram(self.module(), self.exceptions))
            return self._with_interpreter(self._compile())
        except (CompileForbidden, MemoryError):
            raise
        except Unsupported as unsupported:
            return self._fall_back(unsupported)
        except Exception as error:
            # A bug in code generation is no reason to fail: the interpreter has the right answer; the warning says so.
            summary = (str(error).strip() or type(error).__name__).splitlines()[0]
            reason = f"code generation failed ({type(error).__name__}: {summary}; please report it)"
            return self._fall_back(Unsupported(reason, getattr(error, "location", None)))

    def _on_device(self, *, plain: bool) -> Program:
        """The program that runs on a GPU: by kernels, or (`plain`) op by op."""
        from .codegen.cuda.programs import device_program, plain_device_program

        if not plain:
            try:
                return device_program(self.optimised, self.place, self.exceptions, ptx=self.ptx)
            except Unsupported as unsupported:
                reason = f"{self.name} runs op by op on {self.place}, because {unsupported.reason}"
                warnings.warn(reason, FallbackWarning, stacklevel=user_level())
        return plain_device_program(self.graph, self.place, self.exceptions)

    def _fall_back(self, unsupported: Unsupported) -> Program:
        self.fallback = unsupported
        warnings.warn(
            f"{self.name} runs in the interpreter, because {unsupported.reason}"
            + (f" ({unsupported.location})" if unsupported.location is not None else ""),
            FallbackWarning,
            stacklevel=user_level(),
        )
        return self.program("interpreter")

    def _compile(self) -> NativeProgram:
        from .native import native_program

        compiled = native_program(self)
        self.bundle = compiled.bundle
        self.records = compiled.records
        self.compile_milliseconds = compiled.milliseconds
        self.cached = compiled.cached
        return compiled.program

    # -- running ------------------------------------------------------------------------------------------------------

    def finish(self, arguments: Sequence[Any], results: Sequence[Any]) -> list[Any]:
        """What the callable returns, as tensors and numbers, after results were written back into the arguments.

        `arguments` are the call's tensors and numbers; `results` are arrays, tensors or numbers. A result that is an
        argument, or is written back to one, is that argument itself.
        """
        tensors = {id(a._array): a for a in arguments if isinstance(a, Tensor)}
        known: dict[int, tuple[Any, Any]] = {}  # lists and dicts that were seen, and what became of them
        returned = [self._wrapped(result, tensors, known) for result in results[: self._outputs]]
        for argument, result in self._written.items():
            tensor = arguments[argument]
            _write(tensor, results[result])
            if result < self._outputs:
                returned[result] = tensor
        return returned

    def _wrapped(self, result: Any, tensors: Mapping[int, Tensor], known_objects: dict[int, tuple[Any, Any]]) -> Any:
        if is_array(result):
            known = tensors.get(id(result))
            if known is not None:
                return known
            # The interpreter gives views of arguments where the op is a view: results share no memory with anything.
            if result.base is not None and any(may_share_memory(result, t._array) for t in tensors.values()):
                result = result.copy()
            return wrap(result)
        if isinstance(result, (list, dict)):
            if id(result) not in known_objects:
                known_objects[id(result)] = (result, self._wrapped_container(result, tensors, known_objects))
            return known_objects[id(result)][1]
        if isinstance(result, tuple):
            items = [self._wrapped(item, tensors, known_objects) for item in result]
            return result if all(a is b for a, b in zip(items, result, strict=True)) else tuple(items)
        return result

    def _wrapped_container(
        self, result: Any, tensors: Mapping[int, Tensor], known_objects: dict[int, tuple[Any, Any]]
    ) -> Any:
        """A list or dict; one without tensors stays itself: it may be one that was passed in."""
        if isinstance(result, list):
            items = [self._wrapped(item, tensors, known_objects) for item in result]
            return result if all(a is b for a, b in zip(items, result, strict=True)) else items
        entries = {key: self._wrapped(item, tensors, known_objects) for key, item in result.items()}
        return result if all(entries[k] is v for k, v in result.items()) else entries

    def writes_shared(self, values: Sequence[Any]) -> bool:
        """Whether an argument that the graph writes shares memory with another: then the graph is not what was meant.

        Memory that two arguments share by ways that numpy does not know is not noticed.
        """
        if not self._written:
            return False
        owners: dict[int, list[int]] = {}
        for position, value in enumerate(values):
            if is_array(value):
                owner: Any = value if value.base is None else value.base
                owners.setdefault(id(owner), []).append(position)
        return any(
            share_memory(values[a], values[b])
            for positions in owners.values()
            if len(positions) > 1
            for a in positions
            if a in self._written
            for b in positions
            if a != b
        )

    @property
    def depends_on_numbers(self) -> bool:
        """Whether an int among the arguments is a size, so that its value decides whether the graph fits."""
        return any(isinstance(a.type, IntType) and a.type.value is not None for a in self.graph.arguments)

    def shortcut(self, leaves: Sequence[Any]) -> Callable[[list[Any]], Any] | None:
        """A function from arrays and numbers of these types and sizes straight to the callable's result, or None.

        There is one where native code writes all results into new arrays and nothing else needs doing.
        """
        program = self._programs.get("native")
        if not isinstance(program, NativeProgram) or self._written:
            return None
        plan = program.plan_for([leaf._array if isinstance(leaf, Tensor) else leaf for leaf in leaves])
        kinds = [result.kind for result in program.layout.results]
        if any(kind not in ("output", "scalar") for kind in kinds):
            return None
        run = program.call_for(plan)
        finish: list[Callable[[Any], Any]] = [wrap if kind == "output" else _unchanged for kind in kinds]
        if self.results == LEAF and len(kinds) == 1:
            only = finish[0]
            return lambda arrays: only(run(arrays)[0])
        children = self.results.children
        plain = self.results.kind == "tuple" and self.results.cls in (None, tuple)
        if plain and len(children) == len(kinds) and all(child == LEAF for child in children):
            return lambda arrays: tuple([end(result) for end, result in zip(finish, run(arrays))])  # noqa: B905  # hot
        return None

    def quick_call(self, leaves: Sequence[Any]) -> Callable[..., Any] | None:
        """A function from such tensors to the callable's result, a tensor, in which no Python runs; or None."""
        program = self._programs.get("native")
        if not isinstance(program, NativeProgram) or self._written or self.results != LEAF:
            return None
        if not all(type(leaf) is Tensor for leaf in leaves):
            return None
        arrays = [leaf._array for leaf in leaves]
        return program.quick_call(program.plan_for(arrays), arrays, Tensor)

    def run_eagerly(self, tensors: Sequence[Any]) -> list[Any]:
        """Run the graph op by op on tensors: recorded for backward, and by a trace in progress."""
        from .eager_run import run_eagerly

        return run_eagerly(self.graph, tensors, self.exceptions)

    def needs_gradients(self, tensors: Sequence[Any]) -> bool:
        """Whether results must be connected to arguments that require gradients.

        Not where the graph writes such a leaf: Python may do that under `no_grad()` only, as a training step does.
        """
        if self.trains or not modes.state.grad_enabled:
            return False
        if not self.calls_tracked and not any(isinstance(t, Tensor) and t.requires_grad for t in tensors):
            return False
        return not any(tensors[i].requires_grad and tensors[i].is_leaf for i in self._written)

    def run_recorded(self, tensors: Sequence[Any]) -> list[Any]:
        """Run while a trace watches: what the graph does goes into the trace, its branches and loops as they are."""
        mode = modes.current_mode()
        if mode is None or not any(i.regions or i.op.name == "call" for i in self.graph.walk()):
            return self.run_eagerly(tensors)
        if any(not isinstance(t, (Tensor, int, float, bool)) for t in tensors) or not hasattr(mode, "inline"):
            return self.run_eagerly(tensors)
        if self.needs_gradients(tensors):
            mode.note("bool", f"the branches and loops of {self.name} are recorded as the example took them: its "
                      "gradient is computed in the trace")  # fmt: skip
            return self.run_eagerly(tensors)
        with modes.use_mode(None), modes.no_grad():
            results = self.run_eagerly(tensors)
        if not all(isinstance(r, Tensor) for r in results):
            mode.note("int", f"{self.name} returns a number, which is recorded as it was")
            return self.run_eagerly(tensors)
        # Tensors of their own: what was given back as it came must not count as made here.
        results = [r.clone() if any(r is t for t in tensors) else r for r in results]
        mode.inline(self.graph, tensors, results)
        return results

    def run_with_gradients(self, tensors: Sequence[Any], executor: str) -> list[Any]:
        """Run on tensors of which some require gradients, so that backward reaches them."""
        from .gradients import run_with_gradients

        return run_with_gradients(self, tensors, executor)


def _write(tensor: Tensor, result: Any) -> None:
    array = result._array if isinstance(result, Tensor) else result
    if array is not tensor._array:
        watched = modes.current_mode() is not None
        if isinstance(result, Tensor) and (watched or result.requires_grad or tensor.requires_grad):
            tensor.copy_(result)  # type: ignore[attr-defined]  # made from the op records
            return
        write_array(tensor._array, array)
    tensor.bump_version()


def user_level() -> int:
    """The stack level of the first caller outside this package, for warnings."""
    import sys
    from pathlib import Path

    package = str(Path(__file__).parent.parent)
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(package):
        level += 1
        frame = frame.f_back  # type: ignore[assignment]
    return level


def _unchanged(value: Any) -> Any:
    return value
