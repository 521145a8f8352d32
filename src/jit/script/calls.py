"""Compiles calls: functions are inlined, classes instantiated, ops emitted, Python's builtins done at compile time."""

import ast
import enum
import functools
import inspect
import math
import operator
import os
import types
from typing import Any

import numpy as np

from ...eager import families
from ...eager.device import device
from ...eager.elementary import finfo, iinfo
from ...eager.module import Module
from ...eager.parameter import Parameter
from ...eager.tensor import Size
from ...ir.location import Location
from ..errors import ScriptError
from .arrays import array_call
from .context import MAX_CALL_DEPTH, Context, Frame
from .generator_managers import GeneratorManager, is_generator_manager
from .library import LIBRARY, library_key
from .liveness import Liveness, assigned_names, liveness
from .module_walks import walk
from .nn_programs import NN_PROGRAMS
from .numba_calls import call_compiled, is_compiled_by_numba
from .objects import instantiate, is_plain_class, lift
from .operators import scalar_kind, spread
from .python_calls import call_ignored
from .raised import Caught, exception_class_of, make_exception, set_arguments
from .regions import Snapshot, branch
from .source import FunctionNode, FunctionSource, function_source
from .syntax import check_syntax
from .text import constant_of
from .values import (
    UNBOUND,
    Abstract,
    Cell,
    Closure,
    Constant,
    DictItems,
    DictRef,
    Entries,
    ListRef,
    Method,
    ObjectRef,
    Scalar,
    SetRef,
    Slice,
    TensorRef,
    Tuple,
    Union,
)

__all__ = ["call", "inline", "is_instance", "super_of"]


def call(context: Context, function: Abstract, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    """`function(*arguments, **keywords)`."""
    return spread(context, lambda f: _call(context, f, arguments, keywords), function)


def _call(context: Context, function: Abstract, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    match function:
        case Closure():
            return inline_closure(context, function, arguments, keywords)
        case Method(instance=instance, name=name, function=python):
            if name == "__init__" and not isinstance(python, types.FunctionType):
                return set_arguments(context, instance, arguments)  # object's own, or BaseException's
            if isinstance(python, types.FunctionType):
                walked = walk(context, instance, name, arguments, keywords)
                if walked is not None:
                    return walked
                return _call(context, Constant(python), [instance, *arguments], keywords)
            from .methods import call_method

            return call_method(context, instance, name, arguments, keywords)
        case Constant(value=constant):
            return call_object(context, constant, arguments, keywords)
        case ObjectRef(type=cls) if isinstance(inspect.getattr_static(cls, "__call__", None), types.FunctionType):
            return _call(context, Method(function, "__call__", cls.__call__), arguments, keywords)
    raise context.type_error(f"{context.describe(function)} is not callable")


def call_object(context: Context, target: Any, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    """A call of something from outside the program."""
    from .registry import find_handler

    stand_in = LIBRARY.get(library_key(target))
    if stand_in is not None and _needs_stand_in(target, arguments, keywords):
        return inline_function(context, stand_in[1], arguments, keywords, context.location())  # type: ignore[arg-type]
    handler = find_handler(target)
    if handler is not None:
        return handler(context, arguments, keywords)
    scripted = getattr(target, "__ingot_scripted__", None)
    if scripted is not None:
        return call_object(context, scripted, arguments, keywords)
    op = getattr(target, "__ingot_op__", None)
    if op is not None:
        from .methods import call_public_op

        return call_public_op(context, target, op, arguments, keywords)
    if isinstance(target, Module):
        return call_module(context, target, arguments, keywords)
    if is_compiled_by_numba(target):
        return call_compiled(context, target, arguments, keywords)
    array = array_call(context, target, arguments, keywords)
    if array is not None:
        return array
    if isinstance(target, (operator.itemgetter, operator.attrgetter)):
        return _get(context, target, *arguments)
    if isinstance(target, functools.partial):
        fixed = {k: lift(context, v) for k, v in target.keywords.items()}
        values = [lift(context, v) for v in target.args]
        return call_object(context, target.func, [*values, *arguments], {**fixed, **keywords})
    if isinstance(target, types.MethodType):
        return call_object(context, target.__func__, [lift(context, target.__self__), *arguments], keywords)
    treatment = getattr(target, "__ingot_script__", None)
    if treatment == "ignore":
        return call_ignored(context, target, arguments, keywords)
    if treatment == "unused":
        context.fails(RuntimeError(f"{_name(target)} is marked @jit.unused and was called"))
    if isinstance(target, type):
        return _instantiate(context, target, arguments, keywords)
    wrapped = getattr(target, "__wrapped__", None)
    if isinstance(wrapped, types.FunctionType) and isinstance(target, types.FunctionType):
        if is_generator_manager(target):
            return GeneratorManager(wrapped, tuple(arguments), keywords)
        manager = _manager_of(target)
        if manager:  # a function decorated with no_grad() or the like
            return call_object(context, wrapped, arguments, keywords)
        if target.__code__.co_filename == families.__file__ and "out" not in keywords:
            # A public function behind its options: the options are Python's business.
            names = [*inspect.signature(wrapped).parameters]
            keywords = {families.SPELLINGS.get(k, k) if k not in names else k: v for k, v in keywords.items()}
            return call_object(context, wrapped, arguments, keywords)
    if isinstance(target, types.FunctionType):
        name = target.__name__
        if arguments and name.endswith("_") and getattr(Context.tensor_class, name, None) is target:
            return _call(context, Method(arguments[0], name), arguments[1:], keywords)  # `relu_(x)`
        return inline_function(context, target, arguments, keywords)
    method = inspect.getattr_static(type(target), "__call__", None)
    if isinstance(method, types.FunctionType):
        return inline_function(context, method, [Constant(target), *arguments], keywords)
    if isinstance(target, functools._lru_cache_wrapper):
        raise context.error(
            f"{_name(target)} keeps its results in a cache of functools, which compiled programs do not have",
            "call the function without the cache (its `__wrapped__`), or pass a dict of results along",
        )
    raise context.error(
        f"{_name(target)} cannot be called in a compiled program: it is not written in Python that can be compiled",
        "compute it outside and pass the result in",
    )


def _get(context: Context, getter: Any, value: Abstract) -> Abstract:
    """What `operator.itemgetter(...)` or `attrgetter(...)` takes out of a value."""
    from .expressions import get_item
    from .objects import attribute

    found: list[Abstract] = []
    for name in getter.__reduce__()[1]:
        part = value
        if isinstance(getter, operator.itemgetter):
            part = get_item(context, value, Constant(name))
        else:
            for step in name.split("."):
                part = attribute(context, part, step)
        found.append(part)
    return found[0] if len(found) == 1 else Tuple(tuple(found))


def _needs_stand_in(target: Any, arguments: list[Abstract], keywords: dict[str, Abstract]) -> bool:
    """Whether a function of Python's library is compiled from what stands in for it."""
    if target in (pow, math.log) and len(arguments) < (3 if target is pow else 2):
        return False
    if target in (pow, math.log, operator.contains) or getattr(math, getattr(target, "__name__", ""), None) is target:
        return not all(isinstance(a, Constant) for a in (*arguments, *keywords.values()))
    return True


def _manager_of(target: types.FunctionType) -> bool:
    """Whether a wrapper comes from a context manager used as a decorator."""
    return target.__code__.co_filename == inspect.getfile(__import__("contextlib"))


def _name(target: Any) -> str:
    module = getattr(target, "__module__", None)
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None) or type(target).__name__
    return f"{module}.{name}" if module and module not in ("builtins", "__main__") else str(name)


# -- functions ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _analysis(node: FunctionNode) -> tuple[Liveness, frozenset[str]]:
    names = set(_parameter_names(node))
    if not isinstance(node, ast.Lambda):
        names |= assigned_names(node.body)[0]
    return liveness(node), frozenset(names)


@functools.lru_cache(maxsize=4096)
def _nonlocal_names(node: FunctionNode) -> tuple[frozenset[str], frozenset[str]]:
    """Names that functions inside declare `nonlocal`, and those that the function itself does."""
    own: set[str] = set()
    inside: set[str] = set()
    stack: list[tuple[ast.AST, bool]] = [(child, False) for child in ast.iter_child_nodes(node)]
    while stack:
        child, nested = stack.pop()
        if isinstance(child, ast.Nonlocal):
            (inside if nested else own).update(child.names)
        nested = nested or isinstance(child, (ast.FunctionDef, ast.Lambda))
        stack += [(c, nested) for c in ast.iter_child_nodes(child)]
    return frozenset(inside - own), frozenset(own)


def _parameter_names(node: FunctionNode) -> list[str]:
    a = node.args
    return [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x is not None))]


def inline_function(
    context: Context,
    function: types.FunctionType,
    arguments: list[Abstract],
    keywords: dict[str, Abstract],
    place: Location | None = None,
) -> Abstract:
    """A call of a Python function: its body compiled here. Errors are shown in it, or at `place`.

    What of Ingot's own functions is not written in the language is recorded as in a trace.
    """
    from .traced import is_library, is_library_file, traced

    if not context.frames or not is_library(function):
        return _inline_function(context, function, arguments, keywords, place)
    before = Snapshot(context)
    try:
        return _inline_function(context, function, arguments, keywords, place)
    except ScriptError as error:
        program = NN_PROGRAMS.get(f"{function.__module__}.{function.__qualname__}".removeprefix("ingot."))
        if program is not None:
            before.restore()
            return _inline_function(context, program, arguments, keywords, context.location())  # type: ignore[arg-type]
        found = traced(context, function, arguments, keywords, before)
        if found is not None:
            return found
        if type(error) is ScriptError and not is_library_file(context.frame.source.file):
            raise _beyond(context, function, error) from error
        raise


def _beyond(context: Context, function: types.FunctionType, error: ScriptError) -> ScriptError:
    """What a user is told where a function of Ingot's own cannot be compiled for these arguments."""
    from .traced import is_library_file

    place = error.location
    if place is None or not is_library_file(place.file):
        return error
    where = f"{os.path.basename(place.file)}:{place.line}"
    return context.error(
        f"{_name(function)} cannot be compiled for these arguments: {error.message} ({where})",
        "call it outside and pass the result in, or make sizes and options constants",
    )


def _inline_function(
    context: Context,
    function: types.FunctionType,
    arguments: list[Abstract],
    keywords: dict[str, Abstract],
    place: Location | None,
) -> Abstract:
    try:
        source = function_source(function)
        if not source.checked:
            check_syntax(source)
    except Exception as error:
        if hasattr(error, "chain") and not error.chain and context.frames:
            place = context.location()
            chain = (*((place,) if place is not None else ()), *context.chain())
            raise type(error)(error.message, error.location, chain=chain, hint=error.hint) from error  # type: ignore[attr-defined,call-arg]
        raise
    closure: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            closure[name] = cell.cell_contents
        except ValueError:
            continue
    defaults = tuple(lift(context, d) for d in function.__defaults__ or ())
    keyword_defaults = {k: lift(context, v) for k, v in (function.__kwdefaults__ or {}).items()}
    bound = bind(context, source, arguments, keywords, defaults, keyword_defaults)
    place = place or (context.frame.place if context.frames else None)
    return inline(context, Frame(source, *_analysis_first(source), function.__globals__, closure, place=place), bound)


def liveness_of(source: FunctionSource) -> Liveness:
    """Which variables of a function matter where."""
    return _analysis(source.node)[0]


def _analysis_first(source: FunctionSource) -> tuple[Liveness]:
    return (_analysis(source.node)[0],)


def inline_closure(
    context: Context, closure: Closure, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    """A call of a function defined in the program."""
    bound = bind(context, closure.source, arguments, keywords, closure.defaults, closure.keyword_defaults)
    outer = closure.frame
    frame = Frame(closure.source, _analysis(closure.source.node)[0], outer.globals, outer.closure, outer)
    return inline(context, frame, bound)


def inline(context: Context, frame: Frame, variables: dict[str, Abstract]) -> Abstract:
    """Compile a function's body with these arguments; what it returns. One that calls itself is called instead."""
    from .recursion import call_function
    from .self_calls import check_recursion
    from .statements import run_body

    if frame.source.node in context.recursive:
        return call_function(context, frame, variables)
    check_recursion(context, frame, variables)
    if len(context.frames) >= MAX_CALL_DEPTH:
        raise context.error(f"calls are nested deeper than {MAX_CALL_DEPTH}")
    saved = context.node
    push_frame(context, frame, variables)
    try:
        result = run_body(context)
    finally:
        context.frames.pop()
        context.node = saved
    return result


def push_frame(context: Context, frame: Frame, variables: dict[str, Abstract]) -> None:
    """Make a function the one being compiled, with these arguments."""
    frame.variables, frame.arguments = dict(variables), dict(variables)
    frame.locals = _analysis(frame.source.node)[1]
    boxed, frame.declared = _nonlocal_names(frame.source.node)
    for name in boxed & frame.locals:
        cell = frame.boxes[name] = Cell("variable", name=name)
        context.heap[cell] = Entries({name: frame.variables.pop(name, UNBOUND)})
    frame.call = context.location() if context.frames else None
    context.frames.append(frame)
    context.node = None


def bind(
    context: Context,
    source: FunctionSource,
    arguments: list[Abstract],
    keywords: dict[str, Abstract],
    defaults: tuple[Abstract, ...],
    keyword_defaults: dict[str, Abstract],
) -> dict[str, Abstract]:
    """Arguments by parameter name, by Python's rules."""
    a = source.node.args
    name = source.name
    positional = [p.arg for p in (*a.posonlyargs, *a.args)]
    only_positional = {p.arg for p in a.posonlyargs}
    variables: dict[str, Abstract] = dict(zip(positional, arguments, strict=False))
    extra = arguments[len(positional) :]
    if a.vararg is not None:
        variables[a.vararg.arg] = Tuple(tuple(extra))
    elif extra:
        raise context.type_error(
            f"{name}() takes {len(positional)} positional arguments but {len(arguments)} were given"
        )
    rest: dict[str, Abstract] = {}
    names = {*positional, *(p.arg for p in a.kwonlyargs)} - only_positional
    for key, value in keywords.items():
        if key in names:
            if key in variables:
                raise context.type_error(f"{name}() got multiple values for argument {key!r}")
            variables[key] = value
        elif a.kwarg is not None:
            rest[key] = value
        else:
            raise context.type_error(f"{name}() got an unexpected keyword argument {key!r}", context.near(key, names))
    if a.kwarg is not None:
        cell = Cell("dict")
        context.heap[cell] = DictItems(tuple(rest.items()))
        variables[a.kwarg.arg] = DictRef(cell)
    for parameter, default in zip(reversed(positional), reversed(defaults), strict=False):
        variables.setdefault(parameter, default)
    for parameter, default in keyword_defaults.items():
        variables.setdefault(parameter, default)
    missing = [p for p in (*positional, *(k.arg for k in a.kwonlyargs)) if p not in variables]
    if missing:
        listed = ", ".join(repr(m) for m in missing)
        raise context.type_error(f"{name}() is missing {len(missing)} required arguments: {listed}")
    return variables


def super_of(context: Context) -> Abstract:
    """`super()` in a method: the instance, seen from the class that defines the method."""
    frame = context.frame
    cls = frame.closure.get("__class__")
    names = [p.arg for p in (*frame.source.node.args.posonlyargs, *frame.source.node.args.args)]
    if cls is None or not names:
        raise context.error("super() outside a method", "call the base class's function by name")
    instance = frame.variables[names[0]]
    if isinstance(instance, Constant):
        return Constant(super(cls, instance.value))
    if isinstance(instance, ObjectRef):
        return Constant(_Super(cls, instance))
    raise context.error(f"super() of {context.describe(instance)} is not supported")


class _Super:
    """`super()` of an instance made in the program: attributes are functions bound to it."""

    def __init__(self, cls: type, instance: ObjectRef) -> None:
        self._cls, self._instance = cls, instance

    def find_method(self, name: str) -> Method | None:
        """The next class's method of that name, bound to the instance."""
        order = self._instance.type.__mro__
        for base in order[order.index(self._cls) + 1 :]:
            found = base.__dict__.get(name)
            if isinstance(found, types.FunctionType):
                return Method(self._instance, name, found)
            if base in (object, BaseException) and name == "__init__":
                return Method(self._instance, name)
        return None


# -- modules and classes -----------------------------------------------------------------------------------------------


def call_module(context: Context, module: Module, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    """`module(...)`: its forward, inlined."""
    if module._backward_hooks or module._backward_pre_hooks:
        raise context.error(
            f"{type(module).__name__} has backward hooks, which cannot be compiled", "remove them before scripting"
        )
    if module._forward_hooks or module._forward_pre_hooks:
        return _call_with_hooks(context, module, arguments, keywords)
    return _call_forward(context, module, arguments, keywords)


def _call_with_hooks(
    context: Context, module: Module, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    """A module's forward between its hooks, each of which may replace what it is given."""
    for key, hook in module._forward_pre_hooks.items():
        given: Abstract = Tuple(tuple(arguments))
        if key in module._hooks_with_kwargs:
            named = Cell("dict")
            context.heap[named] = DictItems(tuple(keywords.items()))
            replaced = call_object(context, hook, [Constant(module), given, DictRef(named)], {})
            if isinstance(replaced, Tuple) and len(replaced.items) == 2:
                new, names = replaced.items
                arguments = list(context.known_items(context, new))
                assert isinstance(names, DictRef)
                keywords = dict(context.dicts.known_entries(context, names))
                continue
        else:
            replaced = call_object(context, hook, [Constant(module), given], {})
        if not (isinstance(replaced, Constant) and replaced.value is None):
            arguments = list(replaced.items) if isinstance(replaced, Tuple) else [replaced]
    result = _call_forward(context, module, arguments, keywords)
    for key, hook in module._forward_hooks.items():
        values: list[Abstract] = [Constant(module), Tuple(tuple(arguments))]
        if key in module._hooks_with_kwargs:
            named = Cell("dict")
            context.heap[named] = DictItems(tuple(keywords.items()))
            values.append(DictRef(named))
        before = result
        replaced = call_object(context, hook, [*values, before], {})
        result = spread(context, lambda r, b=before: b if _is_none(r) else r, replaced)  # type: ignore[misc]
    return result


def _is_none(value: Abstract) -> bool:
    return isinstance(value, Constant) and value.value is None


def _call_forward(
    context: Context, module: Module, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract:
    own = type(module).__call__
    if own is not Module.__call__:
        return inline_function(context, own, [Constant(module), *arguments], keywords)  # type: ignore[arg-type]
    forward = module.__dict__.get("forward")
    if forward is not None:
        return call_object(context, forward, arguments, keywords)
    return call_object(context, type(module).forward, [Constant(module), *arguments], keywords)


def _member(context: Context, cls: type[enum.Enum], arguments: list[Abstract]) -> Abstract:
    """`Color(value)`: the member of an enumeration with a value."""
    from .operators import compare, truth

    if len(arguments) != 1:
        raise context.type_error(f"{cls.__name__}() takes one value")
    value = arguments[0]
    if isinstance(value, Constant):
        try:
            return Constant(cls(value.value))
        except ValueError as error:
            context.fails(error)

    def choose(members: list[enum.Enum]) -> Abstract:
        if not members:
            context.fails(ValueError(f"the value is not a valid {cls.__name__}"))
        test = truth(context, compare(context, "Eq", value, Constant(members[0].value)))
        if isinstance(test, bool):
            return Constant(members[0]) if test else choose(members[1:])
        return branch(context, test, lambda: Constant(members[0]), lambda: choose(members[1:]))

    return choose(list(cls))


def _instantiate(context: Context, cls: type, arguments: list[Abstract], keywords: dict[str, Abstract]) -> Abstract:
    if issubclass(cls, enum.Enum):
        return _member(context, cls, arguments)
    if issubclass(cls, BaseException):
        return make_exception(context, cls, arguments, keywords)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        values = dict(zip(cls._fields, arguments, strict=False))
        defaults = getattr(cls, "_field_defaults", {})
        for key, value in keywords.items():
            if key not in cls._fields or key in values:
                raise context.type_error(f"{cls.__name__}() got an unexpected or repeated argument {key!r}")
            values[key] = value
        for key, value in defaults.items():
            values.setdefault(key, lift(context, value))
        missing = [f for f in cls._fields if f not in values]
        if missing or len(arguments) > len(cls._fields):
            what = f"is missing {missing}" if missing else f"takes {len(cls._fields)} arguments"
            raise context.type_error(f"{cls.__name__}() {what}")
        return Tuple(tuple(values[f] for f in cls._fields), cls)
    if issubclass(cls, Module) or cls is Parameter:
        raise context.error(
            f"{cls.__name__} cannot be made inside a compiled program",
            "make it in __init__ of the module, and use it here",
        )
    if (
        cls in (operator.itemgetter, operator.attrgetter)
        and arguments
        and all(isinstance(a, Constant) for a in arguments)
    ):
        return Constant(cls(*(a.value for a in arguments)))  # type: ignore[attr-defined]
    if cls is slice:
        none = Constant(None)
        return Slice(none, arguments[0], none) if len(arguments) == 1 else Slice(*[*arguments, none][:3])
    if cls is Size:
        return Tuple(context.known_items(context, arguments[0]) if arguments else (), Size)
    made = _made_of_constants(context, cls, arguments, keywords)
    if made is not None:
        return made
    if is_plain_class(cls):
        return instantiate(context, cls, arguments, keywords)
    raise context.error(
        f"instances of {cls.__name__} cannot be made in a compiled program",
        "supported are named tuples, dataclasses and plain classes with an __init__",
    )


_PLAIN_CLASSES = frozenset({np.dtype, np.finfo, np.iinfo, device, finfo, iinfo})


def _made_of_constants(
    context: Context, cls: type, arguments: list[Abstract], keywords: dict[str, Abstract]
) -> Abstract | None:
    """An instance of a class of numpy's or Ingot's own, made now: numbers, limits of dtypes, devices."""
    if not (issubclass(cls, np.generic) or cls in _PLAIN_CLASSES):
        return None
    known = [constant_of(context, a) for a in (*arguments, *keywords.values())]
    values = [k[0] for k in known if k is not None]
    if len(values) < len(known):
        return None
    split = len(arguments)
    try:
        return lift(context, cls(*values[:split], **dict(zip(keywords, values[split:], strict=True))))
    except (RuntimeError, ValueError, OverflowError) as error:
        context.fails(error)
    except TypeError as error:
        raise context.type_error(str(error)) from error


# -- isinstance --------------------------------------------------------------------------------------------------------


def python_type(value: Abstract) -> type | None:
    """The Python class of a value; None for a union."""
    match value:
        case Constant(value=constant):
            return type(constant)
        case Scalar():
            return {"bool": bool, "int": int, "float": float, "complex": complex, "str": str}.get(
                scalar_kind(value) or ""
            )
        case TensorRef(cell=cell):
            return Parameter if cell.kind == "parameter" and not value.views and cell.name else _tensor_class()
        case Tuple(type=cls):
            return exception_class_of(value) or (None if cls is Caught else cls)
        case ListRef():
            return list
        case DictRef():
            return dict
        case SetRef():
            return set
        case ObjectRef(type=cls):
            return cls
        case Closure():
            return types.FunctionType
    return None


def _tensor_class() -> type:
    return Context.tensor_class


def is_instance(context: Context, value: Abstract, classes: Abstract) -> bool | None:
    """`isinstance(value, classes)` as known when compiling; None where it is not."""
    if isinstance(value, Union):
        answers = {is_instance(context, a, classes) for a in value.alternatives}
        return answers.pop() if len(answers) == 1 else None
    if isinstance(classes, Tuple):
        found = [is_instance(context, value, c) for c in classes.items]
        return None if None in found else any(found)
    cls = python_type(value)
    if cls is None or not isinstance(classes, Constant):
        return None
    wanted = classes.value
    if isinstance(value, Constant):
        return isinstance(value.value, wanted)
    if isinstance(wanted, types.UnionType):
        return any(issubclass(cls, w) for w in wanted.__args__)
    return isinstance(wanted, type) and issubclass(cls, wanted)
