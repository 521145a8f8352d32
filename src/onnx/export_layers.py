"""Export rules: products, convolutions, pooling and normalisation."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.core import Instruction
from .errors import OnnxError
from .export_registry import result_element, rule

if TYPE_CHECKING:
    from .exporter import Writer


@rule("matmul")
def _matmul(w: "Writer", i: Instruction) -> Any:
    return w.node("MatMul", [w.tensor(v, result_element(i)) for v in i.inputs])


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


@rule("conv1d", "conv2d", "conv3d")
def _conv(w: "Writer", i: Instruction) -> Any:
    a = i.attributes
    x = i.operands[0]
    assert x is not None
    spatial = {"conv1d": 1, "conv2d": 2, "conv3d": 3}[i.op.name]
    if w.type(x).rank != spatial + 2:
        raise OnnxError("an input without a batch dimension has no ONNX form; add one with unsqueeze(0)")
    stride, dilation = (_each(a[n], spatial) for n in ("stride", "dilation"))
    padding = a["padding"]
    inputs = [w.tensor(v) for v in i.inputs]
    if padding in ("same", "valid"):
        # PyTorch puts the odd element of padding behind.
        mode = "SAME_UPPER" if padding == "same" else "VALID"
        return w.node("Conv", inputs, strides=stride, dilations=dilation, group=a["groups"], auto_pad=mode)
    pads = _each(padding, spatial)
    # One number, one for each dimension, or pairs of before and after.
    pads = pads * 2 if len(pads) == spatial else pads[::2] + pads[1::2]
    return w.node("Conv", inputs, strides=stride, dilations=dilation, group=a["groups"], pads=pads)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(w: "Writer", i: Instruction) -> Any:
    a = i.attributes
    spatial = {"conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3}[i.op.name]
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


def _max_pooled(w: "Writer", i: Instruction, spatial: int, outputs: int) -> Any:
    a = i.attributes
    kernel = _each(a["kernel_size"], spatial)
    return w.node(
        "MaxPool", [_batched(w, i, spatial)], outputs, kernel_shape=kernel, dilations=_each(a["dilation"], spatial),
        strides=_each(a["stride"] or kernel, spatial), pads=_each(a["padding"], spatial) * 2,
        ceil_mode=int(a["ceil_mode"]),
    )  # fmt: skip


@rule("max_pool1d", "max_pool2d")
def _max_pool(w: "Writer", i: Instruction) -> Any:
    return _max_pooled(w, i, int(i.op.name[-2]), 1)


@rule("max_pool2d_with_indices")
def _max_pool_with_indices(w: "Writer", i: Instruction) -> Any:
    values, places = _max_pooled(w, i, 2, 2)
    height, width = w.type(i.inputs[0]).shape[2:]
    return [values, w.node("Mod", [places, w.size(height * width)])]  # ONNX counts from the start of the batch


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
    return w.node(name, [w.tensor(i.inputs[0], result_element(i))], axis=i.attributes["dim"])


@rule("embedding")
def _embedding(w: "Writer", i: Instruction) -> Any:
    index, weight = i.inputs[:2]
    return w.node("Gather", [w.tensor(weight), w.tensor(index)], axis=0)


@rule("einsum")
def _einsum(w: "Writer", i: Instruction) -> Any:
    return w.node("Einsum", [w.tensor(v, result_element(i)) for v in i.inputs], equation=i.attributes["equation"])
