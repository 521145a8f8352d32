"""docs/language.md: the language of `jit.script`, from the programs of the conformance suite.

Run by `docs/generate.py`.
"""

import contextlib
import inspect
import io
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SUITE = ROOT / "tests" / "jit" / "script" / "conformance"

_HEAD = """\
# The language of `jit.script`

<!-- Written by `python docs/generate.py` from tests/jit/script/conformance: change the programs there. -->

`jit.script` compiles functions, methods and modules from their source. This page is what the language is: every program
here is one of the conformance suite, which runs it undecorated, in the interpreter, un-jitted and natively, after
saving and loading, and compares results, changed arguments, output, exceptions with their lines, and gradients:

    python -m pytest tests/jit/script/conformance

## How it works

- Source is read once, when a function is decorated; syntax that cannot be compiled is reported then, all of it at once.
- Types come from annotations where there are some, otherwise from the first call. A graph is made for each combination
  of argument types and used for all values and sizes.
- Functions that are called are compiled into their callers; classes, modules and constants are those that the names
  stand for when the graph is made.
- Lists and dicts that grow at run time hold elements of one type. Tensors in them have one dtype and one number of
  dimensions; their sizes may differ.
- Ints have 64 bits: an operation whose result does not fit raises `OverflowError`.
- A value whose type depends on the path taken becomes a union, which `isinstance`, `is None` and the like take apart.
- What has no native form runs in the interpreter, with one warning; `explain()` says what and why.
- `print`, formatting of floats and parsing ask Python in the middle of a native call; all else runs without Python.
- Exceptions raised in native code have the class, the arguments and the line of the user's program.
- Gradients are compiled, too; through a `try` they are found by running op by op, with one warning.
- Objects, lists and dicts among the arguments are the caller's own: when a program returns, they hold what it left in
  them, and two names of one object stay one. Where it raises, attributes that it set are as they were.
- Variables from outside a function are constants, as are attributes of modules that are no tensors: `global` reads.
  Numbers in attributes may be assigned, as in `self.calls += 1`: they are then read and written back at every call.
- Dimensions, flags and options that an operation must know may be computed at run time: there is a branch for each.
- What of Ingot's own functions is beyond the language is recorded as a trace, if it does not look at elements.
- A function that Numba compiled runs as the machine code that Numba made of it, linked in. A function marked
  `@jit.ignore` is called back in Python: it sees copies of tensors, must not change its arguments in place, and cannot
  be saved; what it returns is what its annotation says, or where that is a tensor, what it returned in a first call,
  which runs as plain Python.
- Every rejection is a `jit.ScriptError` with the place, the source line, the chain of calls and what to write instead.
"""


def _programs() -> Any:
    sys.path.insert(0, str(SUITE))
    try:
        import conformance_table
        import programs_arguments
        import programs_callbacks
        import programs_complex
        import programs_control
        import programs_exceptions
        import programs_expressions
        import programs_functions
        import programs_library
        import programs_managers
        import programs_recursion
        import programs_rejected
        import programs_semantics
        import programs_sizes
        import programs_tensors
        import programs_types
    finally:
        sys.path.remove(str(SUITE))
    modules = (
        programs_control, programs_exceptions, programs_expressions, programs_semantics, programs_tensors,
        programs_functions, programs_recursion, programs_types, programs_sizes, programs_library, programs_arguments,
        programs_complex, programs_callbacks, programs_managers,
    )  # fmt: skip
    return conformance_table, modules, programs_rejected


def _source(function: Any) -> str:
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    starts = ("def ", "class ", "async def ", "reject(", "a_lambda")
    first = next((i for i, line in enumerate(lines) if line.startswith(starts)), 0)
    return "\n".join(lines[first:]).rstrip()


def _call(table: Any, program: Any, arguments: tuple[Any, ...]) -> str | None:
    """`name(arguments)` and what it gives, where both are short."""
    shown = ", ".join(map(repr, arguments))
    if "tensor(" in shown or len(shown) > 40 or program.make is not None:
        return None
    found = table.outcome(program.function, arguments, "")
    if found.output:
        return None
    result = f"{type(found.error).__name__}: {found.error}" if found.error is not None else repr(found.result)
    line = f"# {program.name}({shown}) -> {result}"
    return line if "tensor(" not in line and len(line) <= 118 and " object at 0x" not in line else None


def _names(code: Any) -> set[str]:
    """The global names that code uses, inner functions' included."""
    found = {*code.co_names, *code.co_freevars}
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            found |= _names(constant)
    return found


def _definitions(function: Any, shown: set[str]) -> list[str]:
    """The sources of functions and classes of the same file that a program uses, each shown once."""
    module = sys.modules[function.__module__]
    if isinstance(function, type):
        members = [getattr(m, "fget", m) for m in vars(function).values()]
        used = set().union(*(_names(m.__code__) for m in members if hasattr(m, "__code__")))
        used |= {b.__name__ for b in function.__bases__}
        used |= {str(getattr(a, "__name__", a)) for a in getattr(function, "__annotations__", {}).values()}
    else:
        used = _names(function.__code__)
    found: list[str] = []
    for name, value in vars(module).items():
        own = isinstance(value, type) or hasattr(value, "__code__")
        if name not in used or not own or getattr(value, "__module__", "") != module.__name__ or name in shown:
            continue
        shown.add(name)
        found += [*_definitions(value, shown), _with_decorators(value)]
    return found


def _with_decorators(function: Any) -> str:
    return textwrap.dedent(inspect.getsource(function)).rstrip()


def _accepted(table: Any, program: Any, shown: set[str]) -> str:
    made = program.make
    source = program.source if made is None else _source(made)
    target = program.function if made is None else made
    shown.add(target.__name__)
    source = "\n\n\n".join([*_definitions(target, shown), source])
    calls = [c for c in (_call(table, program, arguments) for arguments in program.calls[:4]) if c is not None]
    return "\n".join(["```python", source, *(["", *calls] if calls else []), "```"])


def _heading(topic: str) -> str:
    return topic[0].upper() + topic[1:] if not topic.startswith("jit.") else topic


def document() -> str:
    """The text of docs/language.md."""
    table, modules, rejected = _programs()
    parts = [_HEAD]
    for module in modules:
        title = (module.__doc__ or "").strip().rstrip(".")
        parts.append(f"## {title}\n")
        seen: set[str] = set()
        shown: set[str] = set()
        for program in table.ACCEPTED:
            if program.function.__module__ != module.__name__:
                continue
            if program.missing:
                continue
            if program.topic not in seen:
                seen.add(program.topic)
                parts.append(f"### {_heading(program.topic)}\n")
            if program.shown:
                with contextlib.redirect_stdout(io.StringIO()):
                    parts.append(_accepted(table, program, shown) + "\n")
    parts.append("## What is refused\n")
    seen = set()
    for program in table.REJECTED:
        if program.function.__module__ != rejected.__name__:
            continue
        if program.topic not in seen:
            seen.add(program.topic)
            parts.append(f"### {_heading(program.topic)}\n")
        error = table.check_rejected(program)
        text = str(error).replace(f"{SUITE}/", "")
        lines = [x.split(": ", 1)[-1] if x.startswith("programs_rejected") else x for x in text.splitlines()]
        # Which other names are near changes with every name that is added.
        text = re.sub(r"did you mean (\w+)[^?]*\?", r"did you mean \1?", "\n".join(lines))
        parts.append(f"```python\n{_source(program.function)}\n```\n\n```text\n{text}\n```\n")
    return "\n".join(parts).rstrip() + "\n"
