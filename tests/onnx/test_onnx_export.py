"""Exported models: valid, the same values through ONNX Runtime and through `load`, dynamic sizes kept."""

import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx package is an extra: pip install 'ingot[onnx]'")

import ingot
from ingot import jit, nn
from ingot.nn import functional
from ingot.onnx import OnnxError, export, load

import onnx


def _list(result: Any) -> list[Any]:
    return [result] if isinstance(result, ingot.Tensor) else list(result)


def check(function: Any, args: tuple[Any, ...], dynamic: Any = None, more: tuple[Any, ...] = ()) -> Any:
    """Export, run on the example and more arguments, and compare with the function itself."""
    model = export(function, args, dynamic_axes=dynamic)
    onnx.checker.check_model(model)
    runs: list[Callable[[tuple[Any, ...]], list[Any]]] = []
    loaded = load(model)

    def through_load(given: tuple[Any, ...]) -> list[Any]:
        with jit.executor("interpreter"):
            return [t.numpy() for t in _list(loaded(*given))]

    runs.append(through_load)
    try:
        import onnxruntime
    except ImportError:
        pass  # the other run-time is a second opinion
    else:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]
        runs.append(lambda given: session.run(None, {n: t.numpy() for n, t in zip(names, given, strict=True)}))
    for given in (args, *more):
        expected = [t.detach().numpy() for t in _list(function(*given))]
        for run in runs:
            for index, (actual, wanted) in enumerate(zip(run(given), expected, strict=True)):
                assert actual.shape == wanted.shape and actual.dtype == wanted.dtype, index
                np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5, err_msg=f"result {index}")
    return model


def test_a_convolutional_network_with_a_dynamic_batch() -> None:
    ingot.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(64, 10), nn.Softmax(-1)).eval()
    model = check(network, (ingot.randn(2, 1, 8, 8),), {"input": {0: "batch"}}, ((ingot.randn(5, 1, 8, 8),),))
    operators = [node.op_type for node in model.graph.node]
    assert operators == ["Conv", "BatchNormalization", "Relu", "MaxPool", "Reshape", "Gemm", "Softmax", "Identity"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {t.name for t in model.graph.initializer} >= {"0.weight", "0.bias", "5.weight"}


def test_attention_with_two_dynamic_sizes() -> None:
    def block(x: Any, w: Any) -> Any:
        b, t, d = x.shape
        q = (x @ w).reshape(b, t, 2, d // 2).transpose(1, 2)
        o = ((q @ q.transpose(-1, -2)) / 3.0).softmax(-1) @ q
        y = functional.layer_norm(o.transpose(1, 2).reshape(b, t, d), (8,))
        return functional.gelu(y), y.mean(1), y[:, 0], (y * 2 + 1).clamp(0, 1).sum((0, 1)), y.argmax(-1)

    w = ingot.randn(8, 8)
    model = check(block, (ingot.randn(2, 5, 8), w), {"x": {0: "b", 1: "t"}}, ((ingot.randn(3, 7, 8), w),))
    assert "LayerNormalization" in [node.op_type for node in model.graph.node]


def test_elementwise_and_shape_operations() -> None:
    def many(x: Any, i: Any) -> Any:
        return (
            x.unsqueeze(0).squeeze(0), x.flip(1), x[:, 1:3], x[:, -1], ingot.cat([x, x * 2], 1),
            ingot.stack([x, x], 1), x.cumsum(1), x.tril(), x.triu(1), x.topk(2, 1)[0], ingot.where(x > 0, x, -x),
            (x > 0).any(1), x.amax(1), x.std(1), functional.pad(x, (1, 2)), x.expand(2, *x.shape), x.repeat(1, 2),
            functional.embedding(i, x), x.pow(2), 2**x, 1 / x.abs().add(1), x // 2, x % 2, x.int() // 2, x.int() % 3,
            x.remainder(-1.5), x != 0, functional.elu(x), functional.leaky_relu(x), functional.softplus(x),
            functional.silu(x), functional.hardtanh(x), functional.relu6(x), functional.hardsigmoid(x),
            functional.hardswish(x), x.sum(), x.prod(1), x.mean((0, 1), keepdim=True), x.double(), x.t().reshape(-1),
            x.logsumexp(1), x.log_softmax(0), ingot.einsum("ij,kj->ik", x, x), x.gather(1, i[:, None]),
            x.index_select(0, i), x.argmax(), ingot.ones_like(x), x + ingot.full((4,), 2.0), x.flatten(), x.isnan(),
            x.sign(), x.abs().rsqrt(),
        )  # fmt: skip

    check(many, (ingot.randn(3, 4), ingot.tensor([0, 2, 1])))


def test_order_and_positions() -> None:
    def many(x: Any, i: Any) -> Any:
        y = x.clone()
        y[:, i] = 1.0
        z = x.clone()
        z[x > 0] = 0.5
        w = x.clone()
        w[1:, ::2] = -1.0
        source = x[:, :3] * 2
        places = i.expand(3, 3)
        return (
            *x.sort(1), x.sort(0, descending=True)[1], x.argsort(-1), x.max(1)[0], x.min(0)[1], y, z, w, x[i, i],
            x[:, i], x[x > 0], x[None, i], x.scatter(1, places, source), x.scatter_add(1, places, source),
            x.scatter_reduce(0, places, source, "amax"), x.index_add(0, i, x), x.roll(1, 1), x.diagonal(),
            x.unfold(1, 2, 1), x.repeat_interleave(2, 1), ingot.searchsorted(i.sort()[0], i), ingot.isin(i, i[:2]),
            functional.one_hot(i, 4), *ingot.unique(i, return_inverse=True), x.masked_fill(x > 0, 2.0),
            x.index_put((i, i), x[:, 0], accumulate=True), x.select_scatter(x[0], 0, 2), x.masked_select(x > 0),
        )  # fmt: skip

    ingot.manual_seed(0)
    check(many, (ingot.randn(3, 4), ingot.tensor([0, 2, 1])))


def test_functions_without_an_operator_of_their_own() -> None:
    def many(x: Any, y: Any) -> Any:
        p = x.abs() + 0.1
        return (
            p.log2(), p.log10(), x.log1p(), (x * 1e-6).expm1(), x.exp2(), x.erfc(), x.trunc(), x.frac(), x.isfinite(),
            functional.logsigmoid(x * 50), functional.softshrink(x), functional.hardshrink(x), x.signbit(),
            ingot.atan2(y, x), ingot.logaddexp(x, y), ingot.hypot(x, y), ingot.xlogy(x, p), ingot.copysign(x, y),
            ingot.fmax(x, y), ingot.heaviside(x, y), ingot.isclose(x, x + 1e-9), ingot.lerp(x, y, 0.3), x.sinc(),
            ingot.addcmul(x, y, y, value=2.0), ingot.special.entr(p), (x * 9).int() << 2, (x * 9).int() >> 1,
        )  # fmt: skip

    x = ingot.tensor([[0.5, -0.0, 0.0], [-0.7, 0.3, 0.9]])
    check(many, (x, ingot.tensor([[0.0, -0.0, 1.0], [-2.0, -0.0, 0.4]])))


def test_layers_in_one_dimension() -> None:
    def layers(x: Any) -> Any:
        y = functional.conv1d(x, ingot.ones(2, 3, 3), padding="same")
        z = functional.conv_transpose1d(functional.avg_pool1d(y, 2), ingot.ones(2, 3, 2), stride=2)
        attention = functional.scaled_dot_product_attention(x, x, x)
        return z, functional.max_pool1d(y, 3, 2, 1), attention, functional.group_norm(y, 2)

    check(layers, (ingot.randn(2, 3, 8),), {"x": {0: "n"}}, ((ingot.randn(4, 3, 8),),))


def test_a_scripted_function(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    scripted = jit.script(_scripted)
    export(scripted, (ingot.randn(3, 4),), path, input_names=["data"], output_names=["result"])
    model = load(path)
    assert model.input_names == ("data",) and model.output_names == ("result",)
    x = ingot.randn(3, 4)
    with jit.executor("interpreter"):
        np.testing.assert_allclose(model(x).numpy(), _scripted(x).numpy(), rtol=1e-6)


def test_control_flow() -> None:
    # Loops and branches that depend on data are Loop and If.
    model = check(jit.script(_halve), (ingot.tensor([8.0, 40.0]),), {"x": {0: "n"}}, ((ingot.tensor([-3.0]),),))
    assert {"Loop", "If"} <= {node.op_type for node in model.graph.node}


def _halve(x: ingot.Tensor) -> tuple[ingot.Tensor, ingot.Tensor]:
    steps = 0
    while bool(x.sum() > 10.0):
        x = x / 2
        steps += 1
    if bool(x.min() < 0):
        x = -x
    return x, ingot.full((2,), steps) + x[0]


def _scripted(x: ingot.Tensor) -> ingot.Tensor:
    total = x
    for _ in range(3):
        total = total * 2 + x
    return total


def test_what_has_no_onnx_form_is_listed() -> None:
    def sorting(x: Any) -> Any:
        return ingot.lgamma(x) + ingot.cummax(x, 0)[0]

    with pytest.raises(OnnxError, match=r"2 operations have no ONNX form: .*lgamma at .*test_onnx_export.*cummax at"):
        export(jit.trace(sorting, ingot.ones(3), on_bake="ignore"), (ingot.ones(3),))


def test_sizes_that_cannot_be_dynamic() -> None:
    def needs_four(x: Any) -> Any:
        return x @ ingot.ones(4, 2)

    with pytest.raises(OnnxError, match="axis 1 of 'x' is 4"):
        export(needs_four, ingot.ones(3, 4), dynamic_axes={"x": {1: "d"}})
    with pytest.raises(OnnxError, match="'z', which is no input"):
        export(needs_four, ingot.ones(3, 4), dynamic_axes={"z": [0]})
    with pytest.raises(OnnxError, match="an axis that a tensor of rank 2 lacks"):
        export(needs_four, ingot.ones(3, 4), dynamic_axes={"x": [5]})
    with pytest.raises(OnnxError, match="expected an opset from 18"):
        export(needs_four, ingot.ones(3, 4), opset=9)
    with pytest.raises(OnnxError, match="training mode"):
        export(nn.Linear(2, 2), ingot.ones(1, 2))


@pytest.mark.parametrize("function", [export, load])
def test_examples_run(function: Any) -> None:
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(function, function.__name__, globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
