"""The user's functions that Numba compiled, called by drivers: the other module that touches private parts of Numba.

A driver calls the code that Numba made, linked into its own. What the function raises is not in there: a driver that
learns of an exception has Python call the function again, with the same numbers, and that call raises it.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import errors, typing
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_constant
from numba.core.registry import cpu_target
from numba.extending import typeof_impl

from ...ir.types import BoolType, ComplexType, FloatType, IntType, NoneType, TupleType, Type
from ..runtime.loader import ALLOWED_SYMBOLS

__all__ = ["NumbaFunction", "is_numba_type", "known_function", "resolve"]

_SCALARS: dict[type[Type], Any] = {
    IntType: types.int64, FloatType: types.float64, BoolType: types.boolean, ComplexType: types.complex128,
}  # fmt: skip


@dataclass(frozen=True)
class NumbaFunction:
    """One signature of a function that Numba compiled; `result` is the graph type of what it returns."""

    dispatcher: Any
    signature: Any
    operands: tuple[Type, ...]
    result: Type

    @functools.cached_property
    def fingerprint(self) -> str:
        """Stands for the machine code: programs that link different code are different programs."""
        return hashlib.sha256(f"{self.signature}{self.operands}{self._module}".encode()).hexdigest()[:16]

    @functools.cached_property
    def missing(self) -> tuple[str, ...]:
        """Symbols that the code needs and that a program has not: those of Numba's runtime and of Python."""
        declared = [f.name for f in self._module.functions if f.is_declaration and not f.name.startswith("llvm.")]
        declared += [v.name for v in self._module.global_variables if v.is_declaration]
        return tuple(sorted(set(declared) - ALLOWED_SYMBOLS))

    @functools.cached_property
    def _module(self) -> Any:
        """The code with nothing but what the function itself reaches."""
        module = self._overload.library._get_module_for_linking().clone()
        entry = self._overload.fndesc.llvm_func_name
        for value in (*module.functions, *module.global_variables):
            if not value.is_declaration and not value.name.startswith("llvm."):
                value.linkage = "external" if value.name == entry else "internal"
        manager = binding.create_new_module_pass_manager()
        manager.add_global_dead_code_eliminate_pass()
        manager.add_strip_dead_prototype_pass()
        machine = binding.Target.from_default_triple().create_target_machine()
        manager.run(module, binding.create_pass_builder(machine, binding.create_pipeline_tuning_options()))
        return module

    @property
    def _overload(self) -> Any:
        return self.dispatcher.overloads[tuple(self.signature.args)]

    @property
    def argument_kinds(self) -> list[Any]:
        """Numba's types of the numbers that the operands consist of."""
        return [_SCALARS[type(t)] for operand in self.operands for t in _flat(operand)]

    @property
    def result_kinds(self) -> list[Any]:
        """Numba's types of the numbers that the result consists of."""
        return [_SCALARS[type(t)] for t in _flat(self.result)]

    def __call__(self, *numbers: Any) -> Any:
        """What compiled code gives: whether the function raised, and the numbers of its result."""
        source = iter(numbers)
        try:
            result = self.dispatcher(*[_assembled(t, source) for t in self.operands])
        except BaseException:
            return (1, *[kind() for t in _flat(self.result) for kind in (_PYTHON[type(t)],)])
        return (0, *_numbers(self.result, result))

    def call(self, context: Any, builder: Any, numbers: Sequence[Any]) -> Any:
        """Write the instructions of a call in a driver."""
        source = iter(zip(numbers, self.argument_kinds, strict=True))
        arguments = [
            context.cast(builder, _value(context, builder, operand, source), _numba_type(operand), wanted)
            for operand, wanted in zip(self.operands, self.signature.args, strict=True)
        ]
        overload = self._overload
        context.active_code_library.add_linking_library(overload.library)
        function = context.declare_function(builder.module, overload.fndesc)
        status, value = context.call_conv.call_function(
            builder, function, overload.fndesc.restype, overload.fndesc.argtypes, arguments
        )
        parts = [builder.zext(status.is_error, ir.IntType(64))]
        parts += _parts(context, builder, self.result, overload.fndesc.restype, value)
        return context.make_tuple(builder, self.type, parts)

    @property
    def type(self) -> Any:
        """Numba's type of what a call in a driver gives."""
        return types.Tuple([types.int64, *self.result_kinds])


_PYTHON: dict[type[Type], Callable[[], Any]] = {IntType: int, FloatType: float, BoolType: bool, ComplexType: complex}


def _flat(type: Type) -> list[Type]:
    if isinstance(type, TupleType):
        return [t for element in type.elements for t in _flat(element)]
    return [] if isinstance(type, NoneType) else [type]


def _numba_type(type: Type) -> Any:
    if isinstance(type, TupleType):
        return types.Tuple([_numba_type(t) for t in type.elements])
    return types.none if isinstance(type, NoneType) else _SCALARS[type.__class__]


def _assembled(type: Type, source: Any) -> Any:
    if isinstance(type, TupleType):
        return tuple([_assembled(t, source) for t in type.elements])
    return None if isinstance(type, NoneType) else next(source)


def _numbers(type: Type, value: Any) -> list[Any]:
    if isinstance(type, TupleType):
        return [n for t, v in zip(type.elements, value, strict=True) for n in _numbers(t, v)]
    return [] if isinstance(type, NoneType) else [value]


def _value(context: Any, builder: Any, type: Type, source: Any) -> Any:
    """A value of Numba's own form, of numbers."""
    if isinstance(type, TupleType):
        return context.make_tuple(
            builder, _numba_type(type), [_value(context, builder, t, source) for t in type.elements]
        )
    return context.get_dummy_value() if isinstance(type, NoneType) else next(source)[0]


def _parts(context: Any, builder: Any, type: Type, given: Any, value: Any) -> list[Any]:
    """The numbers of a value of Numba's own form, in the types that drivers have."""
    if isinstance(type, TupleType):
        return [
            part
            for index, (inner, kind) in enumerate(zip(type.elements, given.types, strict=True))
            for part in _parts(context, builder, inner, kind, builder.extract_value(value, index))
        ]
    if isinstance(type, NoneType):
        return []
    return [context.cast(builder, value, given, _SCALARS[type.__class__])]


def is_numba_type(type: Type) -> bool:
    """Whether values of a type can be passed: numbers, and tuples of them."""
    if isinstance(type, TupleType):
        return all(map(is_numba_type, type.elements))
    return type.__class__ in _SCALARS or isinstance(type, NoneType)


def _graph_type(kind: Any) -> Type | None:
    """The graph type for one of Numba's; None where there is none."""
    match kind:
        case types.Boolean():
            return BoolType()
        case types.Integer():
            return IntType() if kind.signed or kind.bitwidth < 64 else None
        case types.Float():
            return FloatType()
        case types.Complex():
            return ComplexType()
        case types.NoneType():
            return NoneType()
        case types.BaseAnonymousTuple():
            inner = [_graph_type(t) for t in kind.types]
            return None if None in inner else TupleType(tuple(t for t in inner if t is not None))
    return None


def resolve(dispatcher: Any, operands: tuple[Type, ...]) -> NumbaFunction:
    """The signature that a call with such arguments has, compiled if need be; TypeError with Numba's words if none."""
    given = tuple([_numba_type(t) for t in operands])
    cpu_target.typing_context.refresh()
    try:
        signature = cpu_target.typing_context.resolve_function_type(types.Dispatcher(dispatcher), given, {})
    except errors.NumbaError as error:
        raise TypeError(str(error).strip().splitlines()[0]) from error
    if signature is None or tuple(signature.args) not in dispatcher.overloads:
        raise TypeError(f"Numba has no signature for ({', '.join(map(str, given))})")
    result = _graph_type(signature.return_type)
    if result is None:
        raise TypeError(f"it returns {signature.return_type}, and a compiled program takes numbers and tuples of them")
    return NumbaFunction(dispatcher, signature, operands, result)


# -- calls in drivers --------------------------------------------------------------------------------------------------


def known_function(name: str, fingerprint: str) -> NumbaFunction:
    """The function that a driver's source refers to."""
    from ...ir.callbacks import callback

    found: NumbaFunction = callback(name).native
    assert found.fingerprint == fingerprint
    return found


class _NumbaFunctionType(types.Callable, types.Opaque):  # type: ignore[misc]
    """The type of one `NumbaFunction`."""

    def __init__(self, function: NumbaFunction) -> None:
        self.function = function
        super().__init__(f"ingot numba function {function.fingerprint} at {id(function.dispatcher):#x}")

    def get_call_type(self, context: Any, arguments: Any, keywords: Any) -> Any:
        return typing.signature(self.function.type, *self.function.argument_kinds)

    def get_call_signatures(self) -> Any:
        return [], False

    def get_impl_key(self, signature: Any) -> Any:
        return type(self)

    def implementation(self, context: Any) -> Callable[..., Any]:
        """What writes a call."""

        def implementation(builder: Any, arguments: Any, loc: Any = None) -> Any:
            return self.function.call(context, builder, arguments)

        return implementation


register_default(_NumbaFunctionType)(models.OpaqueModel)


@typeof_impl.register(NumbaFunction)  # type: ignore[untyped-decorator]
def _typeof(value: NumbaFunction, context: Any) -> Any:
    return _NumbaFunctionType(value)


@lower_constant(_NumbaFunctionType)  # type: ignore[untyped-decorator]
def _lower(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()
