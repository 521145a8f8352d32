"""Export rules: arithmetic, comparisons and activations, element by element."""

from typing import TYPE_CHECKING, Any

from ..ir import dtypes
from ..ir.core import Instruction, Value
from ..ir.dtypes import DType, result_dtype, scalar_dtype
from ..ir.types import TensorType
from .errors import OnnxError
from .export_registry import RULES, Rule, result_element, rule

if TYPE_CHECKING:
    from .exporter import Writer


_UNARY = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan", "atanh": "Atanh",
    "cos": "Cos", "cosh": "Cosh", "erf": "Erf", "exp": "Exp",
    "hardswish": "HardSwish", "log": "Log", "mish": "Mish", "neg": "Neg", "reciprocal": "Reciprocal",
    "relu": "Relu", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh",
    "softsign": "Softsign", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "pow": "Pow", "maximum": "Max", "minimum": "Min", "div": "Div"}
COMPARISONS = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}
_LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
_BITS = {"bitwise_and": ("BitwiseAnd", "And"), "bitwise_or": ("BitwiseOr", "Or"), "bitwise_xor": ("BitwiseXor", "Xor")}


def _unary(name: str) -> Rule:
    return lambda w, i: w.node(name, [w.tensor(i.operands[0], result_element(i))])  # type: ignore[arg-type]


def _binary(name: str) -> Rule:
    return lambda w, i: w.node(name, [w.tensor(v, result_element(i)) for v in i.inputs])


def _common(values: list[Value]) -> DType:
    """The dtype in which operands are compared."""
    ranked = [(v.type.dtype, v.type.rank) for v in values if isinstance(v.type, TensorType)]
    numbers = [scalar_dtype(_kind(v)) for v in values if not isinstance(v.type, TensorType)]
    return result_dtype([d for d, r in ranked if r], [d for d, r in ranked if not r], numbers)


def _kind(value: Value) -> Any:
    constant = value.instruction
    return constant.attributes["value"] if constant is not None and constant.op.name == "constant" else 0


def _compare(name: str) -> Rule:
    def emit(w: "Writer", i: Instruction) -> Any:
        dtype = _common(i.inputs)
        if dtype is dtypes.bool_ and name != "Equal":
            dtype = dtypes.uint8
        return w.node(name, [w.tensor(v, dtype) for v in i.inputs])

    return emit


def _bits(name: str, logical: str) -> Rule:
    def emit(w: "Writer", i: Instruction) -> Any:
        return w.node(
            logical if result_element(i) is dtypes.bool_ else name, [w.tensor(v, result_element(i)) for v in i.inputs]
        )

    return emit


for _name, _onnx in _UNARY.items():
    RULES[_name] = _unary(_onnx)
for _name, _onnx in _BINARY.items():
    RULES[_name] = _binary(_onnx)
for _name, _onnx in COMPARISONS.items():
    RULES[_name] = _compare(_onnx)
for _name, _onnx in _LOGIC.items():
    RULES[_name] = lambda w, i, _onnx=_onnx: w.node(_onnx, [w.tensor(v, dtypes.bool_) for v in i.inputs])  # type: ignore[misc]
for _name, _pair in _BITS.items():
    RULES[_name] = _bits(*_pair)


@rule("floor", "ceil", "round")
def _rounded(w: "Writer", i: Instruction) -> Any:
    names = {"floor": "Floor", "ceil": "Ceil", "round": "Round"}
    whole = not result_element(i).is_floating_point
    return w.node("Identity" if whole else names[i.op.name], [w.tensor(i.inputs[0])])


@rule("bitwise_not")
def _bitwise_not(w: "Writer", i: Instruction) -> Any:
    return w.node("Not" if result_element(i) is dtypes.bool_ else "BitwiseNot", [w.tensor(i.inputs[0])])


@rule("ne")
def _ne(w: "Writer", i: Instruction) -> Any:
    return w.node("Not", [_compare("Equal")(w, i)])


@rule("logical_not")
def _not(w: "Writer", i: Instruction) -> Any:
    return w.node("Not", [w.tensor(i.inputs[0], dtypes.bool_)])


@rule("isnan", "isinf")
def _isnan(w: "Writer", i: Instruction) -> Any:
    type = w.type(i.inputs[0])
    dtype = type.dtype if type.dtype.is_floating_point else dtypes.float32  # of whole numbers, none is
    return w.node("IsNaN" if i.op.name == "isnan" else "IsInf", [w.tensor(i.inputs[0], dtype)])


@rule("remainder")
def _remainder(w: "Writer", i: Instruction) -> Any:
    a, b = (w.tensor(v, result_element(i)) for v in i.inputs)
    if not result_element(i).is_floating_point:
        return w.node("Mod", [a, b])
    # ONNX has the remainder with the divisor's sign for integers only.
    return w.node("Sub", [a, w.node("Mul", [w.node("Floor", [w.node("Div", [a, b])]), b])])


@rule("fmod")
def _fmod(w: "Writer", i: Instruction) -> Any:
    return w.node("Mod", [w.tensor(v, result_element(i)) for v in i.inputs], fmod=1)


@rule("floor_divide")
def _floor_divide(w: "Writer", i: Instruction) -> Any:
    a, b = (w.tensor(v, result_element(i)) for v in i.inputs)
    if result_element(i).is_floating_point:
        return w.node("Floor", [w.node("Div", [a, b])])
    return w.node("Div", [w.node("Sub", [a, w.node("Mod", [a, b])]), b])


def _made_of(*steps: tuple[str, ...]) -> Rule:
    """Unary operations one after another."""

    def emit(w: "Writer", i: Instruction) -> Any:
        name = w.tensor(i.inputs[0], result_element(i))
        for (step,) in steps:
            name = w.node(step, [name])
        return name

    return emit


RULES["rsqrt"] = _made_of(("Sqrt",), ("Reciprocal",))


@rule("square")
def _square(w: "Writer", i: Instruction) -> Any:
    x = w.tensor(i.inputs[0], result_element(i))
    return w.node("Mul", [x, x])


@rule("silu")
def _silu(w: "Writer", i: Instruction) -> Any:
    x = w.tensor(i.inputs[0], result_element(i))
    return w.node("Mul", [x, w.node("Sigmoid", [x])])


@rule("softplus")
def _softplus(w: "Writer", i: Instruction) -> Any:
    if i.attributes["beta"] != 1:
        raise OnnxError("beta other than 1 has no ONNX form")
    return w.node("Softplus", [w.tensor(i.inputs[0], result_element(i))])


@rule("relu6")
def _relu6(w: "Writer", i: Instruction) -> Any:
    dtype = result_element(i)
    return w.node("Clip", [w.tensor(i.inputs[0], dtype), w.number(0, dtype), w.number(6, dtype)])


@rule("hardtanh")
def _hardtanh(w: "Writer", i: Instruction) -> Any:
    dtype, a = result_element(i), i.attributes
    bounds = [w.number(a[n], dtype) for n in ("min_val", "max_val")]
    return w.node("Clip", [w.tensor(i.inputs[0], dtype), *bounds])


@rule("hardsigmoid")
def _hardsigmoid(w: "Writer", i: Instruction) -> Any:
    return w.node("HardSigmoid", [w.tensor(i.inputs[0], result_element(i))], alpha=1 / 6, beta=0.5)


@rule("leaky_relu")
def _leaky_relu(w: "Writer", i: Instruction) -> Any:
    return w.node("LeakyRelu", [w.tensor(i.inputs[0], result_element(i))], alpha=i.attributes["negative_slope"])


@rule("elu", "celu")
def _elu(w: "Writer", i: Instruction) -> Any:
    name = "Elu" if i.op.name == "elu" else "Celu"
    return w.node(name, [w.tensor(i.inputs[0], result_element(i))], alpha=i.attributes["alpha"])


@rule("selu")
def _selu(w: "Writer", i: Instruction) -> Any:
    return w.node("Selu", [w.tensor(i.inputs[0], result_element(i))])


@rule("cast")
def _cast(w: "Writer", i: Instruction) -> Any:
    return w.node("Identity", [w.tensor(i.inputs[0], result_element(i))])


@rule("clone", "contiguous", "detach")
def _identity(w: "Writer", i: Instruction) -> Any:
    return w.node("Identity", [w.tensor(i.inputs[0])])


@rule("where")
def _where(w: "Writer", i: Instruction) -> Any:
    condition, a, b = i.inputs
    return w.node("Where", [w.tensor(condition, dtypes.bool_), *(w.tensor(v, result_element(i)) for v in (a, b))])


@rule("masked_fill")
def _masked_fill(w: "Writer", i: Instruction) -> Any:
    x, mask, value = i.inputs
    return w.node("Where", [w.tensor(mask, dtypes.bool_), w.tensor(value, result_element(i)), w.tensor(x)])
