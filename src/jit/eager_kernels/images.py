"""Kernels of pooling, batch normalisation in training, and the gradient of relu, for all sizes."""

from typing import Any

from .code import Code, Number
from .geometry import Tile
from .stretch import Stretch, Terms, lowest, read, write, zero

__all__ = ["BATCH_NORM", "BATCH_NORM_GRADIENT", "POOL", "RELU_GRADIENT", "build"]

POOL = (
    "x", "g", "y", "height", "width", "out_height", "out_width", "kernel_height", "kernel_width", "stride_height",
    "stride_width", "top", "left", "dilation_height", "dilation_width", "counts_border", "divisor",
)  # fmt: skip
BATCH_NORM = ("x", "weight", "bias", "y", "mean", "variance", "images", "channels", "size", "eps")
BATCH_NORM_GRADIENT = (
    "g", "x", "weight", "mean", "variance", "y", "slope", "total", "images", "channels", "size", "eps",
)  # fmt: skip
RELU_GRADIENT = ("g", "out", "y")


def build(module: Any, dtype: str, tile: Tile) -> None:
    """Write the kernels into an LLVM module."""
    kernels = {
        "max_pool": (_max_pool, POOL),
        "max_pool_gradient": (_max_pool_gradient, POOL),
        "average_pool": (_average_pool, POOL),
        "average_pool_gradient": (_average_pool_gradient, POOL),
        "batch_norm": (_batch_norm, BATCH_NORM),
        "batch_norm_gradient": (_batch_norm_gradient, BATCH_NORM_GRADIENT),
        "relu_gradient": (_relu_gradient, RELU_GRADIENT),
    }
    for name, (body, slots) in kernels.items():
        code = Code(module, name, dtype, tile.lanes, slots)
        body(code)
        code.finish()


# -- pooling: a plane an item ------------------------------------------------------------------------------------------


class _Windows:
    """Loops over the windows of a plane and over what of them is inside it."""

    def __init__(self, code: Code) -> None:
        self.code = code
        s = code.slots
        self.planes = code.loop(code.lo, code.hi)
        self.pixels = s.height * s.width
        self.windows = s.out_height * s.out_width

    def for_each(self, body: Any) -> None:
        """`body(index, row, column)`: the window's index in its plane, and where it begins."""
        code, s = self.code, self.code.slots
        with code.loop(0, s.out_height) as i, code.loop(0, s.out_width) as j:
            body(i * s.out_width + j, i * s.stride_height - s.top, j * s.stride_width - s.left)

    def inside(self, row: Number, column: Number, body: Any) -> None:
        """`body(place)` for the places of a window that are in the plane, in their order."""
        code, s = self.code, self.code.slots
        with code.loop(0, s.kernel_height) as a:
            r = row + a * s.dilation_height
            with code.when((r >= 0) & (r < s.height)), code.loop(0, s.kernel_width) as b:
                c = column + b * s.dilation_width
                with code.when((c >= 0) & (c < s.width)):
                    body(r * s.width + c)

    def divisor(self, row: Number, column: Number) -> Number:
        """What a window's sum is divided by."""
        code, s = self.code, self.code.slots
        counts = []
        for start, kernel, size, border in (
            (row, s.kernel_height, s.height, s.top),
            (column, s.kernel_width, s.width, s.left),
        ):
            with_border = code.smaller(start + kernel, size + border) - start
            inside = code.smaller(start + kernel, size) - code.larger(start, 0)
            counts.append(code.select(s.counts_border.differs(0), with_border, inside))
        return code.number(code.select(s.divisor.differs(0), s.divisor, counts[0] * counts[1]))


def _max_pool(code: Code) -> None:
    s, windows = code.slots, _Windows(code)
    x, y = code.pointer(s.x), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        plane, out = x + item * windows.pixels, y + item * windows.windows

        def window(index: Number, row: Number, column: Number) -> None:
            best = code.variable(lowest(code))

            def look(place: Number) -> None:
                value = plane[place]
                best.set(code.select((value > best.get()) | value.differs(value), value, best.get()))

            windows.inside(row, column, look)
            out[index] = best.get()

        windows.for_each(window)


def _max_pool_gradient(code: Code) -> None:
    """To the first place of the maximum; NaN is larger than all."""
    s, windows = code.slots, _Windows(code)
    x, g, y = code.pointer(s.x), code.pointer(s.g), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        plane, into, gradient = x + item * windows.pixels, y + item * windows.pixels, g + item * windows.windows
        zero(code, into, windows.pixels)

        def window(index: Number, row: Number, column: Number) -> None:
            best, found = code.variable(lowest(code)), code.variable(-1)

            def look(place: Number) -> None:
                value, so_far = plane[place], best.get()
                nan = value.differs(value) & so_far.equals(so_far)
                better = (found.get() < 0) | (value > so_far) | nan
                best.set(code.select(better, value, so_far))
                found.set(code.select(better, place, found.get()))

            windows.inside(row, column, look)
            into[found.get()] = into[found.get()] + gradient[index]

        windows.for_each(window)


def _average_pool(code: Code) -> None:
    s, windows = code.slots, _Windows(code)
    x, y = code.pointer(s.x), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        plane, out = x + item * windows.pixels, y + item * windows.windows

        def window(index: Number, row: Number, column: Number) -> None:
            total = code.variable(Number(code, code.like(0.0, code.element)))
            windows.inside(row, column, lambda place: total.add(plane[place]))
            out[index] = total.get() / windows.divisor(row, column)

        windows.for_each(window)


def _average_pool_gradient(code: Code) -> None:
    s, windows = code.slots, _Windows(code)
    g, y = code.pointer(s.g), code.pointer(s.y)
    with code.loop(code.lo, code.hi) as item:
        into, gradient = y + item * windows.pixels, g + item * windows.windows
        zero(code, into, windows.pixels)

        def window(index: Number, row: Number, column: Number) -> None:
            share = gradient[index] / windows.divisor(row, column)

            def give(place: Number) -> None:
                into[place] = into[place] + share

            windows.inside(row, column, give)

        windows.for_each(window)


# -- batch normalisation: a channel an item ----------------------------------------------------------------------------


class _Channel:
    """The elements of one channel: a row of `size` elements in each image."""

    def __init__(self, code: Code, channel: Number) -> None:
        self.code, self.channel = code, channel

    def _rows(self) -> Any:
        s = self.code.slots
        return lambda n: Stretch(self.code, (n * s.channels + self.channel) * s.size, s.size)

    def vectors(self, body: Any) -> None:
        """`body(index, count)` for every vector of the channel."""
        with self.code.loop(0, self.code.slots.images) as n:
            self._rows()(n).vectors(body)

    def sums(self, terms: Terms, number: int) -> list[Number]:
        """The sums of what `terms` gives, in float64 over images: rows are added in vectors first."""
        code = self.code
        totals = [code.variable(code.wide(Number(code, code.like(0.0, code.element)))) for _ in range(number)]
        with code.loop(0, code.slots.images) as n:
            for total, part in zip(totals, self._rows()(n).sums(terms, number), strict=True):
                total.add(code.wide(part))
        return [total.get() for total in totals]

    @property
    def count(self) -> Number:
        """The number of elements, as float64."""
        return self.code.wide(self.code.number(self.code.slots.images * self.code.slots.size))


def _inverse(code: Code, variance: Number) -> Number:
    eps = code.from_bits(code.slots.eps)
    return Number(code, code.like(1.0, code.element)) / code.root(variance + eps)


def _batch_norm(code: Code) -> None:
    s = code.slots
    x, y, mean, variance = (code.pointer(a) for a in (s.x, s.y, s.mean, s.variance))
    weight, bias = code.pointer(s.weight), code.pointer(s.bias)
    with code.loop(code.lo, code.hi) as c:
        channel = _Channel(code, c)
        middle = code.narrow(channel.sums(lambda i, n: [read(x, i, n)], 1)[0] / channel.count)
        minus = code.splat(middle)

        def square(index: Number, count: Number | None) -> list[Number]:
            centred = read(x, index, count) - minus
            return [centred * centred]

        spread = code.narrow(channel.sums(square, 1)[0] / channel.count)
        mean[c], variance[c] = middle, spread
        factor, plus = code.splat(_inverse(code, spread) * weight[c]), code.splat(bias[c])

        def normalise(index: Number, count: Number | None) -> None:
            centred = read(x, index, count) - minus
            write(y, index, count, centred * factor + plus)

        channel.vectors(normalise)


def _batch_norm_gradient(code: Code) -> None:
    s = code.slots
    g, x, y = code.pointer(s.g), code.pointer(s.x), code.pointer(s.y)
    mean, variance, weight = code.pointer(s.mean), code.pointer(s.variance), code.pointer(s.weight)
    slopes, totals = code.pointer(s.slope), code.pointer(s.total)
    with code.loop(code.lo, code.hi) as c:
        channel, minus = _Channel(code, c), code.splat(mean[c])

        def terms(index: Number, count: Number | None) -> list[Number]:
            gradient = read(g, index, count)
            return [gradient, gradient * (read(x, index, count) - minus)]

        total, product = channel.sums(terms, 2)
        inverse = _inverse(code, variance[c])
        slope = code.narrow(product) * inverse
        slopes[c], totals[c] = slope, code.narrow(total)
        count = code.narrow(channel.count)
        along, shift = code.splat(slope / count * inverse), code.splat(code.narrow(total) / count)
        factor = code.splat(inverse * weight[c])

        def spread(index: Number, count: Number | None) -> None:
            centred = read(x, index, count) - minus
            rest = read(g, index, count) - (centred * along + shift)
            write(y, index, count, rest * factor)

        channel.vectors(spread)


# -- relu: elements ----------------------------------------------------------------------------------------------------


def _relu_gradient(code: Code) -> None:
    s = code.slots
    g, out, y = code.pointer(s.g), code.pointer(s.out), code.pointer(s.y)
    begin = code.lo
    with code.vectors(code.hi - begin) as (i, n):
        kept = code.select(out.part(begin + i, n) > 0.0, g.part(begin + i, n), 0.0)
        y.set_part(begin + i, kept, n)
