"""Attention on a device as one kernel: scores never leave shared memory, and the softmax is carried along the keys.

A block handles a tile of queries of one head and goes over the keys tile by tile. A running maximum and sum per row let
it rescale what it has summed so far (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et
al., "FlashAttention", 2022).
"""

from collections.abc import Callable

from ....ir import dtypes
from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ....ir.types import TensorType
from ..access import forward_view
from ..attending import ATTENTION, is_native_attention
from ..attending import attention_reads as native_reads
from ..contraction import batch_stride, view_strides
from ..indexing import element_count
from ..scalar_code import literal
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid

__all__ = ["ATTENTION", "attention_limits", "attention_reads", "lower_attention"]


def attention_reads(instruction: Instruction) -> list[Value] | None:
    """What an attention op reads from memory; None for others, and where it has no kernel."""
    return native_reads(instruction) if is_native_attention(instruction) else None


def _tensor(value: Value | None) -> TensorType:
    assert value is not None and isinstance(value.type, TensorType)
    return value.type


def _widest(instruction: Instruction, target: DeviceTarget) -> int:
    """The most elements of a query or value: their tiles have fixed room in shared memory."""
    return target.head_bytes // _tensor(instruction.results[0]).dtype.itemsize


def attention_limits(instruction: Instruction, target: DeviceTarget) -> list[tuple[Dim, int]]:
    """Sizes with the largest that the kernel takes."""
    most = _widest(instruction, target)
    return [(_tensor(instruction.operands[0]).shape[-1], most), (_tensor(instruction.results[0]).shape[-1], most)]


def lower_attention(instruction: Instruction, storage: Callable[[Value], Value], target: DeviceTarget) -> DeviceKernel:
    """The kernel of an attention op, which stores its contiguous result."""
    text = DeviceText()
    result = _tensor(instruction.results[0])
    dtype, kind = result.dtype, result.dtype.name
    query, key, value, mask = instruction.operands[:4]
    batches = result.shape[:-2]
    outer: Dim = batches[0] if len(batches) == 2 else 1
    inner: Dim = batches[-1] if batches else 1
    tile, keys, most = target.query_tile, target.key_tile, _widest(instruction, target)
    per_lane = -(-most // keys)
    q_type, k_type = _tensor(query), _tensor(key)
    size = text.size
    bases: list[str] = []
    rows: dict[str, str] = {}
    for name, operand in (("q", query), ("k", key), ("v", value)):
        assert operand is not None
        view = forward_view(operand, instruction.block)
        shape = _tensor(operand).shape
        strides = view_strides(view, shape)
        share: Dim = 1
        if name != "q":
            heads = shape[-3] if len(shape) > 2 else 1
            if instruction.attributes["enable_gqa"] and heads != inner:
                share = inner // heads
        whole = inner if share == 1 else shape[-3]
        head = "head" if share == 1 else f"head // {size(share)}"
        base = f"{size(view.offset)} + outer * {size(batch_stride(shape, strides, 3, outer))}"
        bases.append(f"{name}_base = {base} + {head} * {size(batch_stride(shape, strides, 2, whole))}")
        pointer = text.pointer(storage(view.base), _tensor(view.base).dtype)
        rows[name] = f"{pointer}[{name}_base + {{row}} * {size(strides[-2])} + {{column}} * {size(strides[-1])}]"
    # A row that may look at nothing gives zeros where a mask of bools says so, as in PyTorch.
    allowed, added, nothing = "True", "", "keys == 0"
    if instruction.attributes["is_causal"]:
        allowed = "key <= query"
    if mask is not None:
        view = forward_view(mask, instruction.block)
        shape = _tensor(mask).shape
        strides = view_strides(view, shape)
        along = (("outer", 3, outer), ("head", 2, inner), ("query", 1, result.shape[-2]), ("key", 0, k_type.shape[-2]))
        place = " + ".join(f"{n} * {size(batch_stride(shape, strides, p, whole))}" for n, p, whole in along)
        pointer = text.pointer(storage(view.base), _tensor(view.base).dtype)
        loaded = f"{pointer}[{size(view.offset)} + {place}]"
        if _tensor(mask).dtype is dtypes.bool_:
            allowed, nothing = f"{loaded} != 0", "total == 0"
        else:
            added = f" + {loaded}"
    scale = instruction.attributes["scale"]
    depth = size(q_type.shape[-1])
    text.requirements.helpers.add(f"as_{dtype.short}")
    factor = (
        literal(float(scale), dtype) if scale is not None else f"as_{dtype.short}(1.0 / math.sqrt(np.float64({depth})))"
    )
    zero, lowest = literal(0, dtype), literal(float("-inf"), dtype)
    text.requirements.helpers.add("maximum")
    last = f"min(keys, first + {tile})" if instruction.attributes["is_causal"] else "keys"
    y = text.pointer(storage(instruction.results[0]), dtype, written=True)
    lines = f"""
queries, keys, depth, columns = {size(result.shape[-2])}, {size(k_type.shape[-2])}, {depth}, {size(result.shape[-1])}
q_tile = cuda.shared.array(({tile}, {most + 1}), types.{kind})
k_tile = cuda.shared.array(({keys}, {most + 1}), types.{kind})
v_tile = cuda.shared.array(({keys}, {most + 1}), types.{kind})
scores = cuda.shared.array(({tile}, {keys + 1}), types.{kind})
sums = cuda.local.array({per_lane}, types.{kind})
tiles = (queries + {tile - 1}) // {tile}
lane, line = cuda.threadIdx.x, cuda.threadIdx.y
first = cuda.blockIdx.x % tiles * {tile}
batch = cuda.blockIdx.x // tiles
outer, head = batch // {size(inner)}, batch % {size(inner)}
query = min(first + line, queries - 1)
{chr(10).join(bases)}
factor = {factor}
for c in range(lane, depth, {keys}):
    q_tile[line, c] = {rows["q"].format(row="query", column="c")} * factor
for c in range({per_lane}):
    sums[c] = {zero}
top = {lowest}
total = {zero}
for start in range(0, {last}, {keys}):
    cuda.syncthreads()
    for item in range(line * {keys} + lane, {keys} * depth, {tile * keys}):
        row = item // depth
        if start + row < keys:
            k_tile[row, item % depth] = {rows["k"].format(row="(start + row)", column="(item % depth)")}
    for item in range(line * {keys} + lane, {keys} * columns, {tile * keys}):
        row = item // columns
        v_tile[row, item % columns] = {zero}
        if start + row < keys:
            v_tile[row, item % columns] = {rows["v"].format(row="(start + row)", column="(item % columns)")}
    cuda.syncthreads()
    key = start + lane
    score = {lowest}
    if key < keys:
        if {allowed}:
            score = {zero}
            for c in range(depth):
                score += q_tile[line, c] * k_tile[lane, c]
            score = score{added}
    scores[line, lane] = score
    cuda.syncthreads()
    higher = top
    for j in range({keys}):
        higher = maximum(higher, scores[line, j])
    rescale = {literal(1, dtype)}
    if higher != top:
        rescale = math.exp(top - higher)
    total = total * rescale
    for c in range({per_lane}):
        sums[c] = sums[c] * rescale
    for j in range({keys}):
        weight = {zero}
        if scores[line, j] != {lowest}:
            weight = math.exp(scores[line, j] - higher)
        total += weight
        if start + j < keys:
            for c in range({per_lane}):
                if c * {keys} + lane < columns:
                    sums[c] += weight * v_tile[j, c * {keys} + lane]
    top = higher
if first + line < queries:
    for c in range({per_lane}):
        if c * {keys} + lane < columns:
            value = sums[c] / total
            if {nothing}:
                value = {zero}
            {y}[((batch * queries) + query) * columns + c * {keys} + lane] = value
"""
    for line in lines.strip("\n").splitlines():
        text.line(line)
    blocks = outer * inner * ((result.shape[-2] + (tile - 1)) // tile)
    where = f" ({instruction.location})" if instruction.location is not None else ""
    work = element_count([*result.shape[:-1], k_type.shape[-2]]) * (q_type.shape[-1] + result.shape[-1]) * 2
    traffic: dict[str, Dim | None] = {"bytes_moved": None, "flops": work}
    grid = Grid("blocks", blocks, threads=(keys, tile))
    return text.finish_kernel("k_attention", f"attention{where}", traffic, grid)
