"""Convolutions with one filter per channel over contiguous images: blocks of channels, transposed in registers.

An item is as many channels of an image as a vector has lanes, and some of its rows. Rows are transposed, just before
they are needed, into scratch memory that stays in cache (channels last, inside a border of zeros); pixels are computed
side by side with channels in vectors, as over images that are kept so (`depthwise.py`), and finished in registers;
results are transposed back. Any stride and dilation reads vectors that lie in one piece, and no lane is lost where rows
end. Up to 25 kernel elements are written out; of larger kernels one row is, which adds to the results so far.
"""

from collections.abc import Sequence

from ...ir.core import Instruction
from ...ir.dims import Dim, dim_max, dim_min
from ...ir.ops.conv import geometry
from ...ir.types import TensorType
from .access import forward_view, strided_view
from .contraction import epilogue_of, run_contraction_kernel, strided_constant, title_of, view_address
from .depthwise import MOST_TAPS, pack_taps_numpy
from .driver import Driver
from .epilogue import Epilogue, indent
from .fusion import Group
from .gemm import GRAIN_MULTIPLY_ADDS, IMPORTS
from .indexing import element_count
from .kernel_text import Text, named_source
from .module import KernelSource
from .target import Target

__all__ = ["run_channel_blocks", "takes_channel_blocks"]

SLOTS: dict[str, int] = {
    name: index
    for index, name in enumerate(
        (
            "x",
            "w",
            "y",
            "scratch",
            "scratch_elements",  # of one worker
            "images",
            "channels",
            "in_height",
            "in_width",
            "out_height",
            "out_width",
            "pad_height",
            "pad_width",
            "x_image_stride",
            "x_channel_stride",
            "x_row_stride",
            "x_pixel_stride",
            "w_channel_stride",
            "w_row_stride",
            "w_column_stride",
            "row_block",  # the most rows of an item
            "items",  # written by the plan function, as is all below
            "workers",
            "grain",
        )
    )
}
# How many items have scratch memory at a time, and the elements of one that stay in the L2 cache.
_WORKERS, _ELEMENTS = 8, 1 << 16
# The longest kernel row that is written out.
_LONGEST_ROW = 32
# Pixels of a row that are computed side by side, descending, where all elements are written out and where a row is.
_PIXELS, _PIXELS_OF_ROWS = (4, 1), (8, 4, 1)


def takes_channel_blocks(instruction: Instruction, target: Target) -> bool:
    """Whether a convolution over contiguous images has one filter for each of its channels, which fill vectors."""
    x, weight = (v.type for v in instruction.inputs[:2])
    assert isinstance(x, TensorType) and isinstance(weight, TensorType)
    channels, groups = weight.shape[0], instruction.attributes["groups"]
    if instruction.op.name != "conv2d" or not channels == groups == x.shape[1] or weight.shape[1] != 1:
        return False
    kernel = weight.shape[2:]
    if not all(isinstance(k, int) and 0 < k <= _LONGEST_ROW for k in kernel):
        return False
    # The last block begins earlier than it would have to; sequences are long rows of pixels as they are.
    lanes = target.lanes(x.dtype.short)
    if not isinstance(channels, int) or channels < lanes or -(-channels // lanes) * lanes > 1.5 * channels:
        return False
    return not x.shape[2] == kernel[0] == 1


def _read(*names: str) -> str:
    return f"{', '.join(names)} = {', '.join(f'slot_i64(p, {SLOTS[n]})' for n in names)}"


def _transposes(planes: str, vectors: str, count: str, plane: str, lanes: int, size: int, copy: str) -> str:
    """Statements that transpose `count` pixels of the block's channels from planes to vectors (`forth`), or `back`."""
    ends = [f"{planes} + at * {size}, {plane}", f"{vectors} + at * {lanes * size}, {lanes * size}"]
    block = ", ".join(ends if copy == "forth" else ends[::-1])
    return f"""
if {count} >= {lanes}:
    # The last block overlaps the one before.
    for at in range(0, {count}, {lanes}):
        at = min(at, {count} - {lanes})
        transpose({block})
else:
    for lane in range({lanes}):
        copy_{copy}(pointer({planes} + lane * {plane}), pointer({vectors} + lane * {size}), {count})
"""


def blocks_source(
    name: str,
    dtype: str,
    lanes: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    epilogue: Epilogue,
) -> str:
    """Source of the range kernel `<name>(p, lo, hi)` over workers, and of its plan function.

    The table `p` is laid out as `SLOTS` says, followed by the epilogue's parameters. In the epilogue `n` is the image,
    `j` the channel, `z` the row and `q` the column.
    """
    size, vector = (4, lanes * 4) if dtype == "f32" else (8, lanes * 8)
    slots = SLOTS
    functions = epilogue.functions.strip("\n") + "\n\n\n" if epilogue.functions.strip() else ""
    reach_down, reach_right = (kernel[0] - 1) * dilation[0], (kernel[1] - 1) * dilation[1]
    compute = _written_out if kernel[0] * kernel[1] <= MOST_TAPS else _by_rows
    into = _transposes("source", "target", "inside", f"x_channel_stride * {size}", lanes, size, "forth")
    flat = _transposes("source", "dense", "pixels", f"x_channel_stride * {size}", lanes, size, "forth")
    out = _transposes("target", "results", "finished", f"plane * {size}", lanes, size, "back")
    return f"""{IMPORTS}from ingot.jit.codegen.microkernel import copy_memory, transpose_block

pointer = pointer_{dtype}
transpose = transpose_block({dtype!r}, {lanes})


{functions}@kernel
def {name}_plan(p, threads):
    {_read("images", "channels", "in_height", "in_width", "out_height", "out_width", "row_block")}
    blocks = images * ((channels + {lanes - 1}) // {lanes})
    # Fewer rows in an item while there are too few items for the threads to share evenly.
    while threads > 1 and row_block > 8 and blocks * ((out_height + row_block - 1) // row_block) < 4 * threads:
        row_block = (row_block + 1) // 2
    items = blocks * ((out_height + row_block - 1) // max(1, row_block))
    set_slot_i64(p, {slots["row_block"]}, row_block)
    set_slot_i64(p, {slots["items"]}, items)
    workers = min(items, {_WORKERS})
    set_slot_i64(p, {slots["workers"]}, workers)
    # Each multiply-add is a load, so an item of the same cost does fewer of them than a product.
    work = images * channels * out_height * out_width * {kernel[0] * kernel[1] + 8}
    set_slot_i64(p, {slots["grain"]}, {GRAIN_MULTIPLY_ADDS // 4} // (work // max(1, workers) + 1) + 1)
    return workers


@body
def copy_forth(source, target, count):
    for s in range(count):
        target[s * {lanes}] = source[s]


@body
def copy_back(target, source, count):
    for s in range(count):
        target[s] = source[s * {lanes}]


@body
def copy_apart(source, step, target, count):
    for s in range(count):
        target[s * {lanes}] = source[s * step]


@body
def clear(target, count):
    for s in range(count):
        target[s] = 0


@body
def gather_weights(source, target, channel_stride, row_stride, column_stride):
    for a in range({kernel[0]}):
        for b in range({kernel[1]}):
            for s in range({lanes}):
                target[(a * {kernel[1]} + b) * {lanes} + s] = source[a * row_stride + b * column_stride
                    + s * channel_stride]


@body
def {name}_row(x, w, out{epilogue.names}, row, w_step, n, first, z, columns):
    left = 0
    while left < columns:
{indent(compute(lanes, kernel, stride, dilation, epilogue), 8)}


@kernel
def {name}(p, lo, hi):
    {_read("x", "w", "y", "scratch", "scratch_elements", "images", "channels")}
    {_read("in_height", "in_width", "out_height", "out_width", "pad_height", "pad_width")}
    {_read("x_image_stride", "x_channel_stride", "x_row_stride", "x_pixel_stride")}
    {_read("w_channel_stride", "w_row_stride", "w_column_stride", "row_block", "items", "workers")}
{indent(epilogue.unpack(len(slots)), 4)}
    plane, blocks = out_height * out_width, (channels + {lanes - 1}) // {lanes}
    row_blocks = (out_height + row_block - 1) // max(1, row_block)
    # The columns that windows meet, those of them that lie in the image, and the same for rows of an item.
    columns_in = (out_width - 1) * {stride[1]} + {reach_right + 1}
    inside = max(0, min(in_width, columns_in - pad_width))
    row_bytes = columns_in * {vector}
    # Short rows follow each other in memory and are transposed at once; so are short rows of results.
    flat = inside < {lanes} and in_width == inside and x_row_stride == in_width and x_pixel_stride == 1
    for worker in range(lo, hi):
        weights = scratch + worker * scratch_elements * {size}
        results = weights + {kernel[0] * kernel[1] * vector}
        dense = results + max(row_block if out_width < {lanes} else 1, 1) * out_width * {vector}
        rows = dense + (((row_block - 1) * {stride[0]} + {reach_down + 1}) * in_width * {vector} if flat else 0)
        for item in range(worker, items, workers):
            first_row, part = item % row_blocks * row_block, item // row_blocks
            first, n = min(part % blocks * {lanes}, channels - {lanes}), part // blocks
            count = min(row_block, out_height - first_row)
            top = first_row * {stride[0]} - pad_height
            start = x + (n * x_image_stride + first * x_channel_stride + top * x_row_stride) * {size}
            lines = (count - 1) * {stride[0]} + {reach_down + 1}
            taps, w_step = w + first * w_channel_stride * {size}, w_column_stride
            if w_channel_stride != 1 or w_row_stride != {kernel[1]} * w_column_stride:
                gather_weights(pointer(taps), pointer(weights), w_channel_stride, w_row_stride, w_column_stride)
                taps, w_step = weights, {lanes}
            if flat:
                above = max(0, -top)
                pixels = (min(lines, in_height - top) - above) * in_width
                source = start + above * x_row_stride * {size}
                if pixels > 0:
{indent(flat, 20)}
            known = 0
            for z in range(first_row, first_row + count):
                # The rows that this one's windows meet and no earlier one's.
                least = (z - first_row) * {stride[0]} + {reach_down + 1}
                while known < least:
                    line = rows + known * row_bytes
                    source, target = start + known * x_row_stride * {size}, line + pad_width * {vector}
                    if top + known < 0 or top + known >= in_height:
                        clear(pointer(line), columns_in * {lanes})
                    else:
                        clear(pointer(line), min(pad_width, columns_in) * {lanes})
                        clear(pointer(line + (pad_width + inside) * {vector}),
                            max(0, columns_in - pad_width - inside) * {lanes})
                        if flat:
                            pixel = dense + (known - max(0, -top)) * in_width * {vector}
                            for s in range(inside):
                                copy_memory(target + s * {vector}, pixel + s * {vector}, {vector})
                        elif x_pixel_stride == 1:
{indent(into, 28)}
                        else:
                            for lane in range({lanes}):
                                copy_apart(pointer(source + lane * x_channel_stride * {size}), x_pixel_stride,
                                    pointer(target + lane * {size}), inside)
                    known += 1
                place = 0 if out_width >= {lanes} else (z - first_row) * out_width
                line = rows + (z - first_row) * {stride[0]} * row_bytes
                {name}_row(pointer(line), pointer(taps), pointer(results + place * {vector}){epilogue.names},
                    columns_in * {lanes}, w_step, n, first, z, out_width)
                finished, place = out_width, z * out_width
                if out_width < {lanes}:
                    if z < first_row + count - 1:
                        continue
                    finished, place = count * out_width, first_row * out_width
                target = y + ((n * channels + first) * plane + place) * {size}
{indent(out, 16)}
"""


def _step(counts: Sequence[int], statements: Sequence[str]) -> str:
    """As many pixels at a time as there are; the last ones of a row begin earlier where fewer would not do."""
    text = ""
    for count, fewer, lines in zip(counts, (*counts[1:], 0), statements, strict=True):
        start = f"left = min(left, columns - {count})\n" if count > 1 else ""
        if count == 1:
            text += "else:\n"
        else:
            more = f" and columns - left > {fewer}" if fewer > 1 else ""
            text += f"{'elif' if text else 'if'} columns >= {count}{more}:\n"
        text += indent(f"{start}{lines.strip()}\nleft += {count}", 4) + "\n"
    return text


def _sums(
    count: int, row: int, kernel: tuple[int, int], stride: int, dilation: tuple[int, int], lanes: int, start: str
) -> list[str]:
    """Statements that add the products of a kernel row for some pixels side by side; each input is read once."""
    lines: list[str] = []
    seen: set[int] = set()
    for b in range(kernel[1]):
        lines.append(f"factor = w[{row * kernel[1] + b} * w_step + s]")
        for p in range(count):
            column = p * stride + b * dilation[1]
            if column not in seen:
                seen.add(column)
                lines.append(f"in{column} = x[place + {row * dilation[0]} * row + {column * lanes} + s]")
            first = start if b == 0 else f"sum{p} + "
            lines.append(f"sum{p} = {first.format(p=p)}in{column} * factor")
    return lines


def _finish(count: int, lanes: int, epilogue: Epilogue) -> list[str]:
    lines = ["j = first + s"]
    for p in range(count):
        lines += [f"q, v = left + {p}, sum{p}", epilogue.body.strip("\n"), f"out[(left + {p}) * {lanes} + s] = v"]
    return [line for line in lines if line]


def _written_out(
    lanes: int, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], epilogue: Epilogue
) -> str:
    """Statements for some pixels from column `left` on, with all kernel elements."""
    parts = []
    for count in _PIXELS:
        lines = []
        for a in range(kernel[0]):
            lines += _sums(count, a, kernel, stride[1], dilation, lanes, "sum{p} + " if a else "")
        body = "\n".join(lines + _finish(count, lanes, epilogue))
        parts.append(f"place = left * {stride[1] * lanes}\nfor s in range({lanes}):\n{indent(body, 4)}\n")
    return _step(_PIXELS, parts)


def _by_rows(
    lanes: int, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], epilogue: Epilogue
) -> str:
    """The same with one row of the kernel after the other; the sums so far are in `out`."""
    parts = []
    for count in _PIXELS_OF_ROWS:
        held = [f"sum{p} = out[(left + {p}) * {lanes} + s]" for p in range(count)]
        kept = [f"out[(left + {p}) * {lanes} + s] = sum{p}" for p in range(count)]
        first = "\n".join(_sums(count, 0, kernel, stride[1], dilation, lanes, "") + kept)
        # The kernel row is a variable here: `w` and `place` move on.
        others = _sums(count, 0, kernel, stride[1], dilation, lanes, "sum{p} + ")
        others = [line.replace("w[", f"w[a * {kernel[1]} * w_step + ") for line in others]
        more = "\n".join(held + others + kept)
        done = "\n".join(held + _finish(count, lanes, epilogue))
        parts.append(f"""
place = left * {stride[1] * lanes}
for s in range({lanes}):
{indent(first, 4)}
for a in range(1, {kernel[0]}):
    place += {dilation[0]} * row
    for s in range({lanes}):
{indent(more, 8)}
for s in range({lanes}):
{indent(done, 4)}
""")
    return _step(_PIXELS_OF_ROWS, parts)


def run_channel_blocks(driver: Driver, instruction: Instruction, group: Group | None, target: Target) -> None:
    """Run such a convolution, with the group's operations in its epilogue."""
    value = instruction.results[0]
    x, weight, result = (v.type for v in (*instruction.inputs[:2], value))
    assert isinstance(x, TensorType) and isinstance(weight, TensorType) and isinstance(result, TensorType)
    a, dtype = instruction.attributes, x.dtype
    stride, pads, dilation = geometry("conv2d", weight, a["stride"], a["padding"], a["dilation"])
    output = next(iter(group.outputs)) if group is not None else value
    storage = driver.store(output)
    view, w = (
        forward_view(instruction.inputs[0], instruction.block),
        strided_view(instruction.inputs[1], instruction.block),
    )
    rows, columns = weight.shape[2:]
    assert isinstance(rows, int) and isinstance(columns, int)
    data = strided_constant(w, weight.shape, w.strides)
    if data is None:
        weights, w_strides = view_address(driver, w, dtype.itemsize), (w.strides[0], *w.strides[2:])
    else:
        key = (id(w.base.instruction), w.offset, w.strides, "taps")
        if key not in driver.constant_keys:
            driver.constant(pack_taps_numpy(data), key)
        weights, w_strides = driver.constant_keys[key], (1, columns * x.shape[1], x.shape[1])
    epilogue, text = Epilogue(), Text()
    if group is not None:
        (read,) = group.accesses[value]
        extents = {loop.name: loop.extent for loop in group.loops}
        named = [(v, str(index)) for v, index in zip("njzq", read, strict=True) if not isinstance(index, int)]
        epilogue, text = epilogue_of(driver, group, value, [(v, [name], [extents[name]]) for v, name in named])
    lanes = target.lanes(dtype.short)
    title, stem = title_of(instruction, group)
    name, source = named_source(
        stem, lambda n: blocks_source(n, dtype.short, lanes, (rows, columns), stride, dilation, epilogue)
    )
    work = element_count([*result.shape, rows, columns])
    driver.add_kernel(KernelSource(name, f"# {title}\n{source}", title=title, flops=work * 2))
    in_height, in_width = x.shape[2:]
    out_height, out_width = result.shape[2:]
    columns_in = (out_width - 1) * stride[1] + (columns - 1) * dilation[1] + 1
    reach = (rows - 1) * dilation[0] + 1
    row_block = dim_max(1, dim_min(out_height, _ELEMENTS // dim_max(1, columns_in * (lanes * stride[0]))))
    lines = (row_block - 1) * stride[0] + reach
    scratch = (lines * (columns_in + in_width) + row_block * out_width + (rows * columns)) * lanes
    sizes: dict[str, Dim] = {
        "scratch_elements": scratch,
        "images": x.shape[0],
        "channels": x.shape[1],
        "in_height": in_height,
        "in_width": in_width,
        "out_height": out_height,
        "out_width": out_width,
        "pad_height": pads[0],
        "pad_width": pads[2],
        "row_block": row_block,
    }
    sizes |= {f"x_{n}_stride": s for n, s in zip(("image", "channel", "row", "pixel"), view.strides, strict=True)}
    sizes |= {f"w_{n}_stride": s for n, s in zip(("channel", "row", "column"), w_strides, strict=True)}
    slots = {slot: driver.size(dim) for slot, dim in sizes.items()}
    buffer = driver.temporary(scratch * _WORKERS, dtype)
    driver.touch(buffer)
    slots |= {"x": view_address(driver, view, dtype.itemsize), "w": weights, "y": storage.address}
    slots["scratch"] = buffer.address
    run_contraction_kernel(driver, name, None, SLOTS, slots, text, output, f"{name}_plan(p, threads)")
    driver.clock += 1
