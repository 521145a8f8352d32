"""Kernels of pooling over images in either layout: maxima and means of windows, and their gradients.

A window's result is made in two steps: the rows of all windows of an output row are joined into a buffer on the stack,
element by element along whole rows, then the columns of each window. Images that are contiguous (NCHW) are taken for
images of one channel, N * C of them; so in every layout the inner loops run along memory.

The gradient of a maximum looks for each window's maximum again, for all channels (or windows of a row) side by side,
and adds the window's gradient to its place: no indices are kept, and nothing is scattered.
"""

from dataclasses import dataclass

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim, dim_min
from ...ir.types import TensorType
from .driver import Driver
from .image_layout import layout_of
from .indexing import element_count
from .nest import extreme
from .plane_pools import PlaneWindows, plane_parameters, pool_text
from .reads import pool_geometry
from .scalar_code import literal
from .template import LoopText, tensor_type

__all__ = ["IMAGE_POOLS", "is_image_pool", "run_pool", "run_pool_gradient"]

IMAGE_POOLS = ("max_pool2d", "avg_pool2d", "max_pool2d_grad", "avg_pool2d_grad")

# Elements of a stack buffer: 32 KiB in float64.
_BUFFER = 4096
# Windows with more columns are joined by a loop, not by written-out steps; with more elements, their gradients are not
# looked for here.
_UNROLLED = 16
# Up to so many channels, all are handled at once by loops of constant length, where the number is known.
_FEW_CHANNELS = 16
# Channels that one item of a gradient handles.
_CHANNELS = 256


def is_image_pool(instruction: Instruction) -> bool:
    """Whether a pooling op has a kernel here: windows of floats whose rows fit the buffer."""
    if instruction.op.name not in IMAGE_POOLS:
        return False
    type = instruction.results[0].type
    if not isinstance(type, TensorType) or type.dtype not in (dtypes.float32, dtypes.float64):
        return False
    kernel, _, _, dilation = pool_geometry(instruction)
    return (kernel[1] - 1) * dilation[1] < _BUFFER // 2


@dataclass(frozen=True)
class _Strided:
    """A stored image: where its first pixel is, and the strides of images, channels, rows and columns."""

    first: Dim
    image: Dim
    channel: Dim
    row: Dim
    column: Dim


def _strided(value: Value, channels_last: bool) -> _Strided:
    """How a value is stored; without channels last anywhere, planes are images of one channel."""
    shape = tensor_type(value).shape
    layout = layout_of(value)
    if layout is not None:
        image, channel, row, column = layout.strides(shape)
        return _Strided(layout.first(shape), image, channel, row, column)
    height, width = shape[-2:]
    channels = shape[1] if channels_last else 1
    return _Strided(0, channels * height * width, height * width, width, 1)


@dataclass(frozen=True)
class _Pool:
    """What the kernels of one pooling know: its windows and the layouts of both sides."""

    instruction: Instruction
    wide: Value  # the images that the windows are in
    pooled: Value  # those with an element for each window
    source: Value | None = None  # where a gradient looks for maxima

    @property
    def channels_last(self) -> bool:
        """Whether the windows' images have their channels last."""
        return layout_of(self.wide) is not None

    @property
    def by_channel(self) -> bool:
        """Whether strides of channels matter: else planes are images of one channel."""
        stored = (self.wide, self.pooled, self.source)
        return any(value is not None and layout_of(value) is not None for value in stored)

    def sizes(self, loops: LoopText) -> tuple[Dim, Dim, Dim]:
        """Parameters for all sizes; gives the numbers of images, channels and output rows."""
        shape, out = tensor_type(self.wide).shape, tensor_type(self.pooled).shape
        images, channels = (shape[0], shape[1]) if self.by_channel else (element_count(shape[:-2]), 1)
        loops.sizes(
            channels=channels, height=shape[-2], width=shape[-1], out_height=out[-2], out_width=out[-1], images=images
        )
        for prefix, value in (("x", self.wide), ("y", self.pooled), ("s", self.source)):
            if value is None:
                continue
            s = _strided(value, self.by_channel)
            names = ("first", "image", "channel", "row", "column")
            loops.sizes(**{f"{prefix}_{name}": getattr(s, name) for name in names})
        return images, channels, out[-2]

    def count(self, dtype: str) -> tuple[list[str], list[str], str]:
        """What a mean divides by: statements for a row of windows (top) and for a window (left), and the number."""
        kernel, _, padding, _ = pool_geometry(self.instruction)
        attributes = self.instruction.attributes
        if attributes["divisor_override"] is not None:
            return [], [], f"as_{dtype}({attributes['divisor_override']})"
        if not attributes["ceil_mode"] and (attributes["count_include_pad"] or not any(padding)):
            return [], [], f"as_{dtype}({kernel[0] * kernel[1]})"
        lines = []
        for axis, (size, start) in enumerate((("height", "top"), ("width", "left"))):
            if attributes["count_include_pad"]:
                lines.append(f"min({start} + {kernel[axis]}, {size} + {padding[axis]}) - {start}")
            else:
                lines.append(f"min({start} + {kernel[axis]}, {size}) - max({start}, 0)")
        return [f"rows = {lines[0]}"], [f"count = rows * ({lines[1]})"], f"as_{dtype}(count)"


def _indented(lines: list[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]


# -- forward -----------------------------------------------------------------------------------------------------------


def run_pool(driver: Driver, instruction: Instruction) -> None:
    """Maxima or means of windows."""
    result = instruction.results[0]
    pool = _Pool(instruction, instruction.inputs[0], result)
    loops = LoopText(driver, instruction)
    loops.read("x", pool.wide)
    loops.write("y", result)
    dtype = tensor_type(result).dtype
    if not pool.by_channel:
        _run_plane_pool(pool, loops)
        return
    images, channels, out_height = pool.sizes(loops)
    kernel, _, _, dilation = pool_geometry(instruction)
    reach = (kernel[1] - 1) * dilation[1] + 1
    is_max = instruction.op.name == "max_pool2d"
    step = "maximum_step" if is_max else "sum_step"
    loops.requirements.helpers.update({step, f"stack_{dtype.short}", f"as_{dtype.short}"})
    identity = extreme(dtype, lowest=True) if is_max else literal(0, dtype)
    planes = not pool.channels_last
    few = isinstance(channels, int) and channels <= _FEW_CHANNELS and reach <= _BUFFER // _FEW_CHANNELS
    lines = _forward_head(pool, reach, identity, step, planes, planes or few)
    if few and not planes:
        lines = [f"        count_c = {channels}" if line.lstrip().startswith("count_c =") else line for line in lines]
    lines += _indented(_forward_columns(pool, dtype.short, identity, step, planes), 3)
    total = images if pool.channels_last or not pool.by_channel else images * tensor_type(pool.wide).shape[1]
    per_item = tensor_type(result).shape[-1] * (channels if pool.channels_last else 1) * (kernel[0] + kernel[1])
    loops.run("\n".join([f"v, w = stack_{dtype.short}({_BUFFER}), stack_{dtype.short}({_BUFFER})", *lines]),
              total * out_height, per_item)  # fmt: skip


def _run_plane_pool(pool: _Pool, loops: LoopText) -> None:
    """Maxima or means of windows of contiguous planes."""
    instruction = pool.instruction
    shape, out = tensor_type(pool.wide).shape, tensor_type(pool.pooled).shape
    dtype = tensor_type(pool.wide).dtype
    is_max = instruction.op.name == "max_pool2d"
    step = "maximum_step" if is_max else "sum_step"
    loops.requirements.helpers.update({step, f"stack_{dtype.short}", f"as_{dtype.short}"})
    identity = extreme(dtype, lowest=True) if is_max else literal(0, dtype)
    windows = PlaneWindows(pool_geometry(instruction), step, identity, dtype.short)
    planes = element_count(shape[:-2])
    known, short = plane_parameters(loops, height=shape[-2], width=shape[-1], out_height=out[-2], out_width=out[-1])
    row_count, column_count, number = ([], [], "") if is_max else pool.count(dtype.short)
    text = pool_text(windows, row_count, column_count, f" / {number}" if number else "")
    per_item = out[-1] * sum(windows.kernel)
    loops.run("\n".join([*known, text]), planes * out[-2], per_item, short)


def _item_lines(pool: _Pool, planes: bool) -> list[str]:
    """Statements that say where an item's image and row are: `x_start` and `y_start`."""
    _, stride, padding, _ = pool_geometry(pool.instruction)
    lines = [
        "image = item // out_height",
        "down = item % out_height",
        f"top = down * {stride[0]} - {padding[0]}",
    ]
    if planes and pool.by_channel:
        lines += [
            "x_start = x_first + image // channels * x_image + image % channels * x_channel",
            "y_start = y_first + image // channels * y_image + image % channels * y_channel + down * y_row",
        ]
    else:
        lines += ["x_start = x_first + image * x_image", "y_start = y_first + image * y_image + down * y_row"]
    return lines


def _joined_rows(step: str, flat: bool) -> list[str]:
    """Statements that join a row of the image with those in the buffer; `flat` says that all channels are handled."""
    whole = [
        "place = first * count_c",
        "if seen == 0:",
        "    for e in range((last - first) * count_c):",
        "        v[place + e] = x[base + e]",
        "else:",
        "    for e in range((last - first) * count_c):",
        f"        v[place + e] = {step}(v[place + e], x[base + e])",
    ]
    if flat:
        return whole
    return [
        "if count_c == channels:",
        *_indented(whole, 1),
        "else:",
        "    for q in range(last - first):",
        "        place = (first + q) * count_c",
        "        if seen == 0:",
        "            for e in range(count_c):",
        "                v[place + e] = x[base + q * x_column + e]",
        "        else:",
        "            for e in range(count_c):",
        f"                v[place + e] = {step}(v[place + e], x[base + q * x_column + e])",
    ]


def _forward_head(pool: _Pool, reach: int, identity: str, step: str, planes: bool, flat: bool) -> list[str]:
    """Loops over items and blocks of channels and windows, and the rows joined in the buffer `v`.

    The buffer has the columns from `left` on, `span` of them, each with `count` channels.
    """
    kernel, stride, padding, dilation = pool_geometry(pool.instruction)
    row_count, _, _ = pool.count("f32") if "count_include_pad" in pool.instruction.attributes else ([], [], "")
    channels = "1" if planes else "channels"
    return [
        f"block = max(1, min({channels}, {_BUFFER} // {max(reach, 16)}))",
        f"step = max(1, ({_BUFFER} // block - {reach}) // {stride[1]} + 1)",
        "for item in range(lo, hi):",
        *_indented(_item_lines(pool, planes), 1),
        *_indented(row_count, 1),
        f"    for channel in range(0, {channels}, block):",
        f"        count_c = min(block, {channels} - channel)",
        "        for first_window in range(0, out_width, step):",
        "            windows = min(step, out_width - first_window)",
        f"            start = first_window * {stride[1]} - {padding[1]}",
        f"            span = (windows - 1) * {stride[1]} + {reach}",
        "            first = min(max(-start, 0), span)",
        "            last = max(first, min(span, width - start))",
        "            for e in range(first * count_c):",
        f"                v[e] = {identity}",
        "            for e in range(last * count_c, span * count_c):",
        f"                v[e] = {identity}",
        "            seen = 0",
        f"            for a in range({kernel[0]}):",
        f"                row = top + a * {dilation[0]}",
        "                if row >= 0 and row < height:",
        "                    base = x_start + row * x_row + (start + first) * x_column + channel",
        *_indented(_joined_rows(step, flat), 5),
        "                    seen = 1",
        "            if seen == 0:",
        "                for e in range(first * count_c, last * count_c):",
        f"                    v[e] = {identity}",
    ]


def _forward_columns(pool: _Pool, dtype: str, identity: str, step: str, planes: bool) -> list[str]:
    """Statements that join the columns of each window and store the result."""
    kernel, stride, padding, dilation = pool_geometry(pool.instruction)
    _, column_count, number = pool.count(dtype) if step == "sum_step" else ([], [], "")
    divided = f" / {number}" if number else ""
    left = [f"left = (first_window + t) * {stride[1]} - {padding[1]}", *column_count] if column_count else []

    def joined(places: list[str]) -> str:
        text = f"v[{places[0]}]"
        for place in places[1:]:
            text = f"{step}({text}, v[{place}])"
        return text

    unrolled = kernel[1] <= _UNROLLED
    if planes:
        column = "" if layout_of(pool.pooled) is None else " * y_column"
        target = f"y[y_start + (first_window + t){column}]"
        if unrolled:
            places = [f"t * {stride[1]} + {b * dilation[1]}" for b in range(kernel[1])]
            return ["for t in range(windows):", *_indented([*left, f"{target} = {joined(places)}{divided}"], 1)]
        body = [*left, f"total = {identity}", f"for b in range({kernel[1]}):"]
        body += [f"    total = {step}(total, v[t * {stride[1]} + b * {dilation[1]}])", f"{target} = total{divided}"]
        return ["for t in range(windows):", *_indented(body, 1)]
    contiguous = layout_of(pool.pooled) is not None
    target = "y[place + e]" if contiguous else "w[t * count_c + e]"
    start = ["place = y_start + (first_window + t) * y_column + channel"] if contiguous else []
    if unrolled:
        places = [f"near + {b * dilation[1]} * count_c + e" for b in range(kernel[1])]
        body = [
            *left, *start, f"near = t * {stride[1]} * count_c",
            "for e in range(count_c):", f"    {target} = {joined(places)}{divided}",
        ]  # fmt: skip
    else:
        sums = "w[t * count_c + e]"
        body = [
            *left, *start, "for e in range(count_c):", f"    {sums} = {identity}", f"for b in range({kernel[1]}):",
            f"    near = (t * {stride[1]} + b * {dilation[1]}) * count_c", "    for e in range(count_c):",
            f"        {sums} = {step}({sums}, v[near + e])",
            "for e in range(count_c):", f"    {target} = {sums}{divided}",
        ]  # fmt: skip
    lines = ["for t in range(windows):", *_indented(body, 1)]
    if not contiguous:
        lines += [
            "for e in range(count_c):",
            "    place = y_start + (channel + e) * y_channel + first_window",
            "    for t in range(windows):",
            "        y[place + t] = w[t * count_c + e]",
        ]
    return lines


# -- gradients ---------------------------------------------------------------------------------------------------------


def run_pool_gradient(driver: Driver, instruction: Instruction) -> None:
    """Gradients of pooled images given to the elements of their windows."""
    gradient, result = instruction.inputs[0], instruction.results[0]
    is_max = instruction.op.name == "max_pool2d_grad"
    source = instruction.inputs[1] if is_max else None
    pool = _Pool(instruction, result, gradient, source)
    dtype = tensor_type(result).dtype
    loops = LoopText(driver, instruction)
    loops.read("g", gradient)
    if source is not None:
        loops.read("s", source)
    loops.write("x", result)
    images, channels, out_height = pool.sizes(loops)
    loops.requirements.helpers.update({f"stack_{dtype.short}", f"as_{dtype.short}"})
    kernel, stride, _, dilation = pool_geometry(instruction)
    apart = stride[0] >= (kernel[0] - 1) * dilation[0] + 1
    planes = not pool.channels_last
    per_plane = images if pool.channels_last or not pool.by_channel else images * tensor_type(result).shape[1]
    blocks: Dim = 1 if planes else (channels + (_CHANNELS - 1)) // _CHANNELS
    loops.sizes(blocks=blocks)
    lines = _gradient_head(pool, planes, apart, literal(0, dtype))
    lines += _indented(_gradient_windows(pool, planes), 2)
    lines.insert(0, f"w, u = stack_{dtype.short}({_CHANNELS}), stack_{dtype.short}({_CHANNELS})")
    width = tensor_type(gradient).shape[-1]
    work = width * (1 if planes else dim_min(channels, _CHANNELS)) * (kernel[0] * kernel[1] * 2)
    items = per_plane * blocks
    if apart:
        loops.run("\n".join(lines), items * out_height, work)
    else:
        loops.run("\n".join(lines), items, work * out_height)


def _gradient_head(pool: _Pool, planes: bool, apart: bool, zero: str) -> list[str]:
    """Loops over items, blocks of channels of an image or of an output row, and rows of windows.

    Where windows of different rows have no row in common, an item is one row of windows, else a whole image.
    """
    _, stride, padding, _ = pool_geometry(pool.instruction)
    row_count, _, _ = pool.count("f32") if "count_include_pad" in pool.instruction.attributes else ([], [], "")
    lines = ["for item in range(lo, hi):"]
    if apart:
        lines += ["    rows_from, rows_to = item % out_height, item % out_height + 1", "    part = item // out_height"]
    else:
        lines += ["    rows_from, rows_to = 0, out_height", "    part = item"]
    lines += ["    channel = part % blocks * " + str(_CHANNELS), "    image = part // blocks"]
    lines.append("    count_c = 1" if planes else f"    count_c = min({_CHANNELS}, channels - channel)")
    names = ["x", "y", "s"] if pool.instruction.op.name == "max_pool2d_grad" else ["x", "y"]
    for name in names:
        if planes and pool.by_channel:
            place = f"image // channels * {name}_image + image % channels * {name}_channel"
        else:
            place = f"image * {name}_image + channel * {name}_channel"
        lines.append(f"    {name}_start = {name}_first + {place}")
    lines += [
        f"    clear_from = 0 if rows_from == 0 else max(0, rows_from * {stride[0]} - {padding[0]})",
        f"    clear_to = height if rows_to == out_height else min(height, rows_to * {stride[0]} - {padding[0]})",
        "    for row in range(clear_from, clear_to):",
        f"        if {'True' if planes else 'count_c == channels'}:",
        "            for e in range(width * count_c):",
        f"                x[x_start + row * x_row + e] = {zero}",
        "        else:",
        "            for q in range(width):",
        "                for e in range(count_c):",
        f"                    x[x_start + row * x_row + q * x_column + e] = {zero}",
        "    for down in range(rows_from, rows_to):",
        f"        top = down * {stride[0]} - {padding[0]}",
        *_indented(row_count, 2),
    ]
    return lines


def _gradient_windows(pool: _Pool, planes: bool) -> list[str]:
    """Statements for a row of windows: those inside the image side by side, those at its edges one by one."""
    kernel, stride, padding, dilation = pool_geometry(pool.instruction)
    reach = [(kernel[axis] - 1) * dilation[axis] + 1 for axis in (0, 1)]
    dtype = tensor_type(pool.wide).dtype.short
    edge = _edge_window(pool, dtype)
    if kernel[0] * kernel[1] > _UNROLLED:
        return ["for ox in range(out_width):", *_indented(edge, 1)]
    # Windows in [inner_from, inner_to) have all their columns inside.
    lines = [
        "inner_from, inner_to = 0, 0",
        f"if top >= 0 and top + {reach[0]} <= height and width + {padding[1]} >= {reach[1]}:",
        f"    inner_from = min({-(-padding[1] // stride[1])}, out_width)",
        f"    inner_to = max(inner_from, min(out_width, (width + {padding[1]} - {reach[1]}) // {stride[1]} + 1))",
    ]
    if planes:
        lines += _inner_row(pool)
    else:
        lines += ["for ox in range(inner_from, inner_to):", *_indented(_inner_window(pool), 1)]
    return [
        *lines,
        "for ox in range(out_width):",
        "    if ox < inner_from or ox >= inner_to:",
        *_indented(edge, 2),
    ]


def _taps(pool: _Pool, name: str, place: str, column: str) -> list[str]:
    """The elements of a window inside the image, the first at `place`."""
    kernel, _, _, dilation = pool_geometry(pool.instruction)
    return [
        f"{name}[{place} + {a * dilation[0]} * {name}_row + {b * dilation[1]}{column}]"
        for a in range(kernel[0])
        for b in range(kernel[1])
    ]


def _winner_lines(taps: list[str]) -> list[str]:
    """Statements that find which of some elements is the maximum: NaN wins, then the first. Only selections."""
    lines = [f"best = {taps[0]}", "which = 0"]
    for number, tap in enumerate(taps[1:], 1):
        lines += [
            f"value = {tap}",
            "better = (value > best) | ((value != value) & (best == best))",
            "best = value if better else best",
            f"which = {number} if better else which",
        ]
    return lines


def _spread_lines(pool: _Pool, targets: list[str], which: str) -> list[str]:
    """A statement for each element of a window that adds the window's gradient, or that of the maximum to one."""
    kernel, stride, _, dilation = pool_geometry(pool.instruction)
    apart = all(stride[axis] >= (kernel[axis] - 1) * dilation[axis] + 1 for axis in (0, 1))
    zero = literal(0, tensor_type(pool.wide).dtype)
    lines = []
    for number, target in enumerate(targets):
        value = "given" if pool.source is None else f"(given if {which} == {number} else {zero})"
        lines.append(f"{target} = {value}" if apart else f"{target} += {value}")
    return lines


def _share(pool: _Pool) -> tuple[list[str], str]:
    """Statements before a window is handled, and what its gradient is divided by."""
    if pool.source is not None:
        return [], ""
    _, stride, padding, _ = pool_geometry(pool.instruction)
    _, column_count, number = pool.count(tensor_type(pool.wide).dtype.short)
    left = [f"left = ox * {stride[1]} - {padding[1]}", *column_count] if column_count else []
    return left, f" / {number}"


def _inner_window(pool: _Pool) -> list[str]:
    """One window inside the image, for all channels of the block: loops with one store each, which LLVM vectorises."""
    _, stride, padding, _ = pool_geometry(pool.instruction)
    dtype = tensor_type(pool.wide).dtype.short
    left, divided = _share(pool)
    offset = f"ox * {stride[1]} - {padding[1]}"
    lines = [*left, f"xp = x_start + top * x_row + ({offset}) * x_column"]
    lines.append("gp = y_start + down * y_row + ox * y_column")
    contiguous = layout_of(pool.pooled) is not None
    # Channels of the gradient that lie apart are brought together first.
    place = "gp + e" if contiguous else "gp + e * y_channel"
    lines += ["for e in range(count_c):", f"    w[e] = g[{place}]{divided}"]
    if pool.source is not None:
        lines.append(f"sp = s_start + top * s_row + ({offset}) * s_column")
        step = "" if layout_of(pool.source) is not None else " * s_channel"
        winner = _winner_lines(_taps(pool, "s", f"sp + e{step}", " * s_column"))
        lines += ["for e in range(count_c):", *_indented([*winner, f"u[e] = as_{dtype}(which)"], 1)]
    for statement in _spread_lines(pool, _taps(pool, "x", "xp + e", " * x_column"), "u[e]"):
        lines += ["for e in range(count_c):", "    given = w[e]", f"    {statement}"]
    return lines


def _inner_row(pool: _Pool) -> list[str]:
    """The windows of a row inside a plane, side by side."""
    _, stride, padding, _ = pool_geometry(pool.instruction)
    left, divided = _share(pool)
    lines = [f"xp = x_start + top * x_row - {padding[1]}", "gp = y_start + down * y_row"]
    body = [*left]
    if pool.source is not None:
        column = "" if layout_of(pool.source) is None else " * s_column"
        lines.append(f"sp = s_start + top * s_row - {padding[1]}{column}")
        body += _winner_lines(_taps(pool, "s", f"sp + ox * {stride[1]}{column}", column))
    column = "" if layout_of(pool.pooled) is None else " * y_column"
    body.append(f"given = g[gp + ox{column}]{divided}")
    body += _spread_lines(pool, _taps(pool, "x", f"xp + ox * {stride[1]}", ""), "which")
    return [*lines, "for ox in range(inner_from, inner_to):", *_indented(body, 1)]


def _edge_window(pool: _Pool, dtype: str) -> list[str]:
    """A window of which only a part may be inside the image."""
    kernel, stride, padding, dilation = pool_geometry(pool.instruction)
    left, divided = _share(pool)
    lines = [*left, f"start = ox * {stride[1]} - {padding[1]}", "gp = y_start + down * y_row + ox * y_column"]
    window = [
        f"for a in range({kernel[0]}):",
        f"    row = top + a * {dilation[0]}",
        "    if row >= 0 and row < height:",
        f"        for b in range({kernel[1]}):",
        f"            column = start + b * {dilation[1]}",
        "            if column >= 0 and column < width:",
    ]
    body = [f"given = g[gp + e * y_channel]{divided}"]
    if pool.source is None:
        body += [*window, "                x[x_start + row * x_row + column * x_column + e] += given"]
    else:
        body += [
            "place = -1",
            f"best = as_{dtype}(0)",
            *window,
            "                value = s[s_start + row * s_row + column * s_column + e * s_channel]",
            "                if place < 0 or value > best or (value != value and best == best):",
            "                    best = value",
            "                    place = x_start + row * x_row + column * x_column + e",
            "if place >= 0:",
            "    x[place] += given",
        ]
    return [*lines, "for e in range(count_c):", *_indented(body, 1)]
