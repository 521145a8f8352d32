"""An op's signature: parameters and their roles, parsed from Python-like text, and how calls are bound to it."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

from ..dtypes import as_dtype

__all__ = ["Parameter", "Role", "Schema", "parse_schema"]


class Role(Enum):
    """What a parameter is to the graph: an operand (a run-time value) or a static attribute."""

    TENSOR = "Tensor"
    OPTIONAL_TENSOR = "Tensor | None"
    TENSORS = "Tensors"  # a list of tensors: a group of operands
    OPERAND = "Tensor | Scalar"
    SCALAR = "Scalar"  # a Python number, known at run time only
    INT = "Int"  # an integer, known at run time only
    SIZE = "Size"  # a list of such integers: a group of operands
    ATTRIBUTE = "attribute"

    @property
    def is_operand(self) -> bool:
        return self is not Role.ATTRIBUTE

    @property
    def is_group(self) -> bool:
        return self in (Role.TENSORS, Role.SIZE)


_ATTRIBUTE_KINDS = {"int", "ints", "float", "bool", "str", "dtype", "number", "any", "int | None", "ints | None",
                    "float | None", "dtype | None", "str | None", "number | None"}  # fmt: skip
_REQUIRED = object()


@dataclass(frozen=True)
class Parameter:
    """A parameter: its role, the kind of attribute if it is one, its default, and whether it is `*variadic`.

    `normalised` is the default as instructions hold it: a tuple for `ints`, a dtype for its name.
    """

    name: str
    role: Role
    kind: str = ""
    default: Any = _REQUIRED
    keyword_only: bool = False
    variadic: bool = False
    normalised: Any = None

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED


class Schema:
    """A parsed signature; it is parsed when it is first asked for, since importing defines hundreds of them.

    `bind(*args, **kwargs)` turns a Python call into `(operands, attributes)`: operands one per operand parameter (a
    group is a tuple), attributes by name with every default filled in and normalised (lists to tuples, names to
    dtypes), so that equal calls have equal attributes.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.name = text[: text.index("(")].strip()

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters in order."""
        return _parse_parameters(self.text)

    @cached_property
    def operands(self) -> tuple[Parameter, ...]:
        """The parameters that are run-time values."""
        return tuple(p for p in self.parameters if p.role.is_operand)

    @cached_property
    def attributes(self) -> tuple[Parameter, ...]:
        """The parameters that are static."""
        return tuple(p for p in self.parameters if not p.role.is_operand)

    @cached_property
    def bind(self) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
        """See the class."""
        return _make_binder(self.name, self.parameters)

    def flatten(self, operands: tuple[Any, ...]) -> list[Any]:
        """Operands in one flat list, as an instruction holds them."""
        flat: list[Any] = []
        for parameter, value in zip(self.operands, operands, strict=True):
            if parameter.role.is_group:
                flat.extend(value)
            else:
                flat.append(value)
        return flat

    def unflatten(self, flat: "list[Any] | tuple[Any, ...]") -> tuple[Any, ...]:
        """The flat list put back into one entry per operand parameter; ValueError where the number is wrong."""
        parameters = self.operands
        group = next((i for i, p in enumerate(parameters) if p.role.is_group), None)
        if group is None:
            if len(flat) != len(parameters):
                raise ValueError(f"{self.name}: expected {len(parameters)} operands, given {len(flat)}")
            return tuple(flat)
        after = len(parameters) - group - 1
        if len(flat) < group + after:
            raise ValueError(f"{self.name}: expected at least {group + after} operands, given {len(flat)}")
        end = len(flat) - after
        return (*flat[:group], tuple(flat[group:end]), *flat[end:])


def _normalise_ints(value: Any) -> tuple[int, ...]:
    # Subclasses of int (sizes tracked by a trace) keep what they carry.
    if isinstance(value, (list, tuple)):
        return tuple(v if isinstance(v, int) else v.__index__() for v in value)
    return (value if isinstance(value, int) else value.__index__(),)


def _normalise_bool(value: Any) -> bool:
    if not isinstance(value, (bool, int)):
        raise TypeError(f"expected a bool, given {type(value).__name__}")
    return bool(value)


def _normalise_any(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_normalise_any(v) for v in value)
    return value


_NORMALISERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda v: v if isinstance(v, int) else v.__index__(),
    "ints": _normalise_ints,
    "float": float,
    "bool": _normalise_bool,
    "dtype": as_dtype,
    "any": _normalise_any,
    "str": str,
    "number": lambda v: v,
}


def _normaliser(parameter: Parameter, op: str) -> Callable[[Any], Any]:
    kind = parameter.kind.removesuffix(" | None")
    optional = parameter.kind != kind or kind == "any"
    convert = _NORMALISERS[kind]

    def normalise(value: Any) -> Any:
        if value is None and optional:
            return None
        try:
            return convert(value)
        except (TypeError, ValueError, AttributeError):
            raise TypeError(
                f"{op}(): argument '{parameter.name}' must be {parameter.kind}, not {type(value).__name__}"
            ) from None

    return normalise


def _as_group(values: Any) -> tuple[Any, ...]:
    if hasattr(values, "dtype"):  # iterating over a tensor would take it apart
        raise TypeError(f"expected a tuple or list, not {type(values).__name__}")
    return tuple(values)


def _as_variadic(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        return tuple(values[0])
    return values


def parse_schema(text: str) -> Schema:
    """A schema from text such as `sum(input: Tensor, dim: ints | None = None, keepdim: bool = False)`.

    Annotations: `Tensor`, `Tensor | None`, `Tensors`, `Tensor | Scalar`, `Scalar`, `Int`, `Size` are operands; `int`,
    `ints`, `float`, `bool`, `str`, `dtype`, `number`, `any`, each perhaps `| None`, are attributes. `*size: Size`
    takes `f(2, 3)` as well as `f((2, 3))`.
    """
    return Schema(text)


def _parse_parameters(text: str) -> tuple[Parameter, ...]:
    function = ast.parse(f"def {text}: pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    parameters: list[Parameter] = []

    def add(argument: ast.arg, default: ast.expr | None, *, keyword_only: bool = False, variadic: bool = False) -> None:
        if argument.annotation is None:
            raise ValueError(f"{text}: parameter {argument.arg} has no annotation")
        annotation = ast.unparse(argument.annotation)
        role = next((r for r in Role if r.value == annotation and r is not Role.ATTRIBUTE), Role.ATTRIBUTE)
        if role is Role.ATTRIBUTE and annotation not in _ATTRIBUTE_KINDS:
            raise ValueError(f"{text}: unknown annotation {annotation!r}")
        value = _REQUIRED if default is None else ast.literal_eval(default)
        if isinstance(value, list):
            value = tuple(value)
        kind = annotation if role is Role.ATTRIBUTE else ""
        parameter = Parameter(argument.arg, role, kind, value, keyword_only, variadic)
        if role is Role.ATTRIBUTE and not parameter.required:
            parameter = replace(parameter, normalised=_normaliser(parameter, function.name)(value))
        parameters.append(parameter)

    defaults: list[ast.expr | None] = [None] * (len(arguments.args) - len(arguments.defaults))
    for argument, default in zip(arguments.args, [*defaults, *arguments.defaults], strict=True):
        add(argument, default)
    if arguments.vararg is not None:
        add(arguments.vararg, None, variadic=True)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        add(argument, default, keyword_only=True)
    if sum(p.role.is_group for p in parameters) > 1:
        raise ValueError(f"{text}: at most one parameter may be a group of operands")
    return tuple(parameters)


_CLASSES = {"int": "int", "float": "float", "bool": "bool"}


def _normalised_text(parameter: Parameter, value: str) -> str:
    """The expression for a normalised attribute; what is as it should be already costs no call."""
    name = parameter.name
    kind = parameter.kind.removesuffix(" | None")
    tests = [f"{name} is None"] if kind != parameter.kind or kind == "any" else []
    if kind in _CLASSES:
        tests.append(f"{name}.__class__ is {_CLASSES[kind]}")
    call = f"normalise_{name}({value})"
    return f"{name} if {' or '.join(tests)} else {call}" if tests and value == name else call


def _make_binder(name: str, parameters: tuple[Parameter, ...]) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    """A Python function with the op's own signature, so that Python itself reports a wrong call.

    For `sum(input: Tensor, dim: ints | None = None)` it is

        def sum(input, dim=None):
            return (input,), {"dim": normalise_dim(dim)}
    """
    signature: list[str] = []
    operands: list[str] = []
    attributes: list[str] = []
    namespace: dict[str, Any] = {"as_group": _as_group, "as_variadic": _as_variadic}
    star = False
    for p in parameters:
        if p.keyword_only and not star and not any(q.variadic for q in parameters):
            signature.append("*")
            star = True
        if p.variadic:
            signature.append(f"*{p.name}")
        elif p.required:
            signature.append(p.name)
        else:
            signature.append(f"{p.name}={p.default!r}")
        value = p.name
        if p.variadic:
            value = f"as_variadic({value})"
        elif p.role.is_group:
            value = f"as_group({value})"
        if p.role.is_operand:
            operands.append(value)
        else:
            namespace[f"normalise_{p.name}"] = _normaliser(p, name)
            attributes.append(f"{p.name!r}: {_normalised_text(p, value)}")
    source = (
        f"def {name}({', '.join(signature)}):\n"
        f"    return ({''.join(o + ', ' for o in operands)}), {{{', '.join(attributes)}}}\n"
    )
    # The text comes from op records in this package only, never from a user or a file.
    exec(compile(source, f"<schema of {name}>", "exec"), namespace)
    plain: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] = namespace[name]
    variadic = next((p.name for p in parameters if p.variadic), None)
    if variadic is None:
        return plain

    def bind(*arguments: Any, **keywords: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # By name too: `x.permute(dims=(1, 0))`.
        if variadic in keywords:
            arguments = (*arguments, _as_group(keywords.pop(variadic)))
        return plain(*arguments, **keywords)

    return bind
