"""ONNX's products of 8-bit integers: exact with every form of zero points, by the integer kernel."""

import itertools
import warnings
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

pytest.importorskip("onnx", reason="the onnx package is an extra: pip install 'ingot[onnx]'")

from ingot.onnx import load

import onnx

NAMES = {np.int8: onnx.TensorProto.INT8, np.uint8: onnx.TensorProto.UINT8}


def integers(dtype: Any, *shape: int, seed: int = 0) -> Any:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def product_model(a: Any, zeros: dict[str, Any], b: Any) -> Any:
    inputs = [onnx.helper.make_tensor_value_info("a", NAMES[a.dtype.type], a.shape)]
    weights = [onnx.numpy_helper.from_array(b, "b")]
    weights += [onnx.numpy_helper.from_array(value, name) for name, value in zeros.items()]
    names = ["a", "b", "za" if "za" in zeros else "", "zb" if "zb" in zeros else ""]
    node = onnx.helper.make_node("MatMulInteger", names, ["y"])
    outputs = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, None)]
    graph = onnx.helper.make_graph([node], "product", inputs, outputs, weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("a_type, b_type", list(itertools.product(NAMES, NAMES)))
def test_matmul_integer_is_exact(a_type: Any, b_type: Any) -> None:
    a, b = integers(a_type, 2, 5, 19), integers(b_type, 19, 7, seed=1)
    one = {"za": np.array(3, a_type), "zb": np.array(120, b_type)}
    per = {"za": integers(a_type, 5, seed=2), "zb": integers(b_type, 7, seed=3)}
    cases = [(a, b, {}), (a, b, one), (a, b, per), (a, b, {"zb": one["zb"]}), (a, b, {"za": per["za"]})]
    cases += [(a[0, 0], b, one), (a[0], b[:, 0].copy(), one), (a[0, 0], b[:, 0].copy(), one)]
    for left, right, zeros in cases:
        model = load(product_model(left, zeros, right))
        with warnings.catch_warnings():
            warnings.simplefilter("error", jit.FallbackWarning)
            result = model(ingot.tensor(left))
        rows = np.asarray(zeros.get("za", 0)).astype(np.int64)
        wide = left.astype(np.int64) - (rows[:, None] if rows.ndim else rows)
        expected = wide @ (right.astype(np.int64) - np.asarray(zeros.get("zb", 0)).astype(np.int64))
        assert result.dtype is ingot.int32
        np.testing.assert_array_equal(result.numpy(), expected)
