"""Forms that operators had in older operator sets, against ONNX Runtime."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx package is an extra: pip install 'ingot[onnx]'")
pytest.importorskip("onnxruntime", reason="ONNX Runtime, the reference here, is not installed")

import ingot
import onnxruntime
from ingot import jit
from ingot.onnx import load

from onnx import helper


def node(op_type: str, inputs: str = "x", outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


CASES = {
    "softmax": ([node("Softmax")], (7, 9, 11)),
    "squeeze": ([node("Unsqueeze", "x", "u", axes=[0]), node("Squeeze", "u", axes=[0])], (7, 11)),
    "slice": ([node("Slice", starts=[0, -2], ends=[2, 100], axes=[1, 2])], (7, 9)),
    "pad": ([node("Pad", pads=[0, 0, 1, 1, 0, 0, 2, 2], value=1.0)], (7, 10)),
    "clip": ([node("Clip", min=-0.5, max=0.5)], (7, 10)),
    "nearest": ([node("Upsample", scales=[1.0, 1.0, 2.0, 2.0])], (7,)),
    "linear": ([node("Upsample", scales=[1.0, 1.0, 2.0, 2.0], mode="linear")], (7,)),
    "split": ([node("Split", "x", "y z", axis=2, split=[1, 3])], (7, 11)),
    "split equally": ([node("Split", "x", "y z", axis=2)], (7, 11, 13)),
    "topk": ([node("TopK", "x", "y z", k=2)], (7,)),
    "sum": ([node("ReduceSum", axes=[1, -1], keepdims=0)], (11,)),
    "mean": ([node("ReduceMean", axes=[1])], (7, 13)),
    "dropout": ([node("Dropout")], (7, 10, 12, 13)),
    "flatten": ([node("Flatten", axis=2)], (7,)),
    "average": ([node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])], (7, 11)),
    "average, rounded up": ([node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], (10, 19)),
    "maximum, rounded up": (
        [node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1, 1, 1, 1])], (10, 12)
    ),
    "channel slopes": (
        [node("ReduceMean", "x", "m", axes=[0, 2, 3], keepdims=0), node("Unsqueeze", "m", "u", axes=[1, 2]),
         node("PRelu", "x u")], (7, 9)
    ),
    "hardmax": ([node("Hardmax", axis=1)], (7, 11, 13)),
    "argmax": ([node("ArgMax", axis=1, keepdims=0)], (7, 12)),
    "response normalisation": ([node("LRN", size=3)], (7, 13)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_old_forms(name: str) -> None:
    nodes, versions = CASES[name]
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    outputs = [helper.make_empty_tensor_value_info(o) for o in nodes[-1].output]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, x.shape)], outputs)
    for version in versions:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=4)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        with jit.executor("interpreter"):
            result = load(model)(ingot.from_numpy(x))
        results = [result] if isinstance(result, ingot.Tensor) else result
        for actual, expected in zip(results, session.run(None, {"x": x}), strict=True):
            assert actual.numpy().dtype == expected.dtype
            np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-5, err_msg=f"version {version}")
