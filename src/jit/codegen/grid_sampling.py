"""The kernel of grid_sample: the neighbours of each place, and what they count, are found once for all channels."""

from ...ir import dtypes
from ...ir.core import Instruction, Value
from ...ir.dims import Dim
from ...ir.ops.grid_sample import CUBIC
from ...ir.types import TensorType
from .driver import Driver
from .indexing import element_count
from .scalar_code import literal
from .template import LoopText, tensor_type

__all__ = ["is_grid_sample", "run_grid_sample", "run_grid_sample_gradient"]

# Places whose neighbours are kept on the stack, for all channels to read.
_BLOCK = 128
# Channels whose gradients one item of the gradient of images adds up.
_CHANNELS = 16
_AXES = ("depth", "height", "width")


def is_grid_sample(instruction: Instruction) -> bool:
    """Whether an instruction is a grid_sample, or the gradient of one, with a kernel here."""
    is_known = instruction.op.name in ("grid_sample", "grid_sample_grad")
    type = instruction.results[0].type if is_known else None
    return isinstance(type, TensorType) and type.dtype in (dtypes.float32, dtypes.float64)


def _indented(lines: list[str], depth: int) -> list[str]:
    return ["    " * depth + line for line in lines]


def run_grid_sample(driver: Driver, instruction: Instruction) -> None:
    """Images at the places of a grid."""
    source, grid = instruction.inputs
    result = instruction.results[0]
    text = _Text(instruction, tensor_type(source))
    loops = LoopText(driver, instruction)
    loops.read("x", source)
    loops.read("g", grid)
    loops.write("y", result)
    items = _sizes(loops, text, source, result)
    channels = tensor_type(source).shape[1]
    loops.run("\n".join(text.forward()), items, channels * (_BLOCK * text.count * 2))


def _sizes(loops: LoopText, text: "_Text", source: Value, result: Value) -> Dim:
    """Parameters for all sizes, and what the text calls; gives the number of blocks of places of all images."""
    driver, instruction = loops.driver, loops.instruction
    shape = tensor_type(source).shape
    area = element_count(shape[2:])
    if not isinstance(area, int):
        # Places in a plane are kept in 32 bits, of which twice as many are looked up at once.
        message = "grid_sample: images of 2**31 elements or more have no kernel"
        driver.fail_if(f"{driver.size(area)} >= {1 << 31}", "RuntimeError", message, instruction.location)
    points = element_count(tensor_type(result).shape[2:])
    blocks = (points + (_BLOCK - 1)) // _BLOCK
    loops.sizes(channels=shape[1], points=points, blocks=blocks, **dict(zip(text.axes, shape[2:], strict=True)))
    short = text.dtype.short
    loops.requirements.helpers.update({f"stack_{short}", "stack_i32", f"as_{short}", "floor", "rint"})
    loops.requirements.bits.add("select")
    return shape[0] * blocks


def run_grid_sample_gradient(driver: Driver, instruction: Instruction) -> None:
    """Gradients of images at the places of a grid: of the images, by blocks of channels, and of the grid."""
    gradient, source, grid = instruction.inputs
    to_input, to_grid = instruction.results
    text = _Text(instruction, tensor_type(source))
    shape = tensor_type(source).shape
    loops = LoopText(driver, instruction)
    loops.read("dy", gradient)
    loops.read("g", grid)
    loops.write("dx", to_input)
    items = _sizes(loops, text, source, gradient)
    parts = (shape[1] + (_CHANNELS - 1)) // _CHANNELS
    loops.sizes(parts=parts)
    work = element_count(tensor_type(gradient).shape[2:]) * (_CHANNELS * text.count * 2)
    loops.run("\n".join(text.to_input()), shape[0] * parts, work)
    loops = LoopText(driver, instruction)
    loops.read("dy", gradient)
    loops.read("x", source)
    loops.read("g", grid)
    loops.write("dg", to_grid)
    items = _sizes(loops, text, source, gradient)
    lines = text.to_grid() if text.mode == "bilinear" else text.no_slope()
    loops.run("\n".join(lines), items, shape[1] * (_BLOCK * text.count * 2))


class _Text:
    """Statements for one kind of sampling."""

    def __init__(self, instruction: Instruction, type: TensorType) -> None:
        self.mode, self.padding, self.aligned = (
            instruction.attributes[n] for n in ("mode", "padding_mode", "align_corners")
        )
        self.dtype = type.dtype
        self.rank = type.rank - 2
        self.axes = _AXES[3 - self.rank :]
        self.keeps_slopes = False  # whether shares and slopes are kept for the gradient of the grid
        self.count = {"nearest": 1, "bilinear": 2**self.rank, "bicubic": 16}[self.mode]

    def number(self, value: float) -> str:
        return literal(value, self.dtype)

    def start(self) -> list[str]:
        """Memory for what is known of a block's places, and sizes as numbers of the image's type."""
        short, axes = self.dtype.short, self.axes
        lines = [
            *(f"o{k} = stack_i32({_BLOCK})" for k in range(self.count)),
            *(f"w{k} = stack_{short}({_BLOCK})" for k in range(self.count) if self.mode != "nearest"),
            *(f"{axis}_size = as_{short}({axis})" for axis in axes),
            *(f"{axis}_last = {axis}_size - {self.number(1)}" for axis in axes),
        ]
        if self.padding == "reflection":
            for axis in axes:
                span = f"max({axis}_last, {self.number(1)})" if self.aligned else f"{axis}_size"
                lines.append(f"{axis}_span = {span}")
        return lines

    @property
    def block(self) -> list[str]:
        """Statements that find the neighbours of a block's places: of `image`, from `first` on."""
        return [
            f"count = min({_BLOCK}, points - first)",
            f"near = (image * points + first) * {self.rank}",
            "for p in range(count):",
            *_indented(self.places(), 1),
        ]

    def forward(self) -> list[str]:
        """For each block of places the neighbours, then all channels."""
        total = self.neighbour(0)
        for k in range(1, self.count):
            total = f"({total} + {self.neighbour(k)})"
        return [
            *self.start(),
            "for item in range(lo, hi):",
            "    image = item // blocks",
            f"    first = (item - image * blocks) * {_BLOCK}",
            *_indented(self.block, 1),
            "    for c in range(channels):",
            f"        base = (image * channels + c) * {self.area}",
            "        target = (image * channels + c) * points + first",
            "        for p in range(count):",
            f"            y[target + p] = {total}",
        ]

    @property
    def area(self) -> str:
        return f"({' * '.join(self.axes)})"

    def to_input(self) -> list[str]:
        """For each block of channels all places, whose gradients are given to their neighbours."""
        adds = []
        for k in range(self.count):
            weight = "" if self.mode == "nearest" else f" * w{k}[p]"
            adds += [f"if o{k}[p] >= 0:", f"    dx[base + o{k}[p]] += value{weight}"]
        return [
            *self.start(),
            "for item in range(lo, hi):",
            "    image = item // parts",
            f"    channel = (item - image * parts) * {_CHANNELS}",
            f"    until = min(channels, channel + {_CHANNELS})",
            f"    base = (image * channels + channel) * {self.area}",
            f"    for e in range((until - channel) * {self.area}):",
            f"        dx[base + e] = {self.number(0)}",
            f"    for first in range(0, points, {_BLOCK}):",
            *_indented(self.block, 2),
            "        for c in range(channel, until):",
            f"            base = (image * channels + c) * {self.area}",
            "            given = (image * channels + c) * points + first",
            "            for p in range(count):",
            "                value = dy[given + p]",
            *_indented(adds, 4),
        ]

    def no_slope(self) -> list[str]:
        """The nearest pixel stays the same."""
        return [
            "for item in range(lo, hi):",
            "    image = item // blocks",
            f"    first = (item - image * blocks) * {_BLOCK}",
            f"    near = (image * points + first) * {self.rank}",
            f"    for e in range(min({_BLOCK}, points - first) * {self.rank}):",
            f"        dg[near + e] = {self.number(0)}",
        ]

    def to_grid(self) -> list[str]:
        """For each block of places what their neighbours are worth, summed over the channels, then the slopes."""
        used, short = range(self.count), self.dtype.short
        self.keeps_slopes = True
        sums = []
        for k in used:
            value = f"x[base + max(o{k}[p], 0)] * dy[given + p]"
            sums += ["for p in range(count):", f"    s{k}[p] += select(o{k}[p] >= 0, {value}, {self.number(0)})"]
        slopes = []
        for d, axis in enumerate(self.axes):
            total = self.number(0)
            for k in used:
                shares = [f"s{k}[p]"]
                for other, name in enumerate(self.axes):
                    if other != d:
                        share = f"{name}_share[p]"
                        shares.append(share if k >> other & 1 else f"({self.number(1)} - {share})")
                product = " * ".join(shares)
                # A neighbour outside counts nothing, also where shares are NaN.
                sign = "+" if k >> d & 1 else "-"
                total = f"{total} {sign} select(o{k}[p] >= 0, {product}, {self.number(0)})"
            slopes.append(f"dg[near + p * {self.rank} + {self.rank - 1 - d}] = ({total}) * {axis}_slope[p]")
        lines = [
            *self.start(),
            *(f"s{k} = stack_{short}({_BLOCK})" for k in used),
            *(f"{axis}_{name} = stack_{short}({_BLOCK})" for axis in self.axes for name in ("share", "slope")),
            "for item in range(lo, hi):",
            "    image = item // blocks",
            f"    first = (item - image * blocks) * {_BLOCK}",
            *_indented(self.block, 1),
            *(line for k in used for line in ("    for p in range(count):", f"        s{k}[p] = {self.number(0)}")),
            "    for c in range(channels):",
            f"        base = (image * channels + c) * {self.area}",
            "        given = (image * channels + c) * points + first",
            *_indented(sums, 2),
            "    for p in range(count):",
            *_indented(slopes, 2),
        ]
        self.keeps_slopes = False
        return lines

    def neighbour(self, k: int) -> str:
        """What a neighbour contributes; places outside of the image are -1."""
        value = f"x[base + max(o{k}[p], 0)]"
        if self.mode != "nearest":
            value += f" * w{k}[p]"
        return f"select(o{k}[p] >= 0, {value}, {self.number(0)})"

    def places(self) -> list[str]:
        """Statements that compute the neighbours of place `p`."""
        lines = []
        for d, axis in enumerate(self.axes):
            coordinate = f"g[near + p * {self.rank} + {self.rank - 1 - d}]"
            if self.aligned:
                place = f"({coordinate} + {self.number(1)}) * ({axis}_last / {self.number(2)})"
            else:
                one, two = self.number(1), self.number(2)
                place = f"(({coordinate} + {one}) * {axis}_size - {one}) / {two}"
            lines.append(f"{axis}_place = {place}")
        if self.mode == "bicubic":
            return [*lines, *self.bicubic()]
        for axis in self.axes:
            if self.keeps_slopes:
                scale = f"{axis}_last" if self.aligned else f"{axis}_size"
                lines.append(f"slope = {scale} * {self.number(0.5)}")
            lines += self.inside(axis, f"{axis}_place")
            if self.keeps_slopes:
                lines.append(f"{axis}_slope[p] = slope")
        if self.mode == "nearest":
            lines += [f"{axis}_near = rint({axis}_place)" for axis in self.axes]
            return [*lines, *self.store(0, [f"{axis}_near" for axis in self.axes], "")]
        for axis in self.axes:
            lines.append(f"{axis}_0 = floor({axis}_place)")
            lines.append(f"{axis}_1 = {axis}_0 + {self.number(1)}")
            lines.append(f"{axis}_share0 = {axis}_1 - {axis}_place")
            lines.append(f"{axis}_share1 = {axis}_place - {axis}_0")
            if self.keeps_slopes:
                lines.append(f"{axis}_share[p] = {axis}_share1")
        for k in range(self.count):
            ups = [k >> d & 1 for d in range(self.rank)]
            weight = " * ".join(f"{axis}_share{up}" for axis, up in zip(self.axes, ups, strict=True))
            lines += self.store(k, [f"{axis}_{up}" for axis, up in zip(self.axes, ups, strict=True)], weight)
        return lines

    def bicubic(self) -> list[str]:
        lines = []
        for axis in self.axes:
            lines += [f"{axis}_0 = floor({axis}_place)", f"t = {axis}_place - {axis}_0"]
            one = self.number(1)
            for k, distance in enumerate(("t + " + one, "t", f"{one} - t", f"{self.number(2)} - t")):
                lines += [f"d = {distance}", f"{axis}_share{k} = {self.cubic(far=k in (0, 3))}"]
                lines.append(f"{axis}_at{k} = {axis}_0 + {self.number(k - 1)}")
                lines += self.inside(axis, f"{axis}_at{k}")
                lines.append(f"{axis}_at{k} = rint({axis}_at{k})")
        rows, columns = self.axes
        for i in range(4):
            for j in range(4):
                places = [f"{rows}_at{i}", f"{columns}_at{j}"]
                lines += self.store(4 * i + j, places, f"{rows}_share{i} * {columns}_share{j}")
        return lines

    def cubic(self, far: bool) -> str:
        """Keys' kernel at the distance `d`."""
        factors = (CUBIC, -5 * CUBIC, 8 * CUBIC, -4 * CUBIC) if far else (CUBIC + 2, -(CUBIC + 3), 0.0, 1.0)
        a, b, c, e = map(self.number, factors)
        return f"((d * {a} + {b}) * d + {c}) * d + {e}"

    def inside(self, axis: str, place: str) -> list[str]:
        """Statements that bring a place into the image, by the padding mode."""
        if self.padding == "zeros":
            return []
        lines = []
        if self.padding == "reflection":
            low = self.number(0.0 if self.aligned else -0.5)
            lines = [
                *([f"moved = {place} - {low}"] if self.keeps_slopes else []),
                f"away = abs({place} - {low})",
                f"turns = floor(away / {axis}_span)",
                f"rest = away - turns * {axis}_span",
                f"odd = turns - {self.number(2)} * floor(turns * {self.number(0.5)})",
                f"{place} = select(odd != {self.number(0)}, {axis}_span - rest, rest) + {low}",
            ]
        zero = self.number(0)
        if self.keeps_slopes:
            if self.padding == "reflection":
                lines.append(f"slope = select((odd != {zero}) != (moved < {zero}), -slope, slope)")
                lines.append(f"slope = select(moved == {zero}, {zero}, slope)")
            lines.append(f"slope = select(({place} >= {zero}) & ({place} <= {axis}_last), slope, {zero})")
        # A place that is NaN stays so, and is outside.
        return [
            *lines,
            f"{place} = select({place} < {zero}, {zero}, {place})",
            f"{place} = select({place} > {axis}_last, {axis}_last, {place})",
        ]

    def store(self, k: int, places: list[str], weight: str) -> list[str]:
        """Statements that keep a neighbour's place in a plane, or -1, and its weight."""
        zero = self.number(0)
        held = " & ".join(
            f"({place} >= {zero}) & ({place} <= {axis}_last)" for axis, place in zip(self.axes, places, strict=True)
        )
        index = ""
        for axis, place in zip(self.axes, places, strict=True):
            whole = f"int(select(held, {place}, {zero}))"
            index = f"({index}) * {axis} + {whole}" if index else whole
        lines = [f"held = {held}", f"o{k}[p] = select(held, {index}, -1)"]
        return [*lines, f"w{k}[p] = {weight}"] if weight else lines
