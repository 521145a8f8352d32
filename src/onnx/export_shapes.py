"""Export rules: reductions, shapes, and elements at computed positions."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import dtypes
from ..ir.core import Instruction
from ..ir.dims import DimExpr
from .errors import OnnxError
from .export_registry import RULES, Rule, groups, result_element, rule

if TYPE_CHECKING:
    from .exporter import Writer


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
        return w.node(name, [w.tensor(i.inputs[0], result_element(i)), *rest], keepdims=int(i.attributes["keepdim"]))

    return emit


for _name, _onnx in _REDUCE.items():
    RULES[_name] = _reduce(_onnx)


@rule("any", "all")
def _any(w: "Writer", i: Instruction) -> Any:
    name = "ReduceSum" if i.op.name == "any" else "ReduceMin"
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
    return w.node("CumSum", [w.tensor(i.inputs[0], result_element(i)), w.number(i.attributes["dim"], dtypes.int64)])


@rule("topk")
def _topk(w: "Writer", i: Instruction) -> Any:
    a = i.attributes
    size = w.size(w.python(i.inputs[1]))
    largest, sorted_ = int(a["largest"]), int(a["sorted"])
    return w.node("TopK", [w.tensor(i.inputs[0]), size], 2, axis=a["dim"], largest=largest, sorted=sorted_)


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
    order: dict[str, Any] = {"perm": [d % rank for d in i.attributes["dims"]]} if rank else {}
    return w.node("Transpose", [w.tensor(i.inputs[0])], **order)


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
    repeats = [w.python(v) for v in groups(i)[1]]
    x = w.tensor(i.inputs[0])
    missing = len(repeats) - w.type(i.inputs[0]).rank
    if missing:
        x = w.node("Unsqueeze", [x, w.ints(range(missing))])
    return w.node("Tile", [x, w.shape(repeats)])


@rule("cat")
def _cat(w: "Writer", i: Instruction) -> Any:
    return w.node("Concat", [w.tensor(v, result_element(i)) for v in i.inputs], axis=i.attributes["dim"])


@rule("stack")
def _stack(w: "Writer", i: Instruction) -> Any:
    axis = i.attributes["dim"] % w.type(i.result).rank
    parts = [w.node("Unsqueeze", [w.tensor(v, result_element(i)), w.ints([axis])]) for v in i.inputs]
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
    amounts = [w.python(v) for v in groups(i)[1]]
    if not all(isinstance(n, int) for n in amounts):
        raise OnnxError("a dynamic amount of padding has no rule")
    rank = w.type(i.inputs[0]).rank
    before, after = [0] * rank, [0] * rank
    for k in range(len(amounts) // 2):
        before[rank - 1 - k], after[rank - 1 - k] = amounts[2 * k], amounts[2 * k + 1]
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[i.attributes["mode"]]
    if mode == "wrap" and w.opset < 19:
        raise OnnxError("circular padding needs opset 19")
    value = w.number(i.attributes["value"] or 0, result_element(i))
    return w.node("Pad", [w.tensor(i.inputs[0]), w.ints([*before, *after]), value], mode=mode)


@rule("full")
def _full(w: "Writer", i: Instruction) -> Any:
    value = w.tensor(i.inputs[-1], result_element(i))
    return w.node("Expand", [value, w.shape(w.type(i.result).shape)])


@rule("arange")
def _arange(w: "Writer", i: Instruction) -> Any:
    ends = []
    for value in i.inputs:
        number = w.python(value)
        ends.append(w.squeezed(w.size(number)) if isinstance(number, DimExpr) else w.number(number, dtypes.int64))
    return w.cast(w.node("Range", ends), dtypes.int64, result_element(i))


@rule("scalar_tensor")
def _scalar_tensor(w: "Writer", i: Instruction) -> Any:
    return w.node("Identity", [w.tensor(i.inputs[0], result_element(i))])


@rule("logsumexp")
def _logsumexp(w: "Writer", i: Instruction) -> Any:
    axes = w.ints(i.attributes["dim"])
    return w.node(
        "ReduceLogSumExp", [w.tensor(i.inputs[0], result_element(i)), axes], keepdims=int(i.attributes["keepdim"])
    )
