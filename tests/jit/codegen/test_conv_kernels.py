"""Convolution kernels against a direct numpy convolution: strides, padding, dilation, groups, layouts, edges."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from generated_kernels import functions_of, run_in_pieces, table_of
from ingot.jit.codegen import conv, layout
from ingot.jit.codegen.conv import CONV_SLOTS, ConvSpec
from ingot.jit.codegen.epilogue import Epilogue
from ingot.jit.codegen.layout import LAYOUT_SLOTS
from ingot.jit.codegen.target import AVX2, AVX512, NEON, SCALAR, SSE2, Target, tile_shape

GUARD = 1e30
BIAS_RESIDUAL_RELU = Epilogue(
    (("bias", "f32*"), ("residual", "f32*")),
    "v = v + bias[j] + residual[at]\nv = v if v > 0 or v != v else np.float32(0)",
)


def direct(
    x: Any, weight: Any, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int
) -> np.ndarray[Any, Any]:
    """The definition of a convolution, in float64, NCHW."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *((p, p) for p in padding)))
    out_channels, channels, kernel_height, kernel_width = weight.shape
    height = (x.shape[2] - dilation[0] * (kernel_height - 1) - 1) // stride[0] + 1
    width = (x.shape[3] - dilation[1] * (kernel_width - 1) - 1) // stride[1] + 1
    y = np.zeros((x.shape[0], out_channels, height, width))
    per_group = out_channels // groups
    for g in range(groups):
        part = x[:, g * channels : (g + 1) * channels]
        filters = weight[g * per_group : (g + 1) * per_group].astype(np.float64)
        for a in range(kernel_height):
            for b in range(kernel_width):
                top, left = a * dilation[0], b * dilation[1]
                window = part[
                    :, :, top : top + height * stride[0] : stride[0], left : left + width * stride[1] : stride[1]
                ]
                window = window[:, :, :height, :width]
                y[:, g * per_group : (g + 1) * per_group] += np.einsum("nchw,oc->nohw", window, filters[:, :, a, b])
    return y


class Conv:
    """The chain NCHW -> padded NHWC -> convolution -> (NHWC in a padded buffer -> NCHW, or NCHW at once)."""

    def __init__(self, spec: ConvSpec, epilogue: Epilogue | None = None, jit: bool = True) -> None:
        self.spec, self.tile = spec, spec.tile
        sources = {
            "to_nhwc": layout.to_nhwc_source("to_nhwc", spec.dtype),
            "zero_border": layout.zero_border_source("zero_border", spec.dtype),
            "to_nchw": layout.to_nchw_source("to_nchw", spec.dtype),
            "conv": conv.conv_source("conv", spec, epilogue),
            **spec.shared_sources(),
        }
        self.functions = functions_of(sources, jit)

    def __call__(
        self,
        x: Any,
        weight: Any,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        extra: tuple[int, ...] = (),
        y_padding: tuple[int, int] = (0, 0),
        threads: int = 2,
    ) -> np.ndarray[Any, Any]:
        images, channels, height, width = x.shape
        out_channels, _, kernel_height, kernel_width = weight.shape
        x_height, x_width = height + 2 * padding[0], width + 2 * padding[1]
        out_height = (x_height - dilation[0] * (kernel_height - 1) - 1) // stride[0] + 1
        out_width = (x_width - dilation[1] * (kernel_width - 1) - 1) // stride[1] + 1
        y_height, y_width = out_height + 2 * y_padding[0], out_width + 2 * y_padding[1]
        size = x.itemsize

        buffer = np.full(images * x_height * x_width * channels + 2, np.nan, x.dtype)
        buffer[-1] = GUARD
        slots = {"x": x.ctypes.data, "y": buffer.ctypes.data, "images": images, "channels": channels}
        slots |= {"height": height, "width": width, "y_height": x_height, "y_width": x_width}
        slots |= {"top": padding[0], "left": padding[1]}
        for name, s in zip(("image", "channel", "row", "column"), x.strides, strict=True):
            slots[f"x_{name}_stride"] = s // size
        run_in_pieces(self.functions["to_nhwc"], table_of(LAYOUT_SLOTS, slots), images * x_height)
        assert buffer[-1] == GUARD and np.isnan(buffer[-2])

        if self.spec.depthwise:
            packed = conv.pack_depthwise_numpy(weight, self.tile)
        else:
            packed = conv.pack_conv_numpy(weight, groups, self.tile)
        memory = np.full(images * y_height * y_width * out_channels + 64, GUARD, x.dtype)
        y = memory[32 : memory.size - 32]
        nchw = self.spec.nchw_output
        pixel, channel = (1, y_height * y_width) if nchw else (out_channels, 1)
        values = {"x": buffer.ctypes.data, "w": packed.ctypes.data, "images": images, "groups": groups}
        values |= {"y": y.ctypes.data + (y_padding[0] * y_width + y_padding[1]) * pixel * size}
        values |= {"channels": channels // groups, "out_channels": out_channels // groups}
        values |= {"out_height": out_height, "out_width": out_width, "kernel_height": kernel_height}
        values |= {"kernel_width": kernel_width, "stride_height": stride[0], "stride_width": stride[1]}
        values |= {"dilation_height": dilation[0], "dilation_width": dilation[1]}
        values |= {"x_image_stride": x_height * x_width * channels, "x_row_stride": x_width * channels}
        values |= {"x_pixel_stride": channels, "y_image_stride": y_height * y_width * out_channels}
        values |= {"y_row_stride": y_width * pixel, "y_pixel_stride": pixel, "y_channel_stride": channel}
        values |= {"in_height": height, "in_width": width, "pad_height": padding[0], "pad_width": padding[1]}
        table = table_of(CONV_SLOTS, values, extra)
        items = self.functions[f"{self.spec.name}_plan"](table.ctypes.data, threads)
        run_in_pieces(self.functions["conv"], table, items)
        assert (memory[:32] == GUARD).all() and (memory[memory.size - 32 :] == GUARD).all()
        if nchw:
            return y.reshape(images, out_channels, out_height, out_width)

        view = y.reshape(images, y_height, y_width, out_channels)
        inside = view[:, y_padding[0] : y_padding[0] + out_height, y_padding[1] : y_padding[1] + out_width]
        border = view.copy()
        border[:, y_padding[0] : y_padding[0] + out_height, y_padding[1] : y_padding[1] + out_width] = GUARD
        assert (border == GUARD).all()
        slots = {"y": y.ctypes.data, "images": images, "channels": out_channels, "height": out_height}
        slots |= {
            "width": out_width,
            "y_height": y_height,
            "y_width": y_width,
            "top": y_padding[0],
            "left": y_padding[1],
        }
        before = inside.copy()
        run_in_pieces(self.functions["zero_border"], table_of(LAYOUT_SLOTS, slots), images * y_height)
        np.testing.assert_array_equal(inside, before)
        assert np.count_nonzero(view == 0) >= view.size - inside.size
        result = np.full(inside.size + 1, GUARD, x.dtype)
        slots |= {
            "x": inside.ctypes.data,
            "y": result.ctypes.data,
            "x_image_stride": y_height * y_width * out_channels,
        }
        slots |= {"x_channel_stride": 1, "x_row_stride": y_width * out_channels, "x_column_stride": out_channels}
        strips = -(-out_channels // layout.STRIP)
        run_in_pieces(self.functions["to_nchw"], table_of(LAYOUT_SLOTS, slots), images * strips)
        assert result[-1] == GUARD
        return result[:-1].reshape(images, out_channels, out_height, out_width)


def operands(shape: tuple[int, ...], weight_shape: tuple[int, ...], dtype: Any = np.float32) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return random.standard_normal(shape).astype(dtype), random.standard_normal(weight_shape).astype(dtype)


def check(convolution: Conv, shape: tuple[int, ...], weight_shape: tuple[int, ...], **options: Any) -> None:
    x, weight = operands(shape, weight_shape, np.float32 if convolution.spec.dtype == "f32" else np.float64)
    y_padding = options.pop("y_padding", (0, 0))
    result = convolution(x, weight, y_padding=y_padding, **options)
    geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1} | options
    expected = direct(x, weight, **geometry)
    tolerance = 1e-5 if x.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * max(1, np.prod(weight_shape[1:])) ** 0.5)


@pytest.fixture(scope="module")
def nhwc() -> Conv:
    return Conv(ConvSpec())


@pytest.fixture(scope="module")
def nchw() -> Conv:
    return Conv(ConvSpec(nchw_output=True))


CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 1, 8, 8), (16, 1, 3, 3), {}),
    ((3, 1, 8, 8), (32, 1, 3, 3), {"padding": (1, 1)}),
    ((2, 3, 11, 13), (5, 3, 5, 2), {"padding": (2, 1), "stride": (2, 3)}),
    ((1, 4, 9, 9), (33, 4, 3, 3), {"dilation": (2, 2), "padding": (2, 2)}),
    ((2, 6, 7, 5), (9, 2, 3, 2), {"groups": 3, "padding": (1, 0)}),
    ((1, 4, 6, 7), (8, 1, 3, 3), {"groups": 4, "padding": (1, 1), "dilation": (1, 2)}),
    ((2, 17, 5, 5), (64, 17, 1, 1), {}),
    ((2, 8, 6, 6), (7, 8, 1, 1), {"stride": (2, 2)}),
    ((1, 300, 4, 4), (40, 300, 3, 3), {"padding": (1, 1)}),  # parts of a segment
    ((1, 200, 4, 4), (33, 200, 2, 3), {"dilation": (1, 2), "padding": (1, 2)}),  # parts of a kernel row
    ((1, 1024, 5, 3), (70, 1024, 1, 1), {}),  # windows that are copied
    ((1, 512, 7, 9), (70, 512, 2, 2), {"stride": (2, 2), "dilation": (2, 1)}),
    ((7, 90, 5, 5), (37, 90, 5, 5), {"padding": (2, 2)}),  # whole kernel rows
    ((1, 2000, 2, 2), (10, 2000, 1, 1), {}),
    ((0, 3, 5, 5), (4, 3, 3, 3), {}),
    ((2, 0, 5, 5), (4, 0, 3, 3), {}),
    ((2, 3, 5, 5), (0, 3, 3, 3), {}),
    ((2, 3, 3, 1), (5, 3, 3, 1), {}),
    # Images so small that kernel elements meet nothing but padding, or most pixels' windows are padding.
    ((3, 20, 1, 1), (33, 20, 3, 3), {"padding": (1, 1)}),
    ((1, 7, 1, 9), (5, 7, 5, 3), {"padding": (2, 0), "dilation": (1, 2)}),
    ((17, 6, 1, 1), (35, 6, 4, 4), {"padding": (3, 3)}),  # one place of several images
    ((31, 300, 2, 1), (3, 300, 3, 5), {"padding": (2, 3), "stride": (1, 2)}),
    ((16, 8, 2, 3), (70, 4, 3, 3), {"padding": (1, 2), "dilation": (1, 2), "groups": 2}),
    ((2, 3, 1, 1), (4, 3, 1, 2), {"padding": (2, 1), "stride": (4, 1)}),  # windows of nothing but padding
]


@pytest.mark.parametrize("shape, weight_shape, options", CASES)
def test_nhwc(nhwc: Conv, shape: tuple[int, ...], weight_shape: tuple[int, ...], options: dict[str, Any]) -> None:
    check(nhwc, shape, weight_shape, **options)
    check(nhwc, shape, weight_shape, **options, y_padding=(2, 1))


@pytest.mark.parametrize("shape, weight_shape, options", CASES)
def test_nchw(nchw: Conv, shape: tuple[int, ...], weight_shape: tuple[int, ...], options: dict[str, Any]) -> None:
    check(nchw, shape, weight_shape, **options)


def test_strided_input(nhwc: Conv) -> None:
    x, weight = operands((2, 10, 9, 12), (11, 5, 3, 3))
    for view in (
        x[:, ::2, ::-1, 1::2],
        x.transpose(0, 3, 2, 1)[:, 1:6, :, ::-1],
        np.broadcast_to(x[:1, :5], (3, 5, 9, 12)),
    ):
        expected = direct(view, weight, (1, 1), (1, 1), (1, 1), 1)
        np.testing.assert_allclose(nhwc(view, weight, padding=(1, 1)), expected, rtol=0, atol=1e-4)


def test_result_does_not_depend_on_the_division_of_work(nhwc: Conv) -> None:
    x, weight = operands((2, 300, 9, 9), (70, 300, 3, 3))
    reference = nhwc(x, weight, padding=(1, 1), threads=1)
    for threads in (2, 5, 64):
        np.testing.assert_array_equal(nhwc(x, weight, padding=(1, 1), threads=threads), reference)


@pytest.mark.parametrize("nchw_output", [False, True])
@pytest.mark.parametrize("jit", [True, False])
def test_epilogue(nchw_output: bool, jit: bool) -> None:
    convolution = Conv(ConvSpec(nchw_output=nchw_output), BIAS_RESIDUAL_RELU, jit=jit)
    for groups, shape in ((1, (2, 4, 5, 6)), (2, (2, 4, 5, 6)), (1, (16, 4, 1, 2))):
        x, weight = operands(shape, (34, 4 // groups, 3, 3))
        random = np.random.default_rng(1)
        bias = random.standard_normal(34).astype("f4")
        residual = random.standard_normal((shape[0], 34, *shape[2:])).astype("f4")
        same_layout = residual if nchw_output else np.ascontiguousarray(residual.transpose(0, 2, 3, 1))
        result = convolution(
            x, weight, padding=(1, 1), groups=groups, extra=(bias.ctypes.data, same_layout.ctypes.data)
        )
        expected = direct(x, weight, (1, 1), (1, 1), (1, 1), groups) + bias[:, None, None] + residual
        np.testing.assert_allclose(result, np.maximum(expected, 0), rtol=0, atol=1e-4)


DEPTHWISE: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 16, 7, 9), (16, 1, 3, 3), {"padding": (1, 1)}),
    ((1, 37, 8, 5), (37, 1, 3, 2), {"stride": (2, 1)}),
    ((1, 5, 9, 9), (5, 1, 5, 5), {"padding": (4, 4), "dilation": (2, 2)}),
    ((3, 64, 2, 2), (64, 1, 1, 1), {}),
    ((0, 8, 2, 2), (8, 1, 1, 1), {}),
]


@pytest.mark.parametrize("target, dtype", [(AVX512, "f32"), (AVX2, "f64"), (SSE2, "f32")])
def test_depthwise(target: Target, dtype: str) -> None:
    convolution = Conv(ConvSpec(dtype, depthwise=True, target=target))
    for shape, weight_shape, options in DEPTHWISE:
        check(convolution, shape, weight_shape, **options, groups=shape[1], y_padding=(1, 1))


def test_depthwise_epilogue_in_plain_python() -> None:
    convolution = Conv(ConvSpec(depthwise=True, nchw_output=True), BIAS_RESIDUAL_RELU, jit=False)
    x, weight = operands((2, 35, 4, 4), (35, 1, 3, 3))
    bias, residual = np.ones(35, "f4"), np.full((2, 35, 4, 4), 0.5, "f4")
    result = convolution(x, weight, padding=(1, 1), groups=35, extra=(bias.ctypes.data, residual.ctypes.data))
    expected = np.maximum(direct(x, weight, (1, 1), (1, 1), (1, 1), 35) + 1.5, 0)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("target, dtype", [(AVX512, "f64"), (AVX2, "f32"), (NEON, "f64"), (SCALAR, "f32")])
def test_every_target(target: Target, dtype: str) -> None:
    convolution = Conv(ConvSpec(dtype, target=target))
    for shape, weight_shape, options in CASES[:8]:
        check(convolution, shape, weight_shape, **options)


@pytest.mark.parametrize("out_channels", [1, 3, 6, 16, 32])
def test_known_channels(out_channels: int) -> None:
    convolution = Conv(ConvSpec(out_channels=out_channels))
    check(convolution, (2, 1, 8, 8), (out_channels, 1, 3, 3))
    check(convolution, (1, 6, 12, 12), (out_channels, 6, 5, 5), stride=(2, 1))


def test_nan_and_infinity_stay_in_their_windows(nhwc: Conv) -> None:
    x, weight = operands((1, 2, 9, 9), (33, 2, 3, 3))
    x[0, 0, 2, 2], x[0, 1, 8, 8] = np.nan, np.inf
    result = nhwc(x, weight, padding=(1, 1))
    nan, finite = np.isnan(result), np.isfinite(result)
    assert nan[:, :, 1:4, 1:4].all() and not nan[:, :, 4:7, 4:7].any()
    assert not finite[:, :, 7:, 7:].any() and finite[:, :, :1, :].all() and finite[:, :, 4:7, :].all()


def test_infinite_weight_does_not_meet_padding_lanes(nhwc: Conv) -> None:
    x, weight = operands((1, 1, 4, 4), (5, 1, 1, 1))
    weight[4] = np.inf
    assert np.isfinite(nhwc(x, weight)[:, :4]).all()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: conv.pack_conv_numpy(np.zeros((4, 3, 2), "f4"), 1, tile_shape(AVX512, "f32")), r"\[4, 3, 2\]"),
        (lambda: conv.pack_conv_numpy(np.zeros((4, 3, 2, 2), "f4"), 3, tile_shape(AVX512, "f32")), "divisible"),
        (lambda: conv.pack_depthwise_numpy(np.zeros((4, 3, 2, 2), "f4"), tile_shape(AVX512, "f32")), r"\(C, 1"),
    ],
)
def test_errors_say_what_was_expected(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
