"""Ingot's operations as ONNX nodes: one rule per operation, `(writer, instruction) -> name or names of the results`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import dtypes
from ..ir.core import Instruction, Value
from ..ir.dims import DimExpr
from ..ir.dtypes import DType, result_dtype, scalar_dtype
from ..ir.types import IntType, TensorType
from .errors import OnnxError

if TYPE_CHECKING:
    from .exporter import Writer

__all__ = ["RULES"]

Rule = Callable[["Writer", Instruction], Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the rule of these operations."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def _result(instruction: Instruction) -> DType:
    assert isinstance(instruction.results[0].type, TensorType)
    return instruction.results[0].type.dtype


def _groups(instruction: Instruction) -> list[Any]:
    """The operands, one entry per parameter, as the operation's signature has them."""
    return list(instruction.op.schema.unflatten(instruction.operands))


# -- element by element ------------------------------------------------------------------------------------------------

_UNARY = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan", "atanh": "Atanh",
    "bitwise_not": "BitwiseNot", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "erf": "Erf", "exp": "Exp",
    "floor": "Floor", "hardswish": "HardSwish", "log": "Log", "mish": "Mish", "neg": "Neg", "reciprocal": "Reciprocal",
    "relu": "Relu", "round": "Round", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh",
    "softsign": "Softsign", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "pow": "Pow", "maximum": "Max", "minimum": "Min", "div": "Div"}
_COMPARE = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}
_LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
_BITS = {"bitwise_and": ("BitwiseAnd", "And"), "bitwise_or": ("BitwiseOr", "Or"), "bitwise_xor": ("BitwiseXor", "Xor")}


def _unary(name: str) -> Rule:
    return lambda w, i: w.node(name, [w.tensor(i.operands[0], _result(i))])  # type: ignore[arg-type]


def _binary(name: str) -> Rule:
    return lambda w, i: w.node(name, [w.tensor(v, _result(i)) for v in i.inputs])


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
        return w.node(logical if _result(i) is dtypes.bool_ else name, [w.tensor(v, _result(i)) for v in i.inputs])

    return emit


for _name, _onnx in _UNARY.items():
    RULES[_name] = _unary(_onnx)
for _name, _onnx in _BINARY.items():
    RULES[_name] = _binary(_onnx)
for _name, _onnx in _COMPARE.items():
    RULES[_name] = _compare(_onnx)
for _name, _onnx in _LOGIC.items():
    RULES[_name] = lambda w, i, _onnx=_onnx: w.node(_onnx, [w.tensor(v, dtypes.bool_) for v in i.inputs])  # type: ignore[misc]
for _name, _pair in _BITS.items():
    RULES[_name] = _bits(*_pair)


@rule("ne")
def _ne(w: "Writer", i: Instruction) -> Any:
    return w.node("Not", [_compare("Equal")(w, i)])


@rule("logical_not")
def _not(w: "Writer", i: Instruction) -> Any:
    return w.node("Not", [w.tensor(i.inputs[0], dtypes.bool_)])


@rule("isnan")
def _isnan(w: "Writer", i: Instruction) -> Any:
    return w.node("IsNaN", [w.tensor(i.inputs[0])])


@rule("isinf")
def _isinf(w: "Writer", i: Instruction) -> Any:
    return w.node("IsInf", [w.tensor(i.inputs[0])])


@rule("remainder")
def _remainder(w: "Writer", i: Instruction) -> Any:
    a, b = (w.tensor(v, _result(i)) for v in i.inputs)
    if not _result(i).is_floating_point:
        return w.node("Mod", [a, b])
    # ONNX has the remainder with the divisor's sign for integers only.
    return w.node("Sub", [a, w.node("Mul", [w.node("Floor", [w.node("Div", [a, b])]), b])])


@rule("fmod")
def _fmod(w: "Writer", i: Instruction) -> Any:
    return w.node("Mod", [w.tensor(v, _result(i)) for v in i.inputs], fmod=1)


@rule("floor_divide")
def _floor_divide(w: "Writer", i: Instruction) -> Any:
    a, b = (w.tensor(v, _result(i)) for v in i.inputs)
    if _result(i).is_floating_point:
        return w.node("Floor", [w.node("Div", [a, b])])
    return w.node("Div", [w.node("Sub", [a, w.node("Mod", [a, b])]), b])


def _made_of(*steps: tuple[str, ...]) -> Rule:
    """Unary operations one after another."""

    def emit(w: "Writer", i: Instruction) -> Any:
        name = w.tensor(i.inputs[0], _result(i))
        for (step,) in steps:
            name = w.node(step, [name])
        return name

    return emit


RULES["rsqrt"] = _made_of(("Sqrt",), ("Reciprocal",))


@rule("square")
def _square(w: "Writer", i: Instruction) -> Any:
    x = w.tensor(i.inputs[0], _result(i))
    return w.node("Mul", [x, x])


@rule("silu")
def _silu(w: "Writer", i: Instruction) -> Any:
    x = w.tensor(i.inputs[0], _result(i))
    return w.node("Mul", [x, w.node("Sigmoid", [x])])


@rule("softplus")
def _softplus(w: "Writer", i: Instruction) -> Any:
    if i.attributes["beta"] != 1:
        raise OnnxError("beta other than 1 has no ONNX form")
    return w.node("Softplus", [w.tensor(i.inputs[0], _result(i))])


@rule("relu6")
def _relu6(w: "Writer", i: Instruction) -> Any:
    dtype = _result(i)
    return w.node("Clip", [w.tensor(i.inputs[0], dtype), w.number(0, dtype), w.number(6, dtype)])


@rule("hardtanh")
def _hardtanh(w: "Writer", i: Instruction) -> Any:
    dtype, a = _result(i), i.attributes
    bounds = [w.number(a[n], dtype) for n in ("min_val", "max_val")]
    return w.node("Clip", [w.tensor(i.inputs[0], dtype), *bounds])


@rule("hardsigmoid")
def _hardsigmoid(w: "Writer", i: Instruction) -> Any:
    return w.node("HardSigmoid", [w.tensor(i.inputs[0], _result(i))], alpha=1 / 6, beta=0.5)


@rule("leaky_relu")
def _leaky_relu(w: "Writer", i: Instruction) -> Any:
    return w.node("LeakyRelu", [w.tensor(i.inputs[0], _result(i))], alpha=i.attributes["negative_slope"])


@rule("elu", "celu")
def _elu(w: "Writer", i: Instruction) -> Any:
    name = "Elu" if i.op.name == "elu" else "Celu"
    return w.node(name, [w.tensor(i.inputs[0], _result(i))], alpha=i.attributes["alpha"])


@rule("selu")
def _selu(w: "Writer", i: Instruction) -> Any:
    return w.node("Selu", [w.tensor(i.inputs[0], _result(i))])


@rule("cast")
def _cast(w: "Writer", i: Instruction) -> Any:
    return w.node("Identity", [w.tensor(i.inputs[0], _result(i))])


@rule("clone", "contiguous", "detach")
def _identity(w: "Writer", i: Instruction) -> Any:
    return w.node("Identity", [w.tensor(i.inputs[0])])


@rule("where")
def _where(w: "Writer", i: Instruction) -> Any:
    condition, a, b = i.inputs
    return w.node("Where", [w.tensor(condition, dtypes.bool_), *(w.tensor(v, _result(i)) for v in (a, b))])


@rule("masked_fill")
def _masked_fill(w: "Writer", i: Instruction) -> Any:
    x, mask, value = i.inputs
    return w.node("Where", [w.tensor(mask, dtypes.bool_), w.tensor(value, _result(i)), w.tensor(x)])


# -- products and layers -----------------------------------------------------------------------------------------------


@rule("matmul")
def _matmul(w: "Writer", i: Instruction) -> Any:
    return w.node("MatMul", [w.tensor(v, _result(i)) for v in i.inputs])


@rule("linear")
def _linear(w: "Writer", i: Instruction) -> Any:
    x, weight, bias = i.operands
    assert x is not None and weight is not None
    rest = [] if bias is None else [w.tensor(bias)]
    if w.type(x).rank == 2 and w.type(weight).rank == 2:
        return w.node("Gemm", [w.tensor(x), w.tensor(weight), *rest], transB=1)
    turned = w.tensor(weight)
    if w.type(weight).rank == 2:
        turned = w.node("Transpose", [turned], perm=[1, 0])
    product = w.node("MatMul", [w.tensor(x), turned])
    return w.node("Add", [product, *rest]) if rest else product


@rule("conv1d", "conv2d")
def _conv(w: "Writer", i: Instruction) -> Any:
    a = i.attributes
    x = i.operands[0]
    assert x is not None
    spatial = 1 if i.op.name == "conv1d" else 2
    if w.type(x).rank != spatial + 2:
        raise OnnxError("an input without a batch dimension has no ONNX form; add one with unsqueeze(0)")
    stride, dilation = (_each(a[n], spatial) for n in ("stride", "dilation"))
    padding = a["padding"]
    inputs = [w.tensor(v) for v in i.inputs]
    if padding in ("same", "valid"):
        # PyTorch puts the odd element of padding behind.
        mode = "SAME_UPPER" if padding == "same" else "VALID"
        return w.node("Conv", inputs, strides=stride, dilations=dilation, group=a["groups"], auto_pad=mode)
    pads = _each(padding, spatial) * 2
    return w.node("Conv", inputs, strides=stride, dilations=dilation, group=a["groups"], pads=pads)


@rule("conv_transpose1d", "conv_transpose2d")
def _conv_transpose(w: "Writer", i: Instruction) -> Any:
    a, spatial = i.attributes, 1 if i.op.name == "conv_transpose1d" else 2
    if w.type(i.inputs[0]).rank != spatial + 2:
        raise OnnxError("an input without a batch dimension has no ONNX form; add one with unsqueeze(0)")
    stride, dilation, extra = (_each(a[n], spatial) for n in ("stride", "dilation", "output_padding"))
    return w.node(
        "ConvTranspose", [w.tensor(v) for v in i.inputs], strides=stride, dilations=dilation, group=a["groups"],
        pads=_each(a["padding"], spatial) * 2, output_padding=extra,
    )  # fmt: skip


def _each(value: Any, count: int) -> list[int]:
    """One int per dimension from one for all, or one each."""
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return [int(v) for v in (values * count if len(values) == 1 else values)]


@rule("max_pool1d", "max_pool2d")
def _max_pool(w: "Writer", i: Instruction) -> Any:
    a, spatial = i.attributes, int(i.op.name[-2])
    kernel = _each(a["kernel_size"], spatial)
    return w.node(
        "MaxPool", [_batched(w, i, spatial)], kernel_shape=kernel, strides=_each(a["stride"] or kernel, spatial),
        pads=_each(a["padding"], spatial) * 2, dilations=_each(a["dilation"], spatial), ceil_mode=int(a["ceil_mode"]),
    )  # fmt: skip


@rule("avg_pool1d", "avg_pool2d")
def _avg_pool(w: "Writer", i: Instruction) -> Any:
    a, spatial = i.attributes, int(i.op.name[-2])
    if a.get("divisor_override"):
        raise OnnxError("divisor_override has no ONNX form")
    if a["ceil_mode"]:
        raise OnnxError("ceil_mode has no ONNX form in this opset that all run-times agree on")
    kernel = _each(a["kernel_size"], spatial)
    return w.node(
        "AveragePool", [_batched(w, i, spatial)], kernel_shape=kernel, strides=_each(a["stride"] or kernel, spatial),
        pads=_each(a["padding"], spatial) * 2, count_include_pad=int(a["count_include_pad"]),
    )  # fmt: skip


def _batched(w: "Writer", i: Instruction, spatial: int) -> str:
    if w.type(i.inputs[0]).rank != spatial + 2:
        raise OnnxError("an input without a batch dimension has no ONNX form; add one with unsqueeze(0)")
    return w.tensor(i.inputs[0])


@rule("batch_norm")
def _batch_norm(w: "Writer", i: Instruction) -> Any:
    x, mean, variance, weight, bias = i.operands
    assert x is not None and mean is not None and variance is not None
    dtype = w.type(x).dtype
    (channels,) = w.type(mean).shape
    if not isinstance(channels, int):
        raise OnnxError("a dynamic number of channels has no ONNX form")
    scale = w.tensor(weight) if weight is not None else w.initializer(np.ones(channels, dtype.numpy), "scale")
    shift = w.tensor(bias) if bias is not None else w.initializer(np.zeros(channels, dtype.numpy), "shift")
    inputs = [w.tensor(x), scale, shift, w.tensor(mean), w.tensor(variance)]
    return w.node("BatchNormalization", inputs, epsilon=i.attributes["eps"])


@rule("layer_norm")
def _layer_norm(w: "Writer", i: Instruction) -> Any:
    x, weight, bias = i.operands
    assert x is not None
    shape, dtype = i.attributes["normalized_shape"], w.type(x).dtype
    scale = w.tensor(weight) if weight is not None else w.initializer(np.ones(shape, dtype.numpy), "scale")
    rest = [] if bias is None else [w.tensor(bias)]
    return w.node("LayerNormalization", [w.tensor(x), scale, *rest], axis=-len(shape), epsilon=i.attributes["eps"])


@rule("softmax", "log_softmax")
def _softmax(w: "Writer", i: Instruction) -> Any:
    name = "Softmax" if i.op.name == "softmax" else "LogSoftmax"
    return w.node(name, [w.tensor(i.inputs[0], _result(i))], axis=i.attributes["dim"])


@rule("embedding")
def _embedding(w: "Writer", i: Instruction) -> Any:
    index, weight = i.inputs[:2]
    return w.node("Gather", [w.tensor(weight), w.tensor(index)], axis=0)


@rule("einsum")
def _einsum(w: "Writer", i: Instruction) -> Any:
    return w.node("Einsum", [w.tensor(v, _result(i)) for v in i.inputs], equation=i.attributes["equation"])


# -- reductions --------------------------------------------------------------------------------------------------------

_REDUCE = {
    "sum": "ReduceSum",
    "mean": "ReduceMean",
    "amax": "ReduceMax",
    "peak": "ReduceMax",
    "amin": "ReduceMin",
    "prod": "ReduceProd",
}


def _reduce(name: str) -> Rule:
    def emit(w: "Writer", i: Instruction) -> Any:
        dim = i.attributes["dim"]
        axes = [dim] if isinstance(dim, int) else list(dim or ())
        rest = [w.ints(axes)] if axes else []
        return w.node(name, [w.tensor(i.inputs[0], _result(i)), *rest], keepdims=int(i.attributes["keepdim"]))

    return emit


for _name, _onnx in _REDUCE.items():
    RULES[_name] = _reduce(_onnx)


@rule("any", "all")
def _any(w: "Writer", i: Instruction) -> Any:
    name = "ReduceMax" if i.op.name == "any" else "ReduceMin"
    axes = list(i.attributes["dim"] or ())
    whole = w.cast(w.tensor(i.inputs[0], dtypes.bool_), dtypes.bool_, dtypes.int32)
    rest = [w.ints(axes)] if axes else []
    found = w.node(name, [whole, *rest], keepdims=int(i.attributes["keepdim"]))
    return w.cast(found, dtypes.int32, dtypes.bool_)


@rule("argmax", "argmin")
def _argmax(w: "Writer", i: Instruction) -> Any:
    name = "ArgMax" if i.op.name == "argmax" else "ArgMin"
    dim, x = i.attributes["dim"], w.tensor(i.inputs[0])
    if dim is not None:
        return w.node(name, [x], axis=dim, keepdims=int(i.attributes["keepdim"]))
    found = w.node(name, [w.node("Reshape", [x, w.ints([-1])])], axis=0, keepdims=0)
    return w.node("Reshape", [found, w.shape(w.type(i.result).shape)])


@rule("cumsum")
def _cumsum(w: "Writer", i: Instruction) -> Any:
    return w.node("CumSum", [w.tensor(i.inputs[0], _result(i)), w.number(i.attributes["dim"], dtypes.int64)])


@rule("topk")
def _topk(w: "Writer", i: Instruction) -> Any:
    a = i.attributes
    size = w.size(w.python(i.inputs[1]))
    largest, sorted_ = int(a["largest"]), int(a["sorted"])
    return w.node("TopK", [w.tensor(i.inputs[0]), size], 2, axis=a["dim"], largest=largest, sorted=sorted_)


# -- shapes ------------------------------------------------------------------------------------------------------------


@rule("reshape", "flatten", "unflatten")
def _reshape(w: "Writer", i: Instruction) -> Any:
    shape = w.shape(w.type(i.result).shape, infer=True)
    empty = any(d == 0 for d in w.type(i.result).shape if isinstance(d, int))
    return w.node("Reshape", [w.tensor(i.inputs[0]), shape], allowzero=int(empty))


@rule("unsqueeze")
def _unsqueeze(w: "Writer", i: Instruction) -> Any:
    return w.node("Unsqueeze", [w.tensor(i.inputs[0]), w.ints([i.attributes["dim"]])])


@rule("squeeze")
def _squeeze(w: "Writer", i: Instruction) -> Any:
    if w.type(i.result).rank == w.type(i.inputs[0]).rank:
        return w.node("Identity", [w.tensor(i.inputs[0])])
    before = w.type(i.inputs[0]).shape
    dims = i.attributes["dim"]
    wanted = range(len(before)) if dims is None else [d % len(before) for d in dims]
    return w.node("Squeeze", [w.tensor(i.inputs[0]), w.ints(d for d in wanted if before[d] == 1)])


@rule("permute")
def _permute(w: "Writer", i: Instruction) -> Any:
    rank = w.type(i.result).rank
    return w.node("Transpose", [w.tensor(i.inputs[0])], perm=[d % rank for d in i.attributes["dims"]])


@rule("transpose")
def _transpose(w: "Writer", i: Instruction) -> Any:
    rank = w.type(i.result).rank
    if not rank:
        return w.node("Identity", [w.tensor(i.inputs[0])])
    a, b = i.attributes["dim0"] % rank, i.attributes["dim1"] % rank
    order = list(range(rank))
    order[a], order[b] = order[b], order[a]
    return w.node("Transpose", [w.tensor(i.inputs[0])], perm=order)


@rule("expand")
def _expand(w: "Writer", i: Instruction) -> Any:
    return w.node("Expand", [w.tensor(i.inputs[0]), w.shape(w.type(i.result).shape)])


@rule("repeat")
def _repeat(w: "Writer", i: Instruction) -> Any:
    repeats = [w.python(v) for v in _groups(i)[1]]
    x = w.tensor(i.inputs[0])
    missing = len(repeats) - w.type(i.inputs[0]).rank
    if missing:
        x = w.node("Unsqueeze", [x, w.ints(range(missing))])
    return w.node("Tile", [x, w.shape(repeats)])


@rule("cat")
def _cat(w: "Writer", i: Instruction) -> Any:
    return w.node("Concat", [w.tensor(v, _result(i)) for v in i.inputs], axis=i.attributes["dim"])


@rule("stack")
def _stack(w: "Writer", i: Instruction) -> Any:
    axis = i.attributes["dim"] % w.type(i.result).rank
    parts = [w.node("Unsqueeze", [w.tensor(v, _result(i)), w.ints([axis])]) for v in i.inputs]
    return w.node("Concat", parts, axis=axis)


@rule("slice")
def _slice(w: "Writer", i: Instruction) -> Any:
    x, start, stop = i.operands
    assert x is not None
    first, last = w.python(start), w.python(stop)
    bounds = [w.size(0 if first is None else first), w.size(np.iinfo(np.int64).max if last is None else last)]
    return w.node("Slice", [w.tensor(x), *bounds, w.ints([i.attributes["dim"]]), w.ints([i.attributes["step"]])])


@rule("select")
def _select(w: "Writer", i: Instruction) -> Any:
    index = w.python(i.inputs[1])
    name = w.squeezed(w.size(index)) if isinstance(index, DimExpr) else w.number(index, dtypes.int64)
    return w.node("Gather", [w.tensor(i.inputs[0]), name], axis=i.attributes["dim"])


@rule("index_select")
def _index_select(w: "Writer", i: Instruction) -> Any:
    return w.node("Gather", [w.tensor(v) for v in i.inputs], axis=i.attributes["dim"])


@rule("gather")
def _gather(w: "Writer", i: Instruction) -> Any:
    return w.node("GatherElements", [w.tensor(v) for v in i.inputs], axis=i.attributes["dim"])


@rule("index")
def _index(w: "Writer", i: Instruction) -> Any:
    """One index tensor after whole dimensions is a Gather."""
    spec = i.attributes["spec"]
    index = i.inputs[1]
    plain = all(s == "tensor" or s == (None, None, 1) for s in spec)
    if spec.count("tensor") != 1 or not plain or w.type(index).dtype is dtypes.bool_:
        raise OnnxError("this kind of indexing has no rule: use index_select, gather or slices")
    return w.node("Gather", [w.tensor(i.inputs[0]), w.tensor(index, dtypes.int64)], axis=spec.index("tensor"))


@rule("flip")
def _flip(w: "Writer", i: Instruction) -> Any:
    dims = list(i.attributes["dims"])
    smallest = np.iinfo(np.int64).min
    bounds = [w.ints([-1] * len(dims)), w.ints([smallest] * len(dims)), w.ints(dims), w.ints([-1] * len(dims))]
    return w.node("Slice", [w.tensor(i.inputs[0]), *bounds]) if dims else w.node("Identity", [w.tensor(i.inputs[0])])


@rule("tril", "triu")
def _tril(w: "Writer", i: Instruction) -> Any:
    upper = int(i.op.name == "triu")
    return w.node("Trilu", [w.tensor(i.inputs[0]), w.number(i.attributes["diagonal"], dtypes.int64)], upper=upper)


@rule("pad")
def _pad(w: "Writer", i: Instruction) -> Any:
    amounts = [w.python(v) for v in _groups(i)[1]]
    if not all(isinstance(n, int) for n in amounts):
        raise OnnxError("a dynamic amount of padding has no rule")
    rank = w.type(i.inputs[0]).rank
    before, after = [0] * rank, [0] * rank
    for k in range(len(amounts) // 2):
        before[rank - 1 - k], after[rank - 1 - k] = amounts[2 * k], amounts[2 * k + 1]
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[i.attributes["mode"]]
    if mode == "wrap" and w.opset < 19:
        raise OnnxError("circular padding needs opset 19")
    value = w.number(i.attributes["value"] or 0, _result(i))
    return w.node("Pad", [w.tensor(i.inputs[0]), w.ints([*before, *after]), value], mode=mode)


@rule("full")
def _full(w: "Writer", i: Instruction) -> Any:
    value = w.tensor(i.inputs[-1], _result(i))
    return w.node("Expand", [value, w.shape(w.type(i.result).shape)])


@rule("arange")
def _arange(w: "Writer", i: Instruction) -> Any:
    ends = []
    for value in i.inputs:
        number = w.python(value)
        ends.append(w.squeezed(w.size(number)) if isinstance(number, DimExpr) else w.number(number, dtypes.int64))
    return w.cast(w.node("Range", ends), dtypes.int64, _result(i))


@rule("scalar_tensor")
def _scalar_tensor(w: "Writer", i: Instruction) -> Any:
    return w.node("Identity", [w.tensor(i.inputs[0], _result(i))])


@rule("logsumexp")
def _logsumexp(w: "Writer", i: Instruction) -> Any:
    axes = w.ints(i.attributes["dim"])
    return w.node("ReduceLogSumExp", [w.tensor(i.inputs[0], _result(i)), axes], keepdims=int(i.attributes["keepdim"]))


# -- control flow and numbers ------------------------------------------------------------------------------------------


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
for _name, _onnx in _COMPARE.items():
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
