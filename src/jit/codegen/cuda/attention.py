"""Attention on a device as one kernel: scores never leave shared memory, and the softmax is carried along the keys.

A block handles a tile of queries of one head and goes over the keys tile by tile. A running maximum and sum per row let
it rescale what it has summed so far (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et
al., "FlashAttention", 2022). Each thread has some rows and some columns of the scores, and of the result, in registers;
for the softmax in between, a few neighbours share a row.
"""

from collections.abc import Callable

from ....ir import dtypes
from ....ir.core import Instruction, Value
from ....ir.dims import Dim
from ....ir.types import TensorType
from ..access import forward_view
from ..attending import ATTENTION, is_native_attention
from ..attending import attention_reads as native_reads
from ..indexing import element_count
from ..products import batch_stride, view_strides
from ..scalar_code import literal
from .device_text import DeviceKernel, DeviceTarget, DeviceText, Grid

__all__ = ["ATTENTION", "attention_limits", "attention_reads", "lower_attention"]


# Of 48 KiB, which a block may have.
_SHARED_BYTES = 47 << 10


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


def _shared_elements(across: int, each_row: int, each_key: int, most: int) -> int:
    """The elements that a block keeps in shared memory: tiles of queries, keys and values, scores, and four columns."""
    tile, keys = across * each_row, across * each_key
    return (tile + keys) * (most + 1) + keys * -(-most // across) * across + tile * (keys + 5)


def lower_attention(instruction: Instruction, storage: Callable[[Value], Value], target: DeviceTarget) -> DeviceKernel:
    """The kernel of an attention op, which stores its contiguous result."""
    text = DeviceText()
    result = _tensor(instruction.results[0])
    dtype, kind = result.dtype, result.dtype.name
    query, key, value, mask = instruction.operands[:4]
    batches = result.shape[:-2]
    outer: Dim = batches[0] if len(batches) == 2 else 1
    inner: Dim = batches[-1] if batches else 1
    across = target.attention_threads
    most = _widest(instruction, target)
    wanted = (_tensor(query).shape[-1], result.shape[-1])
    if all(isinstance(n, int) and n <= most for n in wanted):
        most = max(*wanted, 1)  # type: ignore[type-var,assignment]
    each_row, each_key = target.attention_rows, target.attention_keys
    # Wide heads leave room for fewer rows.
    while _shared_elements(across, each_row, each_key, most) * dtype.itemsize > _SHARED_BYTES and each_row > 1:
        each_row, each_key = each_row // 2, max(each_key // 2, 1)
    tile, keys = across * each_row, across * each_key
    per_lane, threads = -(-most // across), across * across
    parts = threads // tile
    q_type, k_type = _tensor(query), _tensor(key)
    size = text.size
    bases: list[str] = []
    rows: dict[str, str] = {}
    for name, operand in (("q", query), ("k", key), ("v", value)):
        assert operand is not None
        view = forward_view(operand, instruction.block)
        shape = _tensor(operand).shape
        strides = view_strides(view, shape)
        group: Dim = 1
        if name != "q":
            heads = shape[-3] if len(shape) > 2 else 1
            if instruction.attributes["enable_gqa"] and heads != inner:
                group = inner // heads
        whole = inner if group == 1 else shape[-3]
        head = "head" if group == 1 else f"head // {size(group)}"
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
    # Known sizes are written out, whatever they are: loops over them are unrolled.
    depth, columns = (str(n) if isinstance(n, int) else size(n) for n in (q_type.shape[-1], result.shape[-1]))
    text.requirements.helpers.add(f"as_{dtype.short}")
    factor = (
        literal(float(scale), dtype) if scale is not None else f"as_{dtype.short}(1.0 / math.sqrt(np.float64({depth})))"
    )
    zero, lowest = literal(0, dtype), literal(float("-inf"), dtype)
    text.requirements.helpers.add("maximum")
    last = f"min(keys, first + {tile})" if instruction.attributes["is_causal"] else "keys"
    y = text.pointer(storage(instruction.results[0]), dtype, written=True)
    text.requirements.helpers.add("shuffle_down")
    halves = [parts >> n for n in range(1, parts.bit_length())]
    highest = "\n".join(f"    higher = maximum(higher, shuffle_down(higher, {n}))" for n in halves)
    summed = "\n".join(f"    partial += shuffle_down(partial, {n})" for n in halves)
    lines = f"""
queries, keys, depth, columns = {size(result.shape[-2])}, {size(k_type.shape[-2])}, {depth}, {columns}
q_tile = cuda.shared.array(({tile}, {most + 1}), types.{kind})
k_tile = cuda.shared.array(({keys}, {most + 1}), types.{kind})
v_tile = cuda.shared.array(({keys}, {per_lane * across}), types.{kind})
scores = cuda.shared.array(({tile}, {keys + 1}), types.{kind})
tops = cuda.shared.array({tile}, types.{kind})
highest = cuda.shared.array({tile}, types.{kind})
totals = cuda.shared.array({tile}, types.{kind})
rescales = cuda.shared.array({tile}, types.{kind})
sums = cuda.local.array(({each_row}, {per_lane}), types.{kind})
found = cuda.local.array(({each_row}, {each_key}), types.{kind})
a = cuda.local.array({each_row}, types.{kind})
tiles = (queries + {tile - 1}) // {tile}
x, y = cuda.threadIdx.x, cuda.threadIdx.y
line, part = (y * {across} + x) // {parts}, (y * {across} + x) % {parts}
first = cuda.blockIdx.x % tiles * {tile}
batch = cuda.blockIdx.x // tiles
outer, head = batch // {size(inner)}, batch % {size(inner)}
{chr(10).join(bases)}
factor = {factor}
for row in range(y, {tile}, {across}):
    query = min(first + row, queries - 1)
    for c in range(x, depth, {across}):
        q_tile[row, c] = {rows["q"].format(row="query", column="c")} * factor
for i in range({each_row}):
    for c in range({per_lane}):
        sums[i, c] = {zero}
if part == 0:
    tops[line] = {lowest}
    totals[line] = {zero}
for start in range(0, {last}, {keys}):
    cuda.syncthreads()
    for row in range(y, {keys}, {across}):
        key = min(start + row, keys - 1)
        for c in range(x, depth, {across}):
            k_tile[row, c] = {rows["k"].format(row="key", column="c")}
        for c in range(x, columns, {across}):
            value = {rows["v"].format(row="key", column="c")}
            v_tile[row, c] = value if start + row < keys else {zero}
    cuda.syncthreads()
    for i in range({each_row}):
        for j in range({each_key}):
            found[i, j] = {zero}
    for c in range(depth):
        for i in range({each_row}):
            a[i] = q_tile[y * {each_row} + i, c]
        for j in range({each_key}):
            b = k_tile[x + j * {across}, c]
            for i in range({each_row}):
                found[i, j] += a[i] * b
    for i in range({each_row}):
        query = min(first + y * {each_row} + i, queries - 1)
        for j in range({each_key}):
            key = start + x + j * {across}
            score = {lowest}
            if key < keys:
                if {allowed}:
                    score = found[i, j]{added}
            scores[y * {each_row} + i, x + j * {across}] = score
    cuda.syncthreads()
    higher = {lowest}
    for j in range(part, {keys}, {parts}):
        higher = maximum(higher, scores[line, j])
{highest}
    if part == 0:
        highest[line] = maximum(higher, tops[line])
    cuda.syncthreads()
    higher = highest[line]
    partial = {zero}
    for j in range(part, {keys}, {parts}):
        weight = {zero}
        if scores[line, j] != {lowest}:
            weight = math.exp(scores[line, j] - higher)
        scores[line, j] = weight
        partial += weight
{summed}
    if part == 0:
        rescale = {literal(1, dtype)}
        if higher != tops[line]:
            rescale = math.exp(tops[line] - higher)
        totals[line] = totals[line] * rescale + partial
        rescales[line] = rescale
        tops[line] = higher
    cuda.syncthreads()
    for i in range({each_row}):
        for c in range({per_lane}):
            sums[i, c] *= rescales[y * {each_row} + i]
    for j in range({keys}):
        for i in range({each_row}):
            a[i] = scores[y * {each_row} + i, j]
        for c in range({per_lane}):
            b = v_tile[j, c * {across} + x]
            for i in range({each_row}):
                sums[i, c] += a[i] * b
cuda.syncthreads()
for i in range({each_row}):
    query = first + y * {each_row} + i
    if query < queries:
        total = totals[y * {each_row} + i]
        for c in range({per_lane}):
            if c * {across} + x < columns:
                value = sums[i, c] / total
                if {nothing}:
                    value = {zero}
                {y}[((batch * queries) + query) * columns + c * {across} + x] = value
"""
    for line in lines.strip("\n").splitlines():
        text.line(line)
    blocks = outer * inner * ((result.shape[-2] + (tile - 1)) // tile)
    where = f" ({instruction.location})" if instruction.location is not None else ""
    work = element_count([*result.shape[:-1], k_type.shape[-2]]) * (q_type.shape[-1] + result.shape[-1]) * 2
    traffic: dict[str, Dim | None] = {"bytes_moved": None, "flops": work}
    grid = Grid("blocks", blocks, threads=(across, across))
    return text.finish_kernel("k_attention", f"attention{where}", traffic, grid)
