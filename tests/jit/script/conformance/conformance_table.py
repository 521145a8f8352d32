"""The conformance programs: what accepts and rejects say about each bullet of the language, and how both are checked.

A program is a Python function with calls. Undecorated Python, the interpreter, the un-jitted and the native executor,
and the program after saving and loading must give the same results, changes of arguments, output and exceptions (type,
arguments, line); where tensors of floats come in and go out, gradients too. `docs/generate.py` writes the language
reference from the same table.
"""

import copy
import dataclasses
import inspect
import io
import linecache
import math
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import ingot
from ingot import jit

__all__ = ["ACCEPTED", "REJECTED", "Accepted", "Rejected", "accept", "check_accepted", "check_rejected", "reject"]


@dataclass
class Accepted:
    """A program that compiles: `native` says whether the native executor runs it itself, `missing` what it still
    waits for."""

    topic: str
    function: Callable[..., Any]
    calls: tuple[tuple[Any, ...], ...]
    make: Callable[[], Any] | None
    native: bool
    save: bool
    shown: bool
    slow: bool
    missing: str

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def source(self) -> str:
        lines = textwrap.dedent(inspect.getsource(self.function)).splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith(("def ", "class ")))
        return "\n".join(lines[start:])


@dataclass
class Rejected:
    """A program that is refused: when it is decorated, or at the first call with `arguments`."""

    topic: str
    function: Any
    arguments: tuple[Any, ...] | None
    message: str
    hint: str
    marked: str
    places: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.function.__name__)


ACCEPTED: list[Accepted] = []
REJECTED: list[Rejected] = []


def accept(
    topic: str,
    *calls: tuple[Any, ...],
    make: Callable[[], Any] | None = None,
    native: bool = True,
    save: bool = True,
    shown: bool = True,
    slow: bool = False,
    missing: str = "",
) -> Callable[[Any], Any]:
    """Register a program with its calls; `make` gives what is scripted, where that is not the function itself."""

    def register(function: Any) -> Any:
        ACCEPTED.append(Accepted(topic, function, calls, make, native, save, shown, slow, missing))
        return function

    return register


def reject(
    topic: str, message: str, *, marked: str, arguments: tuple[Any, ...] | None = None, hint: str = ""
) -> Callable[[Any], Any]:
    """Register a program that is refused with this message (a part of it), the caret under `marked`."""

    def register(function: Any) -> Any:
        REJECTED.append(Rejected(topic, function, arguments, message, hint, marked))
        return function

    return register


# -- comparing ---------------------------------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal: types, dtypes, shapes and elements; NaN equals itself."""
    if isinstance(a, ingot.Tensor) or isinstance(b, ingot.Tensor):
        if not (isinstance(a, ingot.Tensor) and isinstance(b, ingot.Tensor)):
            return False
        if a.dtype is not b.dtype or tuple(a.shape) != tuple(b.shape):
            return False
        return all(same(x, y) for x, y in zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True))
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b or math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-7) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if hasattr(a, "__dict__") and type(a).__eq__ is object.__eq__:
        return same(vars(a), vars(b))
    return bool(a == b)


@dataclass
class Outcome:
    """What a call did."""

    result: Any
    arguments: tuple[Any, ...]
    output: str
    error: BaseException | None
    line: int | None


def _line(error: BaseException, file: str) -> int | None:
    """The line of the program that raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return frames[-1].lineno if frames else None


def outcome(function: Callable[..., Any], arguments: tuple[Any, ...], file: str) -> Outcome:
    """Call a function on copies of arguments."""
    given = copy.deepcopy(arguments)
    output = io.StringIO()
    result, error, line = None, None, None
    with redirect_stdout(output):
        try:
            result = function(*given)
        except Exception as caught:
            # What an operation surely refuses is found when compiling, as an error that is also the operation's own.
            if isinstance(caught, jit.ScriptError) and type(caught).__bases__[0] is not jit.ScriptError:
                raise
            error, line = caught, _line(caught, file)
    if _has_large_int(result):
        # Ints of compiled programs have 64 bits: where one does not fit, that is an error.
        result, error = None, OverflowError("an integer of a compiled program does not fit in 64 bits")
    return Outcome(result, given, output.getvalue(), error, line)


def _has_large_int(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_has_large_int, value))
    return type(value) is int and not -(1 << 63) <= value < 1 << 63


def difference(expected: Outcome, got: Outcome, *, lines: bool) -> str:
    """How two outcomes differ; empty where they do not."""
    a, b = expected.error, got.error
    if isinstance(b, jit.ScriptError) and a is not None and isinstance(b, type(a)):
        return ""
    if (a is None) != (b is None) or type(a) is not type(b):
        return f"expected {a if a is not None else expected.result!r}, got {b if b is not None else got.result!r}"
    if a is not None and b is not None:
        if not (isinstance(a, (RuntimeError, IndexError)) and type(a).__module__ == "builtins") and a.args != b.args:
            return f"expected the arguments {a.args!r} of {type(a).__name__}, got {b.args!r}"
        if lines and expected.line is not None and expected.line != got.line:
            return f"{type(a).__name__} expected on line {expected.line}, raised on line {got.line}"
    elif not same(expected.result, got.result):
        return _different(expected.result, got.result)
    if not same(list(expected.arguments), list(got.arguments)):
        return f"arguments are {got.arguments!r}, expected {expected.arguments!r}"
    if expected.output != got.output:
        return f"printed {got.output!r}, expected {expected.output!r}"
    return ""


def _plain(value: Any) -> Any:
    """Records as tuples of their names and fields."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return (type(value).__name__, *((n, _plain(v)) for n, v in zip(value._fields, value, strict=True)))
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value)]
        return (type(value).__name__, *((n, _plain(getattr(value, n))) for n in names))
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    if hasattr(value, "__dict__") and type(value).__eq__ in (object.__eq__, SimpleNamespace.__eq__):
        return (type(value).__name__, *((n, _plain(v)) for n, v in vars(value).items()))
    return {k: _plain(v) for k, v in value.items()} if type(value) is dict else value


def _different(a: Any, b: Any) -> str:
    """The first parts that differ."""
    if isinstance(a, (tuple, list)) and type(a) is type(b) and len(a) == len(b):
        for position, (x, y) in enumerate(zip(a, b, strict=True)):
            if not same(x, y):
                return f"item {position}: {_different(x, y)}"
    return f"expected {a!r}, got {b!r}"


def _leaves(value: Any) -> Iterator[ingot.Tensor]:
    if isinstance(value, ingot.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))


def _gradients(function: Callable[..., Any], arguments: tuple[Any, ...], parameters: list[Any]) -> list[Any] | None:
    """Gradients of the sum of all results; None where nothing depends on the arguments."""
    given = copy.deepcopy(arguments)
    inputs = [t.requires_grad_() for t in _leaves(given) if t.dtype.is_floating_point]
    with redirect_stdout(io.StringIO()):
        results = [r for r in _leaves(function(*given)) if r.dtype.is_floating_point and r.requires_grad]
    if not results:
        return None
    total = results[0].sum()
    for r in results[1:]:
        total = total + r.sum()
    found = ingot.autograd.grad(total, [*inputs, *parameters], allow_unused=True)
    return [g if g is not None else ingot.zeros_like(t) for g, t in zip(found, [*inputs, *parameters], strict=True)]


def _made(program: Accepted) -> tuple[Any, Any]:
    """The Python callable and the scripted one."""
    if program.make is None:
        return program.function, jit.script(program.function)
    target = program.make()
    return target, jit.script(target)


def check_accepted(program: Accepted, path: Any) -> None:
    """Compare all ways of running a program; AssertionError says which call differs where."""
    file = inspect.getsourcefile(program.function) or ""
    executors = ("interpreter", "python", "native")
    expected = [outcome(_made(program)[0], call, file) for call in program.calls]
    scripted: dict[str, Any] = {}
    for name in executors:
        scripted[name] = _made(program)[1]
        with jit.executor(name), warnings.catch_warnings():
            warnings.simplefilter("error" if program.native else "ignore", jit.FallbackWarning)
            for call, wanted in zip(program.calls, expected, strict=True):
                got = outcome(scripted[name], call, file)
                wrong = difference(wanted, got, lines=name != "python")
                if wrong:
                    raise AssertionError(f"{program.name}{call} on {name}: {wrong}") from got.error
    if not program.native:
        assert "interpreter" in scripted["native"].explain(), f"{program.name} has a native form: say so in the table"
    if program.save:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scripted["native"].save(path)
            loaded = jit.load(path)
            for call, wanted in zip(program.calls, expected, strict=True):
                got = outcome(loaded, call, file)
                # Records come back with their names and fields, but without the user's classes.
                wanted = dataclasses.replace(wanted, result=_plain(wanted.result), arguments=_plain(wanted.arguments))
                got.result, got.arguments = _plain(got.result), _plain(got.arguments)
                wrong = difference(wanted, got, lines=True)
                if wrong:
                    raise AssertionError(f"{program.name}{call} after loading: {wrong}") from got.error
    # What a program may write to cannot be a leaf that requires grad.
    writes = any(not same(list(c), list(e.arguments)) for c, e in zip(program.calls, expected, strict=True))
    for call, wanted in zip(program.calls, expected, strict=True) if not writes else ():
        has_floats = any(t.dtype.is_floating_point for t in _leaves(call))
        if wanted.error is None and has_floats:
            python, compiled = _made(program)
            parameters = list(getattr(python, "parameters", list)())
            eager = _gradients(python, call, parameters)
            if eager is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", jit.FallbackWarning)
                    got_gradients = _gradients(compiled, call, parameters)
                assert got_gradients is not None and same(eager, got_gradients), (
                    f"{program.name}{call}: gradients {got_gradients}, eager's are {eager}"
                )


def check_rejected(program: Rejected) -> jit.ScriptError:
    """Check how a program is refused."""
    error: jit.ScriptError | None = None
    try:
        scripted = jit.script(program.function)
        if program.arguments is None:
            raise AssertionError(f"{program.name} is accepted when it is decorated")
        with jit.executor("interpreter"):
            result = scripted(*copy.deepcopy(program.arguments))
        raise AssertionError(f"{program.name}{program.arguments} is accepted and gives {result!r}")
    except jit.ScriptError as caught:
        error = caught
    text = str(error)
    assert program.message in text, f"{program.name}: {text}"
    assert program.hint in text, f"{program.name}: {text}"
    location = error.location
    assert location is not None, f"{program.name}: no place in {text}"
    line = linecache.getline(location.file, location.line)
    start = location.column
    assert line[start:].startswith(program.marked), f"{program.name}: marks {line[start:]!r}, not {program.marked!r}"
    assert f"{location.file}:{location.line}" in text, text
    return error
