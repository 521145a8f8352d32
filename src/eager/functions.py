"""The public functions, methods and operators: generated from the op records, then PyTorch's other call forms."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.ops._op import Op, all_ops, get_op
from . import modes
from .dispatch import dispatch, execute
from .fast import FLOAT_UFUNCS, float_unary, large_binary, quiet
from .inplace import make_inplace
from .parallel import LARGE
from .quick import QUICK
from .tensor import Tensor, wrap

_NUMBERS = (int, float, bool, complex)
_ALIASES = {"axis": "dim", "keepdims": "keepdim", "x": "input", "x1": "input", "x2": "other"}


@functools.cache  # one object for an op, wherever it is: functions are pickled by name
def make_function(op: Op) -> Callable[..., Any]:
    """The public function of an op, with its signature and documentation; `__ingot_op__` is the record."""
    schema = op.schema
    ufunc = FLOAT_UFUNCS.get(op.name)
    quick = QUICK.get(op.name)
    if ufunc is not None:
        quick = functools.partial(_short_unary, ufunc)

    def function(*args: Any, **kwargs: Any) -> Any:
        if quick is not None and args and not kwargs and not modes.active_modes:
            result = quick(*args)
            if result is not None:
                return result
        if kwargs and "out" in kwargs:
            return _into_out(function, args, kwargs)
        try:
            operands, attributes = schema.bind(*args, **kwargs)
        except TypeError:
            args, renamed = _respell(op, args, kwargs)
            if renamed.keys() == kwargs.keys():
                raise
            operands, attributes = schema.bind(*args, **renamed)
        return dispatch(op, operands, attributes) if modes.active_modes else execute(op, operands, attributes)

    name = op.schema.name
    function.__name__ = function.__qualname__ = name
    function.__doc__ = op.doc
    function.__wrapped__ = _Signed(op)  # type: ignore[attr-defined]
    function.__ingot_op__ = op  # type: ignore[attr-defined]
    return function


def _respell(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call with PyTorch's names for NumPy's, and with `*sizes` that was given by name in its place."""
    renamed = {_ALIASES.get(k, k): v for k, v in kwargs.items()}
    variadic = next((p.name for p in op.schema.parameters if p.variadic), None)
    if variadic in renamed:
        args = (*args, renamed.pop(variadic))
    return args, renamed


def _refusing_numbers(op: Op, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for users: TypeError for a Python number where PyTorch wants a tensor."""
    numbers = op.numbers or ()
    strict = [(i, p.name) for i, p in enumerate(op.schema.parameters) if p.role.is_operand and p.name not in numbers]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for position, name in strict:
            value = args[position] if position < len(args) else kwargs.get(name)
            if value.__class__ in _NUMBERS:
                raise TypeError(
                    f"{op.name}(): argument '{name}' (position {position + 1}) must be Tensor, not "
                    f"{type(value).__name__}"
                )
        return function(*args, **kwargs)

    return call


def _into_out(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call with `out=`: the result is written into those tensors."""
    from .methods import write_out

    out = kwargs.pop("out")
    result = function(*args, **kwargs)
    return result if out is None else write_out(out, result, function.__name__)


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    """Run the op of that name on the arguments of a call."""
    op = get_op(name)
    operands, attributes = op.schema.bind(*args, **kwargs)
    return dispatch(op, operands, attributes)


def _short_unary(ufunc: Any, operand: Any, *rest: Any) -> Tensor | None:
    """The result for a floating-point tensor whose history is not recorded; None otherwise."""
    if rest or not isinstance(operand, Tensor) or (operand.requires_grad and modes.state.grad_enabled):
        return None
    array = operand._array
    if array.dtype.kind != "f":
        return None
    result = float_unary(ufunc, array)
    return wrap(result if result.__class__ is np.ndarray else np.asarray(result))


class _Signed:
    """What `inspect.signature` finds behind an op's function: the op's own signature, made when asked for."""

    def __init__(self, op: Op) -> None:
        self._op = op

    @property
    def __signature__(self) -> inspect.Signature:
        parameters = []
        for p in self._op.schema.parameters:
            kind = (
                inspect.Parameter.VAR_POSITIONAL
                if p.variadic
                else inspect.Parameter.KEYWORD_ONLY
                if p.keyword_only
                else inspect.Parameter.POSITIONAL_OR_KEYWORD
            )
            default = inspect.Parameter.empty if p.required or p.variadic else p.default
            parameters.append(inspect.Parameter(p.name, kind, default=default))
        return inspect.Signature(parameters)


def _make_operator(op: Op, function: Callable[..., Any]) -> Callable[..., Any]:
    """`Tensor.__add__` and the like: two tensors of one dtype, or a tensor and a number, go straight to numpy."""
    ufunc = np.true_divide if op.name == "div" else op.ufunc
    kinds = "f" if op.name == "div" else "fbiu"  # numpy divides integers in float64

    def refuse(value: Any) -> bool:
        return not isinstance(value, (Tensor, bool, int, float, complex, np.generic, np.ndarray))

    if ufunc is None:
        quick = QUICK.get(op.name)

        def operator(self: Tensor, other: Any) -> Any:
            if quick is not None and not modes.active_modes:
                result = quick(self, other)
                if result is not None:
                    return result
            return NotImplemented if refuse(other) else dispatch(op, (self, other), {})

        return operator

    def fast_operator(self: Tensor, other: Any) -> Any:
        if not modes.active_modes:
            a = self._array
            try:
                b = other._array
                if (
                    a.dtype is b.dtype
                    and a.dtype.kind in kinds
                    and not ((self.requires_grad or other.requires_grad) and modes.state.grad_enabled)
                ):
                    result = quiet(ufunc, a, b) if a.size < LARGE else large_binary(ufunc, a, b)
                    return wrap(result if result.__class__ is np.ndarray else np.asarray(result))
            except AttributeError:
                if (
                    a.dtype.char in "fd"  # float16 would round the number first
                    and (other.__class__ is float or other.__class__ is int)
                    and not (self.requires_grad and modes.state.grad_enabled)
                ):
                    result = quiet(ufunc, a, other)
                    return wrap(result if result.__class__ is np.ndarray else np.asarray(result))
            except (TypeError, ValueError):
                pass  # shapes that do not broadcast, bools that are subtracted: the general path says so
        return NotImplemented if refuse(other) else dispatch(op, (self, other), {})

    return fast_operator


def _make_unary_operator(op: Op) -> Callable[[Tensor], Any]:
    if op.name != "bitwise_not":
        return lambda self: dispatch(op, (self,), {})

    def invert(self: Tensor) -> Any:
        if self.dtype.category > 1:
            raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
        return dispatch(op, (self,), {})

    return invert


def _make_reflected(op: Op) -> Callable[[Tensor, Any], Any]:
    def operator(self: Tensor, other: Any) -> Any:
        if not isinstance(other, (bool, int, float, complex, np.generic, np.ndarray, Tensor)):
            return NotImplemented
        return dispatch(op, (other, self), {})

    return operator


def install_ops(namespaces: dict[str, dict[str, Any]]) -> None:
    """Put every op's public names where its record says: module namespaces by name, methods and operators on Tensor."""
    for op in all_ops():
        function = make_function(op)
        if op.numbers is not None:
            function = _refusing_numbers(op, function)
        names = (op.schema.name, *op.aliases)
        for namespace in op.namespaces - {"method"}:
            if namespace in namespaces:
                namespaces[namespace].update((n, function) for n in names)
        if "method" in op.namespaces:
            for n in names:
                setattr(Tensor, n, function)
        if op.inplace:
            inplace = make_inplace(op)
            for n in names:
                setattr(Tensor, f"{n}_", inplace)
        for dunder in op.dunders:
            _install_operator(op, dunder, function)


def _install_operator(op: Op, dunder: str, function: Callable[..., Any]) -> None:
    if len(op.schema.operands) == 1:
        operator: Callable[..., Any] = _make_unary_operator(op)
    elif dunder.startswith("__i"):
        operator = make_inplace(op)
    elif dunder.startswith("__r") and dunder not in ("__rshift__",):
        operator = _make_reflected(op)
    else:
        operator = _make_operator(op, function)
    operator.__name__ = operator.__qualname__ = dunder
    operator.__ingot_op__ = op  # type: ignore[attr-defined]
    setattr(Tensor, dunder, operator)


def __getattr__(name: str) -> Any:
    """Any op as a function of this module, made when first asked for: `functions.add`."""
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        function = make_function(get_op(name))
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = function
    return function
