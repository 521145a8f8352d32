"""Convolutions with bias and ReLU: generated kernels against PyTorch, in NHWC and with the layout changes counted.

Run: python benchmarks/conv.py [--torch PYTHON] [--threads 2] [--only resnet]
"""

import numpy as np
from ingot.jit.codegen import conv, layout
from ingot.jit.codegen.conv import CONV_SLOTS, ConvSpec
from ingot.jit.codegen.gemm import Epilogue, aligned_empty
from ingot.jit.codegen.layout import LAYOUT_SLOTS
from kernel_harness import compare, compile_kernels, launcher, native_timer, plan_function, report, start

BIAS_RELU = Epilogue((("bias", "f32*"),), "v = v + bias[j]\nv = v if v > 0 or v != v else np.float32(0)")

# name, images, channels, height, width, out_channels, kernel, stride, padding, groups
CASES = [
    ("digits 1x1x8x8 -> 16", (1, 1, 8, 8, 16, 3, 1, 1, 1)),
    ("digits 1x16x8x8 -> 32", (1, 16, 8, 8, 32, 3, 1, 1, 1)),
    ("digits 64x1x8x8 -> 16", (64, 1, 8, 8, 16, 3, 1, 1, 1)),
    ("digits 64x16x8x8 -> 32", (64, 16, 8, 8, 32, 3, 1, 1, 1)),
    ("lenet 1x1x28x28 -> 32", (1, 1, 28, 28, 32, 3, 1, 0, 1)),
    ("lenet 1x32x13x13 -> 64", (1, 32, 13, 13, 64, 3, 1, 0, 1)),
    ("lenet 1x1x28x28 -> 6, 5x5", (1, 1, 28, 28, 6, 5, 1, 2, 1)),
    ("lenet 1x6x14x14 -> 16, 5x5", (1, 6, 14, 14, 16, 5, 1, 0, 1)),
    ("lenet 64x1x28x28 -> 32", (64, 1, 28, 28, 32, 3, 1, 0, 1)),
    ("lenet 64x32x13x13 -> 64", (64, 32, 13, 13, 64, 3, 1, 0, 1)),
    ("resnet 3x224x224 -> 64, 7x7/2", (1, 3, 224, 224, 64, 7, 2, 3, 1)),
    ("resnet 64x56x56", (1, 64, 56, 56, 64, 3, 1, 1, 1)),
    ("resnet 64x56x56 -> 128 /2", (1, 64, 56, 56, 128, 3, 2, 1, 1)),
    ("resnet 64x56x56 -> 128, 1x1/2", (1, 64, 56, 56, 128, 1, 2, 0, 1)),
    ("resnet 128x28x28", (1, 128, 28, 28, 128, 3, 1, 1, 1)),
    ("resnet 256x14x14", (1, 256, 14, 14, 256, 3, 1, 1, 1)),
    ("resnet 512x7x7", (1, 512, 7, 7, 512, 3, 1, 1, 1)),
    ("resnet 512x7x7, 8 images", (8, 512, 7, 7, 512, 3, 1, 1, 1)),
    ("bottleneck 1024x14x14 -> 256, 1x1", (1, 1024, 14, 14, 256, 1, 1, 0, 1)),
    ("mobilenet 96x56x56 depthwise", (1, 96, 56, 56, 96, 3, 1, 1, 96)),
    ("mobilenet 384x14x14 depthwise", (1, 384, 14, 14, 384, 3, 1, 1, 384)),
]


def main() -> None:
    """Print two lines per case: NHWC alone, and with the change from NCHW and back."""
    options, torch = start(__doc__ or "")
    launch = launcher()
    compiled: dict[str, dict[str, int]] = {}
    for name, shape in CASES:
        if options.only not in name:
            continue
        images, channels, height, width, out_channels, kernel, stride, padding, groups = shape
        depthwise = groups == channels and groups > 1
        spec = ConvSpec(out_channels=out_channels if out_channels < 32 else None, depthwise=depthwise)
        tile = spec.tile
        if tile.name not in compiled:
            print(f"kernels for {spec.name}:")
            sources = {"conv": conv.conv_source("conv", spec, BIAS_RELU), **spec.shared_sources()}
            sources["to_nhwc"] = layout.to_nhwc_source("to_nhwc", "f32")
            sources["to_nchw"] = layout.to_nchw_source("to_nchw", "f32")
            compiled[tile.name] = compile_kernels(sources)
        module = compiled[tile.name]
        x = np.random.randn(images, channels, height, width).astype("f4")
        weight = (np.random.randn(out_channels, channels // groups, kernel, kernel) * 0.1).astype("f4")
        bias = np.random.randn(out_channels).astype("f4")
        packed = conv.pack_depthwise_numpy(weight, tile) if depthwise else conv.pack_conv_numpy(weight, groups, tile)
        x_height, x_width = height + 2 * padding, width + 2 * padding
        out_height, out_width = (x_height - kernel) // stride + 1, (x_width - kernel) // stride + 1
        buffer = aligned_empty((images, x_height, x_width, channels), "f4")
        y = aligned_empty((images, out_height, out_width, out_channels), "f4")
        result = aligned_empty((images, out_channels, out_height, out_width), "f4")

        def table_of(slots: dict[str, int], values: dict[str, int], *extra: int) -> np.ndarray:
            table = np.zeros(len(slots) + len(extra), np.int64)
            for slot, value in values.items():
                table[slots[slot]] = value
            table[len(slots) :] = extra
            return table

        inward = table_of(
            LAYOUT_SLOTS,
            {"x": x.ctypes.data, "y": buffer.ctypes.data, "images": images, "channels": channels, "height": height}
            | {"width": width, "x_image_stride": channels * height * width, "x_channel_stride": height * width}
            | {"x_row_stride": width, "x_column_stride": 1, "y_height": x_height, "y_width": x_width}
            | {"top": padding, "left": padding},
        )
        outward = table_of(
            LAYOUT_SLOTS,
            {"x": y.ctypes.data, "y": result.ctypes.data, "images": images, "channels": out_channels}
            | {"height": out_height, "width": out_width, "x_image_stride": out_height * out_width * out_channels}
            | {"x_channel_stride": 1, "x_row_stride": out_width * out_channels, "x_column_stride": out_channels},
        )
        table = table_of(
            CONV_SLOTS,
            {"x": buffer.ctypes.data, "w": packed.ctypes.data, "y": y.ctypes.data, "images": images, "groups": groups}
            | {"channels": channels // groups, "out_channels": out_channels // groups, "out_height": out_height}
            | {"out_width": out_width, "kernel_height": kernel, "kernel_width": kernel, "stride_height": stride}
            | {"stride_width": stride, "dilation_height": 1, "dilation_width": 1, "x_pixel_stride": channels}
            | {"x_image_stride": x_height * x_width * channels, "x_row_stride": x_width * channels}
            | {"y_image_stride": out_height * out_width * out_channels, "y_row_stride": out_width * out_channels}
            | {"y_pixel_stride": out_channels, "y_channel_stride": 1, "in_height": height, "in_width": width}
            | {"pad_height": padding, "pad_width": padding},
            bias.ctypes.data,
        )
        plan = plan_function(module, spec)
        items = plan(table.ctypes.data, options.threads)
        grain = int(table[CONV_SLOTS["grain"]])
        row_grain = max(1, 16384 // (x_width * channels))
        strips, strip_grain = images * -(-out_channels // layout.STRIP), max(1, 1024 // (out_height * out_width))
        call = (module["conv"], table.ctypes.data, items, grain)
        before = (module["to_nhwc"], inward.ctypes.data, images * x_height, row_grain)
        after = (module["to_nchw"], outward.ctypes.data, strips, strip_grain)
        candidates = {
            "ingot": native_timer(launch, [call]),
            "with layouts": native_timer(launch, [before, call, after]),
        }
        if torch is not None:
            candidates["torch"] = lambda shape=shape: torch.time("conv", shape)
            candidates["torch NHWC"] = lambda shape=shape: torch.time("conv_channels_last", shape)
        flops = 2 * images * out_height * out_width * out_channels * (channels // groups) * kernel * kernel
        report(name, flops, compare(candidates))


if __name__ == "__main__":
    main()
