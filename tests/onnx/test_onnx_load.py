"""ONNX models as compiled callables: sizes stay symbols, loops run as loops, bad models are refused in place."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

pytest.importorskip("onnx", reason="the onnx package is an extra: pip install 'ingot[onnx]'")

from ingot.onnx import OnnxError, backend, load

import onnx

HEAD = '<ir_version: 8, opset_import: ["" : 18]>'


def parse(text: str, **constants: Any) -> Any:
    model = onnx.parser.parse_model(f"{HEAD} {text}")
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return model


def tensors(*arrays: Any) -> list[Any]:
    return [ingot.tensor(np.asarray(a)) for a in arrays]


# -- sizes -------------------------------------------------------------------------------------------------------------

ATTENTION = """f (float[B,T,D] x, int64[B,T] mask) => (float[B,D] y) {
    shape = Shape(x)
    b = Gather(shape, zero)
    t = Gather(shape, one)
    b1 = Unsqueeze(b, axis0)
    t1 = Unsqueeze(t, axis0)
    split = Concat<axis=0>(b1, t1, heads, minus1)
    q = Reshape(x, split)
    qt = Transpose<perm=[0,2,1,3]>(q)
    kt = Transpose<perm=[0,2,3,1]>(q)
    scores = MatMul(qt, kt)
    open = Unsqueeze(mask, axes12)
    openf = Cast<to=1>(open)
    closed = Sub(onef, openf)
    bias = Mul(closed, low)
    s = Add(scores, bias)
    p = Softmax<axis=-1>(s)
    o = MatMul(p, qt)
    ot = Transpose<perm=[0,2,1,3]>(o)
    joined = Concat<axis=0>(b1, t1, minus1)
    z = Reshape(ot, joined)
    y = ReduceMean<keepdims=0>(z, axis1)
}"""


def attention() -> Any:
    return parse(
        ATTENTION, zero=0, one=1, axis0=[0], axis1=[1], heads=[2], minus1=[-1], axes12=[1, 2], onef=np.float32(1),
        low=np.float32(-10000),
    )  # fmt: skip


def attention_reference(x: Any, mask: Any) -> Any:
    b, t, d = x.shape
    q = x.reshape(b, t, 2, d // 2).transpose(0, 2, 1, 3)
    s = q @ q.transpose(0, 1, 3, 2) + ((1 - mask) * -10000.0)[:, None, None, :]
    p = np.exp(s - s.max(-1, keepdims=True))
    o = (p / p.sum(-1, keepdims=True)) @ q
    return o.transpose(0, 2, 1, 3).reshape(b, t, d).mean(1)


def test_new_sizes_compile_nothing() -> None:
    model = load(attention())
    random = np.random.default_rng(0)
    for index, (b, t, d) in enumerate([(2, 7, 6), (3, 5, 6), (5, 11, 10)]):
        x = random.standard_normal((b, t, d)).astype(np.float32)
        mask = (random.random((b, t)) < 0.8).astype(np.int64)
        mask[:, 0] = 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if index:
                with jit.no_compile():
                    result = model(*tensors(x, mask))
            else:
                result = model(*tensors(x, mask))
        np.testing.assert_allclose(result.numpy(), attention_reference(x, mask), rtol=1e-4, atol=1e-5)
    assert len(model.specialisations) == 1
    assert [str(d) for d in model.graph.arguments[0].type.shape] == ["s0", "s1", "s2"]


def test_values_that_decide_about_shapes_make_graphs_of_their_own() -> None:
    model = load(parse("f (float[N] x, int64[2] shape) => (float[a,b] y) { y = Reshape(x, shape) }"))
    x = np.arange(6, dtype=np.float32)
    with jit.executor("interpreter"):
        for shape in ([2, 3], [3, -1], [2, 3], [6, 1]):
            result = model(*tensors(x, np.array(shape)))
            np.testing.assert_array_equal(result.numpy(), x.reshape(shape))
    assert model.static_inputs == ("shape",)
    assert len(model.specialisations) == 3


def test_inputs_are_taken_by_name() -> None:
    model = load(parse("f (float[N] x, float[N] y) => (float[N] z) { z = Sub(x, y) }"))
    with jit.executor("interpreter"):
        result = model(y=ingot.tensor([1.0, 2.0]), x=ingot.tensor([5.0, 5.0]))
        assert result.tolist() == [4.0, 3.0]
        with pytest.raises(TypeError, match="missing a required argument"):
            model(ingot.tensor([1.0]))


def test_a_saved_model_needs_no_onnx(tmp_path: Path) -> None:
    model = load(parse("f (float[N] x) => (float[N] y) { y = Mul(x, x) }"))
    model(ingot.tensor([1.0, 2.0]))
    model.save(tmp_path / "model.ingot")
    code = (
        "import sys, ingot; f = ingot.jit.load(sys.argv[1]); "
        "assert f(ingot.tensor([1.0, 3.0])).tolist() == [1.0, 9.0]; assert 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.ingot")], check=True)


# -- control flow ------------------------------------------------------------------------------------------------------

LOOP = """f (int64 n, float[K] x) => (float[K] last, float[m,K] all) {
    last, all = Loop<body = body (int64 i, bool c, float[K] v) => (bool again, float[K] w, float[K] row) {
        w = Add(v, x)
        row = Mul(w, two)
        total = ReduceSum<keepdims=0>(w)
        again = Less(total, limit)
    }>(n, , x)
}"""


@pytest.mark.parametrize("executor", ["interpreter", "native"])
def test_a_loop_runs_as_a_loop(executor: str) -> None:
    model = load(parse(LOOP, two=np.float32(2), limit=np.float32(20)))
    with jit.executor(executor), warnings.catch_warnings():
        warnings.simplefilter("error")
        for n, x in ((3, [1.0, 2.0]), (1, [0.5, 0.5, 0.5]), (50, [1.0, 1.0])):
            last, rows = model(ingot.tensor(n), ingot.tensor(x))
            value, expected = np.array(x, np.float32), []
            for _ in range(n):
                value = value + np.array(x, np.float32)
                expected.append(value * 2)
                if not value.sum() < 20:
                    break
            np.testing.assert_allclose(last.numpy(), value)
            np.testing.assert_allclose(rows.numpy(), expected)
    assert len(model.specialisations) == 1
    assert any(i.op.name == "loop" for i in model.graph.walk())


IF = """f (bool c, float[N] x) => (float[k] y) {
    y = If<then_branch = a () => (float[k] p) { p = Slice(x, zero, two) }, else_branch = b () => (float[k] q) { q = Neg(x) }>(c)
}"""  # noqa: E501


def test_a_recurrent_layer_is_a_loop_over_any_length() -> None:
    random = np.random.default_rng(0)
    text = """f (float[T,B,3] x, int32[B] lengths) => (float[T,2,B,4] y, float[2,B,4] h) {
        y, h = GRU<hidden_size=4, direction="bidirectional">(x, w, r, b, lengths)
    }"""
    shapes = {"w": (2, 12, 3), "r": (2, 12, 4), "b": (2, 24)}
    model = parse(text, **{name: random.standard_normal(s).astype(np.float32) for name, s in shapes.items()})
    loaded = load(model)
    x = random.standard_normal((6, 2, 3)).astype(np.float32)
    with jit.executor("interpreter"):
        y, h = loaded(*tensors(x, np.array([6, 3], np.int32)))
        assert "loop" in {instruction.op.name for instruction in loaded.graph.walk()}
        # A shorter sequence alone gives what it gives within the batch, through the same graph.
        graph = loaded.graph
        short_y, short_h = loaded(*tensors(x[:3, 1:], np.array([3], np.int32)))
        assert loaded.graph is graph
    np.testing.assert_allclose(short_y.numpy()[:, :, 0], y.numpy()[:3, :, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(short_h.numpy()[:, 0], h.numpy()[:, 1], rtol=1e-5, atol=1e-6)
    assert not y.numpy()[3:, :, 1].any()


def test_branches_of_other_sizes() -> None:
    model = load(parse(IF, zero=[0], two=[2]))
    x = ingot.tensor([1.0, 2.0, 3.0])
    assert model(ingot.tensor(True), x).tolist() == [1.0, 2.0]
    assert model(ingot.tensor(False), x).tolist() == [-1.0, -2.0, -3.0]
    assert len(model.specialisations) == 1


def test_functions_are_inlined_with_their_attributes() -> None:
    function = onnx.helper.make_function(
        "own", "Scale", ["x"], ["y"],
        [onnx.helper.make_node("Constant", [], ["factor"]), onnx.helper.make_node("Mul", ["x", "factor"], ["y"])],
        [onnx.helper.make_opsetid("", 18)], ["by"],
    )  # fmt: skip
    reference = function.node[0].attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "value_float", "by", onnx.AttributeProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Scale", ["x"], ["y"], domain="own", by=3.0)], "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["N"])], [onnx.helper.make_tensor_value_info("y", 1, ["N"])],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("own", 1)]
    model = onnx.helper.make_model(graph, functions=[function], opset_imports=opsets)
    with jit.executor("interpreter"):
        assert load(model)(ingot.tensor([1.0, 2.0])).tolist() == [3.0, 6.0]


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_all_unknown_operators_are_listed_with_their_nodes() -> None:
    model = parse("f (float[N] x) => (float[N] y) { a = Nothing(x) b = Relu(a) y = Never(b) }")
    model.graph.node[0].name = "first"
    with pytest.raises(
        OnnxError, match=r"2 nodes with unsupported operators: Nothing \(node 'first'\), Never \(node 'y'"
    ):
        load(model)


@pytest.mark.parametrize("data", [b"", b"\x00\x01garbage", b"\xff" * 100, b"\x08\x08\x3a\x7f"])
def test_damaged_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(OnnxError, match="not an ONNX model"):
            load(source)


def test_truncated_and_mutated_files_raise_nothing_else() -> None:
    data = attention().SerializeToString()
    random = np.random.default_rng(1)
    arguments = tensors(np.ones((1, 2, 4), np.float32), np.ones((1, 2), np.int64))
    refused = 0
    for k in range(400):
        mutated = bytearray(data[: random.integers(1, len(data))] if k % 2 else data)
        for _ in range(random.integers(1, 4)):
            mutated[random.integers(len(mutated))] = random.integers(256)
        try:
            with jit.executor("interpreter"):
                load(bytes(mutated))(*arguments)
        except (OnnxError, TypeError) as error:
            refused += 1
            assert isinstance(error, OnnxError) or "argument" in str(error) or "must be" in str(error), error
    assert refused > 50


def test_a_missing_file() -> None:
    with pytest.raises(OnnxError, match="cannot be read"):
        load("/nonexistent/model.onnx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f (float[N] x) => (float[N] y) { a = Relu(b) b = Relu(a) y = Add(a, b) }", "the input 'b' is not computed"),
        ("f (float[N] x) => (float[N] y) { y = Relu(x) y = Neg(x) }", "the name 'y' is given to two values"),
        ("f (float[N] x) => (float[N] y) { z = Relu(x) }", "the output 'y' is not computed"),
        ("f (float[N] x) => (float[N] y) { y = Concat<axis=3>(x, x) }", "the axis 3 is not one of a tensor of rank 1"),
        ("f (float[N] x) => (float[N] y) { y = Transpose<perm=[0,1]>(x) }", "Transpose"),
        ("f (float[N] x) => (float[N] y) { y = Concat(x, x) }", "needs the attribute .axis."),
    ],
)
def test_bad_graphs(text: str, message: str) -> None:
    with pytest.raises(OnnxError, match=message) as caught, jit.executor("interpreter"):
        load(parse(text))(ingot.tensor([1.0, 2.0]))
    assert caught.value.location is not None or "output" in message


def test_errors_show_the_node() -> None:
    model = load(parse("f (float[N] x, float[M,4] w) => (float[M] y) { z = Relu(x) y = MatMul(z, w) }"))
    with pytest.raises(OnnxError, match=r"f:2:1: MatMul: (?s:.*)    y = MatMul\(z, w\)"):
        model(ingot.ones(3), ingot.ones(5, 4))


def test_arguments_that_the_model_does_not_declare() -> None:
    model = load(parse("f (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"))
    with pytest.raises(OnnxError, match=r"'x' must have the shape \[N, 3\], given \[2, 4\]"):
        model(ingot.ones(2, 4))
    with pytest.raises(OnnxError, match=r"must be FLOAT .float32., given int64"):
        model(ingot.tensor([[1, 2, 3]]))
    with pytest.raises(TypeError, match="must be a tensor, given int"):
        model(3)


@pytest.mark.parametrize("shape", [[1 << 50], [1 << 30, 1 << 30], [-1], [1 << 62, 1 << 62]])
def test_absurd_sizes(shape: list[int]) -> None:
    text = "f (float[N] x) => (float[k] y) { y = ConstantOfShape(shape) }"
    with pytest.raises(OnnxError, match="f:1:1: ConstantOfShape"):
        load(parse(text, shape=np.array(shape)))(ingot.ones(1))


def test_absurd_initializers() -> None:
    model = parse("f (float[N] x) => (float[N] y) { y = Add(x, w) }", w=np.ones(2, np.float32))
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    with pytest.raises(OnnxError, match=r"'w'.*bytes, the file has 8"):
        load(model)(ingot.ones(2))


def test_functions_that_call_themselves() -> None:
    node = onnx.helper.make_node("Again", ["x"], ["y"], domain="own")
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("own", 1)]
    function = onnx.helper.make_function("own", "Again", ["x"], ["y"], [node], opsets)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "g", [value("x", 1, ["N"])], [value("y", 1, ["N"])])
    with pytest.raises(OnnxError, match="the function 'Again' calls itself"):
        load(onnx.helper.make_model(graph, functions=[function], opset_imports=opsets))(ingot.ones(2))


# -- external data -----------------------------------------------------------------------------------------------------


def external(folder: Path, location: str, offset: int = 0, length: int = 8) -> Path:
    model = parse("f (float[N] x) => (float[N] y) { y = Add(x, w) }", w=np.ones(2, np.float32))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_is_read_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"\0" * 4 + np.array([1, 2], np.float32).tobytes())
    with jit.executor("interpreter"):
        assert load(external(tmp_path, "data/w.bin", 4))(ingot.tensor([1.0, 1.0])).tolist() == [2.0, 3.0]


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.ones(2, np.float32).tobytes())
    (folder / "link.bin").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    (folder / "short.bin").write_bytes(b"\0" * 4)
    os.mkfifo(folder / "pipe.bin")
    cases = {
        "../secret.bin": "inside the model's folder", str(secret): "inside the model's folder",
        "link.bin": "is a link", "up/secret.bin": "is a link", "short.bin": "no plain file of at least 8 bytes",
        "pipe.bin": "no plain file", "none.bin": "cannot be read", "": "inside the model's folder",
    }  # fmt: skip
    for location, message in cases.items():
        with pytest.raises(OnnxError, match=message):
            load(external(folder, location))(ingot.ones(2))
    with pytest.raises(OnnxError, match="needs 8 bytes, the model says 4000"):
        load(external(folder, "short.bin", length=4000))(ingot.ones(2))
    with pytest.raises(OnnxError, match="load the model from its file"):
        load(external(folder, "short.bin").read_bytes())(ingot.ones(2))


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_the_backend_runs_a_node() -> None:
    node = onnx.helper.make_node("Add", ["a", "b"], ["c"])
    (result,) = backend.run_node(node, [np.float32([1, 2]), np.float32([3, 4])], executor="interpreter")
    np.testing.assert_array_equal(result, np.float32([4, 6]))
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA:0")


def test_importing_ingot_imports_no_onnx() -> None:
    subprocess.run([sys.executable, "-c", "import sys, ingot; assert 'onnx' not in sys.modules"], check=True)
