"""What a graph goes through before kernels are made: composites without a kernel are decomposed, products simplified.

A bias becomes an addition of its own, which fusion then puts into the epilogue of the product like any other operation.
Products of integers, for which there is no micro-kernel, become sums of elementwise products.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.core import Array, Graph, Instruction, Value
from ...ir.dtypes import DType, bool_, float32, float64, uint8
from ...ir.ops._op import Decompose, F, Op
from ...ir.ops._reduced import BY_DTYPE
from ...ir.ops.selection import CAST
from ...ir.passes.dce import dead_code_elimination
from ...ir.passes.decompose import decompose
from ...ir.passes.sink_views import SINK_VIEWS
from ...ir.rewrite import Rewriter, rewrite, rule
from ...ir.symbolic import wrap
from ...ir.types import TensorType
from .access import strided_view
from .attending import is_native_attention
from .byte_products import is_byte_product
from .complex_parts import ALIASES, parts_rules
from .contraction import strided_constant
from .elements import expression_of
from .grid_sampling import is_grid_sample
from .products import narrow_source
from .resampling import for_convolutions, is_resampled
from .scalar_code import is_half, is_kernel_dtype

__all__ = ["has_kernel", "prepare"]

# Instructions that only move tensors, whatever their dtype, and transforms, which read complex numbers as pairs.
_MOVES = ("constant", "if", "loop", "call", "undefined", "return", "yield", "save", "try", "python.call", "fftn",
          "ifftn", "rfftn", "irfftn", *ALIASES)  # fmt: skip


def prepare(graph: Graph, *, weight_gradients: bool = False) -> Graph:
    """The graph in the form that is lowered; the given one is not changed.

    `weight_gradients` says that gradients of convolutions' weights and convolutions of volumes have kernels; else they
    become convolutions of images.
    """
    if weight_gradients and any(not has_kernel(i) for i in graph.walk()):
        graph = dead_code_elimination(rewrite(graph, parts_rules()))
    whole = keep_volumes if weight_gradients else keep
    graph = for_convolutions(graph)
    graph = decompose(rewrite(graph, _widened), whole)
    return decompose(rewrite(graph, _RULES if weight_gradients else _RULES_OF_DEVICES), whole)


def has_kernel(instruction: Instruction) -> bool:
    """Whether kernels compute with the dtypes of an instruction's tensors, if it computes with them at all."""
    name = instruction.op.name
    if name in _MOVES or name.startswith(("tuple.", "list.", "optional.", "dict.")):
        return True
    types = [v.type for v in (*instruction.inputs, *instruction.results)]
    return all(is_kernel_dtype(t.dtype) for t in types if isinstance(t, TensorType))


def keep_volumes(instruction: Instruction) -> bool:
    """Whether a composite op stays whole where convolutions of volumes have kernels, and Python evaluates the rest."""
    if instruction.op.evaluate is not None and not has_kernel(instruction):
        return True
    if is_resampled(instruction) or is_grid_sample(instruction):
        return True
    return keep(instruction) or (instruction.op.name == "conv3d" and _is_native_product(instruction))


def keep(instruction: Instruction) -> bool:
    """Whether a composite op stays whole because it has a kernel of its own."""
    return (
        not isinstance(instruction.op.lower, Decompose)
        or expression_of(instruction) is not None
        or (is_native_attention(instruction))
    )


# Ops with a kernel for float32 that serves the dtypes of 16 bits too.
_WIDENED = {
    "matmul", "linear", "conv2d", "max_pool2d", "avg_pool2d", "sort", "topk", "argmax", "argmin", "max_dim", "min_dim",
    "cumsum", "cumprod",
}  # fmt: skip


def _is_widened(op: Op) -> bool:
    return (isinstance(op.lower, Decompose) and op.name not in BY_DTYPE) or op.name in _WIDENED


@rule("16 bits -> float32 -> 16 bits", when=_is_widened)
def _widened(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    """Composites and products compute in float32 throughout and round once, as PyTorch does."""
    if not any(isinstance(o.type, TensorType) and is_half(o.type.dtype) for o in instruction.inputs):
        return None
    builder = rewriter.builder
    with builder.at(instruction.location):

        def converted(value: Value, dtype: DType) -> Value:
            return builder.emit_all(CAST, [value], {"dtype": dtype})[0]

        operands = [
            converted(o, float32) if o is not None and isinstance(o.type, TensorType) and is_half(o.type.dtype) else o
            for o in instruction.operands
        ]
        results = []
        made = builder.emit_all(instruction.op, operands, instruction.attributes)
        for value, old in zip(made, instruction.results, strict=True):
            if isinstance(old.type, TensorType) and is_half(old.type.dtype) and value.type != old.type:
                value = converted(value, old.type.dtype)
            results.append(value)
    return results


def _is_native_product(instruction: Instruction) -> bool:
    result = instruction.results[0].type
    return isinstance(result, TensorType) and result.dtype in (float32, float64)


def _sum_of_products(a: Any, b: Any) -> Any:
    """A matrix product as elementwise products, summed over the depth."""
    dtype = a.dtype
    if a.ndim == 1 and b.ndim == 1:
        return F.sum(F.mul(a, b), dtype=dtype)
    left = F.unsqueeze(a, 0) if a.ndim == 1 else a
    right = F.unsqueeze(b, 1) if b.ndim == 1 else b
    product = F.sum(F.mul(F.unsqueeze(left, -1), F.unsqueeze(right, -3)), (-2,), dtype=dtype)
    if a.ndim == 1:
        return F.squeeze(product, -2)
    return F.squeeze(product, -1) if b.ndim == 1 else product


@rule("linear -> product + bias", "linear")
def _linear(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    _, weight, bias = instruction.operands
    assert weight is not None and isinstance(weight.type, TensorType)
    is_native = _is_native_product(instruction)
    if (is_native and bias is None) or not has_kernel(instruction):
        return None

    def expand(input: Any, weight: Any, bias: Any) -> Any:
        if is_native:
            product = F.linear(input, weight)
        else:
            product = _sum_of_products(input, F.transpose(weight, 0, 1) if weight.ndim == 2 else weight)
        return product if bias is None else F.add(product, bias)

    return rewriter.call(expand, instruction)


@rule("product with scaled weights -> scaled product", "linear")
def _scaled_weights(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    """Weights of few bits with a scale for each row: the product reads them as they are stored, and is scaled."""
    weight, bias = instruction.operands[1:]
    scaled = weight.instruction if weight is not None else None
    if bias is not None or scaled is None or scaled.op.name != "mul" or not _is_native_product(instruction):
        return None
    for narrow, scale in (scaled.operands, scaled.operands[::-1]):
        if narrow_source(narrow) is None or narrow is None or scale is None or weight is None:
            continue
        rows = weight.type.shape[0] if isinstance(weight.type, TensorType) and weight.type.rank == 2 else None
        if isinstance(scale.type, TensorType) and scale.type.shape in ((rows, 1), (), (1,)):
            place = narrow, scale

            def expand(x: Any, *_: Any, place: tuple[Value, Value] = place) -> Any:
                narrow, scale = (wrap(rewriter.builder, v) for v in place)
                return F.mul(F.linear(x, narrow), F.squeeze(scale, -1) if scale.ndim == 2 else scale)

            return rewriter.call(expand, instruction)
    return None


@rule("product of integers -> sum", "matmul")
def _integer_matmul(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    if _is_native_product(instruction):
        return None
    return rewriter.call(_sum_of_products, instruction)


@rule("product of wide integers -> sum", "matmul")
def _wide_integer_matmul(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    """8-bit integers have a kernel on CPUs."""
    if _is_native_product(instruction) or is_byte_product(instruction) or not has_kernel(instruction):
        return None
    return rewriter.call(_sum_of_products, instruction)


# -- convolutions: one image is a batch of one, a bias is an addition, and gradients are convolutions ------------------


@rule("convolution -> batched, without bias", "conv2d", "conv3d")
def _convolution(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    source, _, bias = instruction.operands
    assert source is not None and isinstance(source.type, TensorType)
    name = instruction.op.name
    spatial = 2 if name == "conv2d" else 3
    if (bias is None and source.type.rank == spatial + 2) or not has_kernel(instruction):
        return None

    def expand(input: Any, weight: Any, bias: Any, **attributes: Any) -> Any:
        single = input.ndim == spatial + 1
        value = getattr(F, name)(F.unsqueeze(input, 0) if single else input, weight, None, **attributes)
        if bias is not None:
            for _ in range(spatial):
                bias = F.unsqueeze(bias, -1)
            value = F.add(value, bias)
        return F.squeeze(value, 0) if single else value

    return rewriter.call(expand, instruction)


def _spread(g: Any, axis: int, step: int) -> Any:
    """Zeros put between the places of a dimension: step - 1 after each but the last."""
    if step == 1:
        return g
    size = g.shape[axis]
    pads = (0, 0) * (g.ndim - 1 - axis) + (0, step - 1)
    wide = F.flatten(F.pad(F.unsqueeze(g, axis + 1), pads), axis, axis + 1)
    return F.slice(wide, 0, (size - 1) * step + 1, dim=axis)


def _input_grad(gradient: Any, weight: Any, size: Any, merge: Callable[..., Any], **attributes: Any) -> Any:
    """The gradient of an input: the gradient spread by the stride, convolved with the flipped, transposed weight."""
    stride, pads, dilation, groups = (attributes[n] for n in ("stride", "padding", "dilation", "groups"))
    wanted = [s if not hasattr(s, "value") else s.value.type.value for s in size]
    if max(stride) > 1 and tuple(dilation) == (1, 1) and all(isinstance(k, int) for k in weight.shape[2:]):
        # Phases that the padding shifts are computed where only some of them are wanted: few outputs are worth that.
        joined = all(pads[2 * i] % stride[i] == 0 for i in (0, 1))
        joined = joined or (groups == 1 and weight.shape[1] in range(_FEW_OUTPUTS + 1))
        if joined and all(k % s == 0 and k > 0 for k, s in zip(weight.shape[2:], stride, strict=True)):
            merged = merge(weight, stride, groups)
            reach = [k // s for k, s in zip(weight.shape[2:], stride, strict=True)]
            return _input_grad_of_equal_phases(gradient, merged, reach, wanted, stride, pads, groups)
        return _input_grad_by_phases(gradient, weight, wanted, stride, pads, groups)
    borders: list[Any] = []
    for i in (0, 1):
        axis = 2 + i
        kernel = weight.shape[axis]
        reach = dilation[i] * (kernel - 1)
        places = gradient.shape[axis]
        gradient = _spread(gradient, axis, stride[i])
        length = (places - 1) * stride[i] + 1
        before = reach - pads[2 * i]
        borders += [before, wanted[i] - length + pads[2 * i]]
    turned, padding = _turned(weight, groups), tuple(borders)
    if not all(isinstance(b, int) and b >= 0 for b in padding):
        gradient, padding = F.pad(gradient, (*borders[2:], *borders[:2])), (0, 0, 0, 0)
    return F.conv2d(gradient, turned, None, padding=padding, dilation=dilation, groups=groups)


def _turned(weight: Any, groups: int) -> Any:
    """The weight with its places reversed, and inputs and outputs swapped within each group."""
    grouped = F.unflatten(F.flip(weight, (2, 3)), 0, (groups, weight.shape[0] // groups))
    return F.flatten(F.transpose(grouped, 1, 2), 0, 1)


def _phases_as_outputs(weight: Any, stride: Any, groups: int) -> Any:
    """A weight whose phases (see below) are of equal size as one with an output for each output and phase."""
    reach = [weight.shape[2 + i] // stride[i] for i in (0, 1)]
    # [group, input, output, place, phase, place, phase] to [group x output x phases, input, place, place].
    parts = F.unflatten(F.unflatten(weight, 3, (reach[1], stride[1])), 2, (reach[0], stride[0]))
    parts = F.unflatten(F.flip(parts, (2, 4)), 0, (groups, weight.shape[0] // groups))
    return F.flatten(F.permute(parts, (0, 2, 4, 6, 1, 3, 5)), 0, 3)


def _constant_phases(weight: Any, stride: Any, groups: int) -> Any:
    """The same of an array."""
    channels, outputs, height, width = weight.shape
    places = (height // stride[0], stride[0], width // stride[1], stride[1])
    parts = weight.reshape(groups, channels // groups, outputs, *places)[:, :, :, ::-1, :, ::-1]
    merged = parts.transpose(0, 2, 4, 6, 1, 3, 5)
    return np.ascontiguousarray(merged).reshape(-1, channels // groups, places[0], places[2])


def _input_grad_of_equal_phases(
    gradient: Any, merged: Any, reach: Any, wanted: Any, stride: Any, pads: Any, groups: int
) -> Any:
    """The phases (see below) of a kernel that the stride divides, as output channels of one convolution."""
    sizes = [gradient.shape[2 + i] for i in (0, 1)]
    counts = [(wanted[i] + (stride[i] - 1)) // stride[i] for i in (0, 1)]
    shifts = [[(e + pads[2 * i]) // stride[i] for e in range(stride[i])] for i in (0, 1)]
    borders = [(reach[i] - 1 - shifts[i][0], counts[i] - sizes[i] + shifts[i][-1]) for i in (0, 1)]
    gradient, padding = _padded(gradient, borders)
    phases = F.unflatten(F.conv2d(gradient, merged, None, padding=padding, groups=groups), 1, (-1, *stride))
    if all(s[0] == s[-1] for s in shifts):
        whole = F.permute(phases, (0, 1, 4, 2, 5, 3))
        return _cut(F.flatten(F.flatten(whole, 4, 5), 2, 3), wanted, stride)

    def phase(down: int, right: int) -> Any:
        part = phases
        for i, e in enumerate((down, right)):
            part = F.select(part, (e + pads[2 * i]) % stride[i], dim=2)
        for i, e in enumerate((down, right)):
            start = shifts[i][e] - shifts[i][0]
            part = F.slice(part, start, start + counts[i], dim=2 + i)
        return part

    return _cut(_beside_each_other(phase, stride), wanted, stride)


def _beside_each_other(phase: Callable[[int, int], Any], stride: Any) -> Any:
    """The image whose pixels are those of the phases in turn."""
    rows = []
    for down in range(stride[0]):
        row = [phase(down, right) for right in range(stride[1])]
        rows.append(row[0] if len(row) == 1 else F.flatten(F.stack(tuple(row), 4), 3, 4))
    return rows[0] if len(rows) == 1 else F.flatten(F.stack(tuple(rows), 3), 2, 3)


def _padded(gradient: Any, borders: Any) -> tuple[Any, Any]:
    """The image and the padding of its convolution; what convolutions do not pad by is done ahead."""
    padding = (*borders[0], *borders[1])
    if all(isinstance(b, int) and b >= 0 for b in padding):
        return gradient, padding
    return F.pad(gradient, (*borders[1], *borders[0])), (0, 0, 0, 0)


def _cut(whole: Any, wanted: Any, stride: Any) -> Any:
    """Without the places behind the last one, where the stride does not divide their number."""
    for i in (0, 1):
        if wanted[i] // stride[i] * stride[i] != wanted[i]:
            whole = F.slice(whole, 0, wanted[i], dim=2 + i)
    return whole


@rule("phases beside each other + bias -> phases of what has the bias", "add")
def _bias_of_phases(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    """What follows then joins the convolution, and the phases are only moved."""
    whole, bias = instruction.inputs[:2]
    views: list[Instruction] = []
    value = whole
    for name in ("flatten", "flatten", "permute", "unflatten"):
        view = value.instruction
        if view is None or view.op.name != name:
            return None
        views.append(view)
        value = view.inputs[0]
    if (
        value.instruction is None
        or value.instruction.op.name != "conv2d"
        or instruction.attributes.get("alpha", 1) != 1
    ):
        return None
    assert isinstance(value.type, TensorType) and isinstance(whole.type, TensorType)
    if not isinstance(bias.type, TensorType) or len(instruction.inputs) > 2 or bias.type.dtype != value.type.dtype:
        return None
    channels, outputs = whole.type.shape[1], value.type.shape[1]
    if bias.type.shape != (channels, 1, 1) or not isinstance(channels, int) or not isinstance(outputs, int):
        return None

    def expand(_: Any, bias: Any) -> Any:
        each = F.flatten(F.expand(bias, (channels, outputs // channels, 1)), 0, 1)
        result = F.add(wrap(rewriter.builder, value), F.unsqueeze(F.unsqueeze(F.squeeze(each, 1), -1), -1))
        for view in reversed(views):
            (moved,) = rewriter.builder.emit_all(view.op, [result.value, *view.operands[1:]], view.attributes)
            result = wrap(rewriter.builder, moved)
        return result

    return rewriter.call(expand, instruction)


def _input_grad_by_phases(gradient: Any, weight: Any, wanted: Any, stride: Any, pads: Any, groups: int) -> Any:
    """The same without the zeros that a stride spreads the gradient by.

    Places of the input that are equal modulo the stride meet every stride-th element of the weight only: each such
    phase is a convolution of its own, and the results are put beside each other (Shi et al., "Is the deconvolution
    layer the same as a convolutional layer?", 2016).
    """
    sizes = [gradient.shape[2 + i] for i in (0, 1)]
    counts = [(wanted[i] + (stride[i] - 1)) // stride[i] for i in (0, 1)]

    def phase(down: int, right: int) -> Any:
        part, reach, borders = weight, [], []
        for i, e in enumerate((down, right)):
            # Place s * n + e of the input is place n + shift of the phase (e + padding) % s.
            shift, first = divmod(e + pads[2 * i], stride[i])
            size = weight.shape[2 + i]
            part = F.slice(part, min(first, size), size, dim=2 + i, step=stride[i])
            reach.append(part.shape[2 + i])
            borders.append((reach[i] - 1 - shift, counts[i] - sizes[i] + shift))
        if 0 in reach:
            return F.full((gradient.shape[0], weight.shape[1] * groups, *counts), 0.0, dtype=gradient.dtype)
        image, padding = _padded(gradient, borders)
        return F.conv2d(image, _turned(part, groups), None, padding=padding, groups=groups)

    return _cut(_beside_each_other(phase, stride), wanted, stride)


@rule("gradient of a convolution's input -> convolution", "conv2d_input_grad")
def _conv_gradient(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    if not has_kernel(instruction):
        return None
    weight, block = instruction.inputs[1], instruction.block
    assert isinstance(weight.type, TensorType)
    view = strided_view(weight, block)
    data = strided_constant(view, weight.type.shape, view.strides) if weight.type.device == "cpu" else None

    def merge(weight: Any, stride: Any, groups: int) -> Any:
        if data is None:
            return _phases_as_outputs(weight, stride, groups)
        return wrap(rewriter.builder, rewriter.constant(Array(_constant_phases(data, stride, groups))))

    def expand(gradient: Any, weight: Any, size: Any, **attributes: Any) -> Any:
        return _input_grad(gradient, weight, size, merge, **attributes)

    return rewriter.call(expand, instruction)


def _weight_grad(gradient: Any, input: Any, size: Any, **attributes: Any) -> Any:
    """The gradient of a weight: the input convolved with the gradient, images and channels swapped."""
    stride, pads, dilation, groups = (attributes[n] for n in ("stride", "padding", "dilation", "groups"))
    wanted = [s if not hasattr(s, "value") else s.value.type.value for s in size]
    in_group, out_group = input.shape[1] // groups, gradient.shape[1] // groups
    parts = []
    for g in range(groups):
        images = F.transpose(F.slice(input, g * in_group, (g + 1) * in_group, dim=1), 0, 1)
        filters = F.transpose(F.slice(gradient, g * out_group, (g + 1) * out_group, dim=1), 0, 1)
        part = F.conv2d(images, filters, None, stride=dilation, padding=pads, dilation=stride)
        for i in (0, 1):
            part = F.slice(part, 0, wanted[i], dim=2 + i)
        parts.append(F.transpose(part, 0, 1))
    return parts[0] if groups == 1 else F.cat(tuple(parts), 0)


@rule("gradient of a convolution's weight -> convolution", "conv2d_weight_grad")
def _conv_weight_gradient(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    if instruction.attributes["groups"] > _MAX_GROUPS:
        return None
    return rewriter.call(_weight_grad, instruction)


# -- masks become positions ------------------------------------------------------------------------------------------


def _is_mask(tensor: Any) -> bool:
    return tensor.dtype in (bool_, uint8)


def _positions(indices: tuple[Any, ...], spec: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Index tensors and spec with each mask replaced by the positions of its nonzero elements."""
    tensors: list[Any] = []
    entries: list[Any] = []
    pending = iter(indices)
    for entry in spec:
        if not isinstance(entry, str):
            entries.append(entry)
            continue
        tensor = next(pending)
        if not _is_mask(tensor):
            tensors.append(tensor)
            entries.append(entry)
            continue
        places = F.nonzero(tensor)
        for axis in range(tensor.ndim):
            tensors.append(F.select(places, axis, dim=1))
            entries.append("tensor")
    return tuple(tensors), tuple(entries)


@rule("masks -> positions", "index", "index_put")
def _masks(instruction: Instruction, rewriter: Rewriter) -> list[Value] | None:
    indices = instruction.op.schema.unflatten(instruction.operands)[1]
    masks = [i for i in indices if i.type.dtype in (bool_, uint8)]
    if not masks or any(not m.type.shape for m in masks):
        return None

    def expand(input: Any, indices: tuple[Any, ...], *values: Any, spec: Any, **attributes: Any) -> Any:
        tensors, entries = _positions(indices, spec)
        if values:
            return F.index_put(input, tensors, values[0], spec=entries, **attributes)
        return F.index(input, tensors, spec=entries)

    return rewriter.call(expand, instruction)


# Up to so many outputs of a group, phases fill the rows of a tile together only.
_FEW_OUTPUTS = 4
# Groups that the gradient of a weight is unrolled for.
_MAX_GROUPS = 64
_COMMON = _scaled_weights + _linear + _convolution + _conv_gradient + _bias_of_phases + _masks + SINK_VIEWS
_RULES = _COMMON + _wide_integer_matmul
_RULES_OF_DEVICES = _COMMON + _integer_matmul + _conv_weight_gradient
