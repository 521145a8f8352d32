"""`jit.script`: Python functions and modules as compiled callables."""

import contextlib
import copy
import functools
import inspect
import types
import warnings
from collections.abc import Sequence
from typing import Any

from ...eager.module import Module
from ...eager.tensor import Tensor
from ..attribute_state import attribute_state
from ..containers import MOST_DYNAMIC
from ..errors import FallbackWarning, NeedsRun, ScriptError
from ..function import Call, CompiledFunction, Specialised
from ..specialisation import user_level
from .marks import Site, noting
from .module_state import ModuleNumber
from .python_calls import noted
from .source import function_source
from .specialise import specialise
from .syntax import check_syntax

__all__ = ["ScriptFunction", "ScriptModule", "script"]


class _Scripted(CompiledFunction):
    """What scripted functions and modules share: graphs made from source."""

    dynamic = MOST_DYNAMIC
    _target: Any
    _root: Module | None
    _captured: dict[str, Tensor]
    _returned: dict[Any, dict[Any, Any]]  # what ignored functions return, by the types of the arguments
    _guards: dict[tuple[int, str], tuple[Any, str, Any]]
    _states: dict[tuple[int, str], ModuleNumber]  # numbers in attributes of modules that the program assigns

    def _prepare(self, target: Any, root: Module | None) -> None:
        self.__dict__["_target"] = target
        self.__dict__["_root"] = root
        self.__dict__["_captured"] = {}
        self.__dict__["_guards"] = {}
        self.__dict__["_returned"] = {}
        self.__dict__["_states"] = {}

    def specialise(self, call: Call) -> Specialised:
        leaf_types, sizes = call.types()
        returned = self._returned.setdefault(call.key(), {})
        try:
            made = specialise(
                self._target,
                call.structure,
                leaf_types,
                sizes,
                name=self.__name__,
                root=self._root,
                returned=returned,
                states=self._states,
            )
        except NeedsRun as needed:
            needed.run = functools.partial(self._run_once, needed.message, returned)
            raise
        self._captured.update(made.parameters)
        for owner, name, value in made.guards:
            self._guards.setdefault((id(owner), name), (owner, name, value))
            self.__dict__["_repeated"] = None
        return Specialised(made.graph, made.results, made.exceptions)

    def _run_once(
        self, reason: str, returned: dict[Any, Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """Run as plain Python, and note what ignored functions return."""
        warnings.warn(
            f"{self.__name__} runs as plain Python this time: {reason}",
            FallbackWarning,
            stacklevel=user_level(),
        )

        def take(site: Site, result: Any) -> None:
            returned[site] = returned[site[0]] = noted(result)

        with noting(take):
            return self._target(*arguments, **keywords)

    def python_callable(self) -> Any:
        return self._target

    def parameter(self, name: str) -> Tensor:
        root = self._root
        if root is not None:
            owner_name, _, attribute = name.rpartition(".")
            owner: Any = root
            for part in owner_name.split(".") if owner_name else ():
                owner = getattr(owner, "_modules", {}).get(part)
            for table in ("_parameters", "_buffers"):
                found = getattr(owner, table, {}).get(attribute)
                if isinstance(found, Tensor):
                    return found
        known: Tensor = self._captured[name]
        for state in self._states.values():
            if state.tensor is known:
                state.load()
        return known

    def _finish(
        self, specialisation: Any, arguments: Sequence[Any], results: Sequence[Any], call: Call | None = None
    ) -> Any:
        result = super()._finish(specialisation, arguments, results, call)
        for state in self._states.values():
            state.store()
        return result

    def state_key(self) -> Any:
        # Attributes of modules are constants of a graph: their present values choose among graphs.
        if not self._guards:
            return None
        return tuple(attribute_state(owner, name) for owner, name, _ in self._guards.values())

    def _add(self, key: Any, specialisation: Any) -> None:
        # Making the graph may have found further attributes to choose by; graphs kept before do not know them.
        state = self.state_key()
        if state != key[1]:
            self._specialisations = {k: v for k, v in self._specialisations.items() if _same_length(k[1], state)}
            key = (key[0], state)
        super()._add(key, specialisation)


def _same_length(a: Any, b: Any) -> bool:
    return (0 if a is None else len(a)) == (0 if b is None else len(b))


class ScriptFunction(_Scripted):
    """A function compiled from its source; a graph is made at the first call with new argument types."""

    def __init__(self, function: Any) -> None:
        signature = None
        with contextlib.suppress(TypeError, ValueError):
            signature = inspect.signature(function)
        super().__init__(getattr(function, "__name__", type(function).__name__), signature)
        owner = getattr(function, "__self__", None)
        self._prepare(function, owner if isinstance(owner, Module) else None)
        self.__ingot_scripted__ = function
        self.__doc__ = getattr(function, "__doc__", None)
        self.__module__ = getattr(function, "__module__", self.__module__)
        self.__wrapped__ = function

    def __copy__(self) -> "ScriptFunction":
        return self

    def __deepcopy__(self, memo: Any) -> "ScriptFunction":
        return self

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


class ScriptModule(_Scripted, Module):
    """A module whose `forward` and exported methods are compiled; it shares its parameters, buffers and submodules.

    Attributes, `train()`, `eval()`, `state_dict()` and the like are those of the module it was made from.
    """

    def __init__(self, module: Module) -> None:
        Module.__init__(self)
        own = self.__dict__
        for table in ("_parameters", "_buffers", "_modules", "_non_persistent"):
            own[table] = module.__dict__[table]
        own.pop("training", None)
        forward = module.__dict__.get("forward") or module.forward
        try:
            signature: inspect.Signature | None = inspect.signature(forward)
        except (TypeError, ValueError):
            signature = None
        CompiledFunction.__init__(self, type(module).__name__, signature)
        self._prepare(module, module)
        own["original"] = module
        own["__ingot_scripted__"] = module
        for name in dir(type(module)):
            method = inspect.getattr_static(type(module), name)
            if isinstance(method, types.FunctionType) and getattr(method, "__ingot_script__", None) == "export":
                own[name] = ScriptFunction(types.MethodType(method, module))

    __call__ = CompiledFunction.__call__

    @property
    def training(self) -> bool:
        """Whether the module is in training mode; graphs differ by it."""
        return bool(self.original.training)

    @training.setter
    def training(self, mode: bool) -> None:
        if "original" in self.__dict__:
            self.original.training = mode

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return CompiledFunction.__call__(self, *arguments, **keywords)

    def train(self, mode: bool = True) -> "ScriptModule":
        self.original.train(mode)
        return self

    def __getattr__(self, name: str) -> Any:
        original = self.__dict__.get("original")
        if original is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(original, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if "original" in self.__dict__ and not name.startswith("_") and name != "training":
            setattr(self.original, name, value)
        else:
            object.__setattr__(self, name, value)

    def __copy__(self) -> "ScriptModule":
        return ScriptModule(copy.copy(self.original))

    def __deepcopy__(self, memo: dict[int, Any]) -> "ScriptModule":
        return ScriptModule(copy.deepcopy(self.original, memo))

    def __reduce__(self) -> Any:
        return ScriptModule, (self.original,)

    def __repr__(self) -> str:
        return f"ScriptModule({self.original!r})"


def script(obj: Any = None, **options: Any) -> Any:
    """Compile a function, method, lambda, module or class from its source.

    A function or module gives a callable that compiles itself at the first call with new argument types (sizes may
    vary freely); a class is checked and returned, to be used inside compiled code. ScriptError says where and why
    something cannot be compiled, with every unsupported construct at once.

    >>> @ingot.jit.script
    ... def count_down(x, n: int):
    ...     while n > 0:
    ...         x = x * 0.5
    ...         n -= 1
    ...     return x
    >>> count_down(ingot.ones(2), 3)
    tensor([0.1250, 0.1250])
    """
    if obj is None:
        return lambda function: script(function, **options)
    if isinstance(obj, CompiledFunction):
        return obj
    if isinstance(obj, Module):
        forward = obj.__dict__.get("forward") or type(obj).forward
        function = getattr(forward, "__func__", forward)
        if isinstance(function, types.FunctionType) and function is not Module.forward:
            check_syntax(function_source(function))
        return ScriptModule(obj)
    if isinstance(obj, type):
        for member in vars(obj).values():
            if isinstance(member, types.FunctionType) and member.__module__ == obj.__module__:
                try:
                    source = function_source(member)
                except ScriptError:
                    continue  # made by a decorator, as a dataclass's __init__ is
                check_syntax(source)
        return obj
    if isinstance(obj, (types.FunctionType, types.MethodType)):
        check_syntax(function_source(obj))
        return ScriptFunction(obj)
    call = inspect.getattr_static(type(obj), "__call__", None)
    if isinstance(call, types.FunctionType):
        check_syntax(function_source(call))
        return ScriptFunction(obj)
    raise TypeError(f"script: expected a function, Module or class, given {type(obj).__name__}")
