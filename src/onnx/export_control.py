"""Export rules: branches, loops, and numbers that are computed while the program runs."""

from typing import TYPE_CHECKING, Any

from ..ir import dtypes
from ..ir.core import Instruction
from ..ir.dtypes import DType
from ..ir.types import IntType
from .errors import OnnxError
from .export_elements import COMPARISONS
from .export_registry import RULES, rule

if TYPE_CHECKING:
    from .exporter import Writer


@rule("if")
def _if(w: "Writer", i: Instruction) -> Any:
    branches = [w.region(block, (), name) for block, name in zip(i.regions, ("then", "else"), strict=True)]
    names = w.node("If", [w.tensor(i.inputs[0])], len(i.results), then_branch=branches[0], else_branch=branches[1])
    return names


@rule("loop")
def _loop(w: "Writer", i: Instruction) -> Any:
    trip, condition, *carried = i.operands
    assert condition is not None
    (block,) = i.regions
    iteration, going = w.fresh("iteration"), w.fresh("going")
    w.define(block.arguments[0], iteration)
    body = w.region(block, [(iteration, dtypes.int64), (going, dtypes.bool_)], "body")
    inputs = ["" if trip is None else w.tensor(trip, dtypes.int64), w.tensor(condition)]
    return w.node("Loop", [*inputs, *(w.tensor(v) for v in carried if v is not None)], len(i.results), body=body)


@rule("item")
def _item(w: "Writer", i: Instruction) -> Any:
    name = w.node("Reshape", [w.tensor(i.inputs[0]), w.ints([])])
    given, kind = w.type(i.inputs[0]).dtype, i.result.type
    wanted = {"IntType": dtypes.int64, "FloatType": dtypes.float64, "BoolType": dtypes.bool_}[type(kind).__name__]
    return w.cast(name, given, wanted)


@rule("bind_dim")
def _bind_dim(w: "Writer", i: Instruction) -> Any:
    name = w.tensor(i.inputs[0], dtypes.int64)
    assert isinstance(i.result.type, IntType) and i.result.type.value is not None
    w.bind(i.result.type.value, name)
    return name


@rule("nonzero")
def _nonzero(w: "Writer", i: Instruction) -> Any:
    return w.node("Transpose", [w.node("NonZero", [w.tensor(i.inputs[0])])], perm=[1, 0])


_SCALAR = {"add": "Add", "sub": "Sub", "mul": "Mul", "min": "Min", "max": "Max", "neg": "Neg", "abs": "Abs",
           "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "sin": "Sin", "cos": "Cos", "tanh": "Tanh"}  # fmt: skip


def _scalar_type(i: Instruction) -> DType:
    from .exporter import scalar_element

    return scalar_element(i.result.type)


def _widest(i: Instruction) -> DType:
    """The type in which numbers are compared."""
    kinds = {type(v.type).__name__ for v in i.inputs}
    return dtypes.float64 if "FloatType" in kinds else dtypes.int64


for _name, _onnx in _SCALAR.items():
    RULES[f"scalar.{_name}"] = lambda w, i, _onnx=_onnx: w.node(_onnx, [w.tensor(v, _scalar_type(i)) for v in i.inputs])  # type: ignore[misc]
for _name, _onnx in COMPARISONS.items():
    RULES[f"scalar.{_name}"] = lambda w, i, _onnx=_onnx: w.node(_onnx, [w.tensor(v, _widest(i)) for v in i.inputs])  # type: ignore[misc]


@rule("scalar.ne")
def _scalar_ne(w: "Writer", i: Instruction) -> Any:
    return w.node("Not", [w.node("Equal", [w.tensor(v, _widest(i)) for v in i.inputs])])


@rule("scalar.truediv")
def _scalar_truediv(w: "Writer", i: Instruction) -> Any:
    return w.node("Div", [w.tensor(v, dtypes.float64) for v in i.inputs])


@rule("scalar.floordiv")
def _scalar_floordiv(w: "Writer", i: Instruction) -> Any:
    a, b = (w.tensor(v, _scalar_type(i)) for v in i.inputs)
    if _scalar_type(i) is dtypes.float64:
        return w.node("Floor", [w.node("Div", [a, b])])
    return w.node("Div", [w.node("Sub", [a, w.node("Mod", [a, b])]), b])


@rule("scalar.mod")
def _scalar_mod(w: "Writer", i: Instruction) -> Any:
    if _scalar_type(i) is not dtypes.int64:
        raise OnnxError("the remainder of floats has no rule")
    return w.node("Mod", [w.tensor(v, dtypes.int64) for v in i.inputs])


@rule("scalar.not_")
def _scalar_not(w: "Writer", i: Instruction) -> Any:
    return w.node("Not", [w.tensor(i.inputs[0], dtypes.bool_)])


@rule("scalar.to_int", "scalar.to_float", "scalar.to_bool")
def _scalar_to(w: "Writer", i: Instruction) -> Any:
    return w.node("Identity", [w.tensor(i.inputs[0], _scalar_type(i))])
