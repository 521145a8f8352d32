"""A sentence encoder as an ONNX model, at several lengths, beside ONNX Runtime: `python -m benchmarks.onnx_models`.

The model has the shape of all-MiniLM-L6 (Wang et al., "MiniLM", 2020: 6 layers, 384 wide, 12 heads) with random
weights. The first length compiles; the others must not.
"""

import time
from statistics import median
from typing import Any

import ingot
import numpy as np
from ingot import jit
from ingot.onnx import load

from onnx import helper, numpy_helper

WIDTH, HEADS, INNER, LAYERS, VOCABULARY = 384, 12, 1536, 6, 1000
LENGTHS = (16, 8, 33, 64, 128)
BLOCKS, REPEATS = 4, 15


class Graph:
    """Nodes and constants of a model as they are put together."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def weight(self, *shape: int) -> str:
        return self.constant((self.random.standard_normal(shape) * 0.05).astype(np.float32))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        return self.node("Add", self.node("MatMul", x, self.weight(inputs, outputs)), self.weight(outputs))

    def norm(self, x: str) -> str:
        return self.node("LayerNormalization", x, self.weight(WIDTH), self.weight(WIDTH))

    def gelu(self, x: str) -> str:
        error = self.node("Erf", self.node("Div", x, self.constant(np.float32(2**0.5))))
        shifted = self.node("Add", error, self.constant(np.float32(1)))
        return self.node("Mul", self.node("Mul", x, shifted), self.constant(np.float32(0.5)))


def encoder() -> Any:
    """The model: token numbers and a mask in, one vector per token out; batch and length are open."""
    g = Graph()
    length = g.node("Gather", g.node("Shape", "ids"), g.constant(np.int64(1)))
    positions = g.node("Range", g.constant(np.int64(0)), length, g.constant(np.int64(1)))
    words, places = g.weight(VOCABULARY, WIDTH), g.weight(512, WIDTH)
    x = g.node("Add", g.node("Gather", words, "ids"), g.node("Gather", places, positions))
    open_ = g.node("Cast", g.node("Unsqueeze", "mask", g.constant([1, 2])), to=1)
    bias = g.node("Mul", g.node("Sub", g.constant(np.float32(1)), open_), g.constant(np.float32(-10000)))
    heads, joined = g.constant([0, 0, HEADS, WIDTH // HEADS]), g.constant([0, 0, WIDTH])
    for _ in range(LAYERS):
        q, k, v = (g.node("Reshape", g.linear(x, WIDTH, WIDTH), heads) for _ in range(3))
        q, v = (g.node("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
        scores = g.node("MatMul", q, g.node("Transpose", k, perm=[0, 2, 3, 1]))
        scaled = g.node("Div", scores, g.constant(np.float32((WIDTH // HEADS) ** 0.5)))
        mixed = g.node("MatMul", g.node("Softmax", g.node("Add", scaled, bias), axis=-1), v)
        out = g.node("Reshape", g.node("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        x = g.norm(g.node("Add", x, g.linear(out, WIDTH, WIDTH)))
        x = g.norm(g.node("Add", x, g.linear(g.gelu(g.linear(x, WIDTH, INNER)), INNER, WIDTH)))
    g.nodes.append(helper.make_node("Identity", [x], ["y"]))
    inputs = [helper.make_tensor_value_info(n, 7, ["batch", "length"]) for n in ("ids", "mask")]
    outputs = [helper.make_tensor_value_info("y", 1, ["batch", "length", WIDTH])]
    weights = [numpy_helper.from_array(a, n) for n, a in g.constants.items()]
    graph = helper.make_graph(g.nodes, "encoder", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _milliseconds(candidates: dict[str, Any]) -> dict[str, float]:
    """The median of each in its best block: in turns, the threads of one would still spin while the other runs."""
    best: dict[str, float] = {}
    for _ in range(BLOCKS):
        for name, run in candidates.items():
            time.sleep(0.05)
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
            best[name] = min(best.get(name, 1e9), median(times) * 1000)
    return best


def main() -> None:
    """Print a row per length."""
    import onnxruntime

    proto = encoder()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = ingot.get_num_threads() if hasattr(ingot, "get_num_threads") else 0
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    model = load(proto)
    random = np.random.default_rng(1)
    print(f"{'tokens':>6} {'ingot ms':>9} {'ort ms':>8} {'largest difference':>19}")
    for index, length in enumerate(LENGTHS):
        ids, mask = random.integers(0, VOCABULARY, (1, length)), np.ones((1, length), np.int64)
        arguments = (ingot.from_numpy(ids), ingot.from_numpy(mask))
        feed = {"ids": ids, "mask": mask}
        if index:
            with jit.no_compile():
                result = model(*arguments)
        else:
            result = model(*arguments)
        difference = float(np.abs(result.numpy() - session.run(None, feed)[0]).max())
        assert difference < 1e-4, difference
        times = _milliseconds({"ingot": lambda a=arguments: model(*a), "ort": lambda f=feed: session.run(None, f)})
        print(f"{length:6} {times['ingot']:9.2f} {times['ort']:8.2f} {difference:19.1e}")


if __name__ == "__main__":
    main()
