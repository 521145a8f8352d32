"""Images read at computed places: the nearest pixel or interpolated, with what lies outside in three ways."""

from typing import Any

import numpy as np

from ..dims import product
from ..sizes import Sizes
from ..types import TensorType
from ._common import randoms, require_tensor
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Sample, VjpContext, define

__all__ = ["CUBIC", "GRID_SAMPLE", "GRID_SAMPLE_GRAD"]

CUBIC = -0.75  # the free parameter of Keys' kernel, as in `interpolate`
_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def _infer(sizes: Sizes, input: Any, grid: Any, *, mode: str, padding_mode: str, align_corners: bool) -> TensorType:
    input, grid = require_tensor("grid_sample", "input", input), require_tensor("grid_sample", "grid", grid)
    if mode not in _MODES or padding_mode not in _PADDINGS:
        raise ValueError(
            f"grid_sample: expected mode to be one of {', '.join(_MODES)} and padding_mode one of "
            f"{', '.join(_PADDINGS)}, given {mode!r} and {padding_mode!r}"
        )
    given = f"given input {input} and grid {grid}"
    rank = input.rank - 2
    if rank not in (2, 3) or grid.rank != input.rank or (mode == "bicubic" and rank == 3):
        raise RuntimeError(
            f"grid_sample: expected 4D or 5D input (4D for bicubic) and grid with same number of dimensions, {given}"
        )
    if input.dtype is not grid.dtype or not input.dtype.is_floating_point:
        raise RuntimeError(f"grid_sample: expected input and grid to have one floating-point type, {given}")
    sizes.equal(input.shape[0], grid.shape[0], f"grid_sample: expected grid and input to have same batch size, {given}")
    sizes.equal(grid.shape[-1], rank, f"grid_sample: expected grid to have size {rank} in last dimension, {given}")
    if any(sizes.hint(d) == 0 for d in input.shape[2:]):
        raise RuntimeError(f"grid_sample: expected input to have non-empty spatial dimensions, {given}")
    return TensorType(input.dtype, (*input.shape[:2], *grid.shape[1:-1]), input.device)


# -- the reference -----------------------------------------------------------------------------------------------------


def _inside(xp: Any, places: Any, size: int, padding_mode: str, align_corners: bool) -> Any:
    """Places in the image, by the padding mode; with zeros they stay where they are."""
    if padding_mode == "zeros":
        return places
    if padding_mode == "reflection":
        low, span = (0.0, max(size - 1, 1)) if align_corners else (-0.5, size)
        away = xp.abs(places - low)
        extra = xp.fmod(away, span)
        turned = xp.remainder(xp.floor(away / span), 2) != 0
        places = xp.where(turned, span - extra, extra) + low
    return xp.clip(places, 0, size - 1)


def cubic_weights(fraction: Any) -> list[Any]:
    """Keys' cubic convolution at 1 + t, t, 1 - t and 2 - t ("Cubic convolution interpolation", 1981)."""

    def near(t: Any) -> Any:
        return ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1

    def far(t: Any) -> Any:
        return ((CUBIC * t - 5 * CUBIC) * t + 8 * CUBIC) * t - 4 * CUBIC

    return [far(fraction + 1), near(fraction), near(1 - fraction), far(2 - fraction)]


def _corners(xp: Any, grid: Any, sizes: Any, mode: str, padding_mode: str, align_corners: bool) -> Any:
    """For each neighbour that counts: its place in each dimension, and its weight (None for 1)."""
    rank = len(sizes)
    places = []
    for d, size in enumerate(sizes):
        g = grid[..., rank - 1 - d]
        places.append((g + 1) * ((size - 1) / 2) if align_corners else ((g + 1) * size - 1) / 2)
    options = (padding_mode, align_corners)
    if mode == "bicubic":
        floors = [xp.floor(p) for p in places]
        rows, columns = (cubic_weights(p - f) for p, f in zip(places, floors, strict=True))
        for i in range(4):
            for j in range(4):
                # a reflection about the middle of an element leaves a whole place up to rounding
                y, x = (
                    xp.rint(_inside(xp, f + (k - 1), n, *options))
                    for f, k, n in zip(floors, (i, j), sizes, strict=True)
                )
                yield [y, x], rows[i] * columns[j]
        return
    places = [_inside(xp, p, n, *options) for p, n in zip(places, sizes, strict=True)]
    if mode == "nearest":
        yield [xp.rint(p) for p in places], None
        return
    floors = [xp.floor(p) for p in places]
    for corner in range(2**rank):
        weight: Any = None
        at = []
        for d, (place, floor) in enumerate(zip(places, floors, strict=True)):
            up = corner >> d & 1
            at.append(floor + up)
            share = place - floor if up else floor + 1 - place
            weight = share if weight is None else weight * share
        yield at, weight


def _evaluate(xp: Any, input: Any, grid: Any, *, mode: str, padding_mode: str, align_corners: bool) -> Any:
    sizes = input.shape[2:]
    batch, channels = input.shape[:2]
    flat = xp.reshape(input, (batch, channels, -1))
    total: Any = 0
    with np.errstate(all="ignore"):
        for at, weight in _corners(xp, grid, sizes, mode, padding_mode, align_corners):
            held: Any = True
            index: Any = 0
            for place, size in zip(at, sizes, strict=True):
                within = (place >= 0) & (place <= size - 1)
                held = held & within
                index = index * size + xp.where(within, place, 0).astype(np.int64)
            values = xp.take_along_axis(flat, xp.reshape(index, (batch, 1, -1)), 2)
            values = xp.reshape(values, (batch, channels, *index.shape[1:]))
            values = values if weight is None else values * weight[:, None]
            total = total + xp.where(held[:, None], values, 0)
    return xp.asarray(total, input.dtype)


# -- the same in public ops --------------------------------------------------------------------------------------------


def _float(size: Any, like: Any) -> Any:
    """A size as a number of a tensor's type."""
    return F.full((), size, dtype=like.dtype)


def _inside_of(places: Any, size: Any, padding_mode: str, align_corners: bool) -> Any:
    if padding_mode == "zeros":
        return places
    if padding_mode == "reflection":
        low = 0.0 if align_corners else -0.5
        span = F.clamp(_float(size - 1, places), 1) if align_corners else _float(size, places)
        away = F.abs(F.sub(places, low))
        extra = F.fmod(away, span)
        turned = F.ne(F.remainder(F.floor(F.div(away, span)), 2), 0)
        places = F.add(F.where(turned, F.sub(span, extra), extra), low)
    return F.clamp(places, 0, _float(size - 1, places))


def _neighbours(grid: Any, sizes: Any, mode: str, padding_mode: str, align_corners: bool) -> Any:
    """As `_corners`, in public ops."""
    rank = len(sizes)
    places = []
    for d, size in enumerate(sizes):
        from_one = F.add(F.select(grid, rank - 1 - d, dim=-1), 1)
        if align_corners:
            places.append(F.mul(from_one, F.div(_float(size - 1, grid), 2)))
        else:
            places.append(F.div(F.sub(F.mul(from_one, _float(size, grid)), 1), 2))
    options = (padding_mode, align_corners)
    if mode == "bicubic":
        floors = [F.floor(p) for p in places]
        fractions = [F.sub(p, f) for p, f in zip(places, floors, strict=True)]
        rows, columns = (_cubic(t) for t in fractions)
        for i in range(4):
            for j in range(4):
                at = [
                    F.round(_inside_of(F.add(f, k - 1), n, *options))
                    for f, k, n in zip(floors, (i, j), sizes, strict=True)
                ]
                yield at, F.mul(rows[i], columns[j])
        return
    places = [_inside_of(p, n, *options) for p, n in zip(places, sizes, strict=True)]
    if mode == "nearest":
        yield [F.round(p) for p in places], None
        return
    floors = [F.floor(p) for p in places]
    for corner in range(2**rank):
        weight: Any = None
        at = []
        for d, (place, floor) in enumerate(zip(places, floors, strict=True)):
            up = corner >> d & 1
            at.append(F.add(floor, up))
            share = F.sub(place, floor) if up else F.sub(F.add(floor, 1), place)
            weight = share if weight is None else F.mul(weight, share)
        yield at, weight


def _cubic(t: Any) -> list[Any]:
    """`cubic_weights` in public ops."""

    def polynomial(x: Any, *factors: float) -> Any:
        total: Any = factors[0]
        for factor in factors[1:]:
            total = F.add(F.mul(x, total), factor)
        return total

    a = CUBIC
    near, far = (a + 2, -(a + 3), 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)
    return [
        polynomial(F.add(t, 1), *far), polynomial(t, *near), polynomial(F.sub(1.0, t), *near),
        polynomial(F.sub(2.0, t), *far),
    ]  # fmt: skip


def _decompose(input: Any, grid: Any, *, mode: str, padding_mode: str, align_corners: bool) -> Any:
    sizes = tuple(input.shape[2:])
    batch, channels = input.shape[:2]
    flat = F.flatten(input, 2)
    total: Any = None
    for at, weight in _neighbours(grid, sizes, mode, padding_mode, align_corners):
        held: Any = None
        index: Any = None
        for place, size in zip(at, sizes, strict=True):
            within = F.logical_and(F.ge(place, 0), F.le(place, _float(size - 1, place)))
            held = within if held is None else F.logical_and(held, within)
            whole = F.cast(F.where(within, place, 0.0), dtype="int64")
            index = whole if index is None else F.add(F.mul(index, size), whole)
        shape = tuple(index.shape[1:])
        count = product(shape)
        wanted = F.expand(F.reshape(index, (batch, 1, count)), (batch, channels, count))
        values = F.reshape(F.gather(flat, 2, wanted), (batch, channels, *shape))
        values = values if weight is None else F.mul(values, F.unsqueeze(weight, 1))
        values = F.where(F.unsqueeze(held, 1), values, 0.0)
        total = values if total is None else F.add(total, values)
    return total


_derived = derived_vjp(_decompose)


def _vjp(c: VjpContext, g: Any, input: Any, grid: Any, **options: Any) -> tuple[Any, ...]:
    if options["mode"] == "bicubic":
        return _derived(c, g, input, grid, **options)
    return F.grid_sample_grad(g, input, grid, **options)  # type: ignore[no-any-return]


def _samples() -> list[Sample]:
    image, grid = randoms(2, 3, 5, 4), randoms(2, 3, 2, 2, seed=1)
    volume = randoms(1, 2, 3, 2, 4), randoms(1, 2, 1, 2, 3, seed=2) * np.float32(0.7)
    return [
        Sample((image, grid)),
        Sample((image, grid, "bilinear", "border", True)),
        Sample((image, grid, "bilinear", "reflection", False)),
        Sample((image, grid, "nearest", "reflection", True)),
        Sample((image, grid, "bicubic", "zeros", False)),
        Sample((image, grid, "bicubic", "reflection", True)),
        Sample(volume),
        Sample((*volume, "nearest", "border")),
        Sample((randoms(1, 1, 1, 1), randoms(1, 2, 2, 2), "bilinear", "reflection", True), differentiable=False),
    ]


GRID_SAMPLE = define(
    "grid_sample(input: Tensor, grid: Tensor, mode: str = 'bilinear', padding_mode: str = 'zeros', "
    "align_corners: bool = False)",
    "The image [N, C, H, W] or [N, C, D, H, W] at the places of a grid [N, ..., 2 or 3]: from -1 to 1, x first.",
    infer=_infer,
    evaluate=_evaluate,
    vjp=_vjp,
    lower=Decompose(_decompose),
    samples=_samples,
    errors=lambda: [
        ErrorSample((randoms(1, 1, 2, 2), randoms(1, 1, 1, 3)), RuntimeError, "size 2 in last dimension"),
        ErrorSample((randoms(1, 1, 2, 2), randoms(2, 1, 1, 2)), RuntimeError, "same batch size"),
        ErrorSample((randoms(1, 1, 2), randoms(1, 1, 2)), RuntimeError, "4D or 5D"),
        ErrorSample((randoms(1, 1, 0, 2), randoms(1, 1, 1, 2)), RuntimeError, "non-empty"),
        ErrorSample((randoms(1, 1, 2, 2), randoms(1, 1, 1, 2), "cubic"), ValueError, "one of"),
    ],
)


# -- gradients ---------------------------------------------------------------------------------------------------------


def _infer_grad(sizes: Sizes, gradient: Any, input: Any, grid: Any, **options: Any) -> tuple[TensorType, TensorType]:
    result = _infer(sizes, input, grid, **options)
    if options["mode"] == "bicubic":
        raise RuntimeError("grid_sample_grad: expected the mode bilinear or nearest, given bicubic")
    gradient = require_tensor("grid_sample_grad", "gradient", gradient)
    for a, b in zip(gradient.shape, result.shape, strict=True):
        sizes.equal(a, b, f"grid_sample_grad: expected a gradient of shape {result.shape}, given {gradient}")
    return input, grid


def _slope(xp: Any, place: Any, size: int, padding_mode: str, align_corners: bool) -> Any:
    """How far `_inside` moves with the place that it is given."""
    if padding_mode == "zeros":
        return 1
    slope: Any = 1
    if padding_mode == "reflection":
        low, span = (0.0, max(size - 1, 1)) if align_corners else (-0.5, size)
        away = xp.abs(place - low)
        turned = xp.remainder(xp.floor(away / span), 2) != 0
        slope = xp.sign(place - low) * xp.where(turned, -1, 1)
        extra = xp.fmod(away, span)
        place = xp.where(turned, span - extra, extra) + low
    return slope * ((place >= 0) & (place <= size - 1))


def _evaluate_grad(
    xp: Any, gradient: Any, input: Any, grid: Any, *, mode: str, padding_mode: str, align_corners: bool
) -> tuple[Any, Any]:
    sizes = input.shape[2:]
    batch, channels = input.shape[:2]
    rank = len(sizes)
    flat = xp.reshape(input, (batch, channels, -1))
    to_input = xp.zeros(flat.shape, input.dtype)
    to_grid = xp.zeros(grid.shape, grid.dtype)
    rows, planes = xp.arange(batch)[:, None, None], xp.arange(channels)[None, :, None]
    with np.errstate(all="ignore"):
        places, slopes = [], []
        for d, size in enumerate(sizes):
            g = grid[..., rank - 1 - d]
            scale = (size - 1) / 2 if align_corners else size / 2
            raw = (g + 1) * ((size - 1) / 2) if align_corners else ((g + 1) * size - 1) / 2
            slopes.append(_slope(xp, raw, size, padding_mode, align_corners) * scale)
            places.append(_inside(xp, raw, size, padding_mode, align_corners))
        floors = [xp.floor(p) for p in places]
        corners = _corners(xp, grid, sizes, mode, padding_mode, align_corners)
        for number, (at, weight) in enumerate(corners):
            held: Any = True
            index: Any = 0
            for place, size in zip(at, sizes, strict=True):
                within = (place >= 0) & (place <= size - 1)
                held = held & within
                index = index * size + xp.where(within, place, 0).astype(np.int64)
            index = xp.reshape(index, (batch, 1, -1))
            part = gradient if weight is None else gradient * weight[:, None]
            part = xp.reshape(xp.where(held[:, None], part, 0), (batch, channels, -1))
            xp.add.at(to_input, (rows, planes, index), part)
            if weight is None:
                continue
            values = xp.reshape(xp.take_along_axis(flat, index, 2), gradient.shape)
            shared = xp.where(held, (gradient * values).sum(1), 0)
            for d in range(rank):
                moved: Any = slopes[d] if number >> d & 1 else -slopes[d]
                for other in range(rank):
                    if other != d:
                        up = number >> other & 1
                        share = places[other] - floors[other]
                        moved = moved * (share if up else 1 - share)
                to_grid[..., rank - 1 - d] += xp.where(shared == 0, 0, shared * moved)
    return xp.reshape(to_input, input.shape), to_grid


def _decompose_grad(gradient: Any, input: Any, grid: Any, **options: Any) -> tuple[Any, Any]:
    to_input, to_grid = _derived(VjpContext((), (True, True)), gradient, input, grid, **options)
    if to_grid is None:  # the nearest pixel stays the same: zeros, as in PyTorch
        to_grid = F.full(tuple(grid.shape), 0.0, dtype=grid.dtype)
    return to_input, to_grid


GRID_SAMPLE_GRAD = define(
    "grid_sample_grad(gradient: Tensor, input: Tensor, grid: Tensor, mode: str = 'bilinear', "
    "padding_mode: str = 'zeros', align_corners: bool = False)",
    "The gradients of grid_sample's input and grid, in the modes bilinear and nearest.",
    infer=_infer_grad,
    evaluate=_evaluate_grad,
    vjp=derived_vjp(_decompose_grad),
    lower=Decompose(_decompose_grad),
    outputs=2,
    samples=lambda: [
        Sample((randoms(*_result(image, grid), seed=3), image, grid, *options))
        for image, grid, *options in (s.args for s in _samples())
        if "bicubic" not in options and image.size > 1
    ],
    errors=lambda: [
        ErrorSample(
            (randoms(1, 1, 1, 1), randoms(1, 1, 2, 2), randoms(1, 1, 1, 2), "bicubic"),
            RuntimeError,
            "expected the mode",
        ),
        ErrorSample((randoms(1, 1, 1, 3), randoms(1, 1, 2, 2), randoms(1, 1, 1, 2)), RuntimeError, "gradient of shape"),
    ],
)


def _result(image: Any, grid: Any) -> tuple[int, ...]:
    return (*image.shape[:2], *grid.shape[1:-1])
