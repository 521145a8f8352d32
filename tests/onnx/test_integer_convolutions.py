"""Convolutions of 8-bit integers in ONNX models: exact for every shape, zero point and size of the weights."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot.nn import functional as F

onnx = pytest.importorskip("onnx", reason="writes the models")
random = np.random.default_rng(0)
KINDS = {
    "ConvInteger": onnx.TensorProto.INT32,
    "QLinearConv": onnx.TensorProto.UINT8,
    "DequantizeLinear": onnx.TensorProto.FLOAT,
}


def load(nodes: list[Any], inputs: dict[str, Any], constants: dict[str, Any]) -> Any:
    kinds = {np.uint8: onnx.TensorProto.UINT8, np.int8: onnx.TensorProto.INT8}
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info(n, kinds[v.dtype.type], ["n", *v.shape[1:]]) for n, v in inputs.items()],
        [onnx.helper.make_tensor_value_info("y", KINDS[nodes[0].op_type], None)],
        [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return ingot.onnx.load(model)


def expected(x: Any, w: Any, x_zero: int, w_zero: Any, **options: Any) -> Any:
    wide = [ingot.from_numpy(a.astype(np.float64)) for a in (x - np.float64(x_zero), w - np.float64(w_zero))]
    return F.conv2d(*wide, **options).numpy()


CASES = {
    "many_channels": ((2, 5, 9, 8), (40, 5, 3, 3), {"pads": [1, 1, 1, 1]}, {"padding": 1}),
    "strides": ((1, 40, 7, 11), (33, 40, 1, 3), {"strides": [2, 3]}, {"stride": (2, 3)}),
    "dilations": ((1, 40, 9, 9), (32, 40, 3, 1), {"dilations": [2, 1]}, {"dilation": (2, 1)}),
    "point": ((3, 37, 5, 5), (32, 37, 1, 1), {}, {}),
    "few_channels": ((2, 5, 9, 8), (7, 5, 3, 3), {"pads": [1, 1, 1, 1]}, {"padding": 1}),
    "groups": ((1, 6, 9, 8), (6, 1, 3, 3), {"group": 6}, {"groups": 6}),
    "large_sums": ((1, 300, 5, 5), (4, 300, 3, 3), {}, {}),
}


@pytest.mark.parametrize(("kind", "w_zero"), [(np.uint8, 0), (np.int8, 3)])
@pytest.mark.parametrize("name", CASES)
def test_sums_are_exact(name: str, kind: Any, w_zero: int) -> None:
    x_shape, w_shape, attributes, options = CASES[name]
    info = np.iinfo(kind)
    x = random.integers(info.min, info.max + 1, x_shape).astype(kind)
    x[0, 0] = info.max
    w = random.integers(-128, 128, w_shape).astype(np.int8)
    w[0] = -128
    zero = kind(17)
    node = onnx.helper.make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], **attributes)
    model = load([node], {"x": x}, {"w": w, "xz": zero, "wz": np.int8(w_zero)})
    with ingot.no_grad():
        result = model(ingot.from_numpy(x)).numpy()
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, expected(x, w, 17, w_zero, **options))


def test_scales_of_channels_and_bias() -> None:
    x = random.integers(0, 256, (2, 8, 6, 6)).astype(np.uint8)
    w, bias = (
        random.integers(-128, 128, (32, 8, 3, 3)).astype(np.int8),
        random.integers(-9999, 9999, 32).astype(np.int32),
    )
    scales = (random.random(32) * 0.01 + 0.001).astype(np.float32)
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "bias"]
    constants = {
        "xs": np.float32(0.05), "xz": np.uint8(120), "w": w, "ws": scales, "wz": np.zeros(32, np.int8),
        "ys": np.float32(2), "yz": np.uint8(9), "bias": bias,
    }  # fmt: skip
    model = load([onnx.helper.make_node("QLinearConv", names, ["y"])], {"x": x}, constants)
    with ingot.no_grad():
        sums = expected(x, w, 120, 0) + bias[:, None, None]
        real = sums * (np.float64(np.float32(0.05)) * scales[:, None, None]) / 2
        np.testing.assert_array_equal(
            model(ingot.from_numpy(x)).numpy(), np.clip(np.round(real) + 9, 0, 255).astype(np.uint8)
        )


def test_scales_in_lists_of_one_have_no_axis() -> None:
    node = onnx.helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"])
    constants = {"s": np.array([0.5], np.float32), "z": np.array([3], np.uint8)}
    model = load([node], {"x": np.zeros(1, np.uint8)}, constants)
    with ingot.no_grad():
        np.testing.assert_array_equal(model(ingot.tensor(np.array([5, 3], np.uint8))).numpy(), np.float32([1, 0]))
